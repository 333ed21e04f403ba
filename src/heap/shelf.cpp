// SPDX-License-Identifier: MIT
#include "heap/shelf.hpp"

#include <bit>
#include <cstring>
#include <utility>

namespace scoot {

void shelf::put_hole(page_info* page, std::uint32_t index) noexcept {
  const std::uint32_t word = index / 64;
  page->hole_map[word] |= std::uint64_t{1} << (index % 64);
  page->hint_word = std::min(page->hint_word, static_cast<std::uint16_t>(word));
  ++holes;
  --taken;
  if (page->holes++ == 0) {
    base::set_bit(hole_pages, page->position);
    hint_word = std::min(hint_word, page->position / 64);
  }
}

bool shelf::refill() noexcept {
  void* slots[magazine_slots];
  std::uint32_t count = 0;
  const std::uint32_t wanted = std::max<std::uint32_t>(1, parked_max / 2);
  while (holes != 0 && count < wanted) {
    std::uint32_t index = 0;
    page_info* page = lowest_hole(index);
    std::uint64_t& word = page->hole_map[page->hint_word];
    const char* first = slot_address(page, page->hint_word * std::uint32_t{64});
    const std::uint32_t before = count;
    for (std::uint64_t left = holes_in_word(page, page->hint_word); left != 0 && count < wanted; ++count) {
      const auto bit = static_cast<unsigned>(std::countr_zero(left));
      left &= left - 1;
      word &= ~(std::uint64_t{1} << bit);
      slots[count] = const_cast<char*>(first) + std::size_t{bit} * slot;
    }
    holes -= count - before;
    page->holes -= count - before;
    if (page->holes == 0) base::clear_bit(hole_pages, page->position);
  }
  taken += count;
  // The lowest hole goes in last, to be handed out first.
  for (std::uint32_t i = count; i-- > 0;) magazine[parked++] = slots[i];
  return count != 0;
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
  page->holes = page->fresh = 0;
  page->hint_word = 0;
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
  const auto fillable = [this](const page_info* page) {
    return page->pins == 0 && page->withdrawn == 0 && page->fresh < capacity_of(page);
  };
  page_info** end = pages + page_count;
  page_info** first = std::partition(pages, end, [&](const page_info* page) { return !fillable(page); });
  std::sort(first, end, [](const page_info* a, const page_info* b) { return a->fresh > b->fresh; });
  number_pages();
  enter_top();
  return static_cast<std::uint32_t>(first - pages);
}

void shelf::sort_withdrawn() noexcept {
  leave_top();
  page_info** end = pages + page_count;
  page_info** first =
      std::partition(pages, end, [](const page_info* page) { return page->withdrawn == 0 || page->pins != 0; });
  const auto blocks_in = [](const page_info* page) { return page->fresh - page->withdrawn; };
  std::sort(first, end, [&](const page_info* a, const page_info* b) { return blocks_in(a) > blocks_in(b); });
  number_pages();
  enter_top();
}

// After they were ordered anew, none with a hole.
void shelf::number_pages() noexcept {
  for (std::uint32_t at = 0; at < page_count; ++at) pages[at]->position = at;
  anchored = 0;
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

// --- Withdrawn slots -------------------------------------------------------------------------------------------------

namespace {

// Whether bits [first, end) are all set.
bool all_set(const std::uint64_t* words, std::size_t first, std::size_t end) noexcept {
  while (first < end) {
    const std::size_t count = std::min<std::size_t>(64 - first % 64, end - first);
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - count) << (first % 64);
    if ((words[first / 64] & mask) != mask) return false;
    first += count;
  }
  return true;
}

}  // namespace

// The slot in use that an offset from the page's first slot lies in.
std::uint32_t shelf::slot_at(const page_info* page, std::size_t offset) const noexcept {
  return slot_index(page, page->base + page->start() + offset);
}

bool shelf::is_withdrawn(const page_info* page, std::uint32_t index) const noexcept {
  if (page->withdrawn == 0) return false;
  const std::size_t begin = page->start() + std::size_t{index} * slot;
  const std::uint64_t* missing = missing_map(page);
  for (std::size_t i = begin >> os_page_shift; i <= (begin + slot - 1) >> os_page_shift; ++i) {
    if (base::test_bit(missing, i)) return true;
  }
  return false;
}

std::uint64_t shelf::holes_beside_withdrawn(const page_info* page, std::uint32_t word) const noexcept {
  std::uint64_t holes_there = page->hole_map[word];
  for (std::uint64_t left = holes_there; left != 0; left &= left - 1) {
    const auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
    if (is_withdrawn(page, word * 64 + bit)) base::clear_bit(&holes_there, bit);
  }
  return holes_there;
}

std::uint32_t shelf::take_withdrawn_from(page_info* page, std::uint32_t index) noexcept {
  if (!is_withdrawn(page, index)) {
    base::clear_bit(page->hole_map, index);
    --holes;
    if (--page->holes == 0) base::clear_bit(hole_pages, page->position);
    return 1;
  }
  std::uint32_t count = 0;
  do {
    base::clear_bit(page->hole_map, index - count);
    ++count;
  } while (count <= index && base::test_bit(page->hole_map, index - count) && is_withdrawn(page, index - count));
  withdrawn -= count;
  page->withdrawn -= count;
  return count;
}

bool shelf::is_vacant(const page_info* page, std::uint32_t os_page) const noexcept {
  const std::size_t begin = std::size_t{os_page} << os_page_shift;
  const std::size_t end = begin + (std::size_t{1} << os_page_shift);
  if (begin < page->start() || end > page->start() + std::size_t{fresh_of(page)} * slot) return false;
  return all_set(page->hole_map, slot_at(page, begin - page->start()),
                 std::size_t{slot_at(page, end - 1 - page->start())} + 1);
}

void shelf::withdraw(page_info* page, std::uint32_t first, std::uint32_t end) noexcept {
  const std::uint32_t last = slot_at(page, (std::size_t{end} << os_page_shift) - 1 - page->start());
  std::uint32_t count = 0;
  for (std::uint32_t i = slot_at(page, (std::size_t{first} << os_page_shift) - page->start()); i <= last; ++i) {
    if (!is_withdrawn(page, i)) ++count;
  }
  for (std::uint32_t i = first; i < end; ++i) base::set_bit(missing_map(page), i);
  page->missing = static_cast<std::uint16_t>(page->missing +
                                             ((std::size_t{end - first} << os_page_shift) / page_info::missing_unit));
  holes -= count;
  withdrawn += count;
  page->withdrawn += count;
  page->holes -= count;
  if (page->holes == 0) base::clear_bit(hole_pages, page->position);
}

void shelf::restore(page_info* page, std::uint32_t first, std::uint32_t end) noexcept {
  const std::uint32_t low = slot_at(page, (std::size_t{first} << os_page_shift) - page->start());
  const std::uint32_t last = slot_at(page, (std::size_t{end} << os_page_shift) - 1 - page->start());
  std::uint32_t were = 0;
  for (std::uint32_t i = low; i <= last; ++i) were += is_withdrawn(page, i) ? 1 : 0;
  for (std::uint32_t i = first; i < end; ++i) {
    if (!base::test_bit(missing_map(page), i)) continue;
    base::clear_bit(missing_map(page), i);
    page->missing = static_cast<std::uint16_t>(page->missing - ((1U << os_page_shift) / page_info::missing_unit));
  }
  std::uint32_t are = 0;
  for (std::uint32_t i = low; i <= last; ++i) are += is_withdrawn(page, i) ? 1 : 0;
  const std::uint32_t count = were - are;
  withdrawn -= count;
  page->withdrawn -= count;
  holes += count;
  page->holes += count;
  if (page->holes == 0) return;
  page->hint_word = std::min(page->hint_word, static_cast<std::uint16_t>(low / 64));
  base::set_bit(hole_pages, page->position);
  hint_word = std::min(hint_word, page->position / 64);
}

}  // namespace scoot
