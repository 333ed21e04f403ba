// SPDX-License-Identifier: MIT
//
// Blocks of the large space: too big for a shelf, and up to half a page. Allocating and freeing them, and making room
// for one among others.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

namespace {

constexpr std::uint32_t window_pages_max = 16;  // looked at for the cheapest window
constexpr std::uint32_t cheap_part = 16;        // a window that costs so little of what it serves is taken at once
constexpr std::size_t guest_part = 4;           // of the smallest block otherwise
constexpr std::size_t little_waste_bytes = std::size_t{2} << 20;
constexpr std::size_t little_idle_bytes = std::size_t{1} << 20;
constexpr std::size_t owed_least = std::size_t{16} << 10;
constexpr std::size_t owed_max = std::size_t{512} << 10;
constexpr int window_attempts_max = 2;

}  // namespace

// --- Allocation and freeing ------------------------------------------------------------------------------------------

void* heap_impl::allocate_large(std::uint8_t kind_index, std::size_t size, std::size_t alignment,
                                work_left& work) noexcept {
  bool target_kept = false;
  if (owed_for_large_ >= owed_least && over_target(0)) pay_for_large(work);
  for (int attempt = 0; attempt < charge_attempts_max;) {
    large_space::place at;
    if (large_.find(size, alignment, at)) return take_large(at, size, kind_index);
    if (!target_kept) {
      target_kept = true;
      if (large_over_target(size)) {
        const pause_timer timer(*this);
        if (clear_window({size, alignment, size, 1}, work, at)) return take_large(at, size, kind_index);
        owe(size, waste_allowed(size));
        owed_for_large_ = std::min(owed_for_large_ + owed_bytes_, owed_max);
        owed_bytes_ = 0;
        continue;
      }
    }
    if (!large_.find_fresh(size, alignment, at)) {
      if (add_large_page(size + alignment)) continue;
    } else if (make_resident(at, size)) {
      return take_large(at, size, kind_index);
    }
    ++attempt;
    const pause_timer timer(*this);
    if (clear_window({size, alignment, work.bytes, 1}, work, at)) return take_large(at, size, kind_index);
    if (reclaim(size, work) == 0) break;
  }
  return nullptr;
}

// Whether to move blocks before growing by one of so many bytes. A small heap may waste more in large blocks than
// otherwise: they fit its few holes badly, and what it saves is little.
bool heap_impl::large_over_target(std::size_t size) const noexcept {
  const std::size_t little = waste_is_ours_ ? std::min(held_ / 8, little_waste_bytes) : 0;
  return waste_bytes() + size > little && over_target(size);
}

// Gives back part of what is owed for growth by large blocks. A little at a time: such a block costs enough itself, for
// it is written whole, to memory that may not be resident yet; and shelves come down by many small blocks.
void heap_impl::pay_for_large(work_left& work) noexcept {
  work_left some{std::min(work.bytes, move_bytes_max_ / 2), 0};
  some.block_cost = work.block_cost;
  const std::size_t owed_by_shelves = std::exchange(owed_bytes_, owed_for_large_);
  const std::size_t given = keep_target(some);
  owed_for_large_ = given == 0 ? 0 : owed_for_large_ - std::min(owed_for_large_, given);
  owed_bytes_ = owed_by_shelves;
  work.spend(some.bytes_max - some.bytes);
}

// A block of a shelf's size in a hole of the large space that fits it closely; null if there is none, or it is too
// small to be worth it.
void* heap_impl::take_guest(const shelf& s) noexcept {
  large_space::place at;
  const std::size_t alignment = kind_infos_[s.kind].options.alignment;
  if (!s.movable || s.slot < slot_max_ / guest_part || !large_.find_for_guest(s.slot, alignment, at)) return nullptr;
  return take_large(at, s.slot, s.kind);
}

// Makes what a block needs at its place ours to touch. False: no budget.
bool heap_impl::make_resident(const large_space::place& at, std::size_t size) noexcept {
  page_info* page = at.in->page;
  const std::uint32_t end = at.begin + large_space::granules(size);
  if (page->missing != 0) {
    const std::uint32_t first = large_.os_page_of(at.begin);
    const std::uint32_t last = large_.os_page_of(end - 1) + 1;
    std::size_t growth = 0;
    for (std::uint32_t i = first; i < last; ++i) growth += base::test_bit(at.in->missing, i) ? os_page_ : 0;
    if (growth != 0 && !pool_.charge(growth)) return false;  // even nothing is too much above the budget
    held_ += growth;
    grown_bytes_ += growth;
    large_.mark_missing(at.in, first, last, false);
    if (growth != 0) os::make_resident(page->base + first * os_page_, (last - first) * os_page_);
  }
  return extend_resident(page, end * large_space::granule);
}

