/* SPDX-License-Identifier: MIT */
/*
 * Goal: scoot.h is enough for a C11 program. Method: a program in C that uses every function of it; the exit status is
 * the number of the line whose check failed, modulo 255, or 0.
 */
#include <stdio.h>
#include <string.h>

#include "scoot/scoot.h"

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
      return 1 + __LINE__ % 254;                                               \
    }                                                                          \
  } while (0)

enum { entries = 20000 };

/* A table of pointers; each entry knows its index. */
struct entry {
  unsigned index;
  unsigned char bytes[];
};

static struct entry* table[entries];
static unsigned moves;

static scoot_verdict move_entry(void* context, void* from, void* to, size_t size) {
  struct entry** entry_of = context;
  unsigned index = ((struct entry*)from)->index;
  if (index % 97 == 1) return SCOOT_KEEP;
  if (index % 97 == 2) {
    entry_of[index] = NULL;
    return SCOOT_DROP;
  }
  memcpy(to, from, size);
  entry_of[index] = to;
  ++moves;
  return SCOOT_MOVED;
}

static int check_entries(void) {
  for (unsigned i = 0; i < entries; ++i) {
    if (table[i] == NULL) continue;
    CHECK(table[i]->index == i);
    for (unsigned n = 0; n < i % 300; ++n) CHECK(table[i]->bytes[n] == (unsigned char)i);
  }
  return 0;
}

/* Frees the first few entries that are left. */
static size_t evict_entries(void* context, size_t bytes) {
  size_t freed = 0;
  for (unsigned i = 0; i < entries && freed < bytes; ++i) {
    if (table[i] == NULL) continue;
    freed += scoot_usable_size(context, table[i]);
    scoot_free(context, table[i]);
    table[i] = NULL;
  }
  return freed;
}

/* Sums up blocks that are in the table. */
struct sum {
  size_t blocks;
  size_t bytes;
};

static void add_block(void* context, void* block, size_t bytes) {
  struct sum* sum = context;
  if (table[((struct entry*)block)->index] != block) return;
  ++sum->blocks;
  sum->bytes += bytes;
}

/* Counts what it is shown. */
static void take_block(void* context, const void* block, size_t bytes) {
  (void)block;
  struct sum* sum = context;
  ++sum->blocks;
  sum->bytes += bytes;
}

static void add_page(void* context, const scoot_page_view* page) {
  struct sum* sum = context;
  sum->blocks += page->blocks;
  sum->bytes += page->live_bytes;
}

static bool take_text(void* context, const char* bytes, size_t size) {
  (void)bytes;
  *(size_t*)context += size;
  return true;
}

static int ask(scoot_pool* pool, scoot_heap* heap, scoot_kind kind) {
  scoot_stats stats = scoot_heap_stats(heap);
  CHECK(scoot_heap_held_bytes(heap) == stats.held_bytes);
  scoot_pauses pauses = scoot_heap_pauses(heap);
  uint64_t counted = 0;
  for (size_t i = 0; i < SCOOT_PAUSE_CLASSES; ++i) counted += pauses.counts[i];
  CHECK(counted > 0 && pauses.total_ns > 0);
  CHECK(scoot_kind_count(heap) == 1);
  CHECK(strcmp(scoot_kind_stats(heap, kind).name, "entry") == 0 && scoot_kind_stats(heap, kind).movable);
  struct sum sum = {0, 0};
  uint64_t cursor = 0;
  do {
    cursor = scoot_visit_pages(heap, cursor, NULL, add_page, &sum);
  } while (cursor != 0);
  CHECK(sum.blocks >= stats.blocks && sum.bytes >= stats.live_bytes);
  uint8_t use[64];
  CHECK(scoot_list_page_use(pool, 0, use, 64) == 64);
  size_t text = 0;
  CHECK(scoot_write_snapshot(heap, take_text, &text, NULL) && text > 1000);
  return 0;
}

static int use_blocks(scoot_heap* heap) {
  scoot_kind kind = scoot_heap_add_kind(heap, NULL);
  unsigned char* block = scoot_allocate_zeroed(heap, kind, 3000);
  CHECK(block != NULL && block[0] == 0 && memcmp(block, block + 1, 2999) == 0);
  CHECK(scoot_kind_of(heap, block).index == kind.index && !scoot_kind_valid(scoot_kind_of(heap, NULL)));
  CHECK(scoot_block_of(heap, block + 2999) == block && scoot_block_of(heap, &kind) == NULL);
  scoot_explanation known = scoot_explain(heap, block + 1);
  CHECK(known.what == SCOOT_LIVE && known.block == block && known.offset == 1 && known.text[0] != 0);
  CHECK(scoot_pin_as(heap, block, "a") && scoot_pin_as(heap, block, "b"));
  scoot_pin_info pin;
  scoot_pin_holder holder;
  CHECK(scoot_list_pins(heap, &pin, 1) == 1 && strcmp(pin.holder, "a") == 0 && pin.pins == 2);
  scoot_unpin_as(heap, block, "a");
  CHECK(scoot_list_pin_holders(heap, &holder, 1) == 1 && strcmp(holder.holder, "b") == 0);
  scoot_unpin_as(heap, block, "b");
  block[2999] = 7;
  block = scoot_reallocate(heap, kind, block, 100000);
  CHECK(block != NULL && block[2999] == 7 && scoot_usable_size(heap, block) >= 100000);
  CHECK(!scoot_heap_remove_kind(heap, kind));
  struct sum sum = {0, 0};
  CHECK(scoot_hand_over(heap, kind, take_block, &sum) == 1 && sum.blocks == 1 && sum.bytes >= 100000);
  CHECK(scoot_heap_remove_kind(heap, kind));
  return 0;
}

