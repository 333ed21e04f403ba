// SPDX-License-Identifier: MIT
#include "heap/large_space.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/bits.hpp"
#include "base/check.hpp"

namespace scoot {

large_space::large_space(page_pool_impl& pool, std::size_t page_bytes, std::size_t block_bytes_min) noexcept
    : pool_(pool),
      page_granules_(granules(page_bytes)),
      block_granules_min_(granules(block_bytes_min)),
      capacity_(static_cast<std::uint32_t>(page_bytes / block_bytes_min) + guests_max),
      pages_(pool) {}

large_space::~large_space() { SCOOT_CHECK(1, pages_.size() == 0, "large space destroyed with pages in it"); }

// Below 32 granules the steps are finer than a granule: some lists stay empty.
large_space::list_index large_space::list_of(std::uint32_t room) noexcept {
  const unsigned exponent = base::log2_floor(room | 1);
  return {exponent, static_cast<unsigned>((std::uint64_t{room} * steps >> exponent) - steps)};
}

void large_space::link(large_page* in, list_kind k, std::uint32_t room) noexcept {
  auto& node = in->listed[k];
  node.room = room;
  if (room == 0) return;
  const list_index at = list_of(room);
  lists& l = lists_[k];
  node.next = l.heads[at.exponent][at.step];
  node.prev = nullptr;
  if (node.next != nullptr) node.next->listed[k].prev = in;
  l.heads[at.exponent][at.step] = in;
  l.step_bits[at.exponent] |= 1U << at.step;
  l.exponent_bits |= 1U << at.exponent;
}

void large_space::unlink(large_page* in, list_kind k) noexcept {
  auto& node = in->listed[k];
  if (node.room == 0) return;
  const list_index at = list_of(node.room);
  node.room = 0;
  if (node.next != nullptr) node.next->listed[k].prev = node.prev;
  if (node.prev != nullptr) {
    node.prev->listed[k].next = node.next;
    return;
  }
  lists& l = lists_[k];
  l.heads[at.exponent][at.step] = node.next;
  if (node.next != nullptr) return;
  l.step_bits[at.exponent] &= ~(1U << at.step);
  if (l.step_bits[at.exponent] == 0) l.exponent_bits &= ~(1U << at.exponent);
}

void large_space::close(large_page* in) noexcept {
  unlink(in, by_hole);
  unlink(in, by_tail);
  in->open = false;
}

void large_space::open(large_page* in) noexcept {
  in->open = true;
  note_room(in);
}

void large_space::relist(large_page* in, list_kind k, std::uint32_t room) noexcept {
  if (room == in->listed[k].room) return;
  unlink(in, k);
  link(in, k, room);
}

void large_space::note_room(large_page* in) noexcept {
  if (!in->open) return;
  relist(in, by_hole, hole_room(in));
  relist(in, by_tail, tail_room(in));
}

std::uint32_t large_space::hole_room(const large_page* in) const noexcept {
  std::uint32_t largest = 0;
  std::uint32_t begin = 0;
  const large_block* b = in->blocks();
  for (std::uint32_t i = 0; i < in->count; ++i) {
    largest = std::max(largest, b[i].begin - begin);
    begin = b[i].end();
  }
  return std::max(largest, resident_granules(in) - begin);
}

std::uint32_t large_space::tail_room(const large_page* in) const noexcept {
  if (resident_granules(in) == page_granules_) return 0;
  return page_granules_ - (in->count == 0 ? 0 : in->blocks()[in->count - 1].end());
}

std::uint32_t large_space::largest_hole() const noexcept {
  const lists& l = lists_[by_hole];
  if (l.exponent_bits == 0) return 0;
  const unsigned exponent = base::log2_floor(l.exponent_bits);
  return l.heads[exponent][base::log2_floor(l.step_bits[exponent])]->listed[by_hole].room;
}

// A page listed with so much room or more. The list that holds `room` itself has pages on either side of it: the
// closest fit of the first few. Any page of a later list serves.
large_page* large_space::closest(list_kind k, std::uint32_t room, bool guest) const noexcept {
  list_index at = list_of(room);
  if (at.exponent >= exponents) return nullptr;
  const lists& l = lists_[k];
  large_page* best = nullptr;
  unsigned looked = 0;
  const auto full = [guest](const large_page* in) { return guest && in->guests == guests_max; };
  for (large_page* in = l.heads[at.exponent][at.step]; in != nullptr && looked < pages_looked_at_max;
       in = in->listed[k].next, ++looked) {
    if (in->listed[k].room < room || full(in)) continue;
    if (best == nullptr || in->listed[k].room < best->listed[k].room) best = in;
  }
  if (best != nullptr) return best;
  std::uint32_t step_mask = at.step + 1 < steps ? l.step_bits[at.exponent] & (~0U << (at.step + 1)) : 0;
  if (step_mask == 0) {
    const std::uint32_t exponent_mask = l.exponent_bits & (~0U << (at.exponent + 1));
    if (exponent_mask == 0) return nullptr;
    at.exponent = static_cast<unsigned>(std::countr_zero(exponent_mask));
    step_mask = l.step_bits[at.exponent];
  }
  large_page* in = l.heads[at.exponent][std::countr_zero(step_mask)];
  for (looked = 0; in != nullptr && full(in) && looked < pages_looked_at_max; ++looked) in = in->listed[k].next;
  return in != nullptr && full(in) ? nullptr : in;
}

namespace {

// Room of so many granules serves an aligned block wherever it begins.
std::uint32_t sure_room(std::size_t bytes, std::size_t alignment) noexcept {
  const std::size_t step = std::max(alignment, large_space::granule) / large_space::granule;
  return large_space::granules(bytes) + static_cast<std::uint32_t>(step - 1);
}

// Pages are aligned to their size, so what is aligned in its page is aligned.
std::uint32_t align(std::uint32_t begin, std::size_t alignment) noexcept {
  return static_cast<std::uint32_t>(
      base::round_up(begin, std::max(alignment, large_space::granule) / large_space::granule));
}

}  // namespace

// The smallest resident hole of the page in which the block fits.
bool large_space::closest_hole(large_page* in, std::uint32_t need, std::size_t alignment, place& found) const noexcept {
  const large_block* b = in->blocks();
  std::uint32_t best = nothing;
  std::uint32_t hole = 0;
  for (std::uint32_t i = 0; i <= in->count; ++i) {
    const std::uint32_t end = i == in->count ? resident_granules(in) : b[i].begin;
    const std::uint32_t begin = align(hole, alignment);
    if (end >= begin + need && end - hole < best) {
      best = end - hole;
      found = {in, i, begin};
    }
    if (i != in->count) hole = b[i].end();
  }
  return best != nothing;
}

bool large_space::find(std::size_t bytes, std::size_t alignment, place& found) const noexcept {
  large_page* in = closest(by_hole, sure_room(bytes, alignment), is_guest(granules(bytes)));
  return in != nullptr && closest_hole(in, granules(bytes), alignment, found);
}

bool large_space::find_for_guest(std::size_t bytes, std::size_t alignment, place& found) const noexcept {
  const std::uint32_t room = sure_room(bytes, alignment);
  large_page* in = closest(by_hole, room, true);
  return in != nullptr && in->listed[by_hole].room <= guest_room_max * room &&
         closest_hole(in, granules(bytes), alignment, found);
}

bool large_space::find_fresh(std::size_t bytes, std::size_t alignment, place& found) const noexcept {
  large_page* in = closest(by_tail, sure_room(bytes, alignment), is_guest(granules(bytes)));
  if (in == nullptr) return false;
  found = {in, in->count, align(in->count == 0 ? 0 : in->blocks()[in->count - 1].end(), alignment)};
  return true;
}

char* large_space::take(const place& at, std::size_t bytes, std::uint8_t kind) noexcept {
  large_page* in = at.in;
  large_block* b = in->blocks();
  std::copy_backward(b + at.index, b + in->count, b + in->count + 1);
  b[at.index] = {static_cast<std::uint16_t>(at.begin), static_cast<std::uint16_t>(granules(bytes)), kind, false};
  ++in->count;
  in->live += b[at.index].size;
  if (is_guest(b[at.index].size)) ++in->guests;
  note_room(in);
  return address(in, at.begin);
}

std::uint32_t large_space::index_of(const large_page* in, const void* block) noexcept {
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(block) - in->page->base);
  const large_block* b = in->blocks();
  const large_block* found = std::lower_bound(
      b, b + in->count, offset, [](const large_block& each, std::size_t at) { return each.begin * granule < at; });
  return found != b + in->count && found->begin * granule == offset ? static_cast<std::uint32_t>(found - b) : nothing;
}

