// SPDX-License-Identifier: MIT
#include "cache/index.hpp"

#include <cstring>

#include "base/check.hpp"

namespace scoot::caching {

bool index::start() noexcept {
  if (!segments_.start()) return false;
  buckets_ = segment_buckets;
  mask_high_ = buckets_ - 1;
  return true;
}

int index::empty_entry(const bucket& b) noexcept {
  const unsigned empty = match(b, 0);
  return empty == 0 ? -1 : __builtin_ctz(empty);
}

void index::put(bucket& b, unsigned entry, std::uint16_t tag, item it, unsigned epoch) noexcept {
  const auto bits = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(it.block()));
  SCOOT_CHECK(1, (bits & 3) == 0 && bits >> 48 == 0 && epoch < 4, "address %p does not fit the index", it.block());
  b.tags[entry] = tag;
  b.high[entry] = static_cast<std::uint16_t>(bits >> 32);
  b.low[entry] = static_cast<std::uint32_t>(bits) | epoch;
}

void index::set(slot s, item it, unsigned epoch) noexcept { put(*s.where, s.entry, s.where->tags[s.entry], it, epoch); }

void index::erase(slot s) noexcept {
  s.where->tags[s.entry] = 0;
  --entries_;
  if (s.where >= stash_ && s.where < stash_ + stash_max / entries_per_bucket) --stash_used_;
}

// Where the entry would be if it were not where it is.
std::size_t index::other_position(const bucket& b, unsigned entry, std::size_t position) const noexcept {
  const name n = name_of(slot{const_cast<bucket*>(&b), entry}.get());
  const std::size_t home = position_of(n.place);
  return home != position ? home : position_of(n.other_place());
}

// The same as far as it can be told from the tag alone, which touches no item: not if the one bit of the item's place
// is missing that decides between two halves of a bucket that has been split, because the entry's own has not been.
std::size_t index::other_by_tag(std::uint16_t tag, std::size_t position) const noexcept {
  const std::size_t low = mask_high_ >> 1;
  const std::size_t split = buckets_ - (low + 1);  // buckets below have been split
  const std::size_t other = position ^ name::difference(tag);
  if ((other & low) >= split) return other & low;
  return (position & low) < split ? other & mask_high_ : unknown;
}

bool index::give_way(bucket& b, unsigned entry, std::size_t position, std::size_t other) noexcept {
  if (!may_move(position, other)) return false;
  bucket& to = nth(other);
  const int empty = empty_entry(to);
  if (empty < 0) return false;
  const slot from{&b, entry};
  put(to, static_cast<unsigned>(empty), b.tags[entry], from.get(), from.epoch());
  b.tags[entry] = 0;
  return true;
}

// Frees an entry of the bucket by moving one to its other bucket. Its number, or -1.
int index::make_way(std::size_t position) noexcept {
  bucket& b = nth(position);
  std::size_t others[entries_per_bucket];
  for (unsigned entry = 0; entry < entries_per_bucket; ++entry) {
    others[entry] = other_by_tag(b.tags[entry], position);
    if (others[entry] != unknown) {
      __builtin_prefetch(&nth(others[entry]));
    } else {
      __builtin_prefetch(slot{&b, entry}.get().block());
    }
  }
  for (unsigned entry = 0; entry < entries_per_bucket; ++entry) {
    if (others[entry] != unknown && give_way(b, entry, position, others[entry])) return static_cast<int>(entry);
  }
  for (unsigned entry = 0; entry < entries_per_bucket; ++entry) {
    if (others[entry] != unknown) continue;
    if (give_way(b, entry, position, other_position(b, entry, position))) return static_cast<int>(entry);
  }
  return -1;
}

bool index::stash(std::uint16_t tag, item it, unsigned epoch) noexcept {
  for (bucket& b : stash_) {
    const int empty = empty_entry(b);
    if (empty < 0) continue;
    put(b, static_cast<unsigned>(empty), tag, it, epoch);
    ++stash_used_;
    return true;
  }
  return false;
}

bool index::insert(name n, item it, unsigned epoch) noexcept {
  const std::size_t choices[2] = {position_of(n.place), position_of(n.other_place())};
  int empty = -1;
  std::size_t at = choices[0];
  for (int i = 0; i < 2 && empty < 0; ++i) empty = empty_entry(nth(at = choices[i]));
  for (int i = 0; i < 2 && empty < 0; ++i) empty = make_way(at = choices[i]);
  if (empty >= 0) {
    put(nth(at), static_cast<unsigned>(empty), n.tag, it, epoch);
    ++entries_;
    return true;
  }
  if (stash_used_ == stash_max) return false;
  ++entries_;
  // A random walk: each step puts the entry in hand in the place of another, which is taken to its other bucket.
  std::uint16_t tag = n.tag;
  for (int step = 0; step < walk_max && !scanning_; ++step) {
    random_ = random_ * 1664525u + 1013904223u;
    const unsigned entry = random_ >> 29;
    const slot victim{&nth(at), entry};
    const std::size_t next = other_position(*victim.where, entry, at);
    const item evicted = victim.get();
    const unsigned evicted_epoch = victim.epoch();
    const std::uint16_t evicted_tag = victim.where->tags[entry];
    put(*victim.where, entry, tag, it, epoch);
    tag = evicted_tag, it = evicted, epoch = evicted_epoch, at = next;
    empty = empty_entry(nth(at));
    if (empty < 0) empty = make_way(at);
    if (empty < 0) continue;
    put(nth(at), static_cast<unsigned>(empty), tag, it, epoch);
    return true;
  }
  const bool stashed = stash(tag, it, epoch);
  SCOOT_CHECK(1, stashed, "the stash was checked to have room");
  return stashed;
}

