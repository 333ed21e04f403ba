// SPDX-License-Identifier: MIT
//
// `scoot-bench moves`: moving blocks by heap::compact beside memcpy of the same blocks. Definitions:
// docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "report.hpp"

namespace bench {

struct moves_bench_options {
  std::vector<std::uint32_t> sizes{64, 256, 1024, 4096};  // of the blocks
  std::size_t live_mib = 1024;                            // blocks before half of them is freed
  unsigned rounds = 5;
  std::uint64_t seed = 1;
  bool smoke = false;
};

// Appends its figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible.
int run_moves_bench(moves_bench_options options, json_rows& rows);

}  // namespace bench
