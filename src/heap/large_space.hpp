// SPDX-License-Identifier: MIT
//
// large_space: blocks too big for a shelf and up to half a page, several to a page, found by boundary tags.
//
//     page   |header|payload......|header|..free..|header|payload..|header|....free, not yet resident....|
//
// Good fit over a two-level bitmap of free sizes (Masmano, Ripoll, Crespo, Real: TLSF, ECRTS 2004), with a look at a
// few chunks of the fitting list itself for a closer fit. The chunk at a page's end may be fresh: only what was touched
// of a page is resident, and allocation says how far it must become so.
//
// Part of the heap module: knows chunks and pages; the heap knows kinds, movers and the budget.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heap/page_info.hpp"
#include "heap/pointer_list.hpp"

namespace scoot {

struct chunk {
  std::uint32_t prev_bytes = 0;  // size of the chunk before it in the page, 0 for the first
  std::uint32_t bytes = 0;       // of this one, header included; a multiple of 16
  std::uint8_t kind = 0;
  bool free = false;
  bool listed = false;       // free, and in a free list
  bool marked = false;       // by move_everything, for a pass
  std::uint32_t usable = 0;  // bytes of the block

  [[nodiscard]] char* payload() noexcept { return reinterpret_cast<char*>(this + 1); }
};
static_assert(sizeof(chunk) == 16);

class large_space {
 public:
  explicit large_space(page_pool_impl& pool) noexcept : pages_(pool) {}

  [[nodiscard]] static chunk* of_block(const void* block) noexcept {
    return reinterpret_cast<chunk*>(const_cast<void*>(block)) - 1;
  }

  // A free chunk in which a block of `payload_bytes`, aligned, fits; null if there is none. Nothing is changed.
  [[nodiscard]] chunk* find(std::size_t payload_bytes, std::size_t alignment) const noexcept;
  // Offset in its page up to which the page must be resident before take() of that chunk.
  [[nodiscard]] static std::size_t resident_need(const page_info* page, chunk* found, std::size_t payload_bytes,
                                                 std::size_t alignment, std::size_t page_bytes) noexcept;
  // Carves the block out of the chunk. Returns its chunk.
  chunk* take(page_info* page, chunk* found, std::size_t payload_bytes, std::size_t alignment,
              std::size_t page_bytes) noexcept;
  // Frees a block's chunk, joining its neighbours. The page is empty when its live_bytes are 0 then.
  void give(page_info* page, chunk* freed, std::size_t page_bytes) noexcept;

  // Pages join as one free chunk, and leave when empty. add() needs make_room() first, and the first OS page resident.
  [[nodiscard]] bool make_room() noexcept { return pages_.make_room(); }
  void add(page_info* page, std::size_t page_bytes) noexcept;
  void remove(page_info* page, std::size_t page_bytes) noexcept;

  // Takes a page's free chunks out of the lists, so that it can be cleared; or puts them back.
  void set_evacuating(page_info* page, bool evacuating, std::size_t page_bytes) noexcept;

  [[nodiscard]] chunk* first(const page_info* page) const noexcept { return reinterpret_cast<chunk*>(page->base); }
  [[nodiscard]] static chunk* next(const page_info* page, chunk* c, std::size_t page_bytes) noexcept {
    char* end = reinterpret_cast<char*>(c) + c->bytes;
    return end == page->base + page_bytes ? nullptr : reinterpret_cast<chunk*>(end);
  }
  [[nodiscard]] const pointer_list<page_info>& pages() const noexcept { return pages_; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return pages_.bytes(); }

  // Aborts with a message where the tags of a page, or its counters, are broken.
  void verify(const page_info* page, std::size_t page_bytes) const noexcept;

 private:
  struct free_chunk : chunk {
    free_chunk* next_free;
    free_chunk* prev_free;
  };
  static constexpr std::size_t chunk_bytes_min = sizeof(free_chunk);
  static constexpr unsigned exponent_min = 5;  // 32 bytes
  static constexpr unsigned exponents = 16;    // up to 1 MiB
  static constexpr unsigned steps = 32;        // lists to a doubling
  static constexpr unsigned closer_fits_max = 8;

  struct list_index {
    unsigned exponent;
    unsigned step;
  };
  static list_index list_of(std::size_t bytes) noexcept;
  void link(chunk* c) noexcept;
  void unlink(chunk* c) noexcept;
  static char* place(chunk* c, std::size_t alignment) noexcept;
  static bool fits(chunk* c, std::size_t payload_bytes, std::size_t alignment) noexcept;
  static void set_bytes(const page_info* page, chunk* c, std::size_t bytes, std::size_t page_bytes) noexcept;

  pointer_list<page_info> pages_;
  std::uint32_t exponent_bits_ = 0;
  std::uint32_t step_bits_[exponents] = {};
  free_chunk* lists_[exponents][steps] = {};
};

}  // namespace scoot
