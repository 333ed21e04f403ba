/* SPDX-License-Identifier: MIT */
/*
 * scoot.h: the relocating heap, purgeable memory and notice of memory pressure for C programs (C11).
 *
 *     scoot_pool  pages under one budget; shared by heaps, from any thread
 *        `-- scoot_heap  blocks, in kinds; one thread at a time
 *               `-- scoot_kind  carries the mover, the hook that updates your pointers when a block moves
 *
 * It is page_pool.hpp and heap.hpp in C: read those for how blocks are placed and what is promised about space.
 *
 * What moves blocks, and so invalidates addresses of unpinned blocks of kinds with a mover: scoot_allocate and
 * its like, scoot_compact, scoot_release, scoot_move_everything and, if the budget is full, scoot_heap_add_kind.
 * Nothing else moves anything; scoot_free never does. Ownership: you destroy what you create; heaps before their pool.
 * Destroying a heap frees its blocks and calls no mover. Null is allowed where the comment says so, and nowhere else.
 * Structs: zero-initialise an options struct and set what you need; zero always means the default. Room for later
 * fields is reserved in every struct and must be zero in options (a library too old for a field you set refuses it).
 * Threads: pool functions from any thread; a heap, like a C++ container, from one thread at a time. Failure: exhaustion
 * is NULL, false or an invalid kind; the process is never aborted for it. Misuse (a foreign pointer, a double free, a
 * mover that enters its own heap) aborts with a message in checked builds and is undefined otherwise. Cost beside the
 * C++ API: one more indirect call a move, and some 50 bytes from malloc for each kind and each heap.
 */
#ifndef SCOOT_SCOOT_H
#define SCOOT_SCOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scoot/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct scoot_pool scoot_pool; /* all memory that a set of heaps holds */
typedef struct scoot_heap scoot_heap; /* an allocator that may move what it allocated */

/* ---- pool ------------------------------------------------------------------------------------------------------ */

/* What a pool is made with. */
typedef struct scoot_pool_options {
  size_t budget_bytes;  /* ceiling of everything held, metadata included; required, 1 MiB to 2^46 (2^31 on 32 bits) */
  size_t page_bytes;    /* power of two, 64 KiB to 1 MiB; 0: chosen from the budget */
  size_t address_bytes; /* address space to reserve; 0: four times the budget (1.25 on 32 bits), or what can be had */
  size_t reserved[5];   /* zero */
} scoot_pool_options;

/* What a pool holds. */
typedef struct scoot_pool_usage {
  size_t budget_bytes;    /* the ceiling in force */
  size_t held_bytes;      /* charged now; above the budget only after it was cut */
  size_t held_bytes_peak; /* most ever charged */
  size_t metadata_bytes;  /* the part of held_bytes that is bookkeeping of the pool and its heaps */
  size_t idle_bytes;      /* the part of held_bytes in resident pages that no heap uses */
  size_t page_bytes;      /* size of a page */
  size_t pages;           /* pages in use by heaps */
  size_t address_bytes;   /* address space reserved */
  size_t reserved[8];
} scoot_pool_usage;

/* A pool with the given budget. NULL if options is NULL or out of range, or the OS refuses the address space. */
SCOOT_EXPORT scoot_pool* scoot_pool_create(const scoot_pool_options* options);

/* Gives everything back to the OS. Its heaps must have been destroyed. NULL is ignored. */
SCOOT_EXPORT void scoot_pool_destroy(scoot_pool* pool);

/* Changes the budget. A cut below what is held frees only idle pages by itself: allocations then fail until enough was
 * freed and compacted. False, and no change, if bytes is out of range or more address space is needed and refused;
 * while that is found out, other threads may already charge against the larger budget. */
SCOOT_EXPORT bool scoot_pool_set_budget(scoot_pool* pool, size_t bytes);

/* Gives idle pages back to the OS until at most keep_bytes of them are left. Returns the bytes given back. */
SCOOT_EXPORT size_t scoot_pool_trim(scoot_pool* pool, size_t keep_bytes);

SCOOT_EXPORT scoot_pool_usage scoot_pool_stats(const scoot_pool* pool); /* what it holds now */

/* ---- kinds and movers ------------------------------------------------------------------------------------------ */

/* What a mover answers. */
typedef enum scoot_verdict {
  SCOOT_MOVED = 0, /* it copied the block to its new place and updated every pointer to it */
  SCOOT_KEEP = 1,  /* nothing changed; the block stays, and is not asked again until something else changed */
  SCOOT_DROP = 2   /* the program no longer wants the block and holds no pointer to it; the heap frees it */
} scoot_verdict;

/* The mover, or hook: called to move the block at `from`, which holds `size` bytes (its usable size), to `to`. The two
 * never overlap, and `to` is aligned as the kind asks. It must not allocate, free or pin in the same heap, nor block,
 * nor leave by longjmp or an exception. */
typedef scoot_verdict (*scoot_mover)(void* context, void* from, void* to, size_t size);

