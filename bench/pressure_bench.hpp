// SPDX-License-Identifier: MIT
//
// `scoot-bench pressure`: the experiment of 2003 (docs/experiment-2003.md). Does something else swap, or die, when a
// burst needs the memory that a cache fills, and what does the cache lose? Trials of several ways in which scootd can
// give memory back, mixed by a fixed seed; definitions in docs/benchmarks.md.
//
// Needs root, a memory cgroup and, unless told to do without, a zram device; returns skipped_status, with a message,
// where one is missing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pressure_trial.hpp"
#include "report.hpp"

namespace bench {

inline constexpr int skipped_status = 77;

struct pressure_options {
  std::string scootd;                           // empty: the one built beside this program
  std::vector<std::string> arms;                // empty: all
  std::vector<double> rates = {64, 256, 1024};  // of bursts, in MiB a second
  std::vector<std::string> patterns = {"zipf", "uniform"};
  unsigned trials = 4;  // of each arm, rate and pattern
  std::uint64_t seed = 1;
  bool no_swap = false;
  std::string csv;
  std::string svg;
  bool smoke =
      false;  // a few trials without swap, which fail where the kernel kills something despite purgeable memory
};

std::vector<std::string> pressure_arm_names();

int run_pressure_bench(pressure_options options, json_rows& rows);

// --- between the files of this bench ---

// All arms that there are.
const std::vector<pressure_arm>& pressure_arms();

struct finished_trial {
  trial_cell cell;
  trial_result result;
};

// Tables on stdout, a row an arm for the JSON file.
void print_pressure_report(const std::vector<finished_trial>& trials, json_rows& rows);
bool write_pressure_csv(const std::string& path, const std::vector<finished_trial>& trials);
bool draw_pressure_plots(const std::string& prefix, const std::vector<finished_trial>& trials);

}  // namespace bench