void large_space::give(large_page* in, std::uint32_t index) noexcept {
  large_block* b = in->blocks();
  in->live -= b[index].size;
  if (is_guest(b[index].size)) --in->guests;
  std::copy(b + index + 1, b + in->count, b + index);
  --in->count;
  if (!in->open) return;
  // Only the hole it left can have become the largest.
  const std::uint32_t begin = index == 0 ? 0 : b[index - 1].end();
  const std::uint32_t end = index == in->count ? resident_granules(in) : b[index].begin;
  relist(in, by_hole, std::max(in->listed[by_hole].room, end - begin));
  relist(in, by_tail, tail_room(in));
}

large_page* large_space::add(page_info* page) noexcept {
  if (!pages_.make_room()) return nullptr;
  void* memory = pool_.metadata_allocate(large_page_bytes());
  if (memory == nullptr) return nullptr;
  auto* in = ::new (memory) large_page{};
  in->page = page;
  in->position = pages_.add(in);
  open(in);
  return in;
}

void large_space::remove(large_page* in) noexcept {
  close(in);
  if (large_page* moved = pages_.remove(in->position)) moved->position = in->position;
  pool_.metadata_free(in, large_page_bytes());
}

void large_space::verify(const large_page* in) const noexcept {
  const large_block* b = in->blocks();
  std::uint32_t end = 0;
  std::uint32_t live = 0;
  std::uint32_t guests = 0;
  for (std::uint32_t i = 0; i < in->count; ++i) {
    if (b[i].begin < end || b[i].size == 0 || b[i].end() > page_granules_) {
      base::fail(__FILE__, __LINE__, "large space: block %u of page %p overlaps", i,
                 static_cast<const void*>(in->page->base));
    }
    end = b[i].end();
    live += b[i].size;
    if (is_guest(b[i].size)) ++guests;
  }
  if (end * granule > in->page->resident_end)
    base::fail(__FILE__, __LINE__, "large space: block beyond what is charged");
  if (live != in->live || guests != in->guests || in->count > capacity_)
    base::fail(__FILE__, __LINE__, "large space: broken sums");
  const std::uint32_t room[] = {hole_room(in), tail_room(in)};
  for (const list_kind k : {by_hole, by_tail}) {
    if (in->listed[k].room != (in->open ? room[k] : 0)) base::fail(__FILE__, __LINE__, "large space: room of a page");
    if (in->listed[k].room == 0) continue;
    const list_index at = list_of(in->listed[k].room);
    const large_page* each = lists_[k].heads[at.exponent][at.step];
    while (each != nullptr && each != in) each = each->listed[k].next;
    if (each == nullptr) base::fail(__FILE__, __LINE__, "large space: a page with room is not listed");
  }
}

}  // namespace scoot
