// SPDX-License-Identifier: MIT
#include "cache/cold_tier.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <vector>

#include "base/bits.hpp"
#include "base/check.hpp"

namespace scoot::caching {

namespace {

constexpr std::size_t capacity_min = 64;
constexpr unsigned given_back_a_step = 16;
constexpr std::size_t swept_bytes_a_step = std::size_t{64} << 20;
constexpr std::size_t ranges_a_sweep = 64;
constexpr std::size_t swept_buckets_a_step = 1024;
constexpr unsigned offered_again_a_step = 64;  // some microseconds each

}  // namespace

std::unique_ptr<cold_tier> cold_tier::create(heap& h, kind fixed, const cold_options& options) noexcept {
  std::unique_ptr<cold_tier> made(new (std::nothrow) cold_tier(h, fixed, options));
  if (made == nullptr || !made->start()) return nullptr;
  return made;
}

cold_tier::cold_tier(heap& h, kind fixed, const cold_options& options) noexcept
    : heap_(h),
      fixed_(fixed),
      options_(options),
      index_(h, fixed),
      offset_bits_(base::log2_floor(options.chunk_bytes / granule)),
      number_mask_((std::uint64_t{1} << (32 - offset_bits_)) - 1) {}

cold_tier::~cold_tier() {
  region_.reset();
  heap_.free(buffer_);
  heap_.free(chunks_);
  heap_.free(numbers_);
}

bool cold_tier::start() noexcept {
  // Where so much address space cannot be had, less of it serves as well.
  for (std::size_t bytes = options_.address_bytes; region_ == nullptr && bytes >= options_.chunk_bytes; bytes /= 2) {
    region_ = purgeable::create({options_.chunk_bytes, bytes});
  }
  buffer_ = static_cast<unsigned char*>(heap_.allocate(fixed_, options_.chunk_bytes));
  if (region_ == nullptr || buffer_ == nullptr || !grow_list() || !index_.start()) return false;
  nth(open_) = {};
  return true;
}

// ---- places -------------------------------------------------------------------------------------------------------

bool cold_tier::dead(std::uint32_t place) const noexcept {
  const std::uint64_t number = number_of(place);
  if (number == open_) return false;
  if (number > open_) return true;
  const chunk& c = nth(number);
  return c.number == purgeable::no_chunk || (c.gone & bit_of(offset_of(place))) != 0;
}

// An entry leaves the index.
void cold_tier::forget(std::uint32_t place) noexcept {
  const std::uint64_t number = number_of(place);
  chunk& c = nth(number);
  --c.items;
  --items_;
  if (c.items == 0 && number != open_) give_back(c);
}

// The same, of an item that the kernel took.
void cold_tier::lose(std::uint32_t place) noexcept {
  ++counts_.lost_items;
  forget(place);
}

// Whether the entry is dead, and then its end. What was dropped with its chunk has been counted then.
bool cold_tier::bury(std::uint32_t place) noexcept {
  if (!dead(place)) return false;
  const std::uint64_t number = number_of(place);
  if (number < open_ && nth(number).number != purgeable::no_chunk) lose(place);
  return true;
}

// The bytes from there to the end of what is used of the chunk.
std::size_t cold_tier::room_of(std::uint32_t place) const noexcept {
  const std::uint64_t number = number_of(place);
  const std::size_t used = number == open_ ? used_ : nth(number).used;
  const std::size_t offset = offset_of(place);
  return offset < used ? used - offset : 0;
}

bool cold_tier::read(std::uint32_t place, std::size_t bytes, void* to) noexcept {
  const std::uint64_t number = number_of(place);
  if (number == open_) {
    std::memcpy(to, buffer_ + offset_of(place), bytes);
    return true;
  }
  nth(number).read = true;
  return region_->read_if_present(nth(number).number, offset_of(place), bytes, to) == presence::present;
}

// The item's header and its key, of no more than so many bytes, copied to `bytes`; empty if they are gone.
item cold_tier::peek(std::uint32_t place, std::size_t key_bytes, unsigned char* bytes) noexcept {
  if (dead(place)) return {};
  const std::size_t size = std::min(room_of(place), header_bytes_max + key_bytes);
  if (size < granule || !read(place, size, bytes)) return {};
  const item it(bytes);
  return it.bytes() <= room_of(place) ? it : item();
}

// ---- items --------------------------------------------------------------------------------------------------------

bool cold_tier::add(name n, item it) noexcept {
  const std::size_t bytes = it.bytes();
  const std::size_t room = base::round_up(bytes, granule);
  const std::size_t ceiling = options_.ceiling_bytes->load(std::memory_order_relaxed);
  if (ceiling < options_.chunk_bytes || refused_ || options_.closed->load(std::memory_order_relaxed)) return false;
  if (room > options_.chunk_bytes - granule) {
    ++counts_.too_large_items;
    return false;
  }
  if (used_ + room > options_.chunk_bytes) (void)seal();
  std::memcpy(buffer_ + used_, it.block(), bytes);
  std::memset(buffer_ + used_ + bytes, 0, room - bytes);
  const auto place = static_cast<std::uint32_t>((open_ & number_mask_) << offset_bits_ | used_ / granule);
  used_ += room;
  ++nth(open_).items;
  ++items_;
  const std::uint32_t displaced =
      index_.insert(cold_index::hash_of(n), place, [this](std::uint32_t p) { return bury(p); });
  if (displaced != 0) {
    ++counts_.dropped_items;
    forget(displaced);
  }
  ++counts_.demotions;
  counts_.demoted_bytes += bytes;
  return true;
}

cold_tier::found cold_tier::find(std::string_view key, name n) noexcept {
  found f;
  bool gone = false;
  cold_index::entry* const e = index_.find(cold_index::hash_of(n), [&](std::uint32_t place) {
    unsigned char bytes[peek_bytes_max];
    const item it = peek(place, key.size(), bytes);
    if (!it) return gone = true;  // it is of no use to anybody
    if (it.key_bytes() != key.size() || it.key() != key) return false;
    f = {0, it.bytes(), it.expires_at(), false};
    return true;
  });
  if (e == nullptr) return {};
  if (!gone) {
    f.entry = *e;
    f.used = (*e & cold_index::used_bit) != 0;
    return f;
  }
  const std::uint32_t place = cold_index::place_of(*e);
  *e = 0;
  if (!bury(place)) lose(place);
  return find(key, n);
}

// The entry of what was found, if it still means that.
cold_index::entry* cold_tier::find_again(const found& f) noexcept {
  const std::uint32_t place = cold_index::place_of(f.entry);
  return index_.find(cold_index::hash_of(f.entry), [&](std::uint32_t p) { return p == place; });
}

bool cold_tier::copy(const found& f, std::string_view key, void* to) noexcept {
  const std::uint32_t place = cold_index::place_of(f.entry);
  cold_index::entry* const e = find_again(f);
  if (e == nullptr || dead(place)) return false;
  if (f.bytes <= room_of(place) && read(place, f.bytes, to)) {
    const item it(to);
    return it.bytes() == f.bytes && it.key() == key;
  }
  *e = 0;  // a later page of it is gone
  lose(place);
  return false;
}

void cold_tier::note_used(const found& f) noexcept {
  if (cold_index::entry* const e = find_again(f)) *e |= cold_index::used_bit;
}

void cold_tier::erase(const found& f) noexcept {
  cold_index::entry* const e = find_again(f);
  if (e == nullptr) return;
  *e = 0;
  const std::uint32_t place = cold_index::place_of(f.entry);
  if (!bury(place)) forget(place);
}

// ---- chunks -------------------------------------------------------------------------------------------------------

// How many of the region's chunks there may be.
std::uint64_t cold_tier::chunks_max() const noexcept {
  return options_.ceiling_bytes->load(std::memory_order_relaxed) / options_.chunk_bytes;
}

// The list of chunks is half full; it must not be so long that numbers come again while they are in use.
bool cold_tier::list_is_short() const noexcept {
  return open_ - dropped_ + 4 > capacity_ / 2 && capacity_ <= number_mask_ / 4;
}

void cold_tier::give_back(chunk& c) noexcept {
  if (c.number == purgeable::no_chunk) return;
  region_->free(c.number);
  c.number = purgeable::no_chunk;
  --held_;
}

void cold_tier::drop_oldest() noexcept {
  chunk& c = nth(first_++);
  items_ -= c.items;
  counts_.dropped_items += c.items;
  c.items = 0;
}

// Gives a chunk back, of what was dropped if there is any.
void cold_tier::drop_one() noexcept {
  if (dropped_ == first_) drop_oldest();
  (void)give_back_dropped(1);
}

// Gives back what was dropped; true if more is left.
bool cold_tier::give_back_dropped(unsigned chunks_max) noexcept {
  for (; dropped_ != first_ && chunks_max != 0; ++dropped_, --chunks_max) give_back(nth(dropped_));
  return dropped_ != first_;
}

std::uint32_t cold_tier::take_chunk() noexcept {
  const std::uint64_t most = chunks_max();
  while (dropped_ != open_ && (held_ >= most || open_ - dropped_ + 2 >= capacity_)) drop_one();
  if (held_ >= most) return purgeable::no_chunk;
  std::uint32_t taken = region_->allocate();
  while (taken == purgeable::no_chunk && held_ != 0) {
    const std::size_t held = held_;
    while (held_ == held) drop_one();
    taken = region_->allocate();
    if (taken == purgeable::no_chunk) break;
  }
  return taken;
}

// The open buffer is empty, and the chunk of the next number.
void cold_tier::open_next() noexcept {
  nth(++open_) = {};
  used_ = granule;
  // All entries are looked at once while the log is turned over, and before its numbers come again.
  const auto chunks = static_cast<std::size_t>(open_ - first_ + 1);
  index_.sweep(std::min<std::size_t>(2 * index_.buckets() / chunks + 1, swept_buckets_a_step),
               [this](std::uint32_t p) { return bury(p); });
}

bool cold_tier::seal() noexcept {
  if (used_ == granule) return false;
  chunk& c = nth(open_);
  c.used = static_cast<std::uint32_t>(used_);
  bool kept = false;
  if (c.items != 0) c.number = take_chunk();
  if (c.number != purgeable::no_chunk) {
    ++held_;
    std::memcpy(region_->data(c.number), buffer_, used_);
    kept = region_->offer(c.number, used_) == offer_status::offered || options_.keep_refused;
    refused_ = !kept;
    if (c.number < capacity_) {
      numbers_[c.number] = open_;
      known_ = std::max(known_, c.number + 1);
    } else {
      kept = false;
    }
  }
  if (!kept) {
    counts_.dropped_items += c.items;
    items_ -= c.items;
    c.items = 0;
    give_back(c);
  }
  open_next();
  return kept;
}

void cold_tier::clear() noexcept {
  while (first_ != open_) {
    items_ -= nth(first_).items;
    nth(first_++).items = 0;
  }
  items_ -= nth(open_).items;
  nth(open_).items = 0;
  first_ = open_ + 1;
  open_next();
}

void cold_tier::hand_over(taker take, void* context) noexcept {
  try {
    std::vector<cold_index::entry> entries;
    entries.reserve(items_);
    index_.for_each([&](cold_index::entry e, bool) {
      if (!dead(cold_index::place_of(e))) entries.push_back(e);
    });
    const auto age = [this](cold_index::entry e) {
      const std::uint32_t place = cold_index::place_of(e);
      return number_of(place) << 32 | offset_of(place);
    };
    std::sort(entries.begin(), entries.end(),
              [&](cold_index::entry a, cold_index::entry b) { return age(a) < age(b); });
    std::vector<unsigned char> bytes(options_.chunk_bytes);
    for (const cold_index::entry e : entries) {
      const std::uint32_t place = cold_index::place_of(e);
      while (first_ < number_of(place)) drop_one();
      if (dead(place)) continue;
      unsigned char head[peek_bytes_max];
      const item seen = peek(place, key_bytes_max, head);
      if (!seen || !read(place, seen.bytes(), bytes.data())) continue;
      const item it(bytes.data());
      if (it.bytes() == seen.bytes() && it.key() == seen.key()) take(context, it, (e & cold_index::used_bit) != 0);
    }
  } catch (...) {  // without memory for the list, what is here is lost like any cold item
  }
  clear();
  (void)give_back_dropped(~0u);
}

// ---- upkeep -------------------------------------------------------------------------------------------------------

bool cold_tier::wants_to_fit() const noexcept {
  return (index_.wants_to_grow(items_) && index_.bytes() < options_.index_bytes_max) ||
         index_.wants_to_shrink(items_) || list_is_short();
}

std::size_t cold_tier::fit_bytes() const noexcept {
  if (fit_wait_ != 0) return 0;
  if (list_is_short()) return 2 * capacity_ * (sizeof(chunk) + sizeof(std::uint64_t));
  return index_.wants_to_grow(items_) && index_.grow_allocates() ? cold_index::grow_bytes : 0;
}

bool cold_tier::fit(unsigned steps) noexcept {
  if (fit_wait_ != 0) {
    --fit_wait_;
    return false;
  }
  bool did = false;
  if (list_is_short()) {
    did = grow_list();
    if (!did) fit_wait_ = 64;
  }
  for (; steps != 0 && index_.wants_to_grow(items_) && index_.bytes() < options_.index_bytes_max; --steps) {
    if (!index_.grow()) {
      fit_wait_ = 64;
      break;
    }
    did = true;
  }
  for (; steps != 0 && index_.wants_to_shrink(items_); --steps) {
    index_.shrink([this](std::uint32_t p) { return bury(p); },
                  [this](std::uint32_t p) {
                    ++counts_.dropped_items;
                    forget(p);
                  });
    did = true;
  }
  return did;
}

bool cold_tier::grow_list() noexcept {
  const std::size_t capacity = capacity_ == 0 ? capacity_min : capacity_ * 2;
  auto* chunks = static_cast<chunk*>(heap_.allocate(fixed_, capacity * sizeof(chunk)));
  auto* numbers = static_cast<std::uint64_t*>(heap_.allocate(fixed_, capacity * sizeof(std::uint64_t)));
  if (chunks == nullptr || numbers == nullptr) {
    heap_.free(chunks);
    heap_.free(numbers);
    return false;
  }
  for (std::size_t i = 0; i < capacity; ++i) chunks[i] = {};
  for (std::uint64_t n = dropped_; capacity_ != 0 && n <= open_; ++n) chunks[n & (capacity - 1)] = nth(n);
  std::memset(numbers, 0, capacity * sizeof(std::uint64_t));
  if (capacity_ != 0) std::memcpy(numbers, numbers_, capacity_ * sizeof(std::uint64_t));
  heap_.free(chunks_);
  heap_.free(numbers_);
  chunks_ = chunks;
  numbers_ = numbers;
  capacity_ = capacity;
  return true;
}

// A bit for each 64th that has something in it.
std::uint64_t cold_tier::parts_used(const chunk& c) const noexcept {
  const std::size_t part = options_.chunk_bytes / 64;
  const std::size_t parts = std::min<std::size_t>((c.used + part - 1) / part, 64);
  return parts == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << parts) - 1;
}

