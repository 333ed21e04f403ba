// SPDX-License-Identifier: MIT
//
// `scoot-bench heap` and `scoot-bench heap speed`: the same seeded work over Scoot and its malloc peers, one process
// each, in turn, over several rounds; medians as a table and as JSON. Definitions: docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "report.hpp"

namespace bench {

struct heap_bench_options {
  std::vector<std::string> workloads;   // empty: all
  std::vector<std::string> allocators;  // empty: scoot and the peers that are installed
  std::size_t live_mib = 512;
  unsigned rounds = 3;
  std::uint64_t seed = 1;
  double volume = 1;               // scales how often the live volume is replaced
  std::string budget = "default";  // of Scoot's pool: default, tight, or a factor over the live bytes
  double waste_target = 0;         // see scoot::heap_options; 0: the heap's own choice
  std::size_t move_kib = 0;        // likewise
  std::uint32_t verify_every = 8;  // of the blocks freed, one in so many is verified; smoke: all
  bool phases = false;             // each child prints its phases
  bool smoke = false;
};

// Append their figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible.
int run_heap_bench(heap_bench_options options, json_rows& rows);
int run_speed_bench(heap_bench_options options, json_rows& rows);

}  // namespace bench
