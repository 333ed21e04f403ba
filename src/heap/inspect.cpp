// SPDX-License-Identifier: MIT
//
// Statistics, checks of the invariants, and the test mode that moves everything.
#include <algorithm>
#include <bit>
#include <iterator>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

heap_impl::totals heap_impl::exact_totals() const noexcept {
  totals t{allocations_, allocated_bytes_, frees_, freed_bytes_};
  for (const shelf* s : shelves_) {
    const std::uint64_t allocated = s->allocations - s->counted_allocations;
    const std::uint64_t freed = allocated + s->counted_blocks - s->blocks();
    t.allocations += allocated;
    t.allocated_bytes += allocated * s->slot;
    t.frees += freed;
    t.freed_bytes += freed * s->slot;
  }
  return t;
}

heap_stats heap_impl::get_stats() const noexcept {
  heap_stats s;
  const totals t = exact_totals();
  s.blocks = static_cast<std::size_t>(t.allocations - t.frees);
  const auto live = static_cast<std::size_t>(t.allocated_bytes - t.freed_bytes);
  s.live_bytes = live - s.blocks * redzone();
  s.held_bytes = held_;
  s.metadata_bytes = metadata_bytes_ + sizeof(heap_impl) + shelves_.bytes() + runs_.bytes() + pins_.bytes() +
                     large_.metadata_bytes() + history_.bytes();
  for (const shelf* h : shelves_) {
    s.hole_bytes += h->hole_bytes();
    s.pages += h->page_count;
  }
  for (const large_page* in : large_.pages()) s.hole_bytes += large_waste(in);
  for (const page_info* first : runs_) s.pages += (first->run_bytes + page_bytes_ - 1) / page_bytes_;
  s.pages += large_.pages().size();
  const std::size_t waste = held_ - live;
  s.slack_bytes = waste > s.hole_bytes ? waste - s.hole_bytes : 0;
  s.shelves = shelves_.size();
  s.pinned_blocks = pins_.size();
  s.allocations = t.allocations;
  s.allocated_bytes = t.allocated_bytes - t.allocations * redzone();
  s.blocks_moved = blocks_moved_;
  s.bytes_moved = bytes_moved_;
  s.blocks_dropped = blocks_dropped_;
  s.blocks_kept = blocks_kept_;
  s.blocks_examined = blocks_examined_;
  s.failures = failures_;
  std::copy(std::begin(pauses_), std::end(pauses_), s.pauses);
  s.pause_ns = pause_ns_;
  return s;
}

// --- Checks of our own -----------------------------------------------------------------------------------------------

namespace {

void require(bool condition, const char* what) noexcept {
  if (!condition) [[unlikely]]
    base::fail(__FILE__, __LINE__, "heap: broken invariant: %s", what);
}

}  // namespace

