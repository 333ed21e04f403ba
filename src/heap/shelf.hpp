// SPDX-License-Identifier: MIT
//
// shelf: all blocks of one kind and slot size, side by side on pages of their own.
//
//     pages_:  |anchored pages|        full pages, dense ones first        |top page|
//                                                                            ^bump   ^limit (resident so far)
//     magazine: slots freed last, handed out first
//
// A slot is live, a hole (its bit is set in its page's hole_map), parked in the magazine, fresh (at or above its
// page's `fresh`, never used), or withdrawn: a hole that lies, in part, on an OS page that is missing, see
// withdrawal.cpp. Allocation takes parked slots, then the lowest holes, then raises the top. The order of
// the pages is ours to choose, since nothing says that a shelf be contiguous: a page whose top block cannot move now is
// anchored, that is swapped to the front, so that it strands itself and not the shelf; an empty page leaves the order.
//
// Part of the heap module: knows pages and slots; the heap knows kinds, movers and the budget.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bits.hpp"
#include "heap/page_info.hpp"
#include "scoot/heap.hpp"

namespace scoot {

struct alignas(64) shelf {
  static constexpr unsigned magazine_slots = 30;

  // --- touched by every allocate and free: mostly the first cache line only
  std::uint32_t parked = 0;  // slots in the magazine
  std::uint32_t parked_max = 0;
  std::uint64_t allocations = 0;  // ever
  void* magazine[magazine_slots];

  // --- touched when the magazine runs over or empty
  std::uint32_t slot = 0;  // size in bytes
  std::uint8_t kind = 0;
  bool movable = false;
  bool closed = false;  // another shelf serves its sizes now; see spacing.cpp
  std::uint8_t os_page_shift = 0;
  std::uint16_t size_class = 0;        // of `slot`
  std::uint16_t spill_class : 10 = 0;  // of the shelf that served its last block instead
  std::uint16_t spills_left : 6 = 0;   // that may go there at once
  std::uint32_t position = 0;          // among the heap's shelves
  std::uint32_t smallest_slot = 0;     // that blocks had before they were moved here; see spacing.cpp
  char* bump = nullptr;                // next fresh slot of the top page
  char* limit = nullptr;               // end of what is resident of the top page
  page_info** pages = nullptr;
  std::uint64_t* hole_pages = nullptr;  // a bit a page, set where it has holes
  std::uint32_t page_count = 0;
  std::uint32_t page_capacity = 0;
  std::uint32_t anchored = 0;   // pages at the front whose top block could not move
  std::uint32_t partial = 0;    // pages other than the top with fresh slots
  std::uint32_t hint_word = 0;  // no page with holes in the words of hole_pages before this one
  std::uint32_t page_bytes = 0;
  std::uint64_t reciprocal = 0;  // ceil(2^40 / slot)
  std::uint64_t holes = 0;       // over all pages, as the next
  std::uint64_t withdrawn = 0;
  std::uint64_t taken = 0;                // slots that are live or parked
  std::uint64_t counted_allocations = 0;  // which the heap has in its counters, see settle()
  std::uint64_t counted_blocks = 0;
  std::uint64_t lowered = 0;         // bytes its top came down by to keep the target, and did not rise by since
  std::uint64_t lowered_period = 0;  // the heap's period in which it last did
  bool serves_others = false;        // sizes that might have a shelf of their own
  bool stays_apart = false;          // its top is not joined to another, for movers refused
  std::int32_t rounding = 0;         // of its latest blocks, on average; see spacing.cpp
  std::int32_t rounding_samples = 0;
  bool stuck = false;  // nothing more can be moved until something changes
  stop_reason stuck_why = stop_reason::done;
  std::uint64_t stuck_holes = 0;    // holes when it got stuck
  std::uint64_t stuck_unpins = 0;   // the heap's counter when it last anchored or forgot its anchors
  std::uint64_t stuck_frees = 0;    // the heap's counter when a compaction began that found it stuck, all of it
  std::uint32_t withdraw_next = 0;  // page to withdraw holes of next, since it got stuck
  std::uint32_t restore_next = 0;   // page to look for withdrawn slots in first

