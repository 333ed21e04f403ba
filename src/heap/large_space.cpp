// SPDX-License-Identifier: MIT
#include "heap/large_space.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/bits.hpp"
#include "base/check.hpp"

namespace scoot {

large_space::large_space(page_pool_impl& pool, std::size_t page_bytes, std::size_t os_page_bytes,
                         std::size_t block_bytes_min) noexcept
    : pool_(pool),
      page_granules_(granules(page_bytes)),
      os_shift_(base::log2_floor(granules(os_page_bytes))),
      block_granules_min_(granules(block_bytes_min)),
      capacity_(static_cast<std::uint32_t>(page_bytes / block_bytes_min) + guests_max + 1),
      pages_(pool) {
  SCOOT_CHECK(1, page_bytes / os_page_bytes <= large_page::os_pages_max, "OS pages of %zu bytes", os_page_bytes);
}

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
  unlink(in, by_fresh);
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
  relist(in, by_fresh, fresh_room(in));
}

// Calls visit(index, begin, end) for each stretch between blocks, the last one up to page_end.
template <class Visit>
void large_space::visit_holes(const large_page* in, std::uint32_t page_end, Visit visit) const noexcept {
  const large_block* b = in->blocks();
  std::uint32_t begin = 0;
  for (std::uint32_t i = 0; i < in->count; ++i) {
    if (b[i].begin != begin) visit(i, begin, std::uint32_t{b[i].begin});
    begin = b[i].end();
  }
  if (begin < page_end) visit(in->count, begin, page_end);
}

// The same for each stretch of them that is all resident.
template <class Visit>
void large_space::visit_resident(const large_page* in, Visit visit) const noexcept {
  const std::uint32_t resident = resident_granules(in);
  if (in->page->missing == 0) return visit_holes(in, resident, visit);  // blocks are
  visit_holes(in, resident, [&](std::uint32_t index, std::uint32_t begin, std::uint32_t end) {
    for (std::uint32_t at = begin; at < end;) {
      const std::uint32_t first = at;
      const auto os_page_end = [&] { return std::min(end, (os_page_of(at) + 1) << os_shift_); };
      while (at < end && !base::test_bit(in->missing, os_page_of(at))) at = os_page_end();
      if (at != first) visit(index, first, at);
      while (at < end && base::test_bit(in->missing, os_page_of(at))) at = os_page_end();
    }
  });
}

// The same for each that is not all resident.
template <class Visit>
void large_space::visit_fresh(const large_page* in, Visit visit) const noexcept {
  const std::uint32_t resident = resident_granules(in);
  if (in->page->missing == 0) {
    const std::uint32_t begin = in->count == 0 ? 0 : in->blocks()[in->count - 1].end();
    if (resident != page_granules_ && begin != page_granules_) visit(in->count, begin, page_granules_);
    return;
  }
  visit_holes(in, page_granules_, [&](std::uint32_t index, std::uint32_t begin, std::uint32_t end) {
    bool fresh = end > resident;
    for (std::uint32_t i = os_page_of(begin); !fresh && i <= os_page_of(end - 1); ++i) {
      fresh = base::test_bit(in->missing, i);
    }
    if (fresh) visit(index, begin, end);
  });
}

std::uint32_t large_space::hole_room(const large_page* in) const noexcept {
  std::uint32_t largest = 0;
  visit_resident(
      in, [&](std::uint32_t, std::uint32_t begin, std::uint32_t end) { largest = std::max(largest, end - begin); });
  return largest;
}