void* heap_impl::take_large(const large_space::place& at, std::size_t size, std::uint8_t kind_index) noexcept {
  count_allocation(base::round_up(size, large_space::granule));
  return large_.take(at, size, kind_index, kind_infos_[kind_index].options.move == nullptr);
}

// A new page for the large space with `size` bytes of it ours to touch.
bool heap_impl::add_large_page(std::size_t size) noexcept {
  page_info* page = pool_.take(true);
  if (page == nullptr) return false;
  held_ += page->resident_bytes();
  if (page->resident_begin != 0) {
    if (pool_.charge(page->resident_begin)) {
      held_ += page->resident_begin;
      grown_bytes_ += page->resident_begin;
    } else if (trim_resident(page, 0)) {  // where the budget is full, what it holds may be what there is no room for
      page->resident_end = 0;
    } else {
      give_page(page);
      return false;
    }
    page->resident_begin = 0;
  }
  large_page* in = extend_resident(page, std::min(page_bytes_, size)) ? large_.add(page) : nullptr;
  if (in == nullptr && page->resident_end > size && trim_resident(page, size)) in = large_.add(page);
  if (in == nullptr) {
    give_page(page);
    return false;
  }
  page->use = page_use::large;
  page->owner = this;
  page->large = in;
  page->pins = 0;
  return true;
}

// What large blocks that were freed leave in the pool, if that is more than it keeps anyway.
std::size_t heap_impl::idle_kept() const noexcept {
  return waste_is_ours_ ? std::min(held_ / 16, little_idle_bytes) : 0;
}

void heap_impl::free_large(page_info* page, void* block) noexcept {
  large_page* in = page->large;
  const std::uint32_t index = large_space::index_of(in, block);
  const std::size_t size = in->blocks()[index].size * large_space::granule;
  count_free(size);
  large_.give(in, index);
  if (in->count == 0) {
    release_large_page(in);
    // It is wanted again soon where few blocks come and go, and a page through the kernel costs more than a block.
    if (pool_.idle_bytes() > idle_kept()) trim_idle_excess();
  }
}

void heap_impl::release_large_page(large_page* in) noexcept {
  if (evacuating_ == in) evacuating_ = nullptr;
  page_info* page = in->page;
  forget_missing(in);
  large_.remove(in);
  give_page(page);
}

// --- Making room -----------------------------------------------------------------------------------------------------

// Time as far as it matters to blocks that could not be moved: what was freed, in steps.
std::uint64_t heap_impl::freed_clock() const noexcept { return freed_bytes_ >> 16; }

// A block of the page could not be moved. For want of room: that changes soon. Because its mover refused: that may not,
// so such a page is asked half as often each time, down to once while all that the heap holds is freed.
void heap_impl::note_failure(large_page* in, bool refused) noexcept {
  std::uint32_t wait = 1;
  if (refused) {
    in->refusals = static_cast<std::uint8_t>(std::min(in->refusals + 1, 16));
    wait = std::min(1U << in->refusals, static_cast<std::uint32_t>(held_ >> 16) + 2);
  }
  in->retry_at = freed_clock() + wait;
}

bool heap_impl::may_move(const large_page* in, const large_block& b) const noexcept {
  return kind_infos_[b.kind].options.move != nullptr && !is_pinned(in->page, large_space::address(in, b.begin));
}

// Moves a block into a hole, or, if it may grow, to the end of a page. A guest goes to its shelf if need be.
heap_impl::move_result heap_impl::move_large(large_page* in, std::uint32_t index, bool may_grow) noexcept {
  const large_block b = in->blocks()[index];
  const std::size_t size = b.size * large_space::granule;
  large_space::place at;
  const std::size_t alignment = kind_infos_[b.kind].options.alignment;
  if (!large_.find(size, alignment, at)) {
    if (size <= slot_max_) return move_to_shelf(in, index);
    if (!may_grow || !large_.find_fresh(size, alignment, at)) return move_result::stays;
    if (!make_resident(at, size)) return move_result::stays;
  }
  return move_large_to(in, index, at);
}

