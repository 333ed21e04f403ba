// SPDX-License-Identifier: MIT
#include "heap/shelf.hpp"

#include <bit>
#include <cstring>
#include <utility>

namespace scoot {

void shelf::put_hole(page_info* page, std::uint32_t index) noexcept {
  const std::uint32_t word = index / 64;
  page->hole_map[word] |= std::uint64_t{1} << (index % 64);
  page->hint_word = std::min(page->hint_word, word);
  ++holes;
  --taken;
  if (page->holes++ == 0) {
    base::set_bit(hole_pages, page->position);
    hint_word = std::min(hint_word, page->position / 64);
  }
}

bool shelf::refill() noexcept {
  if (holes == 0) return false;
  std::uint32_t index = 0;
  page_info* page = lowest_hole(index);
  std::uint64_t& word = page->hole_map[page->hint_word];
  const char* first = slot_address(page, page->hint_word * 64);
  // The lowest hole goes in last, to be handed out first.
  void* slots[magazine_slots];
  std::uint32_t count = 0;
  const std::uint32_t wanted = std::max<std::uint32_t>(1, parked_max / 2);
  for (; word != 0 && count < wanted; ++count) {
    const auto bit = static_cast<unsigned>(std::countr_zero(word));
    word &= word - 1;
    slots[count] = const_cast<char*>(first) + std::size_t{bit} * slot;
  }
  holes -= count;
  taken += count;
  page->holes -= count;
  if (page->holes == 0) base::clear_bit(hole_pages, page->position);
  for (std::uint32_t i = count; i-- > 0;) magazine[parked++] = slots[i];
  return true;
}

void shelf::leave_top() noexcept {
  page_info* page = top();
  page->fresh = slot_index(page, bump);
  if (page->fresh < capacity_of(page)) ++partial;
}

void shelf::enter_top() noexcept {
  page_info* page = top();
  if (page == nullptr) {
    bump = limit = nullptr;
    return;
  }
  if (page->fresh < capacity_of(page)) --partial;
  bump = slot_address(page, page->fresh);
  limit = page->base + page->resident_end;
}

void shelf::push(page_info* page) noexcept {
  if (page_count != 0) leave_top();
  page->position = page_count;
  page->holes = page->fresh = page->hint_word = 0;
  pages[page_count++] = page;
  base::clear_bit(hole_pages, page->position);
  bump = slot_address(page, 0);
  limit = page->base + page->resident_end;
}

page_info* shelf::pop() noexcept {
  page_info* page = top();
  --page_count;
  anchored = page_count == 0 ? 0 : std::min(anchored, page_count - 1);  // the top is none of them
  enter_top();
  return page;
}

void shelf::remove(page_info* page) noexcept {
  if (page->fresh < capacity_of(page)) --partial;
  holes -= page->holes;
  page->holes = 0;
  if (page->position < anchored) swap_pages(page->position, --anchored);
  // Close the gap with the page below the top, and bring the top down by one.
  swap_pages(page->position, page_count - 2);
  swap_pages(page_count - 2, page_count - 1);
  --page_count;
  base::clear_bit(hole_pages, page_count);
}

void shelf::push_holes(page_info* page, std::uint32_t fresh) noexcept {
  std::memset(page->hole_map, 0, hole_map_bytes());
  for (std::uint32_t i = 0; i < fresh; ++i) base::set_bit(page->hole_map, i);
  page->fresh = page->holes = fresh;
  page->hint_word = 0;
  page->position = page_count;
  pages[page_count++] = page;
  holes += fresh;
  if (fresh < capacity_of(page)) ++partial;
  swap_pages(page_count - 2, page_count - 1);
}

void shelf::remove_any(page_info* page) noexcept {
  if (page != top()) return remove(page);
  holes -= page->holes;
  page->holes = 0;
  bump = slot_address(page, 0);
  base::clear_bit(hole_pages, page->position);
  (void)pop();
}

bool shelf::anchor_top() noexcept {
  if (page_count < anchored + 2) return false;
  leave_top();
  swap_pages(anchored++, page_count - 1);
  enter_top();
  return true;
}

bool shelf::raise_partial() noexcept {
  if (partial == 0) return false;
  std::uint32_t at = 0;
  while (pages[at]->fresh >= capacity_of(pages[at])) ++at;
  leave_top();
  if (at < anchored) {
    swap_pages(at, --anchored);
    at = anchored;
  }
  swap_pages(at, page_count - 1);
  enter_top();
  return true;
}

std::uint32_t shelf::sort_partial() noexcept {
  leave_top();
  const auto fillable = [this](const page_info* page) { return page->pins == 0 && page->fresh < capacity_of(page); };
  page_info** end = pages + page_count;
  page_info** first = std::partition(pages, end, [&](const page_info* page) { return !fillable(page); });
  std::sort(first, end, [](const page_info* a, const page_info* b) { return a->fresh > b->fresh; });
  for (std::uint32_t at = 0; at < page_count; ++at) pages[at]->position = at;
  anchored = 0;
  enter_top();
  return static_cast<std::uint32_t>(first - pages);
}

void shelf::swap_pages(std::uint32_t a, std::uint32_t b) noexcept {
  if (a == b) return;
  std::swap(pages[a], pages[b]);
  for (const std::uint32_t at : {a, b}) {
    pages[at]->position = at;
    if (pages[at]->holes != 0) {
      base::set_bit(hole_pages, at);
      hint_word = std::min(hint_word, at / 64);
    } else {
      base::clear_bit(hole_pages, at);
    }
  }
}

}  // namespace scoot
