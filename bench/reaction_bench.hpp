// SPDX-License-Identifier: MIT
//
// `scoot-bench reaction`: priority inversion, the objection of 2003. How long it takes from memory getting short to the
// callback of a program that is to give memory back, with and without busy processes on all processors, a bad nice
// value and real-time scheduling; and that offered memory needs no scheduling of its owner at all. docs/benchmarks.md
// has the definitions.
//
// Bursts need root and a memory cgroup; without, only signals are measured and skipped_status is returned.
#pragma once

#include "report.hpp"

namespace bench {

struct reaction_options {
  unsigned signals = 40;     // of each arm
  unsigned bursts = 5;       // of each arm
  double rate_mib_s = 256;   // of a burst
  unsigned limit_mib = 160;  // of the cgroup
  unsigned held_mib = 96;    // by the program that is to give back
  unsigned burst_mib = 96;
  double idle_s = 5;  // how long the cost of doing nothing is watched
  bool smoke = false;
};

int run_reaction_bench(reaction_options options, json_rows& rows);

// The processes of a run beside this one, each this program again. Lines on stdout; each ends with its input.
//
//     owner monitor HELD_MIB NICE PRIORITY FIFO
//                                           holds memory and gives back what its monitor asks for. "ready SCHEDULING",
//                                           then "notice NS SOURCE" from each callback
//     owner purgeable HELD_MIB NICE         holds offered memory and does nothing more. "ready"
//     burst MIB RATE LEVEL USAGE_FILE       "ready"; at the line "go" takes that much memory; "crossed NS" when usage
//                                           was about to pass the level, "done" at the end
int run_reaction_role(int argc, char** argv);

}  // namespace bench