  [[nodiscard]] std::uint64_t blocks() const noexcept { return taken - parked; }
  [[nodiscard]] page_info* top() const noexcept { return page_count == 0 ? nullptr : pages[page_count - 1]; }
  [[nodiscard]] std::uint32_t slot_index(const page_info* page, const void* block) const noexcept {
    const auto offset = static_cast<std::uint64_t>(static_cast<const char*>(block) - page->base) - page->start();
    return static_cast<std::uint32_t>(offset * reciprocal >> 40);
  }
  [[nodiscard]] char* slot_address(const page_info* page, std::uint32_t index) const noexcept {
    return page->base + page->start() + std::size_t{index} * slot;
  }
  [[nodiscard]] std::uint32_t fresh_of(const page_info* page) const noexcept {
    return page == top() ? slot_index(page, bump) : page->fresh;
  }
  [[nodiscard]] std::uint32_t capacity_of(const page_info* page) const noexcept {
    return static_cast<std::uint32_t>((page_bytes - page->start()) * reciprocal >> 40);
  }
  // Resident bytes of the top page above the top, whole OS pages only.
  [[nodiscard]] std::size_t slack_bytes(std::size_t os_page) const noexcept {
    const page_info* page = top();
    if (page == nullptr) return 0;
    const std::size_t used = base::round_up(static_cast<std::size_t>(bump - page->base), os_page);
    return page->resident_end > used ? page->resident_end - used : 0;
  }
  // Whether the slot is in the magazine. Cost: a search.
  [[nodiscard]] bool is_parked(const void* address) const noexcept {
    return std::find(magazine, magazine + parked, address) != magazine + parked;
  }
  [[nodiscard]] std::size_t hole_bytes() const noexcept { return static_cast<std::size_t>(holes + parked) * slot; }
  [[nodiscard]] std::size_t hole_map_words() const noexcept { return (page_bytes / slot + 63) / 64; }
  // The hole map, and behind it a bit for each OS page, set where it is missing.
  [[nodiscard]] std::size_t hole_map_bytes() const noexcept {
    return (hole_map_words() + ((page_bytes >> os_page_shift) + 63) / 64) * 8;
  }
  [[nodiscard]] std::uint64_t* missing_map(const page_info* page) const noexcept {
    return page->hole_map + hole_map_words();
  }
  // Slots of the page that are live or parked.
  [[nodiscard]] std::uint32_t blocks_of(const page_info* page) const noexcept {
    return fresh_of(page) - page->holes - page->withdrawn;
  }
  [[nodiscard]] bool is_empty(const page_info* page) const noexcept { return blocks_of(page) == 0; }
  // Of a slot whose bit is set in the hole map: whether it is withdrawn.
  [[nodiscard]] bool is_withdrawn(const page_info* page, std::uint32_t index) const noexcept;
  // The holes among the 64 slots of a word of the page's hole map.
  [[nodiscard]] std::uint64_t holes_in_word(const page_info* page, std::uint32_t word) const noexcept {
    return page->withdrawn == 0 ? page->hole_map[word] : holes_beside_withdrawn(page, word);
  }

  // Marks a slot below its page's fresh as a hole.
  void put_hole(page_info* page, std::uint32_t index) noexcept;
  // Takes a given hole.
  void take_hole(page_info* page, std::uint32_t index) noexcept;
  // Unmarks the hole at `index` and those right below it, a word of the hole map at most, for the top to come down over
  // them. Returns how many. If it is withdrawn, unmarks all withdrawn ones right below it.
  std::uint32_t take_holes_from(page_info* page, std::uint32_t index) noexcept;
  // Lowers `index` to the next live slot of the page, of which all slots below `index` are live or holes. False if
  // there is none.
  static bool next_live_below(const page_info* page, std::uint32_t& index) noexcept;
  // The lowest page with a hole and the index of its lowest one; there must be one.
  page_info* lowest_hole(std::uint32_t& index) noexcept;
  // Moves the lowest holes into the empty magazine, half of what it holds at most. False if there are none.
  bool refill() noexcept;

