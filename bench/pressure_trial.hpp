// SPDX-License-Identifier: MIT
//
// One trial of `scoot-bench pressure`: a fresh memory cgroup that holds scootd with a full cache and a victim that
// sweeps its memory; users of the cache outside; then a burst in the group that needs more than there is left.
// docs/benchmarks.md defines the figures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pressure_load.hpp"
#include "pressure_machine.hpp"

namespace bench {

// How scootd is to give memory back, and what stands in its way.
struct pressure_arm {
  std::string name;
  bool cold_tier = false;            // part of its memory is purgeable
  std::vector<std::string> options;  // of scootd
  bool hogs = false;                 // while the burst lasts scootd is at nice 19 beside a busy process a processor
  bool real_time = false;            // scootd may use real-time scheduling
};

// What all trials share.
struct trial_setup {
  std::string scootd;
  std::string folder;  // for sockets and logs
  std::uint64_t limit_mib = 256;
  std::uint64_t victim_mib = 48;
  std::uint64_t cache_mib = 176;  // what scootd may hold in all; with a cold tier this much of it is hot:
  std::uint64_t hot_mib = 64;
  std::uint64_t items_mib = 168;  // of keys and values, as many as fit without a cold tier
  std::size_t value_bytes = 4000;
  std::uint64_t burst_mib = 72;  // about a third of it is free beside victim and cache
  double lookups_per_s = 2'500;
  double warm_turns = 2.5;  // lookups for each item before anything is measured, as fast as the server answers
  double warm_s_max = 5;
  double hold_s = 0.4;
  double refill_s_max = 2;
};

struct trial_cell {
  const pressure_arm* arm = nullptr;
  access_pattern pattern = access_pattern::zipf;
  double burst_mib_per_s = 0;  // 0: as fast as it can
  std::uint64_t seed = 1;
};

struct trial_result {
  bool ok = false;    // false: the trial could not be held, or a value was wrong
  std::string error;  // why not

  double shortage_mib = 0;            // what was in use before the burst, and the burst, less the limit
  double headroom_mib = 0;            // of the limit, not in use before the burst
  std::uint64_t swapped_before = 0;   // OS pages of the group in swap before the burst
  std::uint64_t swapped = 0;          // and more than that at most, from its start to its end
  std::uint64_t swapped_machine = 0;  // written to swap by the whole machine meanwhile
  std::uint64_t swapped_victim = 0;   // OS pages of each in swap, at most, by looks every few milliseconds
  std::uint64_t swapped_scootd = 0;
  std::uint64_t swapped_burst = 0;
  double sweep_us_before = 0;  // the victim's median before the burst
  double sweep_us_worst = 0;   // and its worst from the burst's start to its end
  std::uint64_t victim_faults = 0;
  double burst_s = 0;   // until it had its memory
  double lost_mib = 0;  // keys and values of items that went missing from the burst's start to its end
  double hit_before = 0;
  double hit_worst = 1;  // in any 50 ms from the burst's start to its end
  double hit_after = 0;  // of the first 100 ms after its end
  double recover_s = 0;  // from then until 100 ms with the hit rate of before, less .02; refill_s_max if never
  std::uint64_t oom_kills = 0;
  bool victim_died = false;
  bool scootd_died = false;
  bool burst_died = false;
};

trial_result run_trial(pressure_machine& machine, const trial_setup& setup, const trial_cell& cell);

}  // namespace bench