static int use_heap(scoot_pool* pool, scoot_heap* heap) {
  scoot_kind_options options = {.name = "entry", .move = move_entry, .context = table};
  scoot_kind kind = scoot_heap_add_kind(heap, &options);
  CHECK(scoot_kind_valid(kind));
  for (unsigned i = 0; i < entries; ++i) {
    size_t size = sizeof(struct entry) + i % 300;
    table[i] = scoot_allocate(heap, kind, size);
    CHECK(table[i] != NULL);
    CHECK(scoot_usable_size(heap, table[i]) >= size);
    table[i]->index = i;
    memset(table[i]->bytes, (int)i, i % 300);
  }
  struct entry* pinned = table[entries - 4];
  CHECK(scoot_pin(heap, pinned));
  for (unsigned i = 0; i < entries; ++i) {
    if (i % 8 == 4) continue;
    scoot_free(heap, table[i]);
    table[i] = NULL;
  }
  CHECK(table[entries - 4] == pinned);
  scoot_forecast forecast = scoot_estimate(heap);
  CHECK(forecast.bytes_to_gain > 0 && forecast.bytes_to_move > 0);

  scoot_effort effort = {.bytes_max = 10000};
  unsigned before = moves;
  scoot_compaction step = scoot_compact(heap, &effort);
  CHECK(step.bytes_moved <= 10000 && step.blocks_moved == moves - before);
  CHECK(step.why == SCOOT_EFFORT_SPENT);
  scoot_compaction rest = scoot_compact(heap, NULL);
  CHECK(rest.bytes_given_back > 0 && rest.blocks_moved > 0);
  CHECK(table[entries - 4] == pinned);
  CHECK(scoot_move_everything(heap) > 0);
  CHECK(table[entries - 4] == pinned);
  scoot_unpin(heap, pinned);
  if (check_entries() != 0) return check_entries();

  scoot_release_options release = {.evict = evict_entries, .context = heap};
  size_t asked = scoot_pool_stats(pool).held_bytes / 4;
  scoot_released released = scoot_release(heap, asked, &release);
  CHECK(released.why == SCOOT_DONE && released.bytes_given_back >= asked && released.bytes_evicted > 0);
  if (check_entries() != 0) return check_entries();

  scoot_stats stats = scoot_heap_stats(heap);
  unsigned live = 0;
  for (unsigned i = 0; i < entries; ++i) live += table[i] != NULL;
  CHECK(stats.blocks == live);
  CHECK(stats.blocks_moved == moves && stats.allocations == entries);
  CHECK(stats.pinned_blocks == 0);
  struct sum sum = {0, 0};
  scoot_visit_blocks(heap, kind, add_block, &sum);
  CHECK(sum.blocks == live && sum.bytes == stats.live_bytes);
  if (ask(pool, heap, kind) != 0) return ask(pool, heap, kind);
  if (use_blocks(heap) != 0) return use_blocks(heap);
  scoot_heap_verify(heap);
  scoot_pool_usage usage = scoot_pool_stats(pool);
  CHECK(usage.held_bytes <= usage.budget_bytes && usage.held_bytes >= stats.held_bytes);
  return 0;
}

int main(void) {
  scoot_pool_options options = {.budget_bytes = (size_t)16 << 20};
  scoot_pool* pool = scoot_pool_create(&options);
  CHECK(pool != NULL);
  scoot_heap* heap = scoot_heap_create(pool, NULL);
  CHECK(heap != NULL);
  int failed = use_heap(pool, heap);
  if (failed) return failed;
  CHECK(scoot_pool_set_budget(pool, (size_t)8 << 20));
  CHECK(!scoot_pool_set_budget(pool, 1));
  scoot_heap_destroy(heap);
  scoot_pool_trim(pool, 0);
  CHECK(scoot_pool_stats(pool).pages == 0);
  scoot_pool_destroy(pool);
  puts("ok");
  return 0;
}