void heap_impl::check_shelf(const shelf& s, std::size_t& resident, std::size_t& live,
                            std::size_t& pins) const noexcept {
  std::uint64_t holes = 0;
  std::uint64_t all_withdrawn = 0;
  std::uint64_t taken = 0;
  std::uint32_t partial = 0;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    require(page->use == page_use::shelf && page->owner == &s && page->position == i, "a page knows its shelf");
    const std::uint32_t fresh = s.fresh_of(page);
    require(fresh <= s.capacity_of(page), "no more slots in use than a page has");
    require(page->start() + std::size_t{fresh} * s.slot <= page->resident_end, "slots in use are charged");
    require(page->resident_begin <= page->start() && page->resident_end <= page_bytes_, "resident range");
    std::uint32_t bits = 0;
    std::uint32_t withdrawn = 0;
    for (std::uint32_t word = 0; word <= (s.capacity_of(page) - 1) / 64; ++word) {
      bits += static_cast<std::uint32_t>(std::popcount(page->hole_map[word]));
      const std::uint64_t holes_there = s.holes_in_word(page, word);
      require(holes_there == 0 || word >= page->hint_word, "hint of a page");
      withdrawn += static_cast<std::uint32_t>(std::popcount(page->hole_map[word] ^ holes_there));
      if (page->hole_map[word] != 0) {
        require(word * 64 + 63 - static_cast<unsigned>(std::countl_zero(page->hole_map[word])) < fresh,
                "holes are below fresh");
      }
    }
    require(withdrawn == page->withdrawn, "withdrawn slots of a page");
    require(bits == page->holes + withdrawn, "holes of a page");
    require(base::test_bit(s.hole_pages, i) == (page->holes != 0), "a page with holes is found");
    require(page->holes == 0 || i / 64 >= s.hint_word, "hint of a shelf");
    check_missing(s, page);
    if (i + 1 < s.page_count && fresh < s.capacity_of(page)) ++partial;
    holes += page->holes;
    all_withdrawn += withdrawn;
    taken += fresh - bits;
    live += (fresh - bits) * std::size_t{s.slot};
    resident += page->resident_bytes();
    pins += page->pins;
  }
  require(holes == s.holes && all_withdrawn == s.withdrawn, "holes of a shelf");
  require(taken == s.taken && s.parked <= taken, "slots of a shelf that are live or parked");
  require(partial == s.partial, "pages with fresh slots");
  require(s.page_count == 0 ? s.anchored == 0 : s.anchored < s.page_count, "the top is not anchored");
  require(s.page_count == 0 || s.limit == s.top()->base + s.top()->resident_end, "limit of a shelf");
  live -= s.parked * std::size_t{s.slot};
  for (std::uint32_t i = 0; i < s.parked; ++i) {
    const page_info* page = page_of(s.magazine[i]);
    require(page->owner == &s, "a parked slot is of its shelf");
    require(!base::test_bit(page->hole_map, s.slot_index(page, s.magazine[i])), "a parked slot is no hole");
  }
  if constexpr (SCOOT_CHECK_LEVEL >= 2) check_bytes(s);
}

// What is missing of a page is where nothing is live.
void heap_impl::check_missing(const shelf& s, const page_info* page) const noexcept {
  std::size_t missing = 0;
  for (std::uint32_t i = 0; i < page_bytes_ >> s.os_page_shift; ++i) {
    if (!base::test_bit(s.missing_map(page), i)) continue;
    missing += os_page_;
    require(s.is_vacant(page, i), "what is missing holds nothing");
  }
  require(missing == page->missing_bytes(), "missing bytes of a page");
  require((missing == 0) == (page->withdrawn == 0), "slots on missing memory are withdrawn");
}

// What is dead was not written, and live blocks end where they should.
void heap_impl::check_bytes(const shelf& s) const noexcept {
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    for (std::uint32_t index = 0; index < s.fresh_of(page); ++index) {
      const char* slot = s.slot_address(page, index);
      if (s.is_withdrawn(page, index)) continue;
      if (base::test_bit(page->hole_map, index) || s.is_parked(slot)) {
        check_dead(slot, s.slot);
      } else {
        check_redzone(slot, s.slot, "verify");
      }
    }
  }
}

void heap_impl::check_all() const noexcept {
  std::size_t resident = 0;
  std::size_t live = 0;
  std::size_t pins = 0;
  for (const shelf* s : shelves_) check_shelf(*s, resident, live, pins);
  for (std::uint32_t i = 0; i < large_.pages().size(); ++i) {
    const large_page* in = large_.pages()[i];
    const page_info* page = in->page;
    require(page->use == page_use::large && page->owner == this && page->large == in && in->position == i,
            "a large page knows its place");
    require(page->resident_begin == 0 && in->count != 0, "a large page holds something");
    require(in->open || in == evacuating_, "only a page being cleared is closed");
    large_.verify(in);
    resident += page->resident_bytes();
    pins += page->pins;
    live += large_space::live_bytes(in);
    if constexpr (SCOOT_CHECK_LEVEL >= 2) {
      for (std::uint32_t b = 0; b < in->count; ++b) {
        const large_block& each = in->blocks()[b];
        check_redzone(large_space::address(in, each.begin), each.size * large_space::granule, "verify");
      }
    }
  }
  for (std::uint32_t i = 0; i < runs_.size(); ++i) {
    const page_info* first = runs_[i];
    require(first->use == page_use::run && first->owner == this && first->position == i, "a run knows its place");
    for (std::size_t k = 0; k * page_bytes_ < first->run_bytes; ++k) resident += first[k].resident_bytes();
    live += first->run_bytes;
    if constexpr (SCOOT_CHECK_LEVEL >= 2) check_redzone(first->base, first->run_bytes, "verify");
    pins += first->pins;
  }
  require(resident == held_, "held bytes are the resident bytes of the pages");
  const totals t = exact_totals();
  require(live == t.allocated_bytes - t.freed_bytes, "live bytes");
  require(pins == pins_.size(), "pins of pages");
}

