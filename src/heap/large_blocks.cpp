// SPDX-License-Identifier: MIT
//
// Blocks too big for a shelf: those that share pages in the large space, and runs of pages.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

// --- Allocation and freeing ------------------------------------------------------------------------------------------

void* heap_impl::allocate_large(std::uint8_t kind_index, std::size_t size, std::size_t alignment,
                                work_left& work) noexcept {
  bool target_kept = false;
  for (int attempt = 0; attempt < charge_attempts_max;) {
    chunk* found = large_.find(size, alignment);
    page_info* page = found == nullptr ? nullptr : page_of(found);
    const std::size_t end =
        found == nullptr ? 0 : large_space::resident_need(page, found, size, alignment, page_bytes_);
    const bool grows = found == nullptr || end > page->resident_end;
    if (grows && !target_kept) {
      target_kept = true;
      if (over_target(size)) {
        keep_target(size, work);
        continue;
      }
    }
    if (found != nullptr && extend_resident(page, end)) {
      chunk* taken = large_.take(page, found, size, alignment, page_bytes_);
      taken->kind = kind_index;
      count_allocation(taken->usable);
      return taken->payload();
    }
    if (found == nullptr && add_large_page(size + alignment)) continue;
    ++attempt;
    if (reclaim(size, work) == 0) break;
  }
  return nullptr;
}

// A new page for the large space with `size` bytes of it and the tags ours to touch.
bool heap_impl::add_large_page(std::size_t size) noexcept {
  if (!large_.make_room()) return false;
  page_info* page = pool_.take(true);
  if (page == nullptr) return false;
  held_ += page->resident_bytes();
  const std::size_t begin = page->resident_begin;
  if ((begin != 0 && !pool_.charge(begin))) {
    give_page(page);
    return false;
  }
  held_ += begin;
  page->resident_begin = 0;
  if (!extend_resident(page, std::min(page_bytes_, size + 4 * sizeof(chunk)))) {
    give_page(page);
    return false;
  }
  page->use = page_use::large;
  page->owner = this;
  page->pins = 0;
  page->hint_word = ~std::uint32_t{0};
  large_.add(page, page_bytes_);
  return true;
}

// A run with exactly `size` bytes, in whole OS pages, charged to this heap; null if there is no room for it.
page_info* heap_impl::take_run_of(std::size_t size) noexcept {
  if (!runs_.make_room()) return nullptr;
  const std::size_t count = (size + page_bytes_ - 1) / page_bytes_;
  page_info* first = pool_.take_run(count);
  if (first == nullptr) return nullptr;
  bool room = true;
  for (std::size_t i = 0; i < count; ++i) {
    page_info* page = first + i;
    held_ += page->resident_bytes();
    if (page->resident_begin != 0 && room && (room = pool_.charge(page->resident_begin))) {
      held_ += page->resident_begin;
      page->resident_begin = 0;
    }
    const std::size_t end = std::min(page_bytes_, size - i * page_bytes_);
    room = room && extend_resident(page, end);
    if (room) trim_resident(page, end);
  }
  if (!room) {
    for (std::size_t i = 0; i < count; ++i) held_ -= first[i].resident_bytes();
    pool_.give_run(first, count);
    return nullptr;
  }
  for (std::size_t i = 0; i < count; ++i) {
    first[i].use = i == 0 ? page_use::run : page_use::run_body;
    first[i].owner = this;
    first[i].pins = 0;
  }
  first->run_bytes = size;
  first->position = runs_.add(first);
  return first;
}

void* heap_impl::allocate_run(std::uint8_t kind_index, std::size_t size) noexcept {
  const std::size_t usable = base::round_up(size, 16);
  work_left work{move_bytes_max_ + size, 0};
  if (over_target(size)) keep_target(size, work);
  for (int attempt = 0; attempt < charge_attempts_max; ++attempt) {
    const std::size_t room = pool_.room() + pool_.idle_bytes();
    if (room >= usable) {
      if (page_info* first = take_run_of(usable)) {
        first->kind = kind_index;
        count_allocation(usable);
        return first->base;
      }
    }
    if (reclaim(room < usable ? usable - room : os_page_, work) == 0) break;
  }
  return nullptr;
}

void heap_impl::free_large(page_info* page, void* block) noexcept {
  chunk* c = large_space::of_block(block);
  if constexpr (SCOOT_CHECK_LEVEL >= 2) std::memset(block, poison, c->usable);
  count_free(c->usable);
  large_.give(page, c, page_bytes_);
  if (page->live_bytes == 0) {
    if (evacuating_ == page) evacuating_ = nullptr;
    large_.remove(page, page_bytes_);
    give_page(page);
    trim_idle_excess();
  }
}