void cold_tier::note_lost(const lost_range& range) noexcept {
  if (range.chunk >= capacity_) return;
  const std::uint64_t number = numbers_[range.chunk];
  if (number < first_ || number >= open_ || nth(number).number != range.chunk) return;
  chunk& c = nth(number);
  const std::size_t end = std::min<std::size_t>(range.offset + range.bytes, options_.chunk_bytes);
  for (std::size_t at = range.offset; at < end; at += options_.chunk_bytes / 64) c.gone |= bit_of(at);
  if ((parts_used(c) & ~c.gone) != 0) return;
  counts_.lost_items += c.items;
  items_ -= c.items;
  c.items = 0;
  give_back(c);
  numbers_[range.chunk] = taken_by_kernel;
}

void cold_tier::sweep_purged() noexcept {
  lost_range ranges[ranges_a_sweep];
  const sweep_result swept = region_->sweep({ranges, ranges_a_sweep}, swept_bytes_a_step);
  counts_.purged_bytes += swept.bytes_purged;
  options_.purged_bytes->fetch_add(swept.bytes_purged, std::memory_order_relaxed);
  for (std::size_t i = 0; i < swept.ranges; ++i) note_lost(ranges[i]);
}

void cold_tier::offer_read() noexcept {
  unsigned left = offered_again_a_step;
  for (std::uint64_t looks = open_ - first_; looks != 0 && left != 0; --looks, ++look_) {
    if (look_ < first_ || look_ >= open_) look_ = first_;
    chunk& c = nth(look_);
    if (!c.read || c.number == purgeable::no_chunk) continue;
    c.read = region_->offer(c.number, c.used) == offer_status::pinned;
    --left;
  }
}

