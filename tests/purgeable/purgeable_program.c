/* SPDX-License-Identifier: MIT */
/*
 * Goal: scoot.h is enough for a C11 program to use purgeable memory. Method: a program in C that calls every function
 * of it, where the kernel purges and where it does not; the exit status is the number of the line whose check failed,
 * modulo 255, or 0.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "scoot/scoot.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
      return 1 + __LINE__ % 254;                                               \
    }                                                                          \
  } while (0)

enum { chunk_bytes = 65536 };

static int check_create(void) {
  CHECK(scoot_purgeable_create(NULL) == NULL);
  scoot_purgeable_options options = {.bytes_max = 0};
  CHECK(scoot_purgeable_create(&options) == NULL);
  options = (scoot_purgeable_options){.bytes_max = chunk_bytes, .reserved = {0, 1}};
  CHECK(scoot_purgeable_create(&options) == NULL);
  options = (scoot_purgeable_options){.bytes_max = chunk_bytes, .chunk_bytes = 1000};
  CHECK(scoot_purgeable_create(&options) == NULL);
  scoot_purgeable_destroy(NULL);
  return 0;
}

static int use_chunk(scoot_purgeable* region) {
  char copy[100];
  uint64_t lost_before = scoot_purgeable_stats(region).lost_accesses;
  uint32_t chunk = scoot_chunk_allocate(region);
  CHECK(chunk != SCOOT_NO_CHUNK);
  memset(scoot_chunk_data(region, chunk), 'a', chunk_bytes);
  CHECK(scoot_chunk_get_info(region, chunk).state == SCOOT_CHUNK_KEPT);
  CHECK(scoot_chunk_of(region, (char*)scoot_chunk_data(region, chunk) + 1) == chunk);
  CHECK(scoot_chunk_pin(region, chunk, 10, 20) == SCOOT_PRESENT);
  CHECK(scoot_chunk_get_info(region, chunk).pins == 1 && scoot_purgeable_stats(region).pins == 1);

  scoot_purge_support support = scoot_purgeable_support();
  scoot_offer_status refused = support == SCOOT_PURGE_REFUSED ? SCOOT_OFFER_REFUSED : SCOOT_OFFER_PINNED;
  CHECK(scoot_chunk_offer(region, chunk, chunk_bytes) == refused);
  scoot_chunk_unpin(region, chunk);
  CHECK(scoot_chunk_read_if_present(region, chunk, 5000, sizeof copy, copy) == SCOOT_PRESENT);
  CHECK(copy[0] == 'a' && copy[sizeof copy - 1] == 'a');

  if (support == SCOOT_PURGE_SEEN) {
    CHECK(scoot_chunk_offer(region, chunk, chunk_bytes) == SCOOT_OFFER_MADE);
    CHECK(scoot_purgeable_stats(region).resident_offered_bytes == chunk_bytes);
    CHECK(madvise(scoot_chunk_data(region, chunk), chunk_bytes, MADV_PAGEOUT) == 0);
    CHECK(scoot_chunk_read_if_present(region, chunk, 5000, sizeof copy, copy) == SCOOT_LOST);
    CHECK(scoot_chunk_pin(region, chunk, 5000, sizeof copy) == SCOOT_LOST);
    scoot_lost_range lost[4];
    scoot_sweep swept = scoot_purgeable_sweep(region, lost, 4, SIZE_MAX);
    CHECK(swept.complete && swept.ranges >= 1 && lost[0].chunk == chunk);
    scoot_chunk_info info = scoot_chunk_get_info(region, chunk);
    CHECK(info.state == SCOOT_CHUNK_PURGED && info.lost_bytes == chunk_bytes);
    CHECK(scoot_purgeable_stats(region).lost_accesses - lost_before == 2);
  }
  scoot_chunk_free(region, chunk);
  CHECK(scoot_chunk_pin(region, chunk, 0, 1) == SCOOT_ABSENT);
  CHECK(scoot_chunk_offer(region, chunk, 1) == SCOOT_OFFER_ABSENT);
  CHECK(scoot_purgeable_sweep(region, NULL, 0, SIZE_MAX).ranges == 0);
  CHECK(scoot_purgeable_stats(region).chunks == 0);
  return 0;
}

/* The kernel reclaims at once only what went to its lists on the same processor. */
static void stay_on_one_processor(void) {
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET((unsigned)sched_getcpu(), &here);
  (void)sched_setaffinity(0, sizeof here, &here);
}

static int use_region(bool guarded) {
  scoot_purgeable_options options = {.bytes_max = 3 * chunk_bytes, .guarded = guarded};
  scoot_purgeable* region = scoot_purgeable_create(&options);
  CHECK(region != NULL);
  CHECK(scoot_purgeable_stats(region).chunks_max == 3 && scoot_purgeable_stats(region).chunk_bytes == chunk_bytes);
  CHECK(guarded || !scoot_purgeable_stats(region).guarded);
  int failed = 0;
  for (int i = 0; i < 10 && failed == 0; ++i) failed = use_chunk(region);
  for (int i = 0; i < 3; ++i) CHECK(scoot_chunk_allocate(region) != SCOOT_NO_CHUNK);
  CHECK(scoot_chunk_allocate(region) == SCOOT_NO_CHUNK);
  scoot_purgeable_destroy(region);
  return failed;
}

int main(void) {
  stay_on_one_processor();
  int failed = check_create();
  if (failed == 0) failed = use_region(false);
  if (failed == 0) failed = use_region(true);
  return failed;
}
