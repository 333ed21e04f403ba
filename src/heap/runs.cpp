// SPDX-License-Identifier: MIT
//
// Runs: blocks above half a page, each in whole pages side by side, and what makes room for them where address space is
// short.
//
//     a window     |free|shelf page|free|large page|run.......|free|
//                         \-> another page of its shelf   \-> another run
//
// Address space is four times the budget where the OS lets us have it, and then some run of pages is free. Where it is
// hardly more than the budget (ulimit -v, 32 bits), the cheapest window is emptied by moving what is in it elsewhere:
// its free pages are claimed first, so that nobody else takes them and nothing moves to where it came from. And where
// plenty is free, compact() empties stretches that hold little.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

namespace {

// What emptying a page costs, in KiB; free pages cost nothing. A run costs what it holds on its first page.
constexpr std::uint32_t cost_barred = ~std::uint32_t{0};
constexpr std::uint32_t cost_body = ~std::uint32_t{0} - 1;
constexpr int clear_attempts_max = 3;
constexpr std::size_t touched_bytes_max = std::size_t{1} << 20;  // of a run that is thought to be used at once
constexpr std::size_t gathered_per_gained = 64;

std::uint32_t cost_of_bytes(std::size_t bytes) noexcept { return static_cast<std::uint32_t>(bytes >> 10) + 1; }

std::size_t pages_of(std::size_t bytes, std::size_t page_bytes) noexcept {
  return (bytes + page_bytes - 1) / page_bytes;
}

}  // namespace

// --- Allocation and freeing ------------------------------------------------------------------------------------------

// A run with exactly `size` bytes, in whole OS pages, charged to this heap; null if there is no room for it. Moves
// blocks, as far as the work allows, where no pages side by side are free.
page_info* heap_impl::take_run_of(std::size_t size, work_left* work, const page_window* outer) noexcept {
  if (!runs_.make_room()) return nullptr;
  const std::size_t count = pages_of(size, page_bytes_);
  page_info* first = pool_.take_run(count, size);
  if (first == nullptr && work != nullptr) first = clear_pages(count, *work, outer);
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
    room = room && (size <= touched_bytes_max ? extend_resident(page, end) : charge_resident(page, end));
    if (room) trim_resident(page, end);
  }
  if (!room) {
    for (std::size_t i = 0; i < count; ++i) held_ -= first[i].resident_bytes();
    trimmed_bytes_ += pool_.give_run(first, count, 0);
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
  if (over_target(size)) {
    owe(size, waste_allowed(size));
    keep_target(work);
  }
  const pause_timer timer(*this);
  for (int attempt = 0; attempt < charge_attempts_max; ++attempt) {
    const std::size_t room = pool_.room() + pool_.idle_bytes();
    if (room >= usable) {
      if (page_info* first = take_run_of(usable, &work, nullptr)) {
        first->kind = kind_index;
        count_allocation(usable);
        return first->base;
      }
    }
    if (reclaim(room < usable ? usable - room : os_page_, work) == 0) break;
  }
  return nullptr;
}

void heap_impl::free_run(page_info* first) noexcept {
  const std::size_t count = (first->run_bytes + page_bytes_ - 1) / page_bytes_;
  count_free(first->run_bytes);
  if (page_info* moved = runs_.remove(first->position)) moved->position = first->position;
  for (std::size_t i = 0; i < count; ++i) held_ -= first[i].resident_bytes();
  trimmed_bytes_ += pool_.give_run(first, count, idle_kept());
}

// --- Emptying pages -------------------------------------------------------------------------------------------------

// A page that belongs to nobody but the window being cleared; or goes to the pool, if it is outside of it.
void heap_impl::vacate(page_info* page, const page_window& w) noexcept {
  if (page < w.first || page >= w.first + w.count) return give_page(page);
  held_ -= page->resident_bytes();
  page->use = page_use::free;
  page->owner = nullptr;
  pool_.set_shelf(page, nullptr);
}