// --- move_everything ----------------------------------------------------------------------------------------------

// Every block moves into the slot that the one before it left; the first into a spare one.
std::size_t heap_impl::move_all_of(shelf& s) noexcept {
  return_parked(s, 0);
  if (!s.movable || s.page_count == 0) return 0;
  if (s.holes == 0 && static_cast<std::size_t>(s.limit - s.bump) < s.slot && !grow(s)) return 0;
  const std::uint64_t before = blocks_moved_;
  page_info* spare_page = nullptr;
  std::uint32_t spare = 0;
  if (s.holes != 0) {
    spare_page = s.lowest_hole(spare);
    s.take_hole(spare_page, spare);
  } else {
    spare_page = s.top();
    spare = s.slot_index(spare_page, s.bump);
    if constexpr (SCOOT_CHECK_LEVEL >= 2) make_dead(s.bump, s.slot);
    s.bump += s.slot;
    ++s.taken;
  }
  const void* first_spare = s.slot_address(spare_page, spare);
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    page_info* page = s.pages[i];
    for (std::uint32_t index = 0; index < s.fresh_of(page); ++index) {
      void* from = s.slot_address(page, index);
      const bool hole = base::test_bit(page->hole_map, index) || (page == spare_page && index == spare);
      if (hole || from == first_spare || is_pinned(page, from)) continue;
      const verdict answer = call_mover(s.kind, from, s.slot_address(spare_page, spare), s.slot);
      if (answer == verdict::keep) continue;
      if (answer == verdict::drop) {
        s.put_hole(page, index);
        continue;
      }
      spare_page = page;
      spare = index;
    }
  }
  s.magazine[s.parked++] = s.slot_address(spare_page, spare);
  return_parked(s, 0);
  return static_cast<std::size_t>(blocks_moved_ - before);
}

std::size_t heap_impl::move_all_large() noexcept {
  const std::uint64_t before = blocks_moved_;
  for (large_page* in : large_.pages()) {
    for (std::uint32_t i = 0; i < in->count; ++i) in->blocks()[i].marked = true;
  }
  for (std::uint32_t i = 0; i < large_.pages().size();) {
    large_page* in = large_.pages()[i];
    for (;;) {  // from the front each time: a block that moves shifts others
      large_block* end = in->blocks() + in->count;
      large_block* b = std::find_if(in->blocks(), end, [](const large_block& each) { return each.marked; });
      if (b == end) break;
      b->marked = false;
      if (!may_move(in, *b)) continue;
      const std::size_t size = b->size * large_space::granule;
      const std::size_t alignment = kind_infos_[b->kind].options.alignment;
      large_space::place at;
      if (!large_.find(size, alignment, at) && !large_.find_fresh(size, alignment, at) &&
          !add_large_page(size + alignment)) {
        continue;
      }
      move_large(in, static_cast<std::uint32_t>(b - in->blocks()), true);
    }
    if (in->count == 0) {
      release_large_page(in);
    } else {
      ++i;
    }
  }
  return static_cast<std::size_t>(blocks_moved_ - before);
}

std::size_t heap_impl::move_all_runs() noexcept {
  const std::uint64_t before = blocks_moved_;
  for (std::uint32_t i = runs_.size(); i-- > 0;) {  // downwards: a moved run joins at the end
    page_info* from = runs_[i];
    if (kind_infos_[from->kind].options.move == nullptr || from->pins != 0) continue;
    page_info* to = take_run_of(from->run_bytes, nullptr, nullptr);
    if (to != nullptr) retire_run(move_run(from, to) ? from : to, {});
  }
  return static_cast<std::size_t>(blocks_moved_ - before);
}

std::size_t heap_impl::move_all() noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    check_outside_callback("move_everything");
    begin_call(move_cause::test);
  }
  victim_ = nullptr;
  std::size_t moved = 0;
  for (std::uint32_t i = 0; i < shelves_.size(); ++i) moved += move_all_of(*shelves_[i]);
  return moved + move_all_large() + move_all_runs();
}

}  // namespace scoot
