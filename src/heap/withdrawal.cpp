// SPDX-License-Identifier: MIT
//
// Holes beside blocks that stay.
//
// Where a block is pinned, its mover refuses or its kind has none, the holes of its page cannot be closed by moving it.
// But the OS pages that hold nothing else can go back to the OS: they are *missing* from the page, and no longer
// charged. Slots that lie on them, even in part, are *withdrawn*: no holes, until their OS pages are charged again.
//
//     page    |slot|hole|hole|pin |hole|hole|hole|hole|hole|pin |
//     OS pages|........|........|........|........|........|
//     after   |slot|hole|hole|pin |hole|    withdrawn |hole|pin |     so a block that stays costs an OS page, or two
//                                       ^--missing--^
//
// A shelf that has to grow restores such slots first. A page whose blocks can move again is emptied from its top like
// any other; what is missing above the top is forgotten.
//
// Nothing at or above the `fresh` of a page is missing, so its top can rise and fall as if nothing was.
#include <algorithm>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

// What it costs, in bytes moved that would take as long: to look at an OS page, and to give a stretch of them back.
constexpr std::size_t look_bytes = 32;
constexpr std::size_t stretch_bytes = 2048;
constexpr std::uint32_t pages_searched_max = 64;
constexpr std::size_t joined_per_gained = 64;  // bytes that compact() moves at most to join part-used pages
constexpr std::size_t room_to_grow_pages = 4;  // what it takes besides: the end of a slot, lists and maps

}  // namespace

// Gives OS pages without blocks back, in pages of a stuck shelf: those not looked at since it got stuck. Returns the
// bytes given back.
std::size_t heap_impl::withdraw_holes(shelf& s, std::size_t goal, work_left& work) noexcept {
  const auto in_page = static_cast<std::uint32_t>(page_bytes_ >> s.os_page_shift);
  std::size_t given = 0;
  while (s.withdraw_next < s.page_count * in_page && given < goal && work.allows(look_bytes)) {
    page_info* page = s.pages[s.withdraw_next / in_page];
    const std::uint32_t first = s.withdraw_next % in_page;
    work.spend(look_bytes);
    if (std::size_t{page->holes} * s.slot < os_page_) {
      s.withdraw_next += in_page - first;
      continue;
    }
    std::uint32_t end = first;
    while (end < in_page && !base::test_bit(s.missing_map(page), end) && s.is_vacant(page, end)) ++end;
    s.withdraw_next += std::max<std::uint32_t>(end - first, 1);
    if (end == first) continue;
    const std::size_t bytes = std::size_t{end - first} << s.os_page_shift;
    work.spend(stretch_bytes);
    if (!os::give_back(page->base + (std::size_t{first} << s.os_page_shift), bytes)) {
      os_refused_ = true;
      continue;
    }
    s.withdraw(page, first, end);
    held_ -= bytes;
    trimmed_bytes_ += bytes;
    pool_.uncharge(bytes);
    given += bytes;
  }
  return given;
}

// In builds with checks, what holes on OS pages that are there again hold.
void heap_impl::bury_holes(const shelf& s, const page_info* page, std::uint32_t first, std::uint32_t end) noexcept {
  const std::size_t begin = (std::size_t{first} << s.os_page_shift) - page->start();
  const std::size_t last = (std::size_t{end} << s.os_page_shift) - 1 - page->start();
  for (std::size_t i = begin / s.slot; i <= last / s.slot && i < s.fresh_of(page); ++i) {
    const auto index = static_cast<std::uint32_t>(i);
    if (base::test_bit(page->hole_map, i) && !s.is_withdrawn(page, index))
      make_dead(s.slot_address(page, index), s.slot);
  }
}

// Makes the lowest withdrawn slot of a page a hole again, and what else lies on the same OS pages alone. False: no
// budget, or no such page among the next few.
bool heap_impl::restore_hole(shelf& s) noexcept {
  for (std::uint32_t n = std::min(s.page_count, pages_searched_max); n != 0; --n) {
    if (s.restore_next >= s.page_count) s.restore_next = 0;
    page_info* page = s.pages[s.restore_next];
    if (page->withdrawn == 0) {
      ++s.restore_next;
      continue;
    }
    const std::uint64_t* missing = s.missing_map(page);
    std::uint32_t first = 0;
    while (!base::test_bit(missing, first)) ++first;
    const std::size_t within = (std::size_t{first} << s.os_page_shift) - page->start();
    const std::size_t slot_end = (within / s.slot + 1) * s.slot + page->start();
    const auto end = static_cast<std::uint32_t>((slot_end - 1) >> s.os_page_shift) + 1;
    std::size_t growth = 0;
    for (std::uint32_t i = first; i < end; ++i) growth += base::test_bit(missing, i) ? os_page_ : 0;
    if (!pool_.charge(growth)) return false;
    held_ += growth;
    grown_bytes_ += growth;
    s.restore(page, first, end);
    if constexpr (SCOOT_CHECK_LEVEL >= 2) bury_holes(s, page, first, end);
    note_growth(s, growth);
    return true;
  }
  return false;
}

// --- What they left behind -------------------------------------------------------------------------------------------

