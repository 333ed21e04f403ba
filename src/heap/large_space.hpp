// SPDX-License-Identifier: MIT
//
// large_space: blocks too big for a shelf and up to half a page, several to a page, of any size and anywhere in it.
//
//     page        |block.........|..hole..|block......|block....|.....hole, its end perhaps not yet resident.....|
//     large_page  {largest hole, tail}[{begin,size,kind}, {begin,size,kind}, {begin,size,kind}]   sorted by begin
//
// What is known of a page's blocks lies outside of it, in one sorted array, and a hole is what lies between two of
// them. So neither allocate nor free touches a cold OS page, and the cheapest stretch to clear is found at the speed of
// a walk over an array. Pages are listed by their largest resident hole, in 32 steps to a doubling (the two-level
// bitmap of Masmano, Ripoll, Crespo, Real: TLSF, ECRTS 2004); a block goes to the page whose largest hole is the
// closest fit, and there to the hole that is. A second such list has the pages with room that is not resident: behind
// their last block, or where OS pages of a hole were given back and are *missing*.
//
// Part of the heap module: knows blocks and holes; the heap knows kinds, movers and the budget.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "heap/page_info.hpp"
#include "heap/pointer_list.hpp"

namespace scoot {

// Positions and sizes are in granules, of which a page of 1 MiB has 65536.
struct large_block {
  std::uint16_t begin = 0;
  std::uint16_t size = 0;
  std::uint8_t kind = 0;
  bool marked : 1 = false;  // by move_everything, for a pass
  bool fixed : 1 = false;   // its kind has no mover

  [[nodiscard]] std::uint32_t end() const noexcept { return std::uint32_t{begin} + size; }
};

struct large_page {
  page_info* page = nullptr;
  struct {
    large_page* next = nullptr;
    large_page* prev = nullptr;
    std::uint32_t room = 0;       // granules by which it is listed; 0: it is not
  } listed[2];                    // by its largest resident hole; by its largest one that is not all resident
  std::uint32_t position = 0;     // among all pages
  std::uint32_t count = 0;        // of blocks
  std::uint32_t fixed = 0;        // of these, blocks that no mover moves
  std::uint32_t live = 0;         // granules in blocks
  std::uint32_t guests = 0;       // blocks that a shelf would have held
  std::uint64_t retry_at = 0;     // the heap's clock before which it is left alone: a block could not be moved
  std::uint8_t refusals = 0;      // by movers, one after the other
  bool open = false;              // takes new blocks: listed
  bool swept = false;             // no OS page of its holes is resident
  bool to_repack = false;         // by a compaction under way
  std::uint64_t missing[4] = {};  // a bit an OS page of it, set where that was given back from between blocks

  static constexpr std::size_t os_pages_max = sizeof missing * 8;

  [[nodiscard]] large_block* blocks() noexcept { return reinterpret_cast<large_block*>(this + 1); }
  [[nodiscard]] const large_block* blocks() const noexcept { return reinterpret_cast<const large_block*>(this + 1); }
};

class large_space {
 public:
  static constexpr std::size_t granule = 16;
  static constexpr std::uint32_t nothing = ~std::uint32_t{0};

  // Where a block may go: before block `index` of the page, from granule `begin` on.
  struct place {
    large_page* in = nullptr;
    std::uint32_t index = 0;
    std::uint32_t begin = 0;
  };
  // A stretch of a page with blocks [first, last) in it, of `cost` granules together.
  struct window {
    large_page* in = nullptr;
    std::uint32_t first = 0;
    std::uint32_t last = 0;
    std::uint32_t cost = nothing;
  };

  // Blocks will be of block_bytes_min at least, but for a few guests: smaller ones, in holes that nothing else fits.
  large_space(page_pool_impl& pool, std::size_t page_bytes, std::size_t os_page_bytes,
              std::size_t block_bytes_min) noexcept;
  ~large_space();
  large_space(const large_space&) = delete;
  large_space& operator=(const large_space&) = delete;

  [[nodiscard]] static std::uint32_t granules(std::size_t bytes) noexcept {
    return static_cast<std::uint32_t>((bytes + granule - 1) / granule);
  }
  [[nodiscard]] static char* address(const large_page* in, std::uint32_t at) noexcept {
    return in->page->base + at * granule;
  }
  [[nodiscard]] static std::uint32_t resident_granules(const large_page* in) noexcept {
    return static_cast<std::uint32_t>(in->page->resident_end / granule);
  }
  [[nodiscard]] static std::size_t live_bytes(const large_page* in) noexcept { return in->live * granule; }

  // A resident hole in which a block fits, or room of which some is not resident; false if none was found. Nothing is
  // changed.
  [[nodiscard]] bool find(std::size_t bytes, std::size_t alignment, place& found) const noexcept;
  [[nodiscard]] bool find_fresh(std::size_t bytes, std::size_t alignment, place& found) const noexcept;
  // The same for a guest: a hole that is hardly larger than it.
  [[nodiscard]] bool find_for_guest(std::size_t bytes, std::size_t alignment, place& found) const noexcept;
  // Whether the page may have one more block of that size: of guests it takes a few only.
  [[nodiscard]] bool takes(const large_page* in, std::size_t bytes) const noexcept {
    return in->guests < guests_max || !is_guest(granules(bytes));
  }
  // About the largest resident hole, in granules.
  [[nodiscard]] std::uint32_t largest_hole() const noexcept;
  // Puts a block there, in a page that takes it. What it needs of the page must be resident. Returns its address.
  char* take(const place& at, std::size_t bytes, std::uint8_t kind, bool fixed) noexcept;
  // The index of the block at an address, or `nothing`.
  [[nodiscard]] static std::uint32_t index_of(const large_page* in, const void* block) noexcept;
  // Makes a block a hole.
  void give(large_page* in, std::uint32_t index) noexcept;

