/* SPDX-License-Identifier: MIT */
/*
 * Goal: scoot.h is enough for a C11 program that heeds memory pressure. Method: a program in C that uses every function
 * of that section; the exit status is the number of the line whose check failed, modulo 255, or 0.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scoot/scoot.h"

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
      return 1 + __LINE__ % 254;                                               \
    }                                                                          \
  } while (0)

/* Only read by others after scoot_pressure_read_now, which orders that. */
struct program {
  size_t held;
  _Atomic unsigned notices;
  _Atomic unsigned growths; /* may change at any time */
  scoot_pressure_notice last;
};

static size_t give_back(void* context, const scoot_pressure_notice* notice) {
  struct program* me = context;
  me->last = *notice;
  ++me->notices;
  me->held -= notice->give_back_bytes;
  return notice->give_back_bytes;
}

static size_t held(void* context) { return ((struct program*)context)->held; }

static void may_grow(void* context, size_t target_bytes) {
  (void)target_bytes;
  ++((struct program*)context)->growths;
}

static int use(scoot_pressure* monitor, struct program* me) {
  CHECK(scoot_pressure_read_now(monitor, 5000));
  CHECK(scoot_pressure_deficit(monitor) == 0);
  CHECK(scoot_pressure_target(monitor) == SIZE_MAX);
  scoot_pressure_report_shortage(monitor, 1000);
  CHECK(scoot_pressure_read_now(monitor, 5000));
  CHECK(scoot_pressure_read_now(monitor, 5000));
  CHECK(me->notices == 1 && me->held == 99000 && me->last.source == SCOOT_PRESSURE_PROGRAM);
  CHECK(me->last.give_back_bytes == 1000 && me->last.target_bytes == 99000 && me->last.noticed_ns != 0);
  CHECK(scoot_pressure_target(monitor) == 99000);
  scoot_pressure_report_purged(monitor, 4096);
  CHECK(scoot_pressure_read_now(monitor, 5000));
  for (int i = 0; i < 500 && me->growths == 0; ++i) {
    usleep(10000);
    CHECK(scoot_pressure_read_now(monitor, 5000));
  }
  CHECK(me->growths != 0);
  scoot_pressure_usage stats = scoot_pressure_stats(monitor);
  CHECK(stats.notices == 1 && stats.given_bytes == 1000 && stats.purged_bytes == 4096 && stats.growths != 0);
  CHECK(stats.limit_bytes == (uint64_t)1 << 30 && stats.available_bytes == (uint64_t)500 << 20);
  CHECK(stats.held_bytes == 99000 && stats.readings >= 4 && stats.scheduling >= 0);
  scoot_pressure_source_info infos[32];
  size_t count = scoot_pressure_list_sources(monitor, infos, 32);
  CHECK(count == SCOOT_PRESSURE_PROGRAM + 1);
  CHECK(infos[SCOOT_PRESSURE_HEADROOM].state == 3 && strstr(infos[SCOOT_PRESSURE_HEADROOM].where, "meminfo") != NULL);
  CHECK(infos[SCOOT_PRESSURE_PROGRAM].alarms == 1);
  return 0;
}

int main(void) {
  /* A machine of our own: its memory does not change while we look. */
  char root[] = "/tmp/scoot-c-pressure-XXXXXX";
  char path[64];
  CHECK(mkdtemp(root) != NULL);
  snprintf(path, sizeof path, "%s/proc", root);
  CHECK(mkdir(path, 0700) == 0);
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  FILE* file = fopen(path, "w");
  CHECK(file != NULL);
  fprintf(file, "MemTotal: 1048576 kB\nMemAvailable: 512000 kB\n");
  fclose(file);

  struct program me = {.held = 100000};
  scoot_pressure_options options = {.give_back = give_back, .held = held, .may_grow = may_grow, .context = &me};
  options.root = root;
  options.cooldown_ms = 20;
  options.step_ms = 10;
  options.realtime_priority = -1;
  scoot_pressure* monitor = scoot_pressure_create(&options);
  CHECK(monitor != NULL);
  int failed = use(monitor, &me);
  scoot_pressure_destroy(monitor);
  unlink(path);
  snprintf(path, sizeof path, "%s/proc", root);
  rmdir(path);
  rmdir(root);
  if (failed != 0) return failed;

  options.held_bytes_min = 2;
  options.held_bytes_max = 1;
  CHECK(scoot_pressure_create(&options) == NULL);
  memset(&options, 0, sizeof options);
  options.reserved[2] = 1;
  CHECK(scoot_pressure_create(&options) == NULL);
  monitor = scoot_pressure_create(NULL);
  CHECK(monitor != NULL);
  scoot_pressure_destroy(monitor);
  scoot_pressure_destroy(NULL);
  scoot_room room = scoot_measure_memory_room();
  CHECK(room.limit_bytes != 0 && room.available_bytes <= room.limit_bytes);
  return 0;
}
