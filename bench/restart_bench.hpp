// SPDX-License-Identifier: MIT
//
// `scoot-bench restart`: how long it takes to write a full cache to a file in memory and to make it again from that.
// Definitions: docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "report.hpp"

namespace bench {

struct restart_bench_options {
  std::size_t mib = 1024;  // the cache's budget
  std::vector<std::size_t> value_bytes = {100, 1024};
  unsigned rounds = 3;
  std::string folder = "/dev/shm";
  std::uint64_t seed = 1;
  bool smoke = false;
};

// Appends its figures to `rows`. Exit status: 0; 1 if anything was lost or changed; 77 if the folder has no room.
int run_restart_bench(restart_bench_options options, json_rows& rows);

}  // namespace bench
