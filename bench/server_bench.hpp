// SPDX-License-Identifier: MIT
//
// `scoot-bench server`: scootd beside memcached. Same client, cores, threads and memory limit; CPU time of the server
// for a million operations in paired rounds, latencies at a steady rate, how much it keeps in how much memory, and how
// fast it follows a change. Definitions: docs/benchmarks.md.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "report.hpp"

namespace bench {

struct server_bench_options {
  std::string scootd;          // empty: the one built beside this program
  std::string scootd_options;  // more of them, separated by spaces
  std::string memcached = "/usr/bin/memcached";
  std::vector<std::string> cells;  // empty: all, those of memory too
  unsigned rounds = 5;
  double seconds = 1.0;  // a measurement
  unsigned connections = 50;
  unsigned latency_rate = 20'000;  // requests a second of the latency cells
  unsigned threads = 1;
  std::size_t load_memory_mib = 256;  // -m of the servers under load
  std::size_t fill_memory_mib = 128;  // -m of the servers that are filled
  bool unix_socket = false;
  bool smoke = false;
};

// The names of all cells.
std::vector<std::string> server_cells();

// Appends its figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible.
int run_server_bench(server_bench_options options, json_rows& rows);

}  // namespace bench