  // Appends a page as the new top, with its hole_map, start and resident range set. There must be room in pages.
  void push(page_info* page) noexcept;
  // Takes the top page, empty but for fresh slots, off the shelf.
  page_info* pop() noexcept;
  // Takes any other page, with nothing but holes and fresh slots, off the shelf.
  void remove(page_info* page) noexcept;
  // Adds a page below the top, with its hole_map (any bits), start and resident range set, and with `fresh` slots that
  // are all holes. There must be a top, and room in pages.
  void push_holes(page_info* page, std::uint32_t fresh) noexcept;
  // Takes any page with nothing but holes and fresh slots off the shelf, the top too.
  void remove_any(page_info* page) noexcept;
  // Makes the top an anchored page. False if no other page is left to lower.
  bool anchor_top() noexcept;
  // Makes a page with fresh slots the top, if the shelf has one.
  bool raise_partial() noexcept;
  // Orders the pages of a shelf without holes: full ones and those with pins or withdrawn slots first, then the others
  // with fresh slots, the emptiest last. Returns the position of the first of these.
  std::uint32_t sort_partial() noexcept;
  // Orders the pages of a shelf without holes so that those with withdrawn slots and without pins come last, the
  // emptiest at the top.
  void sort_withdrawn() noexcept;

  // Whether slots in use, all of them holes or withdrawn, are all that is on an OS page of a page.
  [[nodiscard]] bool is_vacant(const page_info* page, std::uint32_t os_page) const noexcept;
  // Holes on OS pages [first, end) are withdrawn from now on: these pages, all vacant, are missing.
  void withdraw(page_info* page, std::uint32_t first, std::uint32_t end) noexcept;
  // The missing ones of these OS pages are there again.
  void restore(page_info* page, std::uint32_t first, std::uint32_t end) noexcept;

 private:
  [[nodiscard]] std::uint32_t slot_at(const page_info* page, std::size_t offset) const noexcept;
  [[nodiscard]] std::uint64_t holes_beside_withdrawn(const page_info* page, std::uint32_t word) const noexcept;
  std::uint32_t take_withdrawn_from(page_info* page, std::uint32_t index) noexcept;
  void number_pages() noexcept;
  void swap_pages(std::uint32_t a, std::uint32_t b) noexcept;
  void leave_top() noexcept;
  void enter_top() noexcept;
};

inline void shelf::take_hole(page_info* page, std::uint32_t index) noexcept {
  base::clear_bit(page->hole_map, index);
  --holes;
  ++taken;
  if (--page->holes == 0) base::clear_bit(hole_pages, page->position);
}

inline page_info* shelf::lowest_hole(std::uint32_t& index) noexcept {
  while (hole_pages[hint_word] == 0) ++hint_word;
  page_info* page = pages[hint_word * 64 + static_cast<unsigned>(std::countr_zero(hole_pages[hint_word]))];
  std::uint32_t word = page->hint_word;
  while (holes_in_word(page, word) == 0) ++word;
  page->hint_word = static_cast<std::uint16_t>(word);
  index = word * 64 + static_cast<std::uint32_t>(std::countr_zero(holes_in_word(page, word)));
  return page;
}

inline std::uint32_t shelf::take_holes_from(page_info* page, std::uint32_t index) noexcept {
  if (page->withdrawn != 0) [[unlikely]]
    return take_withdrawn_from(page, index);
  const std::uint32_t top_bit = index % 64;
  std::uint64_t& word = page->hole_map[index / 64];
  const auto run = static_cast<std::uint32_t>(std::countl_one(word << (63 - top_bit)));
  word &= ~((~std::uint64_t{0} >> (64 - run)) << (top_bit + 1 - run));
  holes -= run;
  page->holes -= run;
  if (page->holes == 0) base::clear_bit(hole_pages, page->position);
  return run;
}

inline bool shelf::next_live_below(const page_info* page, std::uint32_t& index) noexcept {
  while (index != 0) {
    const std::uint32_t at = index - 1;
    const std::uint64_t live = ~page->hole_map[at / 64] << (63 - at % 64);
    if (live != 0) {
      index = at - static_cast<std::uint32_t>(std::countl_zero(live));
      return true;
    }
    index = at / 64 * 64;
  }
  return false;
}

}  // namespace scoot
