// SPDX-License-Identifier: MIT
//
// page_info: what is known of one page, kept outside of it so that a page holds nothing but blocks and the facts of
// many pages share few cache lines. The pool owns the array of them (one a region, indexed by address); while a page is
// in use its heap alone reads and writes its entry, while it is free the pool does, under its lock.
//
//     page   |..start..|slot|slot|hole|slot|slot|......................|
//            ^resident_begin                ^fresh     ^resident_end   ^page_bytes
//
// Only [resident_begin, resident_end), whole OS pages, was ever touched, and is charged against the budget; but for OS
// pages of it that are missing, see withdrawal.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot {

struct large_page;

enum class page_use : std::uint8_t { free, shelf, large, run, run_body };

struct alignas(64) page_info {
  char* base = nullptr;
  void* owner = nullptr;  // shelf* of a shelf page, heap_impl* of the others in use
  union {
    std::uint64_t* hole_map = nullptr;  // shelf: a bit a slot, set where it is a hole or withdrawn; then one an OS page
    large_page* large;                  // large: its blocks
    std::size_t run_bytes;              // run: of the block
  };
  std::uint32_t resident_begin = 0;
  std::uint32_t resident_end = 0;
  std::uint32_t position = 0;     // index among the shelf's pages or the heap's runs
  std::uint32_t holes = 0;        // shelf: bits set in hole_map whose slots are not withdrawn
  std::uint32_t withdrawn = 0;    // shelf: bits set in hole_map whose slots are
  std::uint32_t fresh = 0;        // shelf: slots from here on were never used. Stale while the page is its shelf's top
  std::uint32_t pins = 0;         // pinned blocks that begin in this page
  std::uint16_t start_lines = 0;  // shelf: offset of the first slot, in units of start_unit
  std::uint16_t hint_word = 0;    // shelf: no hole in the words of hole_map before this one
  std::uint16_t missing = 0;      // shelf, large: of the resident range, in units of missing_unit
  page_use use = page_use::free;
  std::uint8_t kind = 0;         // run: of the block
  std::uint16_t arrivals = 0;    // blocks that were moved into the page, ever; wraps, for whoever draws moves
  std::uint16_t departures = 0;  // and out of it

  static constexpr std::size_t start_unit = 64;
  [[nodiscard]] std::size_t start() const noexcept { return start_lines * start_unit; }

  static constexpr std::size_t missing_unit = 4096;  // no OS page is smaller

  [[nodiscard]] std::size_t missing_bytes() const noexcept { return missing * missing_unit; }
  [[nodiscard]] std::size_t resident_bytes() const noexcept { return resident_end - resident_begin - missing_bytes(); }
};

static_assert(sizeof(page_info) == 64);

}  // namespace scoot
