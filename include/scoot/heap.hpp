// SPDX-License-Identifier: MIT
//
// heap: a memory allocator that may move what it allocated, so that it never holds much more than is live.
//
//     shelf of 304-byte slots                              large space               runs
//     |page: ######.####|page: ##.#######|page: ####^     |page: [ 20 KiB ][.][ 9 KiB ]|   |page page page|
//                  hole       hole            top
//
// A block of up to about 8 KiB lives in a slot of a shelf: all blocks of one kind and slot size, side by side. free
// makes a hole, allocate takes a hole or raises the top. To compact, the block at the top moves into a hole and the top
// comes down, so every byte moved gives a byte back. Bigger blocks share pages in the large space; those above half a
// page get runs of whole pages.
//
// The program says how to move a block by registering a kind with a mover (see verdict). Without a mover the blocks of
// a kind stay where they are.
//
// What moves blocks, and so invalidates addresses of unpinned blocks of kinds with a mover: allocate and its like,
// compact, release, move_everything and add_kind, as their "Invalidates" lines say. Nothing else moves anything. free,
// in particular, never does. Ownership: the heap owns its blocks; destroying it frees them all without calling a mover.
// Threads: one thread at a time, like a std container; several heaps may share a pool from several threads. Failure:
// exhaustion is a null result; nothing throws. Misuse (a foreign pointer, a double free, a mover that enters its own
// heap) aborts with a message in checked builds (SCOOT_CHECK_LEVEL >= 1) and is undefined otherwise. Non-goals: a
// malloc replacement (moving needs the program's help), thread caches.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>

#include "scoot/export.h"
#include "scoot/page_pool.hpp"

