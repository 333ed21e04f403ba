// SPDX-License-Identifier: MIT
//
// diagnosis: questions to a heap. What is this address? Who pins what, since when, and what does it cost? Which kind
// holds how much? And the whole heap as JSON for a tool to draw.
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
#include <span>

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

// What explain() says of an address.
struct explanation {
  place what = place::foreign;
  const void* block = nullptr;  // live, hole, parked: where that begins
  std::size_t bytes = 0;        // of it: the usable size of a live block
  std::size_t offset = 0;       // of the address from there; of a live block, 0 unless the pointer is an interior one
  kind of;                      // of the block or shelf, if there is one
  const char* kind_name = "";
  std::uint32_t pins = 0;          // of a live block
  const char* pin_holder = "";     // who has had it pinned longest
  std::uint32_t compaction = 0;    // in which a block at this address last moved away; 0: none remembered
  const void* moved_to = nullptr;  // where the address then was; null if the mover dropped the block
  const void* now_at = nullptr;    // where it is after all later moves that are remembered
  char text[320] = {};             // all this in words
};

// What an address is; any address may be asked about. Cost: a walk over the heap's shelves, and over the blocks of
// the page if it is one of the large space. Of an address in a page of another heap over the same pool it says no more
// than that, which is certain only while that heap is at rest.
[[nodiscard]] SCOOT_EXPORT explanation explain(const heap& h, const void* address) noexcept;

// --- Kinds -----------------------------------------------------------------------------------------------------------

// What the blocks of one kind hold and did.
struct kind_stats {
  const char* name = "";
  std::size_t alignment = 0;
  bool movable = false;            // has a mover
  std::size_t blocks = 0;          // live
  std::size_t live_bytes = 0;      // usable bytes of them
  std::size_t held_bytes = 0;      // resident on its shelves and in its runs; its blocks of the large space
  std::size_t hole_bytes = 0;      // in freed slots of its shelves. Holes of the large space are of no kind
  std::size_t shelves = 0;         // slot sizes in use
  std::size_t pinned_blocks = 0;   // now
  std::size_t stranded_bytes = 0;  // by those, see pin_info
  std::uint64_t blocks_moved = 0;  // ever
  std::uint64_t bytes_moved = 0;
  std::uint64_t blocks_dropped = 0;
  std::uint64_t blocks_kept = 0;  // times its mover answered keep
};

// The kinds of a heap: their indices are 0 up to here.
[[nodiscard]] SCOOT_EXPORT std::size_t kind_count(const heap& h) noexcept;

// Cost: a walk over the pages of the heap, over the blocks of the large space, and over the slots of pages with pins.
[[nodiscard]] SCOOT_EXPORT kind_stats stats_of(const heap& h, kind k) noexcept;

// Is told of a live block and its usable bytes. Must not use the heap, but to ask it questions.
using block_visitor = void (*)(void* context, void* block, std::size_t bytes) noexcept;

// Visits every live block of a kind, in no order: to see what was never freed, or to check each. Cost: a walk over the
// slots of the kind's shelves, and over the blocks of the large space.
SCOOT_EXPORT void visit_blocks(const heap& h, kind k, block_visitor visit, void* context) noexcept;

// --- Pins ------------------------------------------------------------------------------------------------------------

// A pinned block.
struct pin_info {
  const void* block = nullptr;
  std::size_t bytes = 0;  // usable
  kind of;
  const char* kind_name = "";
  const char* holder = "";   // of its holders, the one who has had it pinned longest without a break
  std::uint32_t pins = 0;    // in force, of all of them
  std::uint64_t age_ns = 0;  // since when he has, to some 17 ms
  // Bytes of holes that compact() could give back if this pin were gone, and can't because the page stays: those below
  // it down to the next pin on the page, as far as there are no blocks elsewhere to fill them. A sum over pins says
  // what all of them cost.
  std::size_t stranded_bytes = 0;
};

// Writes those pinned blocks that strand most, the worst first, as many as there is room for. Returns how many pinned
// blocks there are. Cost: a walk over the pages of the heap and the slots of those with pins.
SCOOT_EXPORT std::size_t list_pins(const heap& h, std::span<pin_info> room) noexcept;

// What one holder, compared as text, has pinned, or where there are several, has had pinned longest.
struct pin_holder {
  const char* holder = "";
  std::size_t blocks = 0;
  std::size_t bytes = 0;
  std::uint64_t age_ns_max = 0;
  std::size_t stranded_bytes = 0;
};