heap_impl::move_result heap_impl::move_large_to(large_page* in, std::uint32_t index,
                                                const large_space::place& at) noexcept {
  const large_block b = in->blocks()[index];
  const std::size_t size = b.size * large_space::granule;
  large_page* to = at.in;
  char* address = large_.take(at, size, b.kind, false);  // what moves has a mover
  if (to == in && at.index <= index) ++index;
  const verdict answer = call_mover(b.kind, large_space::address(in, b.begin), address, size);
  if (answer == verdict::moved) {
    large_.give(in, index);
    return move_result::gone;
  }
  const std::uint32_t vain = large_space::index_of(to, address);
  large_.give(to, vain);
  if (answer == verdict::keep) {
    blocked_ = stop_reason::refused;
    return move_result::stays;
  }
  large_.give(in, to == in && vain < index ? index - 1 : index);
  count_free(size);
  return move_result::gone;
}

// Moves a guest to the shelf for its size, which it may raise.
heap_impl::move_result heap_impl::move_to_shelf(large_page* in, std::uint32_t index) noexcept {
  const large_block b = in->blocks()[index];
  const std::size_t size = b.size * large_space::granule;
  shelf* into = shelf_for(*kinds_[b.kind], b.kind, size);
  if (into == nullptr) return move_result::stays;
  return_parked(*into, 0);
  if (!make_slot(*into)) return move_result::stays;
  const verdict answer = move_into(*into, b.kind, large_space::address(in, b.begin), size);
  if (answer == verdict::keep) {
    blocked_ = stop_reason::refused;
    return move_result::stays;
  }
  large_.give(in, index);
  if (answer == verdict::drop) count_free(size);
  return move_result::gone;
}

// Clears, of the pages looked at in turn, the stretch for a block of `size` that costs least, by moving no more than
// bytes_max out of it. True: `cleared` is where the block goes. What is moved goes into holes elsewhere, or, `depth`
// times, into a stretch cleared for it in the same way.
bool heap_impl::clear_window(const window_request& r, work_left& work, large_space::place& cleared) noexcept {
  const auto step = static_cast<std::uint32_t>(std::max(r.alignment, large_space::granule) / large_space::granule);
  const std::uint32_t need = large_space::granules(r.size) + step - 1;
  const auto cost_of = [this, largest = large_.largest_hole(), depth = r.depth](const large_page* in,
                                                                                const large_block& b) {
    if (b.size > largest && depth == 0) return large_space::nothing;
    if (!may_move(in, b)) return large_space::nothing;
    return b.size > largest ? 2U * b.size : b.size;
  };
  for (int attempt = 0; attempt < window_attempts_max; ++attempt) {
    const std::uint32_t pages = large_.pages().size();
    large_space::window best;
    best.cost =
        static_cast<std::uint32_t>(std::min({r.bytes_max, work.bytes, 2 * page_bytes_}) / large_space::granule) + 1;
    for (std::uint32_t i = 0; i < std::min(pages, window_pages_max) && best.cost > need / cheap_part; ++i) {
      if (window_cursor_ >= pages) window_cursor_ = 0;
      large_page* in = large_.pages()[window_cursor_++];
      if (in->open && may_try(in) && large_.takes(in, r.size)) large_space::cheapest_window(in, need, cost_of, best);
    }
    if (best.in == nullptr) return false;
    if (!move_out(best, r.depth, work)) continue;
    const std::uint32_t begin = best.first == 0 ? 0 : best.in->blocks()[best.first - 1].end();
    cleared = {best.in, best.first, static_cast<std::uint32_t>(base::round_up(begin, step))};
    return true;
  }
  return false;
}

// Moves the blocks of a window to other pages, largest first: if there is no room for it, nothing was in vain.
bool heap_impl::move_out(const large_space::window& w, unsigned depth, work_left& work) noexcept {
  large_page* in = w.in;
  large_.close(in);
  std::uint32_t last = w.last;
  while (last != w.first) {
    const large_block* b = in->blocks();
    std::uint32_t largest = w.first;
    for (std::uint32_t i = w.first; i < last; ++i) {
      if (b[i].size > b[largest].size) largest = i;
    }
    const std::size_t size = b[largest].size * large_space::granule;
    const std::size_t alignment = kind_infos_[b[largest].kind].options.alignment;
    if (!work.allows(size)) break;
    work.spend(size);
    large_space::place at;
    const bool room =
        large_.find(size, alignment, at) || (depth != 0 && clear_window({size, alignment, size, depth - 1}, work, at));
    const bool gone = room && move_large_to(in, largest, at) == move_result::gone;
    if (room && at.in->count == 0) release_large_page(at.in);  // which was cleared for it in vain
    if (!gone) {
      note_failure(in, room);
      break;
    }
    in->refusals = 0;
    --last;
  }
  large_.open(in);
  return last == w.first;
}

}  // namespace scoot