namespace scoot {

// What a mover answers.
enum class verdict : unsigned char {
  moved = 0,  // the mover copied the block to its new place and updated every pointer to it
  keep = 1,   // nothing changed; the block stays, and is not asked again until something else changed
  drop = 2,   // the program no longer wants the block and holds no pointer to it; the heap frees it
};

// The mover, or hook. Called to move the block at `from`, which holds `size` bytes (its usable size), to `to`; the two
// never overlap, and `to` is aligned as the kind asks. It must not allocate, free or pin in the same heap, throw or
// block.
using mover = verdict (*)(void* context, void* from, void* to, std::size_t size) noexcept;

// What a kind is made with.
struct kind_options {
  const char* name = "";      // for statistics and messages; must outlive the heap
  std::size_t alignment = 8;  // of every block: a power of two up to 4096
  mover move = nullptr;       // null: blocks of this kind are never moved
  void* context = nullptr;    // handed to the mover
  bool shared = false;        // true: add_kind may answer a shared kind with equal options that there is already
};

// A kind of block, registered with one heap and valid for that heap only.
struct kind {
  std::uint8_t index = 0xff;
  [[nodiscard]] explicit operator bool() const noexcept { return index != 0xff; }
};

// How much one compaction may do.
struct effort {
  std::size_t bytes_max = std::numeric_limits<std::size_t>::max();      // bytes moved
  std::chrono::nanoseconds time_max = std::chrono::nanoseconds::max();  // wall time, checked every few blocks
};

// Why a compaction stopped.
enum class stop_reason : unsigned char {
  done = 0,             // everything that could be gained was
  effort_spent = 1,     // call again to go on
  nothing_to_gain = 2,  // there was nothing to do from the start
  pinned = 3,           // what is left is held by pinned blocks, or blocks of kinds without a mover
  refused = 4,          // what is left is held by blocks whose mover answered keep
};

// What a compaction did.
struct compaction {
  std::size_t bytes_moved = 0;
  std::size_t blocks_moved = 0;
  std::size_t blocks_dropped = 0;
  std::size_t blocks_kept = 0;
  std::size_t bytes_given_back = 0;  // to the OS by this call, net, idle pages of the pool included
  stop_reason why = stop_reason::nothing_to_gain;
};

// Is shown a block of so many usable bytes that is about to be freed. It must not use the heap it is in.
using block_taker = void (*)(void* context, const void* block, std::size_t size) noexcept;

// How the owner of a heap's blocks gives way: frees those that it wants least, about `bytes` of them in usable bytes or
// as many as it does in one step, and returns how many it freed; 0: it has none to give. Called from release() only,
// outside any mover, so it may use the heap as its owner always may.
using evictor = std::size_t (*)(void* context, std::size_t bytes) noexcept;

// How a release goes about it.
struct release_options {
  evictor evict = nullptr;  // null: nothing is evicted but what movers drop
  void* context = nullptr;  // handed to the evictor
  effort limit = {};        // bytes moved and time, over all steps
};

// What a release did.
struct release_result {
  std::size_t bytes_given_back = 0;  // to the OS, idle pages of the pool included
  std::size_t bytes_evicted = 0;     // usable bytes that the evictor freed
  std::size_t bytes_moved = 0;
  std::size_t blocks_dropped = 0;  // by movers
  // done: as many bytes as asked for, or more, were given back. nothing_to_gain, pinned, refused: neither compaction
  // nor the evictor has more to give, and why what is wasted stays.
  stop_reason why = stop_reason::nothing_to_gain;
};

// What a full compaction would do; an estimate from counters, which calls no mover.
struct forecast {
  std::size_t bytes_to_gain = 0;  // that would go back to the OS, idle pages of the pool included
  std::size_t bytes_to_move = 0;  // at most, but for an OS page for each shelf
};

// What a heap is made with.
struct heap_options {
  // Target of waste (holes, and resident memory above the tops) as a part of what the heap holds, kept by moving blocks
  // when an allocation would otherwise make the heap grow. 0: chosen by us (1/128, and up to 1.5 MiB in heaps of less
  // than 128 MiB). 1 or more: only the budget forces moves. Negative, or not a number: no heap. No ceiling: however
  // small it is, an OS page for each size in use (half of one where they are a small part of the heap) and 64 KiB more
  // are no reason to move anything, nor are up to 2 MiB while what is given back is soon wanted again.
  // docs/design/bounds.md has what the heap never exceeds; compact() goes below.
  double waste_target = 0;
  // The most bytes one allocation moves besides what it allocates. Larger blocks are moved by compact(), and by
  // allocations as large. 0: none besides as many as it allocates; the greatest number there is: no limit.
  std::size_t move_bytes_max = std::size_t{32} << 10;
};

// Pauses, the times that allocate and compact spent where they moved blocks, are counted by how long they were:
// class i up to pause_ns_least << i, the last one beyond.
inline constexpr std::size_t pause_classes = 18;
inline constexpr std::uint64_t pause_ns_least = 1000;

// What a heap holds and did.
struct heap_stats {
  std::size_t blocks = 0;          // live
  std::size_t live_bytes = 0;      // usable bytes of the live blocks
  std::size_t held_bytes = 0;      // OS pages charged to this heap's pages, metadata apart
  std::size_t hole_bytes = 0;      // in freed slots and large-space holes
  std::size_t slack_bytes = 0;     // resident above the tops, and rounding
  std::size_t metadata_bytes = 0;  // of this heap: shelves, bitmaps, tables
  std::size_t pages = 0;
  std::size_t shelves = 0;  // slot sizes in use, over all kinds
  std::size_t pinned_blocks = 0;
  std::uint64_t allocations = 0;      // ever
  std::uint64_t allocated_bytes = 0;  // ever, usable bytes
  std::uint64_t blocks_moved = 0;     // ever
  std::uint64_t bytes_moved = 0;
  std::uint64_t blocks_dropped = 0;
  std::uint64_t blocks_kept = 0;      // times a mover answered keep
  std::uint64_t blocks_examined = 0;  // times compaction looked at a block to see whether it can be moved
  std::uint64_t failures = 0;         // allocations that returned null
  std::uint64_t pauses[pause_classes] = {};
  std::uint64_t pause_ns = 0;  // of all of them
};

// The heap; see the top of this file.
class SCOOT_EXPORT heap {
 public:
  static constexpr std::size_t kinds_max = 250;

  // A heap over the pool, which must outlive it. Null if the budget has no room for its first few KiB of metadata, or
  // the options are out of range.
  [[nodiscard]] static std::unique_ptr<heap> create(page_pool& pool, const heap_options& options = {}) noexcept;

  heap(const heap&) = delete;
  heap& operator=(const heap&) = delete;
  static void operator delete(heap* self, std::destroying_delete_t) noexcept;

  // Registers a kind. An empty kind (false) if the alignment is no power of two or above 4096, kinds_max is reached,
  // or the budget has no room for some 4 KiB (2 KiB where pointers have 32 bits) after moving as much as an allocation
  // may, but 64 KiB at least. Kinds live as long as the heap, or until remove_kind.
  // Invalidates: addresses of unpinned blocks of this heap, if the budget is full.
  [[nodiscard]] kind add_kind(const kind_options& options) noexcept;

  // Takes a kind off the heap and gives its memory back; another may get its index. A shared kind goes when it was
  // removed as often as it was added. False, and nothing happens, if it has to go and there are blocks of it. An empty
  // kind is ignored. Moves nothing.
  bool remove_kind(kind k) noexcept;

  // A block of at least `size` bytes (0 counts as 1), aligned as the kind asks, contents undefined. Null if the budget
  // has no room, after as much compaction as one operation may do: the caller may then free blocks, or compact, and try
  // again. Invalidates: addresses of unpinned blocks of this heap (never more than heap_options::move_bytes_max plus
  // `size` bytes of them).
  [[nodiscard]] void* allocate(kind k, std::size_t size) noexcept;

