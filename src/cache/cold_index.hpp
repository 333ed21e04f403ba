// SPDX-License-Identifier: MIT
//
// cold_index: a shard's table from key hash to the place of a cold item, which never touches the items.
//
//     entry   63   62        32 31         0   bucket: 8 entries, one cache line; 0: the entry is empty
//            | used | 31 of hash |   place   |  place: where in the cold tier's log; see cold_tier.hpp
//
// Cold items may be gone at any time, so unlike the index of the hot items this one must grow without their keys: the
// hash it stores says which bucket an entry belongs to, whatever their number up to 2^24. Linear hashing (W. Litwin,
// 1980) by a bucket at a time; an entry goes to the emptier one of its two buckets, or in the place of one that goes to
// its other bucket (cuckoo hashing). Where there is none, an entry is dropped, as from any cache.
//
// Entries are left behind when what they name is dropped with its chunk. Whoever comes across one erases it: `bury`
// says of a place whether it is dead and counts it. sweep() comes across all of them in time.
//
// Memory comes from the heap as blocks that never move, but only in grow(). Threads: the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "cache/name.hpp"
#include "cache/segments.hpp"
#include "scoot/heap.hpp"

namespace scoot::caching {

class cold_index {
 public:
  using entry = std::uint64_t;
  static constexpr unsigned entries_per_bucket = 8;

  cold_index(heap& h, kind fixed) noexcept : segments_(h, fixed) {}
  cold_index(const cold_index&) = delete;
  cold_index& operator=(const cold_index&) = delete;

  // Call once, before anything else. False if there is no memory.
  [[nodiscard]] bool start() noexcept;

  [[nodiscard]] static std::uint32_t hash_of(name n) noexcept {
    return (n.place | std::uint32_t{n.tag} << name::place_bits) & hash_mask;  // of the tag the lower 7 bits
  }
  [[nodiscard]] static std::uint32_t hash_of(entry e) noexcept {
    return static_cast<std::uint32_t>(e >> 32) & hash_mask;
  }
  // Whether the item was read since it came.
  static constexpr entry used_bit = entry{1} << 63;
  [[nodiscard]] static std::uint32_t place_of(entry e) noexcept { return static_cast<std::uint32_t>(e); }

  // The entry of that hash for which accept(place) is true, or null. accept may not change the table.
  template <class Accept>
  [[nodiscard]] entry* find(std::uint32_t hash, Accept&& accept) noexcept {
    for (const std::size_t position : {position_of(hash), position_of(other(hash))}) {
      for (entry& e : nth(position).entries) {
        if (hash_of(e) == hash && e != 0 && accept(place_of(e))) return &e;
      }
    }
    return nullptr;
  }

  // Adds an entry. Returns the place of a live entry that had to go for it, or 0.
  template <class Bury>
  std::uint32_t insert(std::uint32_t hash, std::uint32_t place, Bury&& bury) noexcept {
    entry in_hand = entry{hash} << 32 | place;
    bucket* const choices[2] = {&nth(position_of(hash)), &nth(position_of(other(hash)))};
    entry* empty[2] = {};
    unsigned used[2] = {};
    for (int i = 0; i < 2; ++i) {
      for (entry& e : choices[i]->entries) {
        if (e != 0 && !bury(place_of(e))) {
          ++used[i];
        } else {
          e = 0;
          empty[i] = &e;
        }
      }
    }
    entry* to = used[1] < used[0] ? empty[1] : empty[0];
    for (int i = 0; i < 2 && to == nullptr; ++i) to = make_way(*choices[i], bury);
    // A random walk: each step puts the entry in hand in the place of another, which is taken to its other bucket.
    bucket* at = choices[0];
    for (int step = 0; step < walk_max && to == nullptr; ++step) {
      random_ = random_ * 1664525u + 1013904223u;
      std::swap(at->entries[random_ >> 29], in_hand);
      at = other_bucket(in_hand, at);
      to = make_way(*at, bury);
    }
    if (to == nullptr) return place_of(in_hand);
    *to = in_hand;
    return 0;
  }

  void prefetch(std::uint32_t hash) const noexcept {
    __builtin_prefetch(&nth(position_of(hash)));
    __builtin_prefetch(&nth(position_of(other(hash))));
  }

  // Erases what is dead in the next `count` buckets.
  template <class Bury>
  void sweep(std::size_t count, Bury&& bury) noexcept {
    for (; count != 0; --count) {
      if (sweep_at_ >= buckets_) sweep_at_ = 0;
      for (entry& e : nth(sweep_at_).entries) {
        if (e != 0 && bury(place_of(e))) e = 0;
      }
      ++sweep_at_;
    }
  }

  // One bucket more: false if there is no memory for it. Invalidates: addresses of movable blocks of the heap, if it
  // allocates.
  [[nodiscard]] bool grow() noexcept;