/* What a kind is made with. */
typedef struct scoot_kind_options {
  const char* name;   /* for statistics and messages; must outlive the heap; NULL: "" */
  size_t alignment;   /* of every block: a power of two up to 4096; 0: 8 */
  scoot_mover move;   /* NULL: blocks of this kind are never moved */
  void* context;      /* handed to the mover */
  size_t reserved[4]; /* zero */
} scoot_kind_options;

/* A kind of block, registered with one heap and valid for that heap only. Never made by hand, but of an index below
 * scoot_kind_count to ask for statistics. */
typedef struct scoot_kind {
  uint8_t index;
} scoot_kind;

/* Whether scoot_heap_add_kind succeeded. */
static inline bool scoot_kind_valid(scoot_kind kind) { return kind.index != 0xff; }

/* ---- heap ------------------------------------------------------------------------------------------------------ */

/* What a heap is made with. */
typedef struct scoot_heap_options {
  double waste_target;   /* target of waste as a part of what the heap holds, see heap.hpp; 0: chosen by us; 1 or more:
                            only the budget forces moves; negative or not a number: no heap */
  size_t move_bytes_max; /* the most bytes one allocation moves besides what it allocates; 0: 32 KiB (unlike in C++,
                            where it is none: 1 says that here); SIZE_MAX: no limit */
  size_t reserved[6];    /* zero */
} scoot_heap_options;

/* A heap over the pool, which must outlive it. options may be NULL. NULL if the budget has no room for its first few
 * KiB of metadata, or the options are out of range. */
SCOOT_EXPORT scoot_heap* scoot_heap_create(scoot_pool* pool, const scoot_heap_options* options);

/* Frees every block, without calling a mover. NULL is ignored. */
SCOOT_EXPORT void scoot_heap_destroy(scoot_heap* heap);

/* Registers a kind, which lives as long as the heap, or until scoot_heap_remove_kind. Invalid (see scoot_kind_valid) if
 * the alignment is no power of two or above 4096, 250 kinds are registered, or there is no memory. options may be NULL:
 * alignment 8, never moved. Invalidates: addresses of unpinned blocks of this heap, if the budget is full. */
SCOOT_EXPORT scoot_kind scoot_heap_add_kind(scoot_heap* heap, const scoot_kind_options* options);

/* Takes a kind off the heap and gives its memory back; another may get its index. False, and nothing happens, if there
 * are blocks of it. An invalid kind is ignored. */
SCOOT_EXPORT bool scoot_heap_remove_kind(scoot_heap* heap, scoot_kind kind);

/* A block of at least `size` bytes (0 counts as 1), aligned as the kind asks, contents undefined. NULL if the budget
 * has no room, after as much compaction as one operation may do: free blocks, or compact, and try again.
 * Invalidates: addresses of unpinned blocks of this heap (never more than move_bytes_max plus `size` bytes of them). */
SCOOT_EXPORT void* scoot_allocate(scoot_heap* heap, scoot_kind kind, size_t size);

/* scoot_allocate, and its first `size` bytes are zero. */
SCOOT_EXPORT void* scoot_allocate_zeroed(scoot_heap* heap, scoot_kind kind, size_t size);

/* A block of at least `size` bytes with what this one of the same kind holds, as far as it fits: itself if it has the
 * room and no more than twice of it, else another, and this one is freed. No mover is told: update pointers to it by
 * the answer. NULL if there is no room, or the block would have to move and is pinned: then it stays as it is. One that
 * is larger than it need be stays, too, if it is pinned or there is no room for another. A null block: scoot_allocate.
 * Invalidates: the block, and addresses of unpinned blocks of this heap as scoot_allocate does. */
SCOOT_EXPORT void* scoot_reallocate(scoot_heap* heap, scoot_kind kind, void* block, size_t size);

/* Gives a block back. A null block is ignored. A pinned block must be unpinned first. Moves nothing. */
SCOOT_EXPORT void scoot_free(scoot_heap* heap, void* block);

/* Bytes the block holds, at least what was asked for; 0 for NULL. It never shrinks; scoot_compact may make it up to an
 * eighth larger. */
SCOOT_EXPORT size_t scoot_usable_size(const scoot_heap* heap, const void* block);

/* The kind of a block; invalid for NULL. */
SCOOT_EXPORT scoot_kind scoot_kind_of(const scoot_heap* heap, const void* block);

/* The live block of this heap that an address lies in, its beginning or any other byte; NULL if there is none. */
SCOOT_EXPORT void* scoot_block_of(const scoot_heap* heap, const void* address);

/* Pins: while a block has one it keeps its address. Pins count; each pin needs its unpin. False if block is NULL, or
 * there is no memory to note it, and then it is not pinned. scoot_unpin ignores NULL. */
SCOOT_EXPORT bool scoot_pin(scoot_heap* heap, void* block);
SCOOT_EXPORT void scoot_unpin(scoot_heap* heap, void* block);