bool cold_tier::maintain() noexcept {
  const bool over = held_ > chunks_max() && first_ != open_;
  for (unsigned i = 0; i < given_back_a_step && held_ > chunks_max() && first_ != open_; ++i) drop_one();
  const bool more = give_back_dropped(given_back_a_step);
  if (held_ != 0) {
    offer_read();
    sweep_purged();
  }
  return fit(32) || over || more;
}

// ---- for whoever looks -------------------------------------------------------------------------------------------

cold_chunk_view cold_tier::view_of(std::uint32_t number) const noexcept {
  cold_chunk_view view;
  view.number = number;
  view.bytes = options_.chunk_bytes;
  const std::uint64_t in_log = numbers_[number];
  if (in_log == taken_by_kernel) view.state = chunk_state::purged;
  if (in_log < first_ || in_log >= open_ || nth(in_log).number != number) return view;
  const chunk& c = nth(in_log);
  view.purged = c.gone & parts_used(c);
  view.state = view.purged == 0 ? chunk_state::offered : chunk_state::partly_purged;
  view.read = c.read;
  view.used_bytes = c.used;
  view.purged_bytes =
      std::min<std::size_t>(c.used, static_cast<std::size_t>(std::popcount(view.purged)) * (options_.chunk_bytes / 64));
  view.items = c.items;
  view.filled = in_log;
  view.age = open_ - in_log - 1;
  return view;
}