  // One bucket fewer. dropped(place) is told of live entries for which there is no room then.
  template <class Bury, class Dropped>
  void shrink(Bury&& bury, Dropped&& dropped) noexcept {
    const bucket leaving = nth(buckets_ - 1);
    nth(buckets_ - 1) = {};
    --buckets_;
    if (buckets_ == (mask_high_ >> 1) + 1) mask_high_ >>= 1;
    for (const entry e : leaving.entries) {
      if (e == 0 || bury(place_of(e))) continue;
      const std::uint32_t hash = hash_of(e);
      entry* to = nullptr;
      for (const std::size_t position : {position_of(hash), position_of(other(hash))}) {
        for (entry& there : nth(position).entries) {
          if (to == nullptr && (there == 0 || bury(place_of(there)))) to = &there;
        }
      }
      if (to != nullptr) {
        *to = e;
      } else {
        dropped(place_of(e));
      }
    }
    segments_.keep(segments_for(buckets_ + segment_buckets));
  }

  [[nodiscard]] std::size_t buckets() const noexcept { return buckets_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return segments_.bytes(); }
  [[nodiscard]] bool grow_allocates() const noexcept { return buckets_ == segments_.count() * segment_buckets; }
  static constexpr std::size_t grow_bytes = std::size_t{64} * 64;
  // For a table of that many live entries.
  [[nodiscard]] bool wants_to_grow(std::size_t live) const noexcept {
    return live > buckets_ * grow_above_ / 8 && buckets_ < buckets_max;
  }
  [[nodiscard]] bool wants_to_shrink(std::size_t live) const noexcept {
    return buckets_ > segment_buckets && live < buckets_ * shrink_below_ / 8;
  }

  // Calls visit(entry, whether it is in one of its two buckets) for every entry, dead ones too.
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    for (std::size_t at = 0; at < buckets_; ++at) {
      for (const entry e : nth(at).entries) {
        if (e != 0) visit(e, belongs(e, at));
      }
    }
  }

 private:
  static constexpr std::uint32_t hash_mask = 0x7fffffff;
  static constexpr std::size_t segment_buckets = 64;
  static constexpr std::size_t buckets_max = std::size_t{1} << name::place_bits;
  static constexpr std::size_t grow_above_ = 52;    // eighths of an entry a bucket: 81 % full
  static constexpr std::size_t shrink_below_ = 36;  // 56 %

  static constexpr int walk_max = 32;

  struct alignas(64) bucket {
    entry entries[entries_per_bucket];
  };
  struct segment {
    bucket buckets[segment_buckets];
  };
  static_assert(sizeof(segment) == grow_bytes);
  // The hash that chooses the second bucket: its low bits depend on all bits of the first.
  [[nodiscard]] static std::uint32_t other(std::uint32_t hash) noexcept {
    const std::uint32_t mixed = hash * 0x9e3779b1u;
    return (mixed >> 16 | mixed << 16) & hash_mask;
  }
  [[nodiscard]] std::size_t position_of(std::uint32_t hash) const noexcept {
    const std::size_t high = hash & mask_high_;
    return high < buckets_ ? high : high & (mask_high_ >> 1);
  }
  [[nodiscard]] bool belongs(entry e, std::size_t position) const noexcept {
    const std::uint32_t hash = hash_of(e);
    return position_of(hash) == position || position_of(other(hash)) == position;
  }
  [[nodiscard]] bucket& nth(std::size_t position) const noexcept {
    return segments_[position / segment_buckets].buckets[position % segment_buckets];
  }
  [[nodiscard]] bucket* other_bucket(entry e, const bucket* not_this) const noexcept {
    const std::uint32_t hash = hash_of(e);
    bucket* const first = &nth(position_of(hash));
    return first != not_this ? first : &nth(position_of(other(hash)));
  }
  // Frees an entry of a full bucket by moving one to its other bucket; null if those are full as well.
  template <class Bury>
  [[nodiscard]] entry* make_way(bucket& full, Bury& bury) noexcept {
    for (entry& e : full.entries) {
      bucket* const to = other_bucket(e, &full);
      if (to == &full) continue;
      for (entry& there : to->entries) {
        if (there != 0 && !bury(place_of(there))) continue;
        there = e;
        return &e;
      }
    }
    return nullptr;
  }
  [[nodiscard]] static std::size_t segments_for(std::size_t buckets) noexcept {
    return (buckets + segment_buckets - 1) / segment_buckets;
  }

  segments<segment> segments_;
  std::size_t buckets_ = 0;
  std::size_t mask_high_ = 0;  // 2^(level + 1) - 1: buckets_ is in (2^level, 2^(level + 1)]
  std::size_t sweep_at_ = 0;
  std::uint32_t random_ = 0x9e3779b9;
};

}  // namespace scoot::caching