/* The same, and says who pins, for those who ask why memory is stuck; holder must outlive the pin. scoot_unpin ends a
 * pin of no holder, or else of the one who came last: enough where a block has one holder at a time. */
SCOOT_EXPORT bool scoot_pin_as(scoot_heap* heap, void* block, const char* holder);
SCOOT_EXPORT void scoot_unpin_as(scoot_heap* heap, void* block, const char* holder);

/* ---- compaction ------------------------------------------------------------------------------------------------ */

/* How much one compaction may do. */
typedef struct scoot_effort {
  size_t bytes_max;     /* bytes moved; 0: no limit */
  uint64_t time_max_ns; /* wall time, checked every few blocks; 0: no limit */
  size_t reserved[2];   /* zero */
} scoot_effort;

/* Why a compaction stopped. */
typedef enum scoot_stop_reason {
  SCOOT_DONE = 0,            /* everything that could be gained was */
  SCOOT_EFFORT_SPENT = 1,    /* call again to go on */
  SCOOT_NOTHING_TO_GAIN = 2, /* there was nothing to do from the start */
  SCOOT_PINNED = 3,          /* what is left is held by pinned blocks, or blocks of kinds without a mover */
  SCOOT_REFUSED = 4,         /* what is left is held by blocks whose mover answered SCOOT_KEEP */
  SCOOT_BAD_OPTIONS = 5      /* nothing was done: `reserved` was not zero in what it was to do */
} scoot_stop_reason;

/* What a compaction did. */
typedef struct scoot_compaction {
  size_t bytes_moved;
  size_t blocks_moved;
  size_t blocks_dropped;
  size_t blocks_kept;
  size_t bytes_given_back; /* to the OS by this call, net, idle pages of the pool included */
  scoot_stop_reason why;
  size_t reserved[4];
} scoot_compaction;

/* What one would do. */
typedef struct scoot_forecast {
  size_t bytes_to_gain; /* that would go back to the OS, idle pages of the pool included */
  size_t bytes_to_move; /* at most */
  size_t reserved[2];
} scoot_forecast;

/* Gives memory back by moving blocks together, within the effort (NULL: no limit); asks again about blocks that were
 * refused or pinned before. What it frees goes to the OS. Returns what was done and why it stopped.
 * Invalidates: addresses of unpinned blocks of this heap. */
SCOOT_EXPORT scoot_compaction scoot_compact(scoot_heap* heap, const scoot_effort* effort);

/* How the owner of a heap's blocks gives way: frees those that it wants least, about `bytes` of them in usable bytes or
 * as many as it does in one step, and returns how many it freed; 0: it has none to give. Called from scoot_release
 * only, outside any mover, so it may use the heap as its owner always may; it must not leave by longjmp or an
 * exception. */
typedef size_t (*scoot_evictor)(void* context, size_t bytes);

/* How a release goes about it. */
typedef struct scoot_release_options {
  scoot_evictor evict; /* NULL: nothing is evicted but what movers drop */
  void* context;       /* handed to the evictor */
  scoot_effort limit;  /* bytes moved and time, over all steps */
  size_t reserved[4];  /* zero */
} scoot_release_options;

/* What a release did. */
typedef struct scoot_released {
  size_t bytes_given_back; /* to the OS, idle pages of the pool included */
  size_t bytes_evicted;    /* usable bytes that the evictor freed */
  size_t bytes_moved;
  size_t blocks_dropped; /* by movers */
  scoot_stop_reason why; /* SCOOT_DONE: as many bytes as asked for, or more; SCOOT_NOTHING_TO_GAIN, SCOOT_PINNED,
                            SCOOT_REFUSED: there is no more to give, and why what is wasted stays */
  size_t reserved[4];
} scoot_released;

/* Gives at least `bytes` back to the OS, as far as there is anything to give: idle pages of the pool first, then by
 * compaction, and only then by what the owner evicts (or its movers drop). options may be NULL: no evictor, no limit.
 * Invalidates: addresses of unpinned blocks of this heap. */
SCOOT_EXPORT scoot_released scoot_release(scoot_heap* heap, size_t bytes, const scoot_release_options* options);

/* Is shown a block of so many usable bytes that is about to be freed. Must not use the heap, but to ask it questions.
 */
typedef void (*scoot_block_taker)(void* context, const void* block, size_t size);

/* Shows the blocks of a kind to `take` one after the other, and frees each; what they were in goes back to the OS on
 * the way. For an owner who takes what he has elsewhere, and has no room for it twice. Pinned blocks stay. Moves
 * nothing. Returns how many were shown. */
SCOOT_EXPORT size_t scoot_hand_over(scoot_heap* heap, scoot_kind kind, scoot_block_taker take, void* context);

/* What scoot_compact would gain and cost now: an estimate from counters, which calls no mover. */
SCOOT_EXPORT scoot_forecast scoot_estimate(const scoot_heap* heap);

/* For tests: moves every unpinned block of a kind with a mover to another address where one is free or can be had.
 * Returns the blocks moved. Invalidates: addresses of unpinned blocks of this heap. */
