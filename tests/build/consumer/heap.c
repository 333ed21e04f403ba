/* SPDX-License-Identifier: MIT */
#include <scoot/scoot.h>
#include <scoot/version.h>
#include <stdio.h>
#include <string.h>

enum { records = 10000 };

typedef struct record {
  struct record** self;
  int number;
} record;

static scoot_verdict move_record(void* context, void* from, void* to, size_t size) {
  record* moved = to;
  (void)context;
  (void)size;
  memcpy(to, from, sizeof(record));
  *moved->self = moved;
  return SCOOT_MOVED;
}

static record* table[records];

int main(void) {
  const scoot_pool_options options = {.budget_bytes = (size_t)16 << 20};
  scoot_pool* pool = scoot_pool_create(&options);
  scoot_heap* heap = scoot_heap_create(pool, NULL);
  const scoot_kind_options kind_options = {.name = "record", .move = move_record};
  const scoot_kind kind = scoot_heap_add_kind(heap, &kind_options);
  for (int i = 0; i < records; ++i) {
    table[i] = scoot_allocate(heap, kind, sizeof(record));
    if (!table[i]) return 1;
    table[i]->self = &table[i];
    table[i]->number = i;
  }
  for (int i = 0; i < records; ++i) {
    if (i % 10 != 0) scoot_free(heap, table[i]);
  }
  const scoot_compaction done = scoot_compact(heap, NULL);
  for (int i = 0; i < records; i += 10) {
    if (table[i]->number != i) return 2;
  }
  printf("scoot %s: %zu blocks moved\n", SCOOT_VERSION, done.blocks_moved);
  scoot_heap_destroy(heap);
  scoot_pool_destroy(pool);
  return done.blocks_moved > 0 ? 0 : 3;
}