// Puts an entry that is already counted somewhere, in the stash at worst. The stash must have room.
void index::place_again(std::uint16_t tag, item it, unsigned epoch) noexcept {
  (void)tag;
  const bool placed = insert(name_of(it), it, epoch);
  SCOOT_CHECK(1, placed, "the index has no room for an entry that it had room for");
  (void)placed;
  --entries_;
}

void index::drain_stash() noexcept {
  if (stash_used_ == 0 || scanning_) return;
  for (bucket& b : stash_) {
    for (unsigned used = ~match(b, 0) & 0xff; used != 0; used &= used - 1) {
      const slot s{&b, static_cast<unsigned>(__builtin_ctz(used))};
      const item it = s.get();
      const unsigned epoch = s.epoch();
      const name n = name_of(it);
      if (empty_entry(bucket_at(n.place)) < 0 && empty_entry(bucket_at(n.other_place())) < 0) continue;
      erase(s);
      const bool placed = insert(n, it, epoch);
      SCOOT_CHECK(1, placed, "no room in a bucket that has some");
      (void)placed;
    }
  }
}

bool index::grow() noexcept {
  if (buckets_ == buckets_max || scanning_) return false;
  if (grow_allocates() && !segments_.add()) return false;
  if (buckets_ == mask_high_ + 1) mask_high_ = mask_high_ * 2 + 1;
  const std::size_t to_position = buckets_;
  const std::size_t from_position = to_position & (mask_high_ >> 1);
  bucket& from = nth(from_position);
  bucket& to = nth(to_position);
  for (unsigned used = ~match(from, 0) & 0xff, bits = used; bits != 0; bits &= bits - 1) {
    const slot s{&from, static_cast<unsigned>(__builtin_ctz(bits))};
    __builtin_prefetch(s.get().block());
  }
  for (unsigned bits = ~match(from, 0) & 0xff; bits != 0; bits &= bits - 1) {
    const slot s{&from, static_cast<unsigned>(__builtin_ctz(bits))};
    const name n = name_of(s.get());
    const std::uint32_t place = position_of(n.place) == from_position ? n.place : n.other_place();
    if ((place & mask_high_) != to_position) continue;
    put(to, s.entry, from.tags[s.entry], s.get(), s.epoch());
    from.tags[s.entry] = 0;
  }
  ++buckets_;
  drain_stash();
  return true;
}

bool index::shrink() noexcept {
  if (buckets_ <= buckets_min || scanning_ || stash_max - stash_used_ < entries_per_bucket) return false;
  const std::size_t last = buckets_ - 1;
  bucket leaving = nth(last);
  std::memset(&nth(last), 0, sizeof(bucket));
  --buckets_;
  if (buckets_ == (mask_high_ >> 1) + 1) mask_high_ >>= 1;
  for (unsigned bits = ~match(leaving, 0) & 0xff; bits != 0; bits &= bits - 1) {
    const slot s{&leaving, static_cast<unsigned>(__builtin_ctz(bits))};
    place_again(leaving.tags[s.entry], s.get(), s.epoch());
  }
  // Keeps one empty segment, so that a table that hovers about a segment's edge does not allocate at every turn.
  segments_.keep(segments_for(buckets_ + segment_buckets));
  return true;
}

void index::clear() noexcept {
  segments_.keep(1);
  std::memset(&segments_[0], 0, sizeof(segment));
  std::memset(stash_, 0, sizeof stash_);
  buckets_ = segment_buckets;
  mask_high_ = buckets_ - 1;
  entries_ = stash_used_ = 0;
  scanning_ = false;
}

std::uint16_t* index::ghost_line(std::uint32_t place) noexcept {
  const std::size_t position = position_of(place);
  const std::size_t number = position / segment_buckets;
  segment* s = &segments_[number];
  return s->ghosts[position % segment_buckets * ghost_lines / segment_buckets];
}

void index::verify() noexcept {
  std::size_t counted = 0;
  std::size_t position = 0;
  const auto check_entry = [&](slot s, bool stashed) {
    ++counted;
    const name n = name_of(s.get());
    SCOOT_CHECK(1, n.tag == s.where->tags[s.entry], "entry in bucket %zu has another item's tag", position);
    SCOOT_CHECK(1,
                stashed || other_by_tag(n.tag, position) == unknown ||
                    other_by_tag(n.tag, position) == other_position(*s.where, s.entry, position),
                "the other bucket of an entry in bucket %zu is not what its tag says", position);
    SCOOT_CHECK(1, stashed || position_of(n.place) == position || position_of(n.other_place()) == position,
                "entry in bucket %zu belongs into %zu or %zu", position, position_of(n.place),
                position_of(n.other_place()));
  };
  const auto in_bucket = [&](slot s) { check_entry(s, false); };
  for (; position < buckets_; ++position) walk_bucket(nth(position), in_bucket);
  std::size_t stashed = 0;
  const auto in_stash = [&](slot s) { ++stashed, check_entry(s, true); };
  for (bucket& b : stash_) walk_bucket(b, in_stash);
  SCOOT_CHECK(1, counted == entries_ && stashed == stash_used_, "%zu entries counted as %zu, %zu stashed as %zu",
              counted, entries_, stashed, stash_used_);
}

}  // namespace scoot::caching
