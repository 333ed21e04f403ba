/* SPDX-License-Identifier: MIT */
/*
 * The heap from C: a hash table of counted words whose entries move. Each bucket is a list; the hook finds the pointer
 * to an entry by hashing its word again, so an entry needs no pointer back.
 */
#include <stdio.h>
#include <string.h>

#include "scoot/scoot.h"

enum { buckets = 4096 };

struct entry {
  struct entry* next;
  unsigned count;
  char word[];
};

struct table {
  scoot_heap* heap;
  scoot_kind kind;
  struct entry* bucket[buckets];
};

static struct entry** bucket_of(struct table* t, const char* word) {
  unsigned hash = 5381;
  while (*word != '\0') hash = hash * 33 + (unsigned char)*word++;
  return &t->bucket[hash % buckets];
}

/* The hook: finds the pointer to the entry, copies the entry, changes the pointer. */
static scoot_verdict move_entry(void* context, void* from, void* to, size_t size) {
  struct entry** link = bucket_of(context, ((struct entry*)from)->word);
  while (*link != from) link = &(*link)->next;
  memcpy(to, from, size);
  *link = to;
  return SCOOT_MOVED;
}

static bool count(struct table* t, const char* word) {
  for (struct entry* e = *bucket_of(t, word); e != NULL; e = e->next) {
    if (strcmp(e->word, word) == 0) return ++e->count != 0;
  }
  struct entry* e = scoot_allocate(t->heap, t->kind, sizeof *e + strlen(word) + 1); /* may move the others */
  if (e == NULL) return false;
  struct entry** bucket = bucket_of(t, word);
  strcpy(e->word, word);
  e->count = 1;
  e->next = *bucket;
  *bucket = e;
  return true;
}

/* Forgets the words counted less often than `least`. */
static void forget(struct table* t, unsigned least) {
  for (size_t i = 0; i < buckets; ++i) {
    for (struct entry** link = &t->bucket[i]; *link != NULL;) {
      struct entry* e = *link;
      if (e->count >= least) {
        link = &e->next;
        continue;
      }
      *link = e->next;
      scoot_free(t->heap, e);
    }
  }
}

int main(void) {
  scoot_pool_options options = {.budget_bytes = (size_t)32 << 20};
  scoot_pool* pool = scoot_pool_create(&options);
  if (pool == NULL) return 1;
  struct table t = {.heap = scoot_heap_create(pool, NULL)};
  if (t.heap == NULL) return 1;
  t.kind = scoot_heap_add_kind(t.heap, &(scoot_kind_options){.name = "word", .move = move_entry, .context = &t});

  for (unsigned round = 0; round < 4; ++round) {
    for (unsigned i = 0; i < 100000; i += 1 + round * 9) {
      char word[32];
      snprintf(word, sizeof word, "word-%u", i);
      if (!count(&t, word)) return 1;
    }
  }
  scoot_stats before = scoot_heap_stats(t.heap);
  printf("%zu words:  %5zu KiB held\n", before.blocks, before.held_bytes / 1024);
  forget(&t, 2);
  scoot_compaction done = scoot_compact(t.heap, NULL);
  scoot_stats after = scoot_heap_stats(t.heap);
  printf("%zu words:   %5zu KiB held, after %zu moves\n", after.blocks, after.held_bytes / 1024, done.blocks_moved);

  unsigned found = 0;
  for (size_t i = 0; i < buckets; ++i) {
    for (struct entry* e = t.bucket[i]; e != NULL; e = e->next) found += e->count >= 2;
  }
  scoot_heap_destroy(t.heap);
  scoot_pool_destroy(pool);
  return found == after.blocks && after.held_bytes < before.held_bytes / 4 ? 0 : 1;
}
