// SPDX-License-Identifier: MIT
//
// diagnosis: questions to a heap. What is this address?
//
//     stale pointer -> explain() -> "0x7f..40 is in a hole of 304 bytes, kind 'node'; moved from 0x7f..40 to 0x7f..90
//                                    in compaction 12 by kind 'node', and is there now"
//
// Where blocks went is remembered in checked builds of the library only (SCOOT_CHECK_LEVEL >= 1), and of the latest
// moves only: as many as fit in 1/1024 of the budget, 1 to 256 KiB. All else is answered in every build.
//
// Nothing here moves a block, calls a mover, or allocates. Threads: as the heap, one at a time. These are for people
// and tools: each question walks over what it is about, as its "Cost" says.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scoot/export.h"
#include "scoot/heap.hpp"

namespace scoot {

// --- Addresses -------------------------------------------------------------------------------------------------------

// What an address lies in.
enum class place : unsigned char {
  foreign = 0,     // no page of the heap's pool
  live = 1,        // a live block
  hole = 2,        // a freed slot, or free memory between the blocks of the large space
  parked = 3,      // a freed slot that is kept at hand: the next allocations of its size get it
  fresh = 4,       // memory above what is in use on its shelf or in its page
  gap = 5,         // beside blocks: rounding, what a page is too small for
  idle = 6,        // a page that no heap uses
  other_heap = 7,  // a page of another heap of the pool, which must be asked itself
};

struct explanation {
  place what = place::foreign;
  const void* block = nullptr;  // live, hole, parked: where that begins
  std::size_t bytes = 0;        // of it: the usable size of a live block
  std::size_t offset = 0;       // of the address from there; of a live block, 0 unless the pointer is an interior one
  kind of;                      // of the block or shelf, if there is one
  const char* kind_name = "";
  std::uint32_t pins = 0;          // of a live block
  const char* pin_holder = "";     // who pinned it first
  std::uint32_t compaction = 0;    // in which a block at this address last moved away; 0: none remembered
  const void* moved_to = nullptr;  // where the address then was; null if the mover dropped the block
  const void* now_at = nullptr;    // where it is after all later moves that are remembered
  char text[320] = {};             // all this in words
};

// What an address is; any address may be asked about. Cost: a walk over the heap's shelves, and over the blocks of
// the page if it is one of the large space.
[[nodiscard]] SCOOT_EXPORT explanation explain(const heap& h, const void* address) noexcept;

}  // namespace scoot