// Pages whose last blocks could not be moved once, and now can, have fresh slots above them, which are no holes. What
// of them is resident in vain; `live` is what would have to move at most.
std::size_t heap_impl::partial_waste(const shelf& s, std::size_t& live) const noexcept {
  std::size_t waste = 0;
  live = 0;
  if (s.partial == 0 || !s.movable) return 0;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    const std::uint32_t fresh = s.fresh_of(page);
    if (page->pins != 0 || page->withdrawn != 0 || fresh == s.capacity_of(page)) continue;
    waste += page->resident_end - page->start() - std::size_t{fresh} * s.slot;
    live += std::size_t{fresh} * s.slot;
  }
  return waste;
}

bool heap_impl::worth_joining(std::size_t waste, std::size_t live) const noexcept {
  return waste >= 2 * os_page_ && waste >= live / joined_per_gained;
}

// Makes room in the budget for another block by what is idle: here, where it is counted.
void heap_impl::trim_idle_for(std::size_t slot) noexcept {
  const std::size_t needed = slot + room_to_grow_pages * os_page_;
  while (pool_.room() < needed && pool_.idle_bytes() != 0) {
    const std::size_t given = pool_.trim_some(needed, 0);
    if (given == 0) return;
    trimmed_bytes_ += given;
  }
}

// Moves the blocks of such pages together, the emptiest page's into the fresh slots of the fullest. False: the work is
// spent.
bool heap_impl::join_partial(shelf& s, work_left& work) noexcept {
  std::uint32_t into = s.sort_partial();
  while (into + 1 < s.page_count) {
    page_info* to = s.pages[into];
    page_info* top = s.top();
    const std::uint32_t fresh = s.slot_index(top, s.bump);
    if (to->fresh == s.capacity_of(to)) {
      ++into;
      continue;
    }
    if (fresh == 0) {
      s.pop();
      release_shelf_page(s, top);
      continue;
    }
    if (!work.allows(s.slot)) return false;
    const std::size_t end = to->start() + (std::size_t{to->fresh} + 1) * s.slot;
    if (end > to->resident_end) trim_idle_for(s.slot);
    if (!extend_resident(to, end)) {
      trim_top(s);
      if (!extend_resident(to, end)) break;
    }
    work.spend(s.slot);
    ++blocks_examined_;
    const verdict answer = call_mover(s.kind, s.slot_address(top, fresh - 1), s.slot_address(to, to->fresh), s.slot);
    if (answer == verdict::keep) {
      blocked_ = stop_reason::refused;
      break;
    }
    if (answer == verdict::moved) {
      ++s.taken;
      if (++to->fresh == s.capacity_of(to)) --s.partial;
    }
    s.bump -= s.slot;
    --s.taken;
  }
  return true;
}

// Where pins are gone, or movers no longer refuse, each block that stayed still has one or two OS pages for itself.
// Moves such blocks together: into withdrawn slots, which are restored one by one. False: the work is spent.
bool heap_impl::fill_withdrawn(shelf& s, work_left& work) noexcept {
  if (!worth_joining(beside_missing(s), static_cast<std::size_t>(s.blocks()) * s.slot)) return true;
  s.sort_withdrawn();
  s.restore_next = 0;  // the first page with any: restore_hole itself does not look far
  while (s.pages[s.restore_next]->withdrawn == 0) ++s.restore_next;
  while (s.withdrawn != 0 && s.holes == 0) {
    trim_idle_for(s.slot);
    if (!restore_hole(s)) break;
    lower(s, ~std::size_t{0}, work);
  }
  return s.holes == 0 || s.stuck;
}

// Gives what is resident of a page from `end` on back, where nothing is live any more. What is missing there is no
// longer counted; if the OS refuses, it is charged.
void heap_impl::close_gaps(page_info* page, std::uint64_t* missing_map, std::size_t end) noexcept {
  end = std::max<std::size_t>(base::round_up(end, os_page_), page->resident_begin);
  std::size_t gaps = 0;
  for (std::size_t i = end / os_page_; i < page->resident_end / os_page_; ++i) {
    if (!base::test_bit(missing_map, i)) continue;
    base::clear_bit(missing_map, i);
    gaps += os_page_;
  }
  page->missing = static_cast<std::uint16_t>(page->missing - gaps / page_info::missing_unit);
  const std::size_t resident = page->resident_end - std::min<std::size_t>(end, page->resident_end);
  if (resident == 0) return;
  if (!os::give_back(page->base + end, resident)) {
    os_refused_ = true;
    held_ += gaps;
    pool_.charge_held(gaps);
    return;
  }
  page->resident_end = static_cast<std::uint32_t>(end);
  held_ -= resident - gaps;
  trimmed_bytes_ += resident - gaps;
  pool_.uncharge(resident - gaps);
}

// Takes the holes or withdrawn slots from `index`, the last slot in use of the top page, down off it, for the top to
// come down over them. Returns how many.
std::uint32_t heap_impl::take_top_holes(shelf& s, page_info* top, std::uint32_t index) noexcept {
  const bool gap = s.is_withdrawn(top, index);
  const std::uint32_t count = s.take_holes_from(top, index);
  if (gap) {  // nothing above a top is missing
    close_gaps(top, s.missing_map(top), top->start() + std::size_t{index + 1 - count} * s.slot);
    s.limit = top->base + top->resident_end;
  }
  return count;
}

// For a page without blocks: nothing of it is missing or withdrawn any more. It may stay, as the last of its shelf: so
// what is resident reaches to its first slot, as ever.
void heap_impl::forget_withdrawn(shelf& s, page_info* page) noexcept {
  if (page->withdrawn == 0) return;
  close_gaps(page, s.missing_map(page), page->start());
  s.withdrawn -= page->withdrawn;
  page->withdrawn = 0;
}

}  // namespace scoot
