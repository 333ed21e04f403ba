// SPDX-License-Identifier: MIT
//
// Bringing pages of the large space together.
//
//     evacuate   a page that holds little: its blocks go to holes of other pages, which fit them
//     pack       a page's last blocks go to its own holes, and its end back to the OS
//     withdraw   OS pages between blocks that hold nothing go back, and come again when a block is put there
//     repack     pages whose holes are too short for all that: their blocks go to other pages, one beside the other
//
// So holes are first filled by what fits them, then given back without a move, and only what then remains is moved for
// good. Where blocks do not move, the second step but one is all there is.
#include <algorithm>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

constexpr std::size_t look_bytes = 32;  // as in withdrawal.cpp
constexpr std::size_t stretch_bytes = 2048;
constexpr std::size_t moved_per_gained = 32;  // bytes that repacking moves at most
constexpr std::uint32_t full_part = 8;        // a page of which less than 1/8 is empty is not worth clearing

}  // namespace

// --- Clearing pages --------------------------------------------------------------------------------------------------

// Of so many pages, the next in turn, the one with fewest live bytes, if no more than live_max, that can be cleared as
// far as we know.
large_page* heap_impl::emptiest_large_page(std::size_t live_max, std::uint32_t pages_max) noexcept {
  large_page* best = nullptr;
  const std::uint32_t pages = large_.pages().size();
  for (std::uint32_t i = 0; i < std::min(pages, pages_max); ++i) {
    if (emptiest_cursor_ >= pages) emptiest_cursor_ = 0;
    large_page* in = large_.pages()[emptiest_cursor_++];
    if (!all_movable(in) || !may_try(in) || large_space::live_bytes(in) > live_max) continue;
    if (best == nullptr || in->live < best->live) best = in;
  }
  return best;
}

// Makes a page the one to be cleared. False, and it is left alone until more was freed, if it has a block above
// block_bytes_max.
bool heap_impl::begin_evacuating(large_page* in, std::size_t block_bytes_max) noexcept {
  const auto too_large = [=](const large_block& b) { return b.size * large_space::granule > block_bytes_max; };
  if (std::any_of(in->blocks(), in->blocks() + in->count, too_large)) {
    note_failure(in, false);
    return false;
  }
  evacuating_ = in;
  large_.close(in);
  return true;
}

// The largest block first: if there is no room for it, nothing was in vain. So guests come last, whose shelf may grow.
std::uint32_t heap_impl::largest_of(const large_page* in) noexcept {
  const large_block* b = in->blocks();
  const auto smaller = [](const large_block& x, const large_block& y) { return x.size < y.size; };
  return static_cast<std::uint32_t>(std::max_element(b, b + in->count, smaller) - b);
}

// Goes on clearing the page. True: it was given to the pool. Otherwise evacuating_ is null if the page can't be cleared
// now, and still set if only the work was spent.
bool heap_impl::evacuate(work_left& work) noexcept {
  large_page* in = evacuating_;
  bool cleared = all_movable(in);
  const std::uint64_t kept = blocks_kept_;
  while (in->count != 0 && cleared) {
    const std::uint32_t index = largest_of(in);
    const std::size_t size = in->blocks()[index].size * large_space::granule;
    if (!work.allows(size)) {
      if (size <= work.bytes_max) return false;
      cleared = false;  // no work of this size gets past it
      break;
    }
    work.spend(size);
    cleared = move_large(in, index, false) == move_result::gone;
  }
  if (cleared) {
    release_large_page(in);
  } else {
    evacuating_ = nullptr;
    large_.open(in);
    note_failure(in, blocks_kept_ != kept);
  }
  return cleared;
}

// False: the work is spent.
bool heap_impl::empty_large_pages(work_left& work) noexcept {
  for (;;) {
    if (evacuating_ == nullptr) {
      large_page* page = emptiest_large_page(page_bytes_ - page_bytes_ / full_part, large_.pages().size());
      if (page == nullptr || large_.pages().size() < 2) return true;
      if (!begin_evacuating(page, ~std::size_t{0})) continue;
    }
    const std::uint64_t kept = blocks_kept_;
    if (evacuate(work) || blocks_kept_ != kept) continue;  // what a mover refuses strands its own page
    return evacuating_ == nullptr;
  }
}

