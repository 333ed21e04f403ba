// SPDX-License-Identifier: MIT
//
// `scoot-bench purgeable`: what pins and reads of purgeable memory cost beside locks, system calls and plain access.
// Definitions: docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "report.hpp"

namespace bench {

struct purgeable_bench_options {
  std::size_t mib = 64;             // of chunks
  std::size_t chunk_kib = 64;       // each
  std::size_t accesses = 1U << 21;  // timed at once
  unsigned rounds = 7;
  std::uint64_t seed = 1;
  bool smoke = false;
};

// Appends its figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible; 77 if the
// kernel takes no offers.
int run_purgeable_bench(purgeable_bench_options options, json_rows& rows);

}  // namespace bench
