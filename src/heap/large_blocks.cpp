// SPDX-License-Identifier: MIT
//
// Blocks of the large space: too big for a shelf, and up to half a page.
#include <algorithm>
#include <cstring>

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
        owe(size);
        owed_for_large_ = std::min(owed_for_large_ + owed_bytes_, owed_max);
        owed_bytes_ = 0;
        continue;
      }
    }
    if (!large_.find_fresh(size, alignment, at)) {
      if (add_large_page(size + alignment)) continue;
    } else if (extend_resident(at.in->page, place_end(at, size))) {
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
  owed_bytes_ = owed_for_large_;
  const std::size_t given = keep_target(some);
  owed_for_large_ = given == 0 ? 0 : owed_for_large_ - std::min(owed_for_large_, given);
  work.spend(some.bytes_max - some.bytes);
}

// A block of a shelf's size in a hole of the large space that fits it closely; null if there is none, or it is too
// small to be worth it.
void* heap_impl::take_guest(const shelf& s) noexcept {
  large_space::place at;
  const std::size_t alignment = kind_infos_[s.kind].options.alignment;
  if (s.slot < slot_max_ / guest_part || !large_.find_for_guest(s.slot, alignment, at)) return nullptr;
  return take_large(at, s.slot, s.kind);
}

std::size_t heap_impl::place_end(const large_space::place& at, std::size_t size) noexcept {
  return (at.begin + large_space::granules(size)) * large_space::granule;
}

void* heap_impl::take_large(const large_space::place& at, std::size_t size, std::uint8_t kind_index) noexcept {
  count_allocation(base::round_up(size, large_space::granule));
  return large_.take(at, size, kind_index);
}

// A new page for the large space with `size` bytes of it ours to touch.
bool heap_impl::add_large_page(std::size_t size) noexcept {
  page_info* page = pool_.take(true);
  if (page == nullptr) return false;
  held_ += page->resident_bytes();
  const std::size_t begin = page->resident_begin;
  if (begin != 0 && !pool_.charge(begin)) {
    give_page(page);
    return false;
  }
  held_ += begin;
  page->resident_begin = 0;
  large_page* in = extend_resident(page, std::min(page_bytes_, size)) ? large_.add(page) : nullptr;
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

void heap_impl::free_large(page_info* page, void* block) noexcept {
  large_page* in = page->large;
  const std::uint32_t index = large_space::index_of(in, block);
  const std::size_t size = in->blocks()[index].size * large_space::granule;
  count_free(size);
  large_.give(in, index);
  if (in->count == 0) {
    release_large_page(in);
    // It is wanted again soon where few blocks come and go, and a page through the kernel costs more than a block.
    if (!waste_is_ours_ || pool_.idle_bytes() > std::min(held_ / 16, little_idle_bytes)) trim_idle_excess();
  }
}

void heap_impl::release_large_page(large_page* in) noexcept {
  if (evacuating_ == in) evacuating_ = nullptr;
  page_info* page = in->page;
  large_.remove(in);
  give_page(page);
}

// --- Making room -----------------------------------------------------------------------------------------------------

// Time as far as it matters to blocks that could not be moved: what was freed, in steps.
std::uint32_t heap_impl::freed_clock() const noexcept { return static_cast<std::uint32_t>(freed_bytes_ >> 16); }

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
    if (!extend_resident(at.in->page, place_end(at, size))) return move_result::stays;
  }
  return move_large_to(in, index, at);
}

