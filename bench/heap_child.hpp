// SPDX-License-Identifier: MIT
//
// What this program does as a child of itself. "pressure" has its own arguments (pressure_roles.hpp); the others are
// the process in which one allocator runs one workload. The parent starts scoot-bench again as
//
//     scoot-bench --child heap|adversary|speed|moves|soak|replay|probe NAME=VALUE...
//
// with the peer's library preloaded. The child allocates next to nothing for itself before the allocator is measured,
// and answers on stdout with lines "name value". Exit status 0: done; 3: a block was damaged or memory ran out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "allocators.hpp"

namespace bench {

struct child_options {
  std::string_view workload = "steady";
  bool scoot = false;          // else the malloc that the process was started with
  std::size_t live_bytes = 0;  // target
  double volume = 1;           // scales how often the live volume is replaced
  std::uint64_t seed = 1;
  unsigned samples = 48;            // a phase
  bool phases = false;              // a line for each phase to stderr
  std::uint32_t verify_every = 8;   // of the blocks freed, one in so many is verified
  bool damage = false;              // spoil a byte, for the test of the verification
  std::uint64_t operations = 0;     // speed: pairs a pattern
  std::uint32_t block_bytes = 256;  // moves: size of the blocks
  double seconds = 0;               // soak: how long
  std::string_view file;            // replay: the trace
  std::uint32_t copies = 1;         // replay: of the trace, at once
  bool first_only = false;          // speed: the first pattern alone
  scoot_setup setup;
};

// Runs what argv (without "--child") asks for and returns the exit status.
int run_child(int argc, char** argv);

// The workloads that exist, by name.
inline constexpr std::string_view heap_workloads[] = {"steady", "steady-large", "shift", "frag-grow", "shrink"};

// Programs that are made to waste memory, by name; see heap_adversaries.cpp.
inline constexpr std::string_view heap_adversaries[] = {"robson", "survivors-4K", "survivors-64K", "pinned-64K"};

// The loops of `heap speed`, by name.
inline constexpr const char* speed_patterns[] = {"pair",     "fifo-1024",  "lifo-1024",  "random-1024",
                                                 "set-16Ki", "set-1-8KiB", "set-8-64KiB"};

int run_heap_workload(const child_options& options);
int run_heap_adversary(const child_options& options);
int run_speed(const child_options& options);
int run_heap_soak(const child_options& options);
int run_heap_replay(const child_options& options);
int run_moves(const child_options& options);

}  // namespace bench
