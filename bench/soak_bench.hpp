// SPDX-License-Identifier: MIT
//
// `scoot-bench soak`: the heap under shifting load for as long as asked; fails when its bloat grows. Definitions:
// docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "report.hpp"

namespace bench {

struct soak_options {
  double minutes = 5;
  std::size_t live_mib = 64;
  std::uint64_t seed = 1;
  bool leak = false;  // for the test of the check: a little is lost in every cycle
  bool smoke = false;
};

// Appends its figures to `rows`. Exit status: 0; 1 if bloat grew, or the run failed.
int run_soak(soak_options options, json_rows& rows);

}  // namespace bench