std::uint32_t large_space::fresh_room(const large_page* in) const noexcept {
  std::uint32_t largest = 0;
  visit_fresh(in,
              [&](std::uint32_t, std::uint32_t begin, std::uint32_t end) { largest = std::max(largest, end - begin); });
  return largest;
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
  const auto full = [guest](const large_page* in) { return guest && in->guests >= guests_max; };
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

namespace {

// Keeps the smallest stretch in which a block fits.
struct closest_fit {
  std::uint32_t need;
  std::size_t alignment;
  std::uint32_t room = large_space::nothing;
  std::uint32_t index = 0;
  std::uint32_t at = 0;

  void operator()(std::uint32_t before, std::uint32_t begin, std::uint32_t end) noexcept {
    const std::uint32_t aligned = align(begin, alignment);
    if (end < aligned + need || end - begin >= room) return;
    room = end - begin;
    index = before;
    at = aligned;
  }
  bool tell(large_page* in, large_space::place& found) const noexcept {
    found = {in, index, at};
    return room != large_space::nothing;
  }
};

}  // namespace

// The smallest resident hole of the page in which the block fits.
bool large_space::closest_hole(large_page* in, std::uint32_t need, std::size_t alignment, place& found) const noexcept {
  closest_fit fit{need, alignment};
  visit_resident(in, [&](std::uint32_t i, std::uint32_t begin, std::uint32_t end) { fit(i, begin, end); });
  return fit.tell(in, found);
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
  large_page* in = closest(by_fresh, sure_room(bytes, alignment), is_guest(granules(bytes)));
  if (in == nullptr) return false;
  closest_fit fit{granules(bytes), alignment};
  visit_fresh(in, [&](std::uint32_t i, std::uint32_t begin, std::uint32_t end) { fit(i, begin, end); });
  return fit.tell(in, found);
}

bool large_space::next_vacant(const large_page* in, std::uint32_t& first, std::uint32_t& end) const noexcept {
  const std::uint32_t from = first;
  bool found = false;
  visit_resident(in, [&](std::uint32_t index, std::uint32_t hole, std::uint32_t hole_end) {
    if (found || index == in->count) return;
    first = std::max(from, os_page_of(hole + (1U << os_shift_) - 1));
    end = os_page_of(hole_end);
    found = first < end;
  });
  return found;
}

std::uint32_t large_space::mark_missing(large_page* in, std::uint32_t first, std::uint32_t end, bool missing) noexcept {
  std::uint32_t changed = 0;
  for (std::uint32_t i = first; i < end; ++i) {
    if (base::test_bit(in->missing, i) == missing) continue;
    missing ? base::set_bit(in->missing, i) : base::clear_bit(in->missing, i);
    ++changed;
  }
  if (!missing) in->swept = false;
  const auto units = static_cast<std::uint16_t>((changed << os_shift_) * granule / page_info::missing_unit);
  std::uint16_t& count = in->page->missing;
  count = static_cast<std::uint16_t>(missing ? count + units : count - units);
  note_room(in);
  return changed;
}

// Of a block that was put into a hole.
void large_space::note_taken(large_page* in, std::uint32_t index) noexcept {
  if (!in->open) return;
  if (in->page->missing != 0 || index + 1 == in->count) return note_room(in);
  const large_block* b = in->blocks();
  const std::uint32_t begin = index == 0 ? 0 : b[index - 1].end();
  if (b[index + 1].begin - begin == in->listed[by_hole].room) relist(in, by_hole, hole_room(in));
}

char* large_space::take(const place& at, std::size_t bytes, std::uint8_t kind, bool fixed) noexcept {
  large_page* in = at.in;
  SCOOT_CHECK(1, in->count < capacity_, "page %p has too many blocks", in->page->base);
  large_block* b = in->blocks();
  std::copy_backward(b + at.index, b + in->count, b + in->count + 1);
  b[at.index] = {static_cast<std::uint16_t>(at.begin), static_cast<std::uint16_t>(granules(bytes)), kind, false, fixed};
  ++in->count;
  if (fixed) ++in->fixed;
  in->live += b[at.index].size;
  if (is_guest(b[at.index].size)) ++in->guests;
  note_taken(in, at.index);
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
  if (b[index].fixed) --in->fixed;
  in->swept = false;
  std::copy(b + index + 1, b + in->count, b + index);
  --in->count;
  if (!in->open) return;
  if (in->page->missing != 0) return note_room(in);
  // Only the hole it left can have become the largest.
  const std::uint32_t begin = index == 0 ? 0 : b[index - 1].end();
  const std::uint32_t end = index == in->count ? resident_granules(in) : b[index].begin;
  relist(in, by_hole, std::max(in->listed[by_hole].room, end - begin));
  if (index == in->count) relist(in, by_fresh, fresh_room(in));
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
  std::uint32_t fixed = 0;
  std::size_t missing = 0;
  for (std::uint32_t i = 0; i < large_page::os_pages_max; ++i) missing += base::test_bit(in->missing, i) ? 1 : 0;
  for (std::uint32_t i = 0; i < in->count; ++i) {
    for (std::uint32_t o = os_page_of(b[i].begin); o <= os_page_of(b[i].end() - 1); ++o) {
      if (base::test_bit(in->missing, o)) base::fail(__FILE__, __LINE__, "large space: block %u on missing memory", i);
    }
    if (b[i].fixed) ++fixed;
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
  if (((missing << os_shift_) * granule) != in->page->missing_bytes())
    base::fail(__FILE__, __LINE__, "large space: missing bytes of a page");
  if (live != in->live || guests != in->guests || fixed != in->fixed || in->count >= capacity_ || guests > guests_max)
    base::fail(__FILE__, __LINE__, "large space: broken sums");
  const std::uint32_t room[] = {hole_room(in), fresh_room(in)};
  for (const list_kind k : {by_hole, by_fresh}) {
    if (in->listed[k].room != (in->open ? room[k] : 0)) base::fail(__FILE__, __LINE__, "large space: room of a page");
    if (in->listed[k].room == 0) continue;
    const list_index at = list_of(in->listed[k].room);
    const large_page* each = lists_[k].heads[at.exponent][at.step];
    while (each != nullptr && each != in) each = each->listed[k].next;
    if (each == nullptr) base::fail(__FILE__, __LINE__, "large space: a page with room is not listed");
  }
}

}  // namespace scoot