// Moves the last blocks of a page into holes further down, for its end to be given back. False: the work is spent.
bool heap_impl::pack_large(large_page* in, work_left& work) noexcept {
  while (in->open && in->count != 0 && in->page->missing == 0 && may_try(in)) {
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
    if (!may_move(in, b)) break;
    const std::size_t size = b.size * large_space::granule;
    if (!work.allows(size)) return false;
    work.spend(size);
    if (move_large_to(in, last, to) == move_result::stays) note_failure(in, true);
  }
  return true;
}

// Gives back what is resident behind the last block of a page of the large space.
void heap_impl::trim_large_tail(large_page* in) noexcept {
  const std::size_t end = in->count == 0 ? 0 : in->blocks()[in->count - 1].end() * large_space::granule;
  if (in->page->missing != 0) {
    close_gaps(in->page, in->missing, end);
  } else {
    trim_resident(in->page, end);
  }
  large_.note_room(in);
}

// --- Holes -----------------------------------------------------------------------------------------------------------

// For a page that leaves the large space: nothing of it is missing any more.
void heap_impl::forget_missing(large_page* in) noexcept {
  if (in->page->missing != 0) close_gaps(in->page, in->missing, 0);
}

// Gives OS pages between the blocks of a page back. Returns the bytes.
std::size_t heap_impl::withdraw_large(large_page* in, work_left& work) noexcept {
  if (in->swept || !work.allows(look_bytes)) return 0;
  work.spend(look_bytes);
  std::size_t given = 0;
  std::uint32_t end = 0;
  for (std::uint32_t first = 0; large_.next_vacant(in, first, end); first = end) {
    if (!work.allows(stretch_bytes)) return given;
    work.spend(stretch_bytes);
    const std::size_t bytes = (end - first) * os_page_;
    if (!os::give_back(in->page->base + first * os_page_, bytes)) {
      os_refused_ = true;
      return given;
    }
    large_.mark_missing(in, first, end, true);
    held_ -= bytes;
    trimmed_bytes_ += bytes;
    pool_.uncharge(bytes);
    given += bytes;
  }
  in->swept = true;
  return given;
}

// The same with its end, at any cost.
std::size_t heap_impl::give_vacant(large_page* in) noexcept {
  const std::size_t held = held_;
  work_left sweep{~std::size_t{0}, 0};
  trim_large_tail(in);
  (void)withdraw_large(in, sweep);
  return held - std::min(held, held_);
}

// What that would give back.
std::size_t heap_impl::vacant_bytes(const large_page* in) const noexcept {
  std::size_t bytes = 0;
  std::uint32_t end = in->count == 0 ? 0 : in->blocks()[in->count - 1].end();
  for (std::size_t at = base::round_up(end * large_space::granule, os_page_); at < in->page->resident_end;
       at += os_page_) {
    if (!base::test_bit(in->missing, at / os_page_)) bytes += os_page_;
  }
  for (std::uint32_t first = 0; large_.next_vacant(in, first, end); first = end) bytes += (end - first) * os_page_;
  return bytes;
}

// Gives OS pages between blocks back, in pages with blocks that stay, up to `goal` bytes.
std::size_t heap_impl::withdraw_beside_stuck(std::size_t goal, work_left& work) noexcept {
  std::size_t given = 0;
  for (large_page* in : large_.pages()) {
    if (given >= goal) break;
    if (!all_movable(in) || in->refusals != 0) given += withdraw_large(in, work);
  }
  return given;
}

// --- Repacking -------------------------------------------------------------------------------------------------------

// A block with what alignment may cost before it.
std::size_t heap_impl::aligned_bytes(const large_block& b) const noexcept {
  return (b.size - 1) * large_space::granule + std::max(kind_infos_[b.kind].options.alignment, large_space::granule);
}

// What a page of the large space needs for its blocks at most, one beside the other.
std::size_t heap_impl::needed_bytes(const large_page* in) const noexcept {
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < in->count; ++i) bytes += aligned_bytes(in->blocks()[i]);
  return bytes;
}

bool heap_impl::worth_repacking(const large_page* in) const noexcept {
  if (!all_movable(in) || !may_try(in)) return false;
  const std::size_t needed = needed_bytes(in);
  return in->page->resident_bytes() > needed + needed / moved_per_gained;
}