SCOOT_EXPORT size_t scoot_move_everything(scoot_heap* heap);

/* ---- statistics ------------------------------------------------------------------------------------------------ */

/* What a heap holds and did. */
typedef struct scoot_stats {
  size_t blocks;         /* live */
  size_t live_bytes;     /* usable bytes of the live blocks */
  size_t held_bytes;     /* OS pages charged to this heap's pages, metadata apart */
  size_t hole_bytes;     /* in freed slots and large-space holes */
  size_t slack_bytes;    /* resident above the tops, and rounding */
  size_t metadata_bytes; /* of this heap: shelves, bitmaps, tables */
  size_t pages;
  size_t shelves; /* slot sizes in use, over all kinds */
  size_t pinned_blocks;
  uint64_t allocations;     /* ever */
  uint64_t allocated_bytes; /* ever, usable bytes */
  uint64_t blocks_moved;    /* ever */
  uint64_t bytes_moved;
  uint64_t blocks_dropped;
  uint64_t blocks_kept;     /* times a mover answered SCOOT_KEEP */
  uint64_t failures;        /* allocations that returned NULL */
  uint64_t blocks_examined; /* times compaction looked at a block to see whether it can be moved */
  uint64_t reserved[7];
} scoot_stats;

SCOOT_EXPORT scoot_stats scoot_heap_stats(const scoot_heap* heap); /* what it holds and did */

/* scoot_stats.held_bytes alone, at once. */
SCOOT_EXPORT size_t scoot_heap_held_bytes(const scoot_heap* heap);

#define SCOOT_PAUSE_CLASSES 18

/* The times that allocate and compact spent where they moved blocks, ever. */
typedef struct scoot_pauses {
  uint64_t counts[SCOOT_PAUSE_CLASSES]; /* of up to 1000 << i ns each; the last one beyond */
  uint64_t total_ns;                    /* of all of them */
  uint64_t reserved[5];
} scoot_pauses;

SCOOT_EXPORT scoot_pauses scoot_heap_pauses(const scoot_heap* heap); /* how long blocks were being moved */

/* ---- diagnosis ------------------------------------------------------------------------------------------------- */
/* See diagnosis.hpp. Nothing here moves or allocates; each question walks over what it is about. */

/* What an address lies in. */
typedef enum scoot_place {
  SCOOT_FOREIGN = 0,   /* no page of the heap's pool */
  SCOOT_LIVE = 1,      /* a live block */
  SCOOT_HOLE = 2,      /* a freed slot, or free memory between blocks */
  SCOOT_PARKED = 3,    /* a freed slot that is kept at hand */
  SCOOT_FRESH = 4,     /* memory above what is in use */
  SCOOT_GAP = 5,       /* beside blocks: rounding, what a page is too small for */
  SCOOT_IDLE = 6,      /* a page that no heap uses */
  SCOOT_OTHER_HEAP = 7 /* a page of another heap of the pool */
} scoot_place;

/* What an address is. */
typedef struct scoot_explanation {
  scoot_place what;
  const void* block;      /* live, hole, parked: where that begins; else NULL */
  size_t bytes;           /* of it: the usable size of a live block */
  size_t offset;          /* of the address from there */
  scoot_kind kind;        /* of the block or shelf; invalid if there is none */
  uint32_t pins;          /* of a live block */
  const char* pin_holder; /* who has had it pinned longest; never NULL */
  uint32_t compaction;    /* in which a block at this address last moved away; 0: none remembered */
  const void* moved_to;   /* where the address then was; NULL if the mover dropped the block */
  const void* now_at;     /* where it is after all later moves that are remembered */
  size_t reserved[6];
  char text[320]; /* all this in words */
} scoot_explanation;

/* Says of any address what it is. Where blocks went is remembered in checked builds only. */
SCOOT_EXPORT scoot_explanation scoot_explain(const scoot_heap* heap, const void* address);

/* What the blocks of one kind hold and did. */
typedef struct scoot_kind_usage {
  size_t blocks;         /* live */
  size_t live_bytes;     /* usable bytes of them */
  size_t held_bytes;     /* resident on its shelves and in its runs, and its blocks of the large space */
  size_t hole_bytes;     /* in freed slots of its shelves */
  size_t shelves;        /* slot sizes in use */
  size_t pinned_blocks;  /* now */
  size_t stranded_bytes; /* holes that can't be given back because of those pins */
  uint64_t blocks_moved; /* ever */
  uint64_t bytes_moved;
  uint64_t blocks_dropped;
  uint64_t blocks_kept; /* times its mover answered SCOOT_KEEP */
  const char* name;     /* never NULL */
  size_t alignment;
  bool movable; /* has a mover */
  uint64_t reserved[8];
} scoot_kind_usage;

/* Zeros, and no name, for a kind that is not of this heap. */
SCOOT_EXPORT scoot_kind_usage scoot_kind_stats(const scoot_heap* heap, scoot_kind kind);