// Notes what emptying each page of a region costs.
void heap_impl::note_costs(const region& r, std::uint32_t* costs) const noexcept {
  std::fill(costs, costs + r.pages, cost_barred);
  const auto in_region = [&r](const page_info* page) { return page >= r.infos && page < r.infos + r.pages; };
  for (const shelf* s : shelves_) {
    for (std::uint32_t i = 0; i < s->page_count; ++i) {
      const page_info* page = s->pages[i];
      if (!in_region(page) || !s->movable || page->pins != 0) continue;
      costs[page - r.infos] = cost_of_bytes(std::size_t{s->blocks_of(page)} * s->slot);
    }
  }
  for (const large_page* in : large_.pages()) {
    if (!in_region(in->page) || !may_try(in)) continue;
    if (all_movable(in)) costs[in->page - r.infos] = cost_of_bytes(large_space::live_bytes(in));
  }
  for (const page_info* first : runs_) {
    if (!in_region(first) || kind_infos_[first->kind].options.move == nullptr || first->pins != 0) continue;
    std::uint32_t* cost = costs + (first - r.infos);
    *cost = cost_of_bytes(first->run_bytes);
    std::fill(cost + 1, cost + pages_of(first->run_bytes, page_bytes_), cost_body);
  }
  pool_.note_free(r, costs);
}

namespace {

// The window of `count` pages that costs least, no more than cost_max; region::pages if there is none. It does not
// begin within a run, and a run that it ends in is counted whole.
std::size_t cheapest(const std::uint32_t* costs, std::size_t pages, std::size_t count,
                     std::uint64_t cost_max) noexcept {
  std::size_t best = pages;
  std::uint64_t best_cost = cost_max + 1;
  std::uint64_t cost = 0;
  std::size_t barred = 0;
  const auto weight = [&](std::size_t i) { return costs[i] >= cost_body ? 0 : costs[i]; };
  for (std::size_t end = 0; end < pages; ++end) {
    cost += weight(end);
    if (costs[end] == cost_barred) ++barred;
    if (end + 1 < count) continue;
    const std::size_t begin = end + 1 - count;
    if (barred == 0 && costs[begin] != cost_body && cost < best_cost) {
      best_cost = cost;
      best = begin;
    }
    cost -= weight(begin);
    if (costs[begin] == cost_barred) --barred;
  }
  return best;
}

}  // namespace

// Empties `count` pages side by side, for a run that has to leave the outer window if there is one, by moving no more
// than the work allows. Returns the first of them, as pool_.take_run would; null if there is no such window, or
// something in it did not move.
page_info* heap_impl::clear_pages(std::size_t count, work_left& work, const page_window* outer) noexcept {
  if (outer != nullptr && outer->outer != nullptr) return nullptr;  // once is enough
  // What is moved out of the window goes to free pages: there must be as many as are wanted side by side.
  for (shelf* s : shelves_) return_parked(*s, 0);
  if (pool_.free_pages() < count) return nullptr;
  const page_info* refused[clear_attempts_max] = {};
  for (int attempt = 0; attempt < clear_attempts_max; ++attempt) {
    bool found = false;
    for (std::size_t i = 0; i < pool_.region_count() && !found; ++i) {
      const region& r = pool_.region_at(i);
      if (r.pages < count) continue;
      const std::size_t bytes = r.pages * sizeof(std::uint32_t);
      auto* costs = static_cast<std::uint32_t*>(pool_.metadata_allocate(bytes));
      if (costs == nullptr) return nullptr;
      note_costs(r, costs);
      for (const page_info* page : refused) {
        if (page >= r.infos && page < r.infos + r.pages) costs[page - r.infos] = cost_barred;
      }
      // What the outer window is about to empty must stay as it is meanwhile.
      if (outer != nullptr && outer->first >= r.infos && outer->first < r.infos + r.pages) {
        std::fill_n(costs + (outer->first - r.infos), outer->count, cost_barred);
      }
      const std::size_t begin = cheapest(costs, r.pages, count, work.bytes >> 10);
      page_window w{r.infos + begin, count, nullptr, outer};
      found = begin != r.pages && pool_.claim(r, begin, count, costs + begin);
      pool_.metadata_free(costs, bytes);
      if (!found) continue;
      if (empty_window(w, work)) return w.first;
      refused[attempt] = w.refused;
    }
    if (!found) return nullptr;
  }
  return nullptr;
}