// Moves the blocks of a page to the end of another, or, where that is full, of a new one. From its begin on, so that in
// a page of their own none needs more padding than before. False: that went no further; the page is still there.
bool heap_impl::pour(large_page* from, large_page*& to, work_left& work) noexcept {
  std::uint32_t next = 0;
  while (from->count != 0) {
    if (next == from->count && to != nullptr) {
      trim_large_tail(to);
      to = nullptr;
    }
    if (to == nullptr) {
      next = 0;
      if (!add_large_page(os_page_)) return false;
      to = large_.pages()[large_.pages().size() - 1];
    }
    const large_block b = from->blocks()[next];
    const std::size_t size = b.size * large_space::granule;
    const std::size_t end = to->count == 0 ? 0 : to->blocks()[to->count - 1].end() * large_space::granule;
    const std::size_t begin =
        base::round_up(end, std::max(kind_infos_[b.kind].options.alignment, large_space::granule));
    if (begin + size > page_bytes_ || !large_.takes(to, size)) {
      ++next;
      continue;
    }
    if (!work.allows(size)) return false;
    const large_space::place at{to, to->count, static_cast<std::uint32_t>(begin / large_space::granule)};
    // Where the budget is full, what was left behind makes room.
    if (!make_resident(at, size) && (give_vacant(from) == 0 || !make_resident(at, size))) return false;
    work.spend(size);
    if (move_large_to(from, next, at) == move_result::stays) return false;
  }
  return true;
}

void heap_impl::end_pouring(large_page* to) noexcept {
  if (to == nullptr) return;
  if (to->count == 0) return release_large_page(to);
  trim_large_tail(to);
}

// False: the work is spent.
bool heap_impl::repack_large(work_left& work) noexcept {
  std::size_t waste = 0;
  std::size_t needed = 0;
  std::size_t largest = 0;
  for (large_page* in : large_.pages()) {
    in->to_repack = worth_repacking(in);
    if (!in->to_repack) continue;
    const std::size_t bytes = needed_bytes(in);
    needed += bytes;
    waste += in->page->resident_bytes() - bytes;
    largest = std::max(largest, aligned_bytes(in->blocks()[largest_of(in)]));
  }
  // Each page that is filled ends within an OS page; and the work has to gain something.
  if (waste < (needed / (page_bytes_ - largest) + 3) * os_page_) return true;
  large_page* to = nullptr;
  bool spent = false;
  for (std::uint32_t i = 0; i < large_.pages().size() && !spent;) {
    large_page* in = large_.pages()[i];
    if (!in->to_repack) {
      ++i;
      continue;
    }
    const std::uint64_t kept = blocks_kept_;
    large_.close(in);
    if (pour(in, to, work)) {
      release_large_page(in);
      continue;
    }
    const bool refused = blocks_kept_ != kept;
    large_.open(in);
    if (refused) note_failure(in, true);
    spent = !refused;
    in->to_repack = false;
    (void)give_vacant(in);
    ++i;
  }
  end_pouring(to);
  return !spent || work.allows(large_space::granule);
}

// Asks about the last block of a page that refused before.
void heap_impl::ask_again(large_page* in, work_left& work) noexcept {
  const std::uint32_t last = in->count - 1;
  const large_block b = in->blocks()[last];
  const std::size_t size = b.size * large_space::granule;
  if (!work.allows(size)) return;
  large_.close(in);
  large_space::place at;
  large_page* to = nullptr;
  if (large_.find(size, kind_infos_[b.kind].options.alignment, at)) {
    work.spend(size);
    (void)move_large_to(in, last, at);
  } else {
    (void)pour(in, to, work);
    end_pouring(to);
    if (in->count != 0) (void)give_vacant(in);
  }
  if (in->count == 0) {
    release_large_page(in);
  } else {
    large_.open(in);
  }
}

// --- compact ---------------------------------------------------------------------------------------------------------

// False: the work is spent.
bool heap_impl::compact_large(work_left& work, bool thorough) noexcept {
  for (large_page* in : large_.pages()) in->retry_at = freed_clock();
  bool spent = !empty_large_pages(work);
  for (std::uint32_t i = 0; i < large_.pages().size();) {
    large_page* in = large_.pages()[i];
    spent = spent || !pack_large(in, work);
    if (in->count == 0) {  // all dropped
      release_large_page(in);
      continue;
    }
    spent = !work.on_time() || spent;
    trim_large_tail(in);
    const bool movable = all_movable(in);
    if (!movable && large_space::live_bytes(in) <= page_bytes_ - page_bytes_ / full_part &&
        blocked_ != stop_reason::refused) {
      blocked_ = stop_reason::pinned;
    }
    if (!spent && (thorough || !movable || in->refusals != 0)) {
      (void)withdraw_large(in, work);
      spent = !in->swept && !work.allows(stretch_bytes);
    }
    ++i;
  }
  return !spent && (!thorough || repack_large(work));
}

}  // namespace scoot