/* The kinds of a heap have indices from 0 up to here; there may be gaps where kinds were removed. */
SCOOT_EXPORT size_t scoot_kind_count(const scoot_heap* heap);

/* A pinned block. */
typedef struct scoot_pin_info {
  const void* block;
  size_t bytes;          /* usable */
  scoot_kind kind;       /* of the block */
  const char* holder;    /* of its holders, the one who has had it pinned longest without a break; never NULL */
  uint32_t pins;         /* in force, of all of them */
  uint64_t age_ns;       /* since when he has, to some 17 ms */
  size_t stranded_bytes; /* holes that scoot_compact could give back if this pin were gone */
  size_t reserved[4];
} scoot_pin_info;

/* Writes those pinned blocks that strand most, the worst first, up to room of them. Returns how many there are. */
SCOOT_EXPORT size_t scoot_list_pins(const scoot_heap* heap, scoot_pin_info* pins, size_t room);

/* What one holder, compared as text, has pinned, or where there are several, has had pinned longest. */
typedef struct scoot_pin_holder {
  const char* holder;
  size_t blocks;
  size_t bytes;
  uint64_t age_ns_max;
  size_t stranded_bytes;
  size_t reserved[3];
} scoot_pin_holder;

/* Writes a line for each holder, the worst first. Returns the lines written; if there are more holders than room, the
 * last line sums up the rest under the name "...". */
SCOOT_EXPORT size_t scoot_list_pin_holders(const scoot_heap* heap, scoot_pin_holder* lines, size_t room);

/* What a page is in use for. */
typedef enum scoot_page_content {
  SCOOT_PAGE_UNUSED = 0,  /* nobody's, and nothing of it is resident */
  SCOOT_PAGE_IDLE = 1,    /* nobody's, but some of it is resident still */
  SCOOT_PAGE_USED = 2,    /* some heap's, which knows more */
  SCOOT_PAGE_SHELF = 3,   /* slots of one size */
  SCOOT_PAGE_LARGE = 4,   /* blocks of the large space */
  SCOOT_PAGE_RUN = 5,     /* the first page of a block of its own */
  SCOOT_PAGE_RUN_BODY = 6 /* another one of such a block */
} scoot_page_content;

/* A page as its heap knows it. Parked slots count as live. */
typedef struct scoot_page_view {
  size_t number;   /* of all pages of the pool, by address */
  uint64_t cursor; /* from which scoot_visit_pages begins with this page, while the heap is as it is */
  const void* address;
  scoot_page_content content;
  scoot_kind kind;   /* of its blocks; of the large space, the kind that has most bytes */
  bool mixed;        /* there are blocks of other kinds */
  size_t slot_bytes; /* shelf: of a slot; run: of the block */
  size_t slots;      /* shelf: in use, or holes */
  size_t holes;      /* shelf: of them */
  size_t withdrawn;  /* shelf: of them, holes whose memory was given back from between blocks that stay */
  size_t blocks;     /* live ones that begin in it */
  size_t live_bytes;
  uint32_t resident_begin; /* offsets of what is resident */
  uint32_t resident_end;
  uint32_t missing_bytes; /* of that range, given back */
  uint32_t pins;          /* pinned blocks that begin in it */
  uint16_t arrivals;      /* blocks that were moved to this page, ever; wraps */
  uint16_t departures;    /* and away from it */
  char fill[33];          /* if asked for: how full each 1/32 of it is, see docs/snapshot.md */
  size_t reserved[4];
} scoot_page_view;

/* How to visit pages. */
typedef struct scoot_page_visit {
  size_t pages_max;   /* at a time; 0: 256 */
  bool draw;          /* fill in `fill`: costs a walk over the holes of the page */
  size_t reserved[2]; /* zero */
} scoot_page_visit;

/* Is told of a page. Must not use the heap, but to ask it questions. */
typedef void (*scoot_page_visitor)(void* context, const scoot_page_view* page);

/* Visits pages of the heap, a few at a time: from a cursor on that is 0 at first, and returns the cursor to go on from,
 * 0 at the end, or if how->reserved is not zero. how may be NULL. What the heap does between calls may make a page be
 * missed, or seen twice. */
SCOOT_EXPORT uint64_t scoot_visit_pages(const scoot_heap* heap, uint64_t cursor, const scoot_page_visit* how,
                                        scoot_page_visitor visit, void* context);

/* Tells of the pages of a pool from number `first` on, as many as there is room for, whether they are
 * SCOOT_PAGE_UNUSED, _IDLE or _USED. Returns how many were told of: fewer than there is room for at the end. From any
 * thread. */
SCOOT_EXPORT size_t scoot_list_page_use(const scoot_pool* pool, size_t first, uint8_t* contents, size_t room);

/* Is told of a live block and its usable bytes. Must not use the heap, but to ask it questions. */
typedef void (*scoot_block_visitor)(void* context, void* block, size_t bytes);

/* Visits every live block of a kind, in no order: to see what was never freed, or to check each. */
SCOOT_EXPORT void scoot_visit_blocks(const scoot_heap* heap, scoot_kind kind, scoot_block_visitor visit, void* context);