// What is left of a heap that shrank lies on a few pages of each stretch of address space, and each stretch costs an OS
// page, its page table in the kernel. Empties those with least in them into free pages further down, as long as that
// moves no more than gathered_per_gained bytes for a byte of page tables. False: the work is spent.
bool heap_impl::gather_pages(work_left& work) noexcept {
  const std::size_t span = page_pool_impl::table_span_bytes / page_bytes_;
  if (pages_given_ < span) return true;
  for (shelf* s : shelves_) return_parked(*s, 0);
  const std::size_t cost_max = gathered_per_gained * os_page_ >> 10;
  for (std::size_t i = pool_.region_count(); i-- > 0;) {
    const region& r = pool_.region_at(i);
    const std::size_t bytes = r.pages * sizeof(std::uint32_t);
    auto* costs = static_cast<std::uint32_t*>(pool_.metadata_allocate(bytes));
    if (costs == nullptr) return true;
    note_costs(r, costs);
    const std::size_t first_span = (-reinterpret_cast<std::uintptr_t>(r.base) >> pool_.page_shift()) % span;
    const std::size_t usable = pool_.usable_pages(r);
    const std::size_t end = usable < first_span ? 0 : first_span + (usable - first_span) / span * span;
    auto free_below = static_cast<std::size_t>(std::count(costs, costs + end, 0U));
    std::size_t taken = 0;  // of these, the lowest, by pages that were moved
    bool spent = false;
    for (std::size_t begin = end; begin >= first_span + span && !spent; begin -= span) {
      std::uint64_t cost = 0;
      std::size_t used = 0;
      for (std::size_t k = begin - span; k < begin; ++k) {
        cost += std::min(costs[k], cost_body);
        used += costs[k] != 0 ? 1 : 0;
      }
      free_below -= span - used;
      if (used == 0 || cost > cost_max) continue;
      if (free_below < taken + used) break;
      taken += used;
      if (work.on_time() && empty_span(r.infos + begin - span, span, costs + begin - span, work)) continue;
      spent = !work.on_time() || !work.allows(slot_max_);
      // A shelf was compacted: pages that it gave up may be another heap's by now.
      note_costs(r, costs);
      free_below = static_cast<std::size_t>(std::count(costs, costs + begin - span, 0U));
      taken = 0;
    }
    pool_.metadata_free(costs, bytes);
    if (spent) return false;
  }
  pages_given_ = 0;
  return true;
}

// False: not all of it moved.
bool heap_impl::empty_span(page_info* first, std::size_t count, const std::uint32_t* costs, work_left& work) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    if (costs[i] == 0) continue;                                                  // free, or another heap's by now
    if (first[i].use == page_use::shelf && first[i].withdrawn != 0) return true;  // would take what is missing of it
    auto* const of = first[i].use == page_use::shelf ? static_cast<shelf*>(first[i].owner) : nullptr;
    const bool gone = relocate_page(first + i, {}, work);
    // What was moved of it before a mover refused, or the work was spent, lies on a page more.
    if (!gone && of != nullptr) (void)compact_shelf(*of, work);
    // Before it is taken as the next free page.
    trimmed_bytes_ += pool_.trim_some(~std::size_t{0}, 0);
    if (!gone) return false;
  }
  return true;
}

// Moves what is in the pages of a claimed window elsewhere. False, with the claimed pages given back, if it does not
// all move.
bool heap_impl::empty_window(page_window& w, work_left& work) noexcept {
  for (std::size_t i = 0; i < w.count; ++i) {
    page_info* page = w.first + i;
    if (relocate_page(page, w, work)) continue;
    w.refused = page;
    for (std::size_t k = 0; k < w.count; ++k) {
      if (w.first[k].use == page_use::free) pool_.give(w.first + k);
    }
    return false;
  }
  return true;
}

// Moves what is in a page of a window elsewhere. False if it does not all move.
bool heap_impl::relocate_page(page_info* page, const page_window& w, work_left& work) noexcept {
  switch (page->use) {
    case page_use::shelf:
      return relocate_shelf_page(page, w, work);
    case page_use::large:
      return relocate_large_page(page->large, w, work);
    case page_use::run:
      return relocate_run(page, w, work);
    case page_use::free:
    case page_use::run_body:
      break;
  }
  return true;
}

// Moves the blocks of a page of a shelf to the same slots of another page. If one does not move, both stay with the
// shelf.
bool heap_impl::relocate_shelf_page(page_info* from, const page_window& w, work_left& work) noexcept {
  shelf& s = *static_cast<shelf*>(from->owner);
  const std::uint32_t fresh = s.fresh_of(from);
  page_info* to = spare_shelf_page(s, from->start(), fresh);
  if (to == nullptr) return false;
  for (std::uint32_t i = 0; i < fresh; ++i) {
    if (base::test_bit(from->hole_map, i)) continue;
    if (!work.allows(s.slot)) break;
    work.spend(s.slot);
    const verdict answer = call_mover(s.kind, s.slot_address(from, i), s.slot_address(to, i), s.slot);
    if (answer == verdict::keep) {
      blocked_ = stop_reason::refused;
      break;
    }
    if (answer == verdict::moved) s.take_hole(to, i);
    s.put_hole(from, i);
  }
  const bool gone = s.is_empty(from);
  for (page_info* page : {from, to}) {
    if (!s.is_empty(page)) continue;
    forget_withdrawn(s, page);
    s.remove_any(page);
    pool_.metadata_free(page->hole_map, s.hole_map_bytes());
    metadata_bytes_ -= s.hole_map_bytes();
    vacate(page, w);
  }
  return gone;
}

