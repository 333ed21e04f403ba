// SPDX-License-Identifier: MIT
//
// index: a shard's table from key to item, which grows and shrinks by one 64-byte bucket at a time.
//
//     bucket, one cache line                                         segment, one heap block
//    +----------------+----------------+--------------------------+   +---------------------+--------------+
//    | 8 tags, 16 bit | 8 x addr high  | 8 x (addr low | epoch)   |   | 32 buckets          | ghost lines  |
//    +----------------+----------------+--------------------------+   +---------------------+--------------+
//
// An entry is the only reference to its item: 16 bits of tag (0: the entry is empty) and 48 of address, whose two
// lowest bits, free as blocks are aligned to 4, hold the item's epoch (see shard::flush). The table is linear hashing
// (W. Litwin, 1980) over a directory of segments, so that growing never copies it. Each item may be in either of two
// buckets (partial-key cuckoo hashing, B. Fan et al., CoNEXT 2014), which evens out what linear hashing leaves uneven
// and keeps 7 of 8 entries in use. An entry that fits neither bucket even after others made way goes to a stash.
//
// Each segment carries lines of 32 16-bit words for the eviction policy's ghosts, so that these grow with the table.
//
// Moving a bucket's entries re-hashes their keys, and so touches the items. Memory comes from the heap, as blocks that
// never move; they come and go in order, at one end of their shelf. Threads: the shard's lock. Failure: insert and
// grow answer false, and nothing changed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/item.hpp"
#include "cache/name.hpp"
#include "cache/segments.hpp"
#include "scoot/heap.hpp"

namespace scoot::caching {

class index {
 public:
  static constexpr unsigned entries_per_bucket = 8;
  static constexpr unsigned ghosts_per_line = 32;
  static constexpr std::size_t stash_max = 16;

  struct alignas(64) bucket {
    std::uint16_t tags[entries_per_bucket];
    std::uint16_t high[entries_per_bucket];
    std::uint32_t low[entries_per_bucket];
  };

  // A place in a bucket or in the stash. Valid until the index is changed, by the heap's mover too.
  struct slot {
    bucket* where = nullptr;
    unsigned entry = 0;
    [[nodiscard]] explicit operator bool() const noexcept { return where != nullptr; }
    [[nodiscard]] item get() const noexcept {
      const std::uint64_t bits = std::uint64_t{where->high[entry]} << 32 | (where->low[entry] & ~3u);
      return item(reinterpret_cast<void*>(static_cast<std::uintptr_t>(bits)));
    }
    [[nodiscard]] unsigned epoch() const noexcept { return where->low[entry] & 3; }
  };

  // Blocks of `fixed` must have alignment 64 and no mover.
  index(heap& h, kind fixed, std::uint64_t seed) noexcept : segments_(h, fixed), seed_(seed) {}
  index(const index&) = delete;
  index& operator=(const index&) = delete;

  // The first segment. Call once, before anything else.
  [[nodiscard]] bool start() noexcept;

  // The entry of that name for which accept(slot) is true, or an empty slot.
  template <class Accept>
  [[nodiscard]] slot find(name n, Accept&& accept) noexcept {
    bucket& first = bucket_at(n.place);
    if (const slot s = find_in(first, n.tag, accept)) return s;
    if (const slot s = find_in(bucket_at(n.other_place()), n.tag, accept)) return s;
    if (stash_used_ != 0) [[unlikely]] {
      for (bucket& b : stash_) {
        if (const slot s = find_in(b, n.tag, accept)) return s;
      }
    }
    return {};
  }

  void prefetch(name n) const noexcept { __builtin_prefetch(&bucket_at(n.place)); }
  void prefetch_both(name n) const noexcept {
    __builtin_prefetch(&bucket_at(n.place));
    __builtin_prefetch(&bucket_at(n.other_place()));
  }

  // What insert() will touch next, once what prefetch() asked for is there.
  void prefetch_rest(name n) const noexcept {
    if (match(bucket_at(n.place), 0) == 0) __builtin_prefetch(&bucket_at(n.other_place()));
  }

  // Adds an entry; the name must be the item's own. May move other entries, never items.
  [[nodiscard]] bool insert(name n, item it, unsigned epoch) noexcept;
  void set(slot s, item it, unsigned epoch) noexcept;  // the entry names another block, of the same key
  void erase(slot s) noexcept;

  // One bucket more or fewer. Invalidates: addresses of items (grow allocates a segment now and then).
  [[nodiscard]] bool grow() noexcept;
  bool shrink() noexcept;
  [[nodiscard]] bool wants_to_grow() const noexcept { return entries_ > buckets_ * grow_above_ / 8; }
  [[nodiscard]] bool wants_to_shrink() const noexcept {
    return buckets_ > buckets_min && entries_ < buckets_ * shrink_below_ / 8;
  }

  // Grows for so many entries ahead of them, which touches no item while the table is empty. Stops where there is no
  // memory. Invalidates: addresses of items.
  void reserve(std::size_t entries) noexcept {
    while (entries > buckets_ * grow_above_ / 8 && grow()) continue;
  }
  // Forgets all entries, and gives back what they took.
  void clear() noexcept;

  // True if the next grow() has to allocate: so many bytes.
  [[nodiscard]] bool grow_allocates() const noexcept { return buckets_ == segments_.count() * segment_buckets; }
  static constexpr std::size_t grow_bytes = std::size_t{32 + 6} * 64;

  // The segments' lines for the policy; `place` chooses one. 32 words.
  [[nodiscard]] std::uint16_t* ghost_line(std::uint32_t place) noexcept;