/* Checks every invariant of the heap's own structures and aborts with a message where one is broken. For tests. */
SCOOT_EXPORT void scoot_heap_verify(const scoot_heap* heap);

/* Takes the next bytes of a snapshot. False: no more is wanted. Must not use the heap. */
typedef bool (*scoot_sink)(void* context, const char* bytes, size_t size);

/* Limits of a snapshot. */
typedef struct scoot_snapshot_options {
  size_t pages_max;   /* described one by one, the rest is counted; 0: 65536 */
  size_t pins_max;    /* up to 256: those that strand most; 0: 256 */
  size_t reserved[2]; /* zero */
} scoot_snapshot_options;

/* Writes the heap as a JSON object, for tools to draw (docs/snapshot.md). options may be NULL. False if the sink asked
 * to stop, or options->reserved is not zero. */
SCOOT_EXPORT bool scoot_write_snapshot(const scoot_heap* heap, scoot_sink sink, void* context,
                                       const scoot_snapshot_options* options);

/* ---- purgeable memory ------------------------------------------------------------------------------------------ */
/* purgeable.hpp in C: read there what it is, when content is lost and who may call what. All from any thread. */

typedef struct scoot_purgeable scoot_purgeable; /* a region of chunks that the kernel may purge once they are offered */

#define SCOOT_NO_CHUNK UINT32_C(0xffffffff)

/* What a region is made with. */
typedef struct scoot_purgeable_options {
  size_t chunk_bytes; /* a power of two, from an OS page or 16 KiB up to 16 MiB; 0: 64 KiB */
  size_t bytes_max;   /* of all chunks together, rounded up to whole ones; required */
  bool guarded;       /* touching a purged page raises SIGBUS, where that can be had */
  size_t reserved[5]; /* zero */
} scoot_purgeable_options;

/* What this machine does with memory that is offered. */
typedef enum scoot_purge_support {
  SCOOT_PURGE_REFUSED = 0,  /* every offer is refused, and memory is simply kept */
  SCOOT_PURGE_ACCEPTED = 1, /* it takes offers; whether it purges could not be tried out */
  SCOOT_PURGE_SEEN = 2      /* it takes offers and purges */
} scoot_purge_support;

/* What a chunk is. */
typedef enum scoot_chunk_state {
  SCOOT_CHUNK_FREE = 0,
  SCOOT_CHUNK_KEPT = 1,
  SCOOT_CHUNK_OFFERED = 2,       /* nothing of it is known to be purged */
  SCOOT_CHUNK_PARTLY_PURGED = 3, /* some of its pages are known to be purged */
  SCOOT_CHUNK_PURGED = 4         /* all of them are */
} scoot_chunk_state;

/* How an offer ended. */
typedef enum scoot_offer_status {
  SCOOT_OFFER_MADE = 0,
  SCOOT_OFFER_PINNED = 1,  /* somebody holds a pin, or reads: try again later */
  SCOOT_OFFER_REFUSED = 2, /* by the kernel: nothing has changed */
  SCOOT_OFFER_ABSENT = 3   /* the chunk is not allocated */
} scoot_offer_status;

/* Whether the bytes are there. */
typedef enum scoot_presence {
  SCOOT_PRESENT = 0,      /* the bytes are there, as they were offered */
  SCOOT_LOST = 1,         /* some of them were purged */
  SCOOT_ABSENT = 2,       /* the chunk is not allocated */
  SCOOT_TOO_MANY_PINS = 3 /* it has 131072 pins */
} scoot_presence;

/* Of one chunk. */
typedef struct scoot_chunk_info {
  scoot_chunk_state state;
  uint32_t pins;        /* in force */
  size_t offered_bytes; /* in OS pages */
  size_t touched_bytes; /* of these, what pins made ours again, until the chunk is offered again */
  size_t purged_bytes;  /* of these, known to be purged */
  size_t lost_bytes;    /* of these, what did not consist of zeros */
  size_t reserved[2];
} scoot_chunk_info;

/* Bytes of a chunk that were lost, in whole OS pages. */
typedef struct scoot_lost_range {
  uint32_t chunk;
  uint32_t offset;
  uint32_t bytes;
} scoot_lost_range;

/* What a sweep found. */
typedef struct scoot_sweep {
  size_t ranges;         /* written */
  size_t bytes_examined; /* of offered chunks */
  size_t bytes_purged;   /* found to be purged by this sweep */
  bool complete;         /* it came to the last chunk, and the next one begins with the first */
  size_t reserved[2];
} scoot_sweep;

