// SPDX-License-Identifier: MIT
//
// `scoot-bench policy`: traces through scoot::cache itself and through models of other policies, at equal memory; miss
// ratios as a table, as JSON and as a plot. Definitions: docs/benchmarks.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy_generator.hpp"
#include "report.hpp"
#include "tools/request_trace.hpp"

namespace bench {

using tools::request_trace_options;
using tools::trace_format;

struct policy_bench_options {
  std::vector<std::string> files;  // traces
  std::string clusters;            // statistics to make traces from
  std::vector<std::string> only;   // of the clusters, these
  request_trace_options reading;   // requests_max goes for generated traces, too
  generator_options generating;    // its requests and population are set by the bench
  std::vector<double> fractions;   // budgets, as fractions of what the objects of a trace take
  double budget_mib = 32;          // a generated trace has as many objects as make the fraction that much
  std::string memcached;           // if given, the model of memcached is checked against this program
  bool offline = false;            // also what a policy that knows the future misses
  bool brief = false;              // the cache and memcached's policy alone
  std::string svg;
  bool smoke = false;
};

// Appends the figures to `rows`. Exit status: 0; 1 if a run failed or, under smoke, a figure is implausible.
int run_policy_bench(policy_bench_options options, json_rows& rows);

}  // namespace bench
