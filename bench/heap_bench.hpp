// SPDX-License-Identifier: MIT
//
// `scoot-bench heap` and `scoot-bench heap speed`: the same seeded work over Scoot and its malloc peers, one process
// each, in turn, over several rounds; medians as tables and as JSON. Definitions: docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "contestants.hpp"
#include "report.hpp"

namespace bench {

struct heap_bench_options {
  std::vector<std::string> workloads;          // empty: all
  std::vector<std::string> allocators;         // empty: scoot and the peers that are installed
  std::vector<std::size_t> live_mib{512, 64};  // a table each
  unsigned rounds = 3;
  unsigned processes = 20;            // speed: fresh processes in which the first pattern is repeated
  double volume = 1;                  // scales how often the live volume is replaced
  child_setup setup{.alignment = 4};  // of every child
  std::uint32_t verify_every = 8;     // of the blocks freed, one in so many is verified; smoke: all
  bool phases = false;                // each child prints its phases
  bool smoke = false;
};

// Reads a budget as the option gives it: default, tight, or a factor over the live bytes. False if it is none.
bool parse_budget(const std::string& text, double& factor);

// Append their figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible.
int run_heap_bench(heap_bench_options options, json_rows& rows);
int run_speed_bench(heap_bench_options options, json_rows& rows);

}  // namespace bench