/* What a region holds and did. */
typedef struct scoot_purgeable_usage {
  size_t chunk_bytes;
  size_t chunks_max;
  size_t chunks;                 /* allocated */
  size_t offered_chunks;         /* of these, offered, purged ones included */
  size_t kept_bytes;             /* in chunks that are not offered */
  size_t offered_bytes;          /* offered, in OS pages */
  size_t touched_bytes;          /* of these, what pins made ours again */
  size_t purged_bytes;           /* of these, known to be purged */
  size_t resident_offered_bytes; /* the rest: the kernel's to take, as of the last sweep */
  size_t pins;                   /* in force */
  uint64_t pins_ever;            /* and reads; modulo 2^40 a chunk */
  uint64_t offers;               /* ever */
  uint64_t offers_refused;       /* by the kernel, ever */
  uint64_t purged_pages;         /* OS pages found purged, ever */
  uint64_t lost_pages;           /* of these, what did not consist of zeros */
  uint64_t lost_accesses;        /* pins and reads that were answered SCOOT_LOST, ever */
  size_t metadata_bytes;         /* not purgeable; resident only where chunks were allocated */
  size_t page_bytes;             /* the size of an OS page */
  bool guarded;                  /* purged pages cannot be touched unnoticed */
  uint64_t reserved[5];
} scoot_purgeable_usage;

/* What the kernel does, tried out once in each process. */
SCOOT_EXPORT scoot_purge_support scoot_purgeable_support(void);

/* A region. NULL if options is NULL or out of range, or the OS refuses the address space. */
SCOOT_EXPORT scoot_purgeable* scoot_purgeable_create(const scoot_purgeable_options* options);

/* Gives everything back to the OS. No pins may be left. NULL is ignored. */
SCOOT_EXPORT void scoot_purgeable_destroy(scoot_purgeable* region);

/* A chunk, kept and zero-filled; SCOOT_NO_CHUNK if all are in use or the OS refuses. */
SCOOT_EXPORT uint32_t scoot_chunk_allocate(scoot_purgeable* region);

/* Gives an allocated chunk's memory back to the OS at once or, if it is pinned, with its last pin. */
SCOOT_EXPORT void scoot_chunk_free(scoot_purgeable* region, uint32_t chunk);

/* Where a chunk begins: constant. To be written to while it is kept. */
SCOOT_EXPORT void* scoot_chunk_data(const scoot_purgeable* region, uint32_t chunk);

/* The chunk that an address lies in, or SCOOT_NO_CHUNK. May be called from a signal handler. */
SCOOT_EXPORT uint32_t scoot_chunk_of(const scoot_purgeable* region, const void* address);

/* Offers the first `bytes` of a chunk, rounded up to OS pages, to the kernel; its content must not change any more. */
SCOOT_EXPORT scoot_offer_status scoot_chunk_offer(scoot_purgeable* region, uint32_t chunk, size_t bytes);

/* SCOOT_PRESENT: the bytes stay where and as they are until scoot_chunk_unpin. Otherwise nothing is pinned. */
SCOOT_EXPORT scoot_presence scoot_chunk_pin(scoot_purgeable* region, uint32_t chunk, size_t offset, size_t bytes);
SCOOT_EXPORT void scoot_chunk_unpin(scoot_purgeable* region, uint32_t chunk);

/* Copies bytes out of a chunk to `to`; what was copied is undefined unless the answer is SCOOT_PRESENT. */
SCOOT_EXPORT scoot_presence scoot_chunk_read_if_present(scoot_purgeable* region, uint32_t chunk, size_t offset,
                                                        size_t bytes, void* to);

SCOOT_EXPORT scoot_chunk_info scoot_chunk_get_info(const scoot_purgeable* region, uint32_t chunk); /* of now */

/* Looks for purged pages in the next chunks, at most bytes_max of offered memory, and writes up to `room` ranges of
 * what was lost, each once. `lost` may be NULL if room is 0. */
SCOOT_EXPORT scoot_sweep scoot_purgeable_sweep(scoot_purgeable* region, scoot_lost_range* lost, size_t room,
                                               size_t bytes_max);

SCOOT_EXPORT scoot_purgeable_usage scoot_purgeable_stats(const scoot_purgeable* region); /* what it holds and did */

/* ---- memory pressure ------------------------------------------------------------------------------------------- */
/* pressure.hpp in C: read there what is promised. Functions from any thread; callbacks on the monitor's own. */

typedef struct scoot_pressure scoot_pressure; /* a monitor of memory pressure, with a thread of its own */

/* What an alarm came from; 1 << this in scoot_pressure_options::sources. */
typedef enum scoot_pressure_source {
  SCOOT_PRESSURE_HEADROOM = 0,
  SCOOT_PRESSURE_CGROUP_THRESHOLD = 1,
  SCOOT_PRESSURE_CGROUP_LEVEL = 2,
  SCOOT_PRESSURE_CGROUP_EVENTS = 3,
  SCOOT_PRESSURE_CGROUP_PSI = 4,
  SCOOT_PRESSURE_SYSTEM_PSI = 5,
  SCOOT_PRESSURE_SERVICE_MANAGER = 6,
  SCOOT_PRESSURE_CANARY = 7,
  SCOOT_PRESSURE_FIFO = 8,
  SCOOT_PRESSURE_PROGRAM = 9
} scoot_pressure_source;