  // Walks entries by position: visit(slot) for all in the buckets [from, from + count), and beyond the last bucket
  // those in the stash. Returns the position to go on from, 0 at the end. visit may erase the slot it is given.
  template <class Visit>
  std::size_t walk(std::size_t from, std::size_t count, Visit&& visit) noexcept {
    const std::size_t end = from + count < buckets_ ? from + count : buckets_;
    for (std::size_t at = from; at < end; ++at) walk_bucket(nth(at), visit);
    if (end < buckets_) return end;
    for (bucket& b : stash_) walk_bucket(b, visit);
    return 0;
  }

  // While a scan is on, entries move only between buckets on the same side of `position`, the table neither grows nor
  // shrinks, and new entries go anywhere: so a walk up to `position` sees no entry twice.
  void set_scan(bool on, std::size_t position) noexcept { scanning_ = on, scan_position_ = position; }
  [[nodiscard]] bool scanning() const noexcept { return scanning_; }

  [[nodiscard]] std::size_t entries() const noexcept { return entries_; }
  [[nodiscard]] std::size_t buckets() const noexcept { return buckets_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return segments_.bytes(); }

  [[nodiscard]] name name_of(item it) const noexcept { return name::of(hash_of(it.key(), seed_)); }

  // Aborts unless every entry can be found and the counts agree. For tests.
  void verify() noexcept;

 private:
  static constexpr std::size_t segment_buckets = 32;
  static constexpr std::size_t ghost_lines = 6;
  static constexpr std::size_t buckets_min = segment_buckets;
  static constexpr std::size_t buckets_max = std::size_t{512} * 512 * segment_buckets;
  static constexpr std::size_t grow_above_ = 55;    // eighths of an entry a bucket: 86 % full
  static constexpr std::size_t shrink_below_ = 45;  // 70 %
  static constexpr int walk_max = 64;

  struct segment {
    bucket buckets[segment_buckets];
    std::uint16_t ghosts[ghost_lines][ghosts_per_line];
  };
  static_assert(sizeof(segment) == grow_bytes);

  template <class Accept>
  [[nodiscard]] static slot find_in(bucket& b, std::uint16_t tag, Accept& accept) noexcept {
    for (unsigned matches = match(b, tag); matches != 0; matches &= matches - 1) {
      const slot s{&b, static_cast<unsigned>(__builtin_ctz(matches))};
      if (accept(s)) return s;
    }
    return {};
  }
  template <class Visit>
  static void walk_bucket(bucket& b, Visit& visit) noexcept {
    for (unsigned used = ~match(b, 0) & 0xff; used != 0; used &= used - 1) {
      visit(slot{&b, static_cast<unsigned>(__builtin_ctz(used))});
    }
  }

  [[nodiscard]] static unsigned match(const bucket& b, std::uint16_t tag) noexcept;  // a bit for each equal tag
  [[nodiscard]] static int empty_entry(const bucket& b) noexcept;
  static void put(bucket& b, unsigned entry, std::uint16_t tag, item it, unsigned epoch) noexcept;

  [[nodiscard]] std::size_t position_of(std::uint32_t place) const noexcept {
    const std::size_t high = place & mask_high_;
    return high < buckets_ ? high : high & (mask_high_ >> 1);
  }
  [[nodiscard]] bucket& nth(std::size_t position) const noexcept {
    return segments_[position / segment_buckets].buckets[position % segment_buckets];
  }
  [[nodiscard]] bucket& bucket_at(std::uint32_t place) const noexcept { return nth(position_of(place)); }

  [[nodiscard]] bool may_move(std::size_t from, std::size_t to) const noexcept {
    return !scanning_ || (from < scan_position_) == (to < scan_position_);
  }
  [[nodiscard]] std::size_t other_position(const bucket& b, unsigned entry, std::size_t position) const noexcept;
  static constexpr std::size_t unknown = ~std::size_t{0};
  [[nodiscard]] std::size_t other_by_tag(std::uint16_t tag, std::size_t position) const noexcept;
  [[nodiscard]] bool give_way(bucket& b, unsigned entry, std::size_t position, std::size_t other) noexcept;
  [[nodiscard]] int make_way(std::size_t position) noexcept;
  [[nodiscard]] bool stash(std::uint16_t tag, item it, unsigned epoch) noexcept;
  void drain_stash() noexcept;
  void place_again(std::uint16_t tag, item it, unsigned epoch) noexcept;
  [[nodiscard]] static std::size_t segments_for(std::size_t buckets) noexcept {
    return (buckets + segment_buckets - 1) / segment_buckets;
  }

  segments<segment> segments_;
  std::uint64_t seed_;
  std::size_t buckets_ = 0;
  std::size_t mask_high_ = 0;  // 2^(level + 1) - 1: buckets_ is in (2^level, 2^(level + 1)]
  std::size_t entries_ = 0;
  std::size_t stash_used_ = 0;
  std::size_t scan_position_ = 0;
  bool scanning_ = false;
  std::uint32_t random_ = 0x9e3779b9;
  bucket stash_[stash_max / entries_per_bucket] = {};
};

#if defined(__SSE2__)
}  // namespace scoot::caching
#include <emmintrin.h>
namespace scoot::caching {
inline unsigned index::match(const bucket& b, std::uint16_t tag) noexcept {
  const __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(b.tags));
  const __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<short>(tag)));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())));
}
#else
inline unsigned index::match(const bucket& b, std::uint16_t tag) noexcept {
  unsigned bits = 0;
  for (unsigned i = 0; i < entries_per_bucket; ++i) bits |= static_cast<unsigned>(b.tags[i] == tag) << i;
  return bits;
}
#endif

}  // namespace scoot::caching
