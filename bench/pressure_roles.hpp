// SPDX-License-Identifier: MIT
//
// The processes of a trial of `scoot-bench pressure` beside scootd, each this program again (role_process). Lines:
//
//     victim BYTES PERIOD_US   sweeps its memory, a page at a time, every PERIOD_US; "ready" after the first sweep.
//                              When its input ends: "sweep START_NS LENGTH_NS" for each since then, "faults N" for the
//                              pages it had to wait for (major faults), and "intact" if every page holds what it wrote
//     burst BYTES MIB_A_S      "ready"; at the line "go" takes and writes BYTES at that rate (0: as fast as it can),
//                              "done NS" with what it took, and holds them until its input ends
//     hog                      keeps a processor busy until its input ends
//
// Times are CLOCK_MONOTONIC's.
#pragma once

namespace bench {

// Runs the role argv[0] and returns the exit status.
int run_pressure_role(int argc, char** argv);

}  // namespace bench