/* What a monitor tells the program. */
typedef struct scoot_pressure_notice {
  size_t give_back_bytes; /* free about so much now */
  size_t deficit_bytes;   /* what is missing in all */
  size_t target_bytes;    /* what the program should hold from now on, at most */
  uint64_t noticed_ns;    /* when the monitor learnt of it, by CLOCK_MONOTONIC */
  scoot_pressure_source source;
  size_t reserved[4];
} scoot_pressure_notice;

/* What a monitor is made with. */
typedef struct scoot_pressure_options {
  /* Gives memory back and returns how many bytes it gave; must be bounded. NULL: ask scoot_pressure_deficit. */
  size_t (*give_back)(void* context, const scoot_pressure_notice* notice);
  /* The bytes that the program holds and could give back; cheap. NULL: unknown. */
  size_t (*held)(void* context);
  /* The target has grown. May be NULL. */
  void (*may_grow)(void* context, size_t target_bytes);
  void* context;
  size_t held_bytes_min;
  size_t held_bytes_max;       /* 0: no ceiling */
  uint64_t headroom_bytes_min; /* 0: by the limit */
  uint64_t headroom_bytes_max; /* 0: by the limit */
  uint32_t window_ms;          /* 0: 10,000 */
  uint32_t cooldown_ms;        /* 0: 10,000 */
  uint32_t step_ms;            /* 0: 1,000 */
  uint32_t sources;            /* a bit for each; 0: all */
  const char* fifo;            /* NULL: none; must outlive the monitor, as root must */
  int realtime_priority;       /* 0: 1; negative: do not ask for real-time scheduling */
  const char* root;            /* NULL: "" */
  double watch_cost_max;       /* 0: 0.0007 of a core */
  size_t reserved[6];          /* zero */
} scoot_pressure_options;

/* What a monitor knows and did. */
typedef struct scoot_pressure_usage {
  uint64_t limit_bytes; /* of the limit that leaves least */
  uint64_t used_bytes;
  uint64_t available_bytes;
  uint64_t headroom_bytes; /* kept for others */
  size_t held_bytes;
  size_t deficit_bytes;
  size_t target_bytes;
  uint64_t readings; /* from here on: ever */
  uint64_t alarms;
  uint64_t notices;
  uint64_t fruitless_notices;
  uint64_t asked_bytes;
  uint64_t given_bytes;
  uint64_t growths;
  uint64_t purged_bytes;
  uint64_t wake_delay_ns_max;
  uint64_t give_back_ns_max;
  uint64_t cpu_ns;      /* processor time of its thread */
  uint64_t interval_ns; /* until the next reading */
  int scheduling;       /* 0 plain, 1 raised, 2 real-time */
  bool stack_locked;
  uint64_t reserved[6];
} scoot_pressure_usage;

/* One source of a monitor. */
typedef struct scoot_pressure_source_info {
  scoot_pressure_source source;
  int state;       /* 0 off, 1 absent, 2 refused, 3 watching, 4 lost */
  int error;       /* errno */
  uint64_t alarms; /* ever */
  char where[256];
} scoot_pressure_source_info;

/* Starts a monitor; options may be NULL. NULL if they contradict each other or there is no memory or thread for it. */
SCOOT_EXPORT scoot_pressure* scoot_pressure_create(const scoot_pressure_options* options);

/* Stops it, after the callback that runs. Not from a callback. NULL is ignored. */
SCOOT_EXPORT void scoot_pressure_destroy(scoot_pressure* monitor);

/* What should be given back, and what should be held at most (SIZE_MAX while nothing speaks against more). */
SCOOT_EXPORT size_t scoot_pressure_deficit(const scoot_pressure* monitor);
SCOOT_EXPORT size_t scoot_pressure_target(const scoot_pressure* monitor);

/* The kernel purged so much offered memory; the program found memory short by so much (0: it can't say). */
SCOOT_EXPORT void scoot_pressure_report_purged(scoot_pressure* monitor, size_t bytes);
SCOOT_EXPORT void scoot_pressure_report_shortage(scoot_pressure* monitor, size_t bytes);

/* Waits for a new reading and its callbacks; false if that took longer. Not from a callback. */
SCOOT_EXPORT bool scoot_pressure_read_now(scoot_pressure* monitor, uint32_t timeout_ms);

SCOOT_EXPORT scoot_pressure_usage scoot_pressure_stats(const scoot_pressure* monitor); /* what it knows and did */

/* Writes up to room entries, one for each source; returns how many there are. */
SCOOT_EXPORT size_t scoot_pressure_list_sources(const scoot_pressure* monitor, scoot_pressure_source_info* infos,
                                                size_t room);

/* The least limit of this process's memory, and the least that any limit leaves; zeros if unknown. */
typedef struct scoot_room {
  uint64_t limit_bytes;
  uint64_t available_bytes;
} scoot_room;
SCOOT_EXPORT scoot_room scoot_measure_memory_room(void); /* reads a few files */

#ifdef __cplusplus
}
#endif

#endif