  // Takes a page in, as one hole. Null, and nothing changed, if there is no memory to note it.
  [[nodiscard]] large_page* add(page_info* page) noexcept;
  // Forgets a page without blocks.
  void remove(large_page* in) noexcept;

  // A page that is closed takes no new blocks, so that it can be cleared.
  void close(large_page* in) noexcept;
  void open(large_page* in) noexcept;
  // To be called when what is resident of a page became less.
  void note_room(large_page* in) noexcept;

  // The first OS pages in turn that are resident and hold nothing, from `first` on: [first, end). False if there are
  // none up to the page's last block.
  [[nodiscard]] bool next_vacant(const large_page* in, std::uint32_t& first, std::uint32_t& end) const noexcept;
  // These, or what is missing of them, are missing now, or there again. Returns how many changed.
  std::uint32_t mark_missing(large_page* in, std::uint32_t first, std::uint32_t end, bool missing) noexcept;
  // The OS pages that a stretch of granules lies on.
  [[nodiscard]] std::uint32_t os_page_of(std::uint32_t at) const noexcept { return at >> os_shift_; }

  // Looks in a page for the stretch of `need` granules, all resident, that costs least to clear; updates `best` if it
  // costs less. `cost_of(in, block)` is that of a block in granules, or `nothing` if it cannot move.
  template <class Cost>
  static void cheapest_window(large_page* in, std::uint32_t need, Cost cost_of, window& best) noexcept;

  [[nodiscard]] const pointer_list<large_page>& pages() const noexcept { return pages_; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept {
    return pages_.bytes() + pages_.size() * large_page_bytes();
  }

  // Aborts with a message where the notes about a page are broken.
  void verify(const large_page* in) const noexcept;

 private:
  static constexpr unsigned exponents = 17;  // room for 1 to 2^16 granules
  static constexpr unsigned steps = 32;      // lists to a doubling
  static constexpr unsigned pages_looked_at_max = 16;
  static constexpr std::uint32_t guests_max = 8;      // in a page
  static constexpr std::uint32_t guest_room_max = 2;  // times its size: the largest hole of a page it goes to
  enum list_kind : unsigned { by_hole, by_fresh };

  struct list_index {
    unsigned exponent;
    unsigned step;
  };
  struct lists {
    std::uint32_t exponent_bits = 0;
    std::uint32_t step_bits[exponents] = {};
    large_page* heads[exponents][steps] = {};
  };
  static list_index list_of(std::uint32_t room) noexcept;
  [[nodiscard]] std::size_t large_page_bytes() const noexcept {
    return sizeof(large_page) + capacity_ * sizeof(large_block);
  }
  void link(large_page* in, list_kind k, std::uint32_t room) noexcept;
  void unlink(large_page* in, list_kind k) noexcept;
  void relist(large_page* in, list_kind k, std::uint32_t room) noexcept;
  [[nodiscard]] bool is_guest(std::size_t size_granules) const noexcept { return size_granules < block_granules_min_; }
  [[nodiscard]] large_page* closest(list_kind k, std::uint32_t room, bool guest) const noexcept;
  bool closest_hole(large_page* in, std::uint32_t need, std::size_t alignment, place& found) const noexcept;
  [[nodiscard]] std::uint32_t hole_room(const large_page* in) const noexcept;
  [[nodiscard]] std::uint32_t fresh_room(const large_page* in) const noexcept;
  void note_taken(large_page* in, std::uint32_t index) noexcept;
  template <class Visit>
  void visit_holes(const large_page* in, std::uint32_t page_end, Visit visit) const noexcept;
  template <class Visit>
  void visit_resident(const large_page* in, Visit visit) const noexcept;
  template <class Visit>
  void visit_fresh(const large_page* in, Visit visit) const noexcept;

  page_pool_impl& pool_;
  const std::uint32_t page_granules_;
  const unsigned os_shift_;  // of an OS page, in granules
  const std::uint32_t block_granules_min_;
  const std::uint32_t capacity_;  // blocks a page can have, one of them twice while it moves
  pointer_list<large_page> pages_;
  lists lists_[2];
};

// Two ends that only move forwards: linear in the page's blocks.
template <class Cost>
void large_space::cheapest_window(large_page* in, std::uint32_t need, Cost cost_of, window& best) noexcept {
  if (in->page->missing != 0) return;  // where blocks stay: there is little to be had
  const large_block* b = in->blocks();
  const std::uint32_t resident = resident_granules(in);
  std::uint32_t last = 0;
  std::uint32_t cost = 0;  // of the blocks [first, last)
  for (std::uint32_t first = 0; first < in->count; ++first) {
    if (last < first) last = first;
    const std::uint32_t begin = first == 0 ? 0 : b[first - 1].end();
    bool barred = false;
    while (!barred && (last == in->count ? resident : b[last].begin) < begin + need) {
      if (last == in->count) return;
      const std::uint32_t more = cost_of(in, b[last++]);
      barred = more == nothing;
      cost += more;
    }
    if (barred) {
      first = last - 1;  // goes on behind the block that stays
      cost = 0;
      continue;
    }
    if (last == first) continue;
    if (cost < best.cost) best = {in, first, last, cost};
    cost -= cost_of(in, b[first]);
  }
}

}  // namespace scoot