// Writes a line for each holder, the worst first. Returns the lines written; if there are more holders than room, the
// last line sums up the rest under the name "...". Cost: as list_pins, and a search among the lines for each pin.
SCOOT_EXPORT std::size_t list_pin_holders(const heap& h, std::span<pin_holder> room) noexcept;

// --- Pages -----------------------------------------------------------------------------------------------------------

// What a page is in use for.
enum class page_content : unsigned char {
  unused = 0,    // nobody's, and nothing of it is resident
  idle = 1,      // nobody's, but some of it is resident still
  used = 2,      // some heap's, which knows more
  shelf = 3,     // slots of one size
  large = 4,     // blocks of the large space
  run = 5,       // the first page of a block of its own
  run_body = 6,  // another one of such a block
};

// A page as its heap knows it. Parked slots count as live.
struct page_view {
  std::size_t number = 0;    // of all pages of the pool, by address
  std::uint64_t cursor = 0;  // from which visit_pages begins with this page, while the heap is as it is
  const void* address = nullptr;
  page_content content = page_content::used;
  kind of;  // of its blocks; of the large space, the kind that has most bytes
  const char* kind_name = "";
  bool mixed = false;          // there are blocks of other kinds
  std::size_t slot_bytes = 0;  // shelf: of a slot; run: of the block
  std::size_t slots = 0;       // shelf: in use, or holes
  std::size_t holes = 0;       // shelf: of them
  std::size_t withdrawn = 0;   // shelf: of them, holes whose memory was given back from between blocks that stay
  std::size_t blocks = 0;      // live ones that begin in it
  std::size_t live_bytes = 0;
  std::uint32_t resident_begin = 0;
  std::uint32_t resident_end = 0;
  std::uint32_t missing_bytes = 0;  // of that range, given back
  std::uint32_t pins = 0;           // pinned blocks that begin in it
  std::uint16_t arrivals = 0;    // blocks that were moved to this page, whoever's it was, since the pool is there. Both
  std::uint16_t departures = 0;  // wrap: they are for seeing that something moved since the last look
  char fill[33] = {};            // if asked for: how full each 1/32 of it is, see docs/snapshot.md

  // What is resident of it.
  [[nodiscard]] std::size_t resident_bytes() const noexcept { return resident_end - resident_begin - missing_bytes; }
};

// How to visit pages.
struct page_visit {
  std::size_t pages_max = 256;  // at a time
  bool draw = false;            // fill in `fill`: costs a walk over the holes of the page
};

// Is told of a page. Must not use the heap.
using page_visitor = void (*)(void* context, const page_view& page) noexcept;

// Visits pages of the heap, a few at a time: from a cursor on that is 0 at first, and returns the cursor to go on from,
// 0 at the end. Nothing is held between calls: what the heap does meanwhile may make a page be missed, or seen twice.
// Cost: of the pages visited, a few cache lines each; with `draw` fewer are, so that some 20,000 holes are looked at.
[[nodiscard]] SCOOT_EXPORT std::uint64_t visit_pages(const heap& h, std::uint64_t cursor, const page_visit& how,
                                                     page_visitor visit, void* context) noexcept;

// Tells of the pages of a pool from number `first` on, as many as there is room for, whether they are unused, idle or
// used. Returns how many were told of: fewer than there is room for at the end. Threads: any, whatever the heaps do.
// Cost: the pool's lock is held meanwhile, some ns a page.
[[nodiscard]] SCOOT_EXPORT std::size_t list_page_use(const page_pool& pool, std::size_t first,
                                                     std::span<page_content> room) noexcept;

// --- Snapshot --------------------------------------------------------------------------------------------------------

// Takes the next bytes of a snapshot. False: no more is wanted. Must not use the heap.
using snapshot_sink = bool (*)(void* context, const char* bytes, std::size_t size) noexcept;

// Limits of a snapshot.
struct snapshot_options {
  std::size_t pages_max = 65536;  // described one by one; the rest is counted
  std::size_t pins_max = 256;     // up to 256: those that strand most
};

// Writes the heap as one JSON object in pieces of up to 1 KiB; docs/snapshot.md is its schema. False if the sink asked
// to stop. Cost: a walk over all pages, blocks of the large space and slots of the pages described.
SCOOT_EXPORT bool write_snapshot(const heap& h, snapshot_sink sink, void* context,
                                 const snapshot_options& options = {}) noexcept;

}  // namespace scoot