void heap_impl::free_run(page_info* first) noexcept {
  const std::size_t count = (first->run_bytes + page_bytes_ - 1) / page_bytes_;
  count_free(first->run_bytes);
  if (page_info* moved = runs_.remove(first->position)) moved->position = first->position;
  for (std::size_t i = 0; i < count; ++i) held_ -= first[i].resident_bytes();
  pool_.give_run(first, count);
}

// --- Clearing pages --------------------------------------------------------------------------------------------------

// The page with fewest live bytes, if no more than live_max, that has not failed to be cleared lately.
page_info* heap_impl::emptiest_large_page(std::size_t live_max) const noexcept {
  page_info* best = nullptr;
  const auto now = static_cast<std::uint32_t>(freed_bytes_ >> 16);
  for (page_info* page : large_.pages()) {
    if (page->hint_word == now || page->live_bytes > live_max) continue;
    if (best == nullptr || page->live_bytes < best->live_bytes) best = page;
  }
  return best;
}

heap_impl::move_result heap_impl::move_large(page_info* page, chunk* from) noexcept {
  const std::size_t alignment = kinds_[from->kind]->options.alignment;
  const std::size_t size = from->usable;
  chunk* found = large_.find(size, alignment);
  if (found == nullptr) return move_result::stays;
  page_info* to_page = page_of(found);
  const std::size_t end = large_space::resident_need(to_page, found, size, alignment, page_bytes_);
  // Clearing a page pays only by filling holes: what it makes resident elsewhere it might not give back here.
  if (page == evacuating_ ? end > to_page->resident_end : !extend_resident(to_page, end)) return move_result::stays;
  chunk* to = large_.take(to_page, found, size, alignment, page_bytes_);
  to->kind = from->kind;
  const verdict answer = call_mover(from->kind, from->payload(), to->payload(), size);
  if (answer != verdict::moved) large_.give(to_page, to, page_bytes_);
  if (answer == verdict::keep) {
    blocked_ = stop_reason::refused;
    return move_result::stays;
  }
  large_.give(page, from, page_bytes_);
  return move_result::gone;
}

// Whether every block of a page of the large space could be moved, one at a time, in work of so many bytes.
bool heap_impl::can_evacuate(page_info* page, std::size_t block_bytes_max) noexcept {
  for (chunk* c = large_.first(page); c != nullptr; c = large_space::next(page, c, page_bytes_)) {
    if (c->free) continue;
    if (kinds_[c->kind]->options.move == nullptr || is_pinned(page, c->payload())) {
      if (blocked_ != stop_reason::refused) blocked_ = stop_reason::pinned;
      return false;
    }
    if (c->usable > block_bytes_max) return false;
  }
  return true;
}

// Makes a page the one to be cleared. False, and it is left alone until more was freed, if it can't be.
bool heap_impl::begin_evacuating(page_info* page, std::size_t block_bytes_max) noexcept {
  if (!can_evacuate(page, block_bytes_max)) {
    page->hint_word = static_cast<std::uint32_t>(freed_bytes_ >> 16);
    return false;
  }
  evacuating_ = page;
  large_.set_evacuating(page, true, page_bytes_);
  return true;
}

// Goes on clearing the page. True: it was given to the pool. Otherwise evacuating_ is null if the page can't be cleared
// now, and still set if only the work was spent.
bool heap_impl::evacuate(work_left& work) noexcept {
  page_info* page = evacuating_;
  bool cleared = can_evacuate(page, ~std::size_t{0});
  for (chunk* c = large_.first(page); c != nullptr && cleared;) {
    chunk* after = large_space::next(page, c, page_bytes_);
    if (!c->free) {
      if (!work.allows(c->usable)) {
        if (c->usable <= work.bytes_max) return false;
        cleared = false;  // no work of this size gets past it
        break;
      }
      work.spend(c->usable);
      // Freeing joins chunks: go on from the one behind, which keeps its place unless it was free itself.
      if (after != nullptr && after->free) after = large_space::next(page, after, page_bytes_);
      cleared = move_large(page, c) == move_result::gone;
    }
    c = after;
  }
  evacuating_ = nullptr;
  if (cleared) {
    large_.remove(page, page_bytes_);
    give_page(page);
  } else {
    large_.set_evacuating(page, false, page_bytes_);
    page->hint_word = static_cast<std::uint32_t>(freed_bytes_ >> 16);
  }
  return cleared;
}

// Gives back what is resident behind the last block of a page of the large space.
void heap_impl::trim_large_tail(page_info* page) noexcept {
  chunk* last = large_.first(page);
  while (chunk* after = large_space::next(page, last, page_bytes_)) last = after;
  if (!last->free) return;
  const auto offset = static_cast<std::size_t>(reinterpret_cast<char*>(last) - page->base);
  trim_resident(page, offset + 2 * sizeof(chunk));
}

}  // namespace scoot
