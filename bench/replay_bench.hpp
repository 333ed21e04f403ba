// SPDX-License-Identifier: MIT
//
// `scoot-bench record`: runs a program and records what it asks of malloc. `scoot-bench replay`: plays such traces over
// Scoot and its peers; without one named, over traces of real programs that it records first. docs/benchmarks.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "contestants.hpp"
#include "report.hpp"

namespace bench {

struct replay_options {
  std::vector<std::string> files;       // empty: record our own
  std::vector<std::string> allocators;  // empty: scoot and the peers that are installed
  std::string folder = "build/traces";  // for our own
  std::uint32_t copies = 0;             // of a trace at once; 0: as many as make 64 MiB live
  unsigned rounds = 3;
  bool smoke = false;
};

struct record_options {
  std::string file;
  std::vector<std::string> program;
};

// Appends its figures to `rows`. Exit status: 0; 1 if a trace is damaged or a run failed.
int run_replay_bench(replay_options options, json_rows& rows);

// Runs the program with its streams as ours. Exit status: the program's own; 1 if nothing could be recorded.
int run_record(const record_options& options);

}  // namespace bench