heap_impl::move_result heap_impl::move_large_to(large_page* in, std::uint32_t index,
                                                const large_space::place& at) noexcept {
  const large_block b = in->blocks()[index];
  const std::size_t size = b.size * large_space::granule;
  large_page* to = at.in;
  char* address = large_.take(at, size, b.kind);
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
  const std::uint32_t now = freed_clock();
  for (int attempt = 0; attempt < window_attempts_max; ++attempt) {
    const std::uint32_t pages = large_.pages().size();
    large_space::window best;
    best.cost =
        static_cast<std::uint32_t>(std::min({r.bytes_max, work.bytes, 2 * page_bytes_}) / large_space::granule) + 1;
    for (std::uint32_t i = 0; i < std::min(pages, window_pages_max) && best.cost > need / cheap_part; ++i) {
      if (window_cursor_ >= pages) window_cursor_ = 0;
      large_page* in = large_.pages()[window_cursor_++];
      if (in->open && in->failed_at != now) large_space::cheapest_window(in, need, cost_of, best);
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
    if (!room || move_large_to(in, largest, at) == move_result::stays) {
      in->failed_at = freed_clock();
      break;
    }
    --last;
  }
  large_.open(in);
  if (last != w.first && in->count == 0) release_large_page(in);
  return last == w.first;
}

// Of so many pages, the next in turn, the one with fewest live bytes, if no more than live_max, that has not failed to
// be cleared lately.
large_page* heap_impl::emptiest_large_page(std::size_t live_max, std::uint32_t pages_max) noexcept {
  large_page* best = nullptr;
  const std::uint32_t now = freed_clock();
  const std::uint32_t pages = large_.pages().size();
  for (std::uint32_t i = 0; i < std::min(pages, pages_max); ++i) {
    if (emptiest_cursor_ >= pages) emptiest_cursor_ = 0;
    large_page* in = large_.pages()[emptiest_cursor_++];
    if (in->failed_at == now || large_space::live_bytes(in) > live_max) continue;
    if (best == nullptr || in->live < best->live) best = in;
  }
  return best;
}

// Whether every block of a page of the large space could be moved, one at a time, in work of so many bytes.
bool heap_impl::can_evacuate(large_page* in, std::size_t block_bytes_max) noexcept {
  for (std::uint32_t i = 0; i < in->count; ++i) {
    const large_block& b = in->blocks()[i];
    if (!may_move(in, b)) {
      if (blocked_ != stop_reason::refused) blocked_ = stop_reason::pinned;
      return false;
    }
    if (b.size * large_space::granule > block_bytes_max) return false;
  }
  return true;
}

// Makes a page the one to be cleared. False, and it is left alone until more was freed, if it can't be.
bool heap_impl::begin_evacuating(large_page* in, std::size_t block_bytes_max) noexcept {
  if (!can_evacuate(in, block_bytes_max)) {
    in->failed_at = freed_clock();
    return false;
  }
  evacuating_ = in;
  large_.close(in);
  return true;
}

// Goes on clearing the page. True: it was given to the pool. Otherwise evacuating_ is null if the page can't be cleared
// now, and still set if only the work was spent.
bool heap_impl::evacuate(work_left& work) noexcept {
  large_page* in = evacuating_;
  bool cleared = can_evacuate(in, ~std::size_t{0});
  while (in->count != 0 && cleared) {
    const std::uint32_t last = in->count - 1;
    const std::size_t size = in->blocks()[last].size * large_space::granule;
    if (!work.allows(size)) {
      if (size <= work.bytes_max) return false;
      cleared = false;  // no work of this size gets past it
      break;
    }
    work.spend(size);
    cleared = move_large(in, last, false) == move_result::gone;
  }
  if (cleared) {
    release_large_page(in);
  } else {
    evacuating_ = nullptr;
    large_.open(in);
    in->failed_at = freed_clock();
  }
  return cleared;
}

// Moves the last blocks of a page into holes further down, for its end to be given back. False: the work is spent.
bool heap_impl::pack_large(large_page* in, work_left& work) noexcept {
  while (in->open && in->count != 0) {
    const std::uint32_t last = in->count - 1;
    const large_block b = in->blocks()[last];
    const std::size_t alignment = std::max(kind_infos_[b.kind].options.alignment, large_space::granule);
    large_space::place to{in, 0, 0};
    std::uint32_t hole = 0;  // where the one before block to.index begins
    for (; to.index <= last; ++to.index) {
      to.begin = static_cast<std::uint32_t>(base::round_up(hole, alignment / large_space::granule));
      if (to.begin + b.size <= in->blocks()[to.index].begin) break;
      hole = in->blocks()[to.index].end();
    }
    if (to.index > last) break;
    ++blocks_examined_;
    if (!may_move(in, b)) {
      if (blocked_ != stop_reason::refused) blocked_ = stop_reason::pinned;
      break;
    }
    const std::size_t size = b.size * large_space::granule;
    if (!work.allows(size)) return false;
    work.spend(size);
    if (move_large_to(in, last, to) == move_result::stays) break;
  }
  return true;
}

// Gives back what is resident behind the last block of a page of the large space.
void heap_impl::trim_large_tail(large_page* in) noexcept {
  trim_resident(in->page, in->count == 0 ? 0 : in->blocks()[in->count - 1].end() * large_space::granule);
  large_.note_room(in);
}

}  // namespace scoot
