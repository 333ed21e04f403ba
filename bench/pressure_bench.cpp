// SPDX-License-Identifier: MIT
#include "pressure_bench.hpp"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "server_pair.hpp"
#include "server_runs.hpp"

namespace bench {
namespace {

constexpr std::uint64_t swap_mib = 192;

// Every arm, rate and pattern once a block; the order within each block is drawn anew.
std::vector<trial_cell> schedule(const pressure_options& o) {
  std::vector<trial_cell> cells;
  std::mt19937_64 random(o.seed);
  for (unsigned i = 0; i < o.trials; ++i) {
    const std::size_t block = cells.size();
    for (const pressure_arm& arm : pressure_arms()) {
      if (std::find(o.arms.begin(), o.arms.end(), arm.name) == o.arms.end()) continue;
      for (const double rate : o.rates)
        for (const std::string& pattern : o.patterns)
          cells.push_back({&arm, pattern == "zipf" ? access_pattern::zipf : access_pattern::uniform, rate, 0});
    }
    // Not std::shuffle, whose order is the library's own business.
    for (std::size_t k = cells.size() - 1; k > block; --k)
      std::swap(cells[k], cells[block + random() % (k - block + 1)]);
    for (std::size_t k = block; k < cells.size(); ++k) cells[k].seed = random();
  }
  return cells;
}

std::string describe(const trial_cell& c) {
  return c.arm->name + (c.pattern == access_pattern::zipf ? ", zipf, " : ", uniform, ") +
         format_fixed(c.burst_mib_per_s, 0) + " MiB/s";
}

std::string load_average() {
  const std::string text = read_text("/proc/loadavg");
  return text.substr(0, text.find(' '));
}

bool run_trials(pressure_machine& machine, const trial_setup& setup, const std::vector<trial_cell>& cells,
                std::vector<finished_trial>& trials) {
  for (const trial_cell& cell : cells) {
    progress("trial " + std::to_string(trials.size() + 1) + " of " + std::to_string(cells.size()) + ": " +
             describe(cell));
    const trial_result result = run_trial(machine, setup, cell);
    if (!result.ok) return complain(describe(cell) + ": " + result.error);
    trials.push_back({cell, result});
  }
  return true;
}

// What any sound smoke run shows: without swap and with nothing given back somebody is killed, and nobody is where the
// kernel can purge.
bool plausible(const std::vector<finished_trial>& trials) {
  bool ok = true;
  for (const finished_trial& t : trials) {
    if (t.cell.arm->name == "none" && t.result.oom_kills == 0)
      ok = complain(describe(t.cell) + ": nothing was killed, so there was no shortage");
    if (t.cell.arm->name == "purgeable" && t.result.oom_kills != 0)
      ok = complain(describe(t.cell) + ": the kernel killed something");
    if (t.cell.arm->name == "purgeable" && t.result.lost_mib <= 0)
      ok = complain(describe(t.cell) + ": nothing was purged, so there was no shortage");
  }
  return ok;
}

}  // namespace

int run_pressure_bench(pressure_options o, json_rows& rows) {
  signal(SIGPIPE, SIG_IGN);
  if (o.smoke) {
    o.no_swap = true;
    o.trials = 1;
    o.rates = {256};
    if (o.arms.empty()) o.arms = {"none", "purgeable"};
  }
  if (o.arms.empty()) o.arms = pressure_arm_names();
  if (o.scootd.empty()) o.scootd = scootd_beside_this();
  if (o.scootd.empty()) {
    complain("scootd is not built; say where it is with --scootd");
    return 1;
  }
  std::string why_not;
  const auto machine = pressure_machine::take(o.no_swap ? 0 : swap_mib << 20, why_not);
  if (machine == nullptr) {
    std::printf("scoot-bench pressure: skipped: %s\n", why_not.c_str());
    return skipped_status;
  }
  const scratch_folder folder;
  trial_setup setup;
  setup.scootd = o.scootd;
  setup.folder = folder.path();
  const std::vector<trial_cell> cells = schedule(o);
  const std::string load_before = load_average();
  std::vector<finished_trial> trials;
  bool ok = run_trials(*machine, setup, cells, trials);
  progress_done();
  std::printf(
      "%s; limit %llu MiB, victim %llu, cache %llu, burst %llu; seed %llu; load average %s, then %s; commit %s\n",
      machine->description().c_str(), static_cast<unsigned long long>(setup.limit_mib),
      static_cast<unsigned long long>(setup.victim_mib), static_cast<unsigned long long>(setup.cache_mib),
      static_cast<unsigned long long>(setup.burst_mib), static_cast<unsigned long long>(o.seed), load_before.c_str(),
      load_average().c_str(), commit().c_str());
  print_pressure_report(trials, rows);
  if (!o.csv.empty()) ok = write_pressure_csv(o.csv, trials) && ok;
  if (!o.svg.empty()) ok = draw_pressure_plots(o.svg, trials) && ok;
  if (o.smoke) ok = plausible(trials) && ok;
  return ok ? 0 : 1;
}

}  // namespace bench