std::uint32_t cold_tier::look(std::uint32_t from, std::uint32_t most, visitor visit, void* context) const noexcept {
  const std::uint32_t end = known_ - std::min(known_, from) > most ? from + most : known_;
  for (std::uint32_t number = from; number < end; ++number) visit(context, view_of(number));
  return end < known_ ? end : 0;
}

void cold_tier::add_stats(cold_stats& sum) const noexcept {
  const purgeable_stats region = region_->stats();
  sum.items += items_;
  sum.chunks += region.chunks;
  sum.offered_bytes += region.offered_bytes - region.purged_bytes;
  sum.index_bytes += index_.bytes() + capacity_ * (sizeof(chunk) + sizeof(std::uint64_t)) + options_.chunk_bytes;
  sum.reads += region.pins_ever;
  sum.lost_reads += region.lost_accesses;
  sum.hits += counts_.hits;
  sum.promotions += counts_.promotions;
  sum.demotions += counts_.demotions;
  sum.demoted_bytes += counts_.demoted_bytes;
  sum.lost_items += counts_.lost_items;
  sum.purged_bytes += counts_.purged_bytes;
  sum.dropped_items += counts_.dropped_items;
  sum.too_large_items += counts_.too_large_items;
}

void cold_tier::verify() noexcept {
  std::size_t items = 0, in_log = 0;
  index_.for_each([&](cold_index::entry e, bool belongs) {
    SCOOT_CHECK(1, belongs, "a cold entry of hash %08x is in the wrong bucket", cold_index::hash_of(e));
    const std::uint64_t number = number_of(cold_index::place_of(e));
    if (number <= open_ && (number == open_ || nth(number).number != purgeable::no_chunk)) ++items;
  });
  for (std::uint64_t n = first_; n <= open_; ++n) in_log += nth(n).items;
  SCOOT_CHECK(1, items == items_ && in_log == items_, "%zu cold items, %zu in the index, %zu in the log", items_, items,
              in_log);
}

}  // namespace scoot::caching