// A page that joins a shelf, not as its top, with `fresh` slots that are all holes. Null if there is no room for it.
page_info* heap_impl::spare_shelf_page(shelf& s, std::size_t start, std::uint32_t fresh) noexcept {
  if (!make_page_room(s)) return nullptr;
  void* hole_map = pool_.metadata_allocate(s.hole_map_bytes());
  if (hole_map == nullptr) return nullptr;
  page_info* page = pool_.take(true);
  if (page == nullptr) {
    pool_.metadata_free(hole_map, s.hole_map_bytes());
    return nullptr;
  }
  held_ += page->resident_bytes();
  metadata_bytes_ += s.hole_map_bytes();
  page->use = page_use::shelf;
  page->owner = &s;
  pool_.set_shelf(page, &s);
  page->hole_map = static_cast<std::uint64_t*>(hole_map);
  page->start_lines = static_cast<std::uint16_t>(start / page_info::start_unit);
  page->pins = 0;
  const auto begin = static_cast<std::uint32_t>(base::round_down(start, os_page_));
  if (page->resident_bytes() == 0) {
    page->resident_begin = page->resident_end = begin;
  } else if (page->resident_begin > begin && pool_.charge(page->resident_begin - begin)) {
    held_ += page->resident_begin - begin;
    page->resident_begin = begin;
  }
  if (page->resident_begin > begin || !extend_resident(page, start + std::size_t{fresh} * s.slot)) {
    release_shelf_page(s, page);
    return nullptr;
  }
  if constexpr (SCOOT_CHECK_LEVEL >= 2) make_dead(page->base + start, std::size_t{fresh} * s.slot);
  s.push_holes(page, fresh);
  return page;
}

// Moves the blocks of a page of the large space to another page, one beside the other. If one does not move, both stay.
bool heap_impl::relocate_large_page(large_page* from, const page_window& w, work_left& work) noexcept {
  if (!add_large_page(needed_bytes(from))) return false;
  large_page* const fresh = large_.pages()[large_.pages().size() - 1];
  large_page* to = fresh;
  const std::uint64_t kept = blocks_kept_;
  large_.close(from);
  const bool gone = pour(from, to, work);
  if (to != fresh) end_pouring(to);
  end_pouring(fresh);
  if (!gone) {
    if (from != evacuating_) large_.open(from);
    note_failure(from, blocks_kept_ != kept);
    (void)give_vacant(from);
    return false;
  }
  if (evacuating_ == from) evacuating_ = nullptr;
  page_info* page = from->page;
  forget_missing(from);
  large_.remove(from);
  vacate(page, w);
  return true;
}

bool heap_impl::relocate_run(page_info* from, const page_window& w, work_left& work) noexcept {
  const std::size_t size = from->run_bytes;
  if (!work.allows(size)) return false;
  page_info* to = take_run_of(size, &work, &w);
  if (to == nullptr) return false;
  if (!work.allows(size) || !move_run(from, to)) {
    retire_run(to, {});
    return false;
  }
  work.spend(size);
  retire_run(from, w);
  return true;
}

// Asks the mover to move a run. False if it keeps it; a run that was dropped needs no other.
bool heap_impl::move_run(page_info* from, page_info* to) noexcept {
  to->kind = from->kind;
  const verdict answer = call_mover(from->kind, from->base, to->base, from->run_bytes);
  if (answer == verdict::drop) {
    retire_run(to, {});
    count_free(from->run_bytes);
  }
  if (answer == verdict::keep) blocked_ = stop_reason::refused;
  return answer != verdict::keep;
}

// A run without a block: its pages go to the window, those in it, and to the pool.
void heap_impl::retire_run(page_info* first, const page_window& w) noexcept {
  const std::size_t count = pages_of(first->run_bytes, page_bytes_);
  if (page_info* moved = runs_.remove(first->position)) moved->position = first->position;
  for (std::size_t i = 0; i < count; ++i) vacate(first + i, w);
  trim_idle_excess();
}

}  // namespace scoot