  // allocate, and its first `size` bytes are zero.
  [[nodiscard]] void* allocate_zeroed(kind k, std::size_t size) noexcept;

  // A block of at least `size` bytes with what this one of the same kind holds, as far as it fits: itself if it has the
  // room and no more than twice of it, else another, and this one is freed. No mover is told: update pointers to it by
  // the answer. Null if there is no room, or the block would have to move and is pinned: then it stays as it is. One
  // that is larger than it need be stays, too, if it is pinned or there is no room for another. Null as block:
  // allocate. Invalidates: the block, and addresses of unpinned blocks of this heap as allocate does.
  [[nodiscard]] void* reallocate(kind k, void* block, std::size_t size) noexcept;

  // Gives a block back. Null is ignored. A pinned block must be unpinned first. Moves nothing.
  void free(void* block) noexcept;

  // Bytes the block holds, at least what was asked for; 0 for null. It never shrinks; compact() may make it up to an
  // eighth larger.
  [[nodiscard]] std::size_t usable_size(const void* block) const noexcept;

  // The kind of a block; empty for null.
  [[nodiscard]] kind kind_of(const void* block) const noexcept;

  // The live block of this heap that an address lies in, its beginning or any other byte; null if there is none. Cost:
  // two comparisons for an address outside of the pool's pages, else a look at the heap's list of shelves.
  [[nodiscard]] void* block_of(const void* address) const noexcept;

  // Pins: while a block has one it keeps its address. Pins count; each pin needs its unpin. False if the block is null,
  // or there is no memory to note it, and then it is not pinned. `holder` says who pins, for those who ask why memory
  // is stuck (see diagnosis.hpp), and must outlive the pin. Cost: one hash-table step, and another for each other
  // holder of the block; for the first pin of a holder a look at a clock.
  [[nodiscard]] bool pin(void* block, const char* holder = "") noexcept;

  // Ends a pin of that holder (compared as text). Null as holder: one of no holder, or else of the one who came last;
  // enough where a block has one holder at a time. A null block is ignored; one without such a pin is misuse.
  void unpin(void* block, const char* holder = nullptr) noexcept;

  // Gives memory back by moving blocks together, within the effort; asks again about blocks that were refused or pinned
  // before, but for one case: if nothing was allocated, freed or unpinned since a call that could move nothing, it asks
  // about one block that was refused, another one each time, and about all only if that one moves. So it can be called
  // as often as one likes. Sizes of which there are few blocks end in slots of a somewhat larger size (if the effort
  // covers what the heap holds, at once; else when there is nothing else to gain). What it frees goes to the OS.
  // Returns what was done and why it stopped. Invalidates: addresses of unpinned blocks of this heap.
  compaction compact(const effort& e = {}) noexcept;

  // Gives at least `bytes` back to the OS, as far as there is anything to give: idle pages of the pool first, then by
  // compaction, which costs no block, and only then by what the owner evicts (or its movers drop), compacted in turn.
  // Gives back little more than was asked for, but for what movers drop and for the last step.
  // Invalidates: addresses of unpinned blocks of this heap.
  release_result release(std::size_t bytes, const release_options& options = {}) noexcept;

  // Shows the blocks of a kind to `take` one after the other, in the order of their addresses as far as pages go, and
  // frees each; what they were in goes back to the OS on the way. For an owner who takes what he has elsewhere, and has
  // no room for it twice. Pinned blocks stay, and may keep others of their page. Moves nothing. Returns how many were
  // shown.
  std::size_t hand_over(kind k, block_taker take, void* context) noexcept;

  // What compact() would gain and cost now, if no mover refuses; what pins strand is no gain. Within a fifth, an OS
  // page for each shelf and two pages, as tests have it. Cost: a pass over the pages' counters, and the slots of those
  // with pins.
  [[nodiscard]] forecast estimate() const noexcept;

  // For tests: moves every unpinned block of a kind with a mover to another address where one is free or can be had.
  // Returns the blocks moved. Invalidates: addresses of unpinned blocks of this heap.
  std::size_t move_everything() noexcept;

  [[nodiscard]] heap_stats stats() const noexcept;  // what it holds and did; looks at every shelf and page

  // heap_stats::held_bytes alone, at once.
  [[nodiscard]] std::size_t held_bytes() const noexcept;
  [[nodiscard]] page_pool& pool() const noexcept;  // that it was made over

  // Checks every invariant of the heap's own structures and aborts with a message where one is broken. For tests.
  // Cost: linear in pages and slots.
  void verify() const noexcept;

  ~heap() = default;  // does nothing: delete is the operator above

 protected:
  heap() = default;
};

}  // namespace scoot
