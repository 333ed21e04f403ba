// SPDX-License-Identifier: MIT
//
// The measurements of `scoot-bench server`, each a function from options and contestants to results: processor time and
// latency under load (server_load.cpp), what is kept in how much memory and how fast a server follows change
// (server_memory.cpp). docs/benchmarks.md defines the figures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "server_bench.hpp"
#include "server_pair.hpp"

namespace bench {

struct cell_result {
  std::string name;
  std::string unit;
  int digits = 2;
  double low = 0;                 // a sound run gives no figure below this one
  double high = 0;                // or above
  std::vector<double> values[2];  // by contestant, a value a round
  std::uint64_t refused[2] = {};  // sets that were answered SERVER_ERROR meanwhile
};

// What the runs share: the contestants in their order, and where the results go.
struct server_runs {
  const server_bench_options& options;
  std::vector<server_setup> setups;
  std::vector<cell_result>& results;

  // When they began, and about how long all of them take; for progress lines.
  std::uint64_t start_ns = 0;
  double planned_s = 0;

  [[nodiscard]] bool wants(const std::string& cell) const;
  void tell(const std::string& what) const;  // what runs now
};

// Says what went wrong; false.
bool complain(const std::string& what);

// The names of their cells.
std::vector<std::string> load_cell_names();
std::vector<std::string> memory_cell_names();

// About how many seconds they take.
double planned_load_s(const server_runs& runs);
double planned_memory_s(const server_runs& runs);

// False, with a message, if a server or a run failed.
bool run_loads(server_runs& runs);
bool run_latencies(server_runs& runs);
bool run_fills(server_runs& runs);
bool run_changes(server_runs& runs);

}  // namespace bench
