// SPDX-License-Identifier: MIT
#include "heap_bench.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "heap_child.hpp"

namespace bench {
namespace {

constexpr double pinned_budget_factor = 16;

using results_map = std::map<std::pair<std::string, std::string>, series>;  // by workload and allocator

bool is_adversary(const std::string& workload) {
  return std::find(std::begin(heap_adversaries), std::end(heap_adversaries), workload) != std::end(heap_adversaries);
}

// Runs one workload over one allocator in a process of its own. False, with a message, if it fails.
bool run_one(const heap_bench_options& o, const std::string& workload, const contestant& c, unsigned round,
             std::size_t live_mib, results_map& results) {
  const bool adversary = is_adversary(workload);
  progress(std::to_string(live_mib) + " MiB, round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) +
           "  " + workload + "  " + c.name);
  std::vector<std::string> a = {adversary ? "adversary" : "heap", "workload=" + workload};
  child_setup setup = o.setup;
  // Pinned survivors strand what they like: that they do so is the figure, not a failure.
  if (workload == "pinned-64K") setup.budget_factor = std::max(setup.budget_factor, pinned_budget_factor);
  const std::vector<std::string> common = common_arguments(setup, c, round, live_mib << 20);
  a.insert(a.end(), common.begin(), common.end());
  a.push_back("volume=" + std::to_string(o.volume));
  a.push_back("verify_every=" + std::to_string(o.smoke ? 1 : o.verify_every));
  a.push_back("samples=" + std::to_string(o.smoke ? 8 : 48));
  a.push_back(std::string("phases=") + (o.phases ? "1" : "0"));
  if (o.phases) std::fprintf(stderr, "%s, %s:\n", workload.c_str(), c.name.c_str());
  const child_result r = run_self(a, c.library, child_timeout_s);
  if (!r.ok || r.answer.count("verified") == 0) {
    std::fprintf(stderr, "scoot-bench: %s over %s failed: %s\n", workload.c_str(), c.name.c_str(), r.error.c_str());
    return false;
  }
  collect(r.answer, results[{workload, c.name}]);
  return true;
}

// Runs every workload with every contestant, rounds outermost, so that what drifts on the machine hits all alike. An
// adversary is no matter of time, and runs once.
bool run_rounds(const heap_bench_options& o, const std::vector<contestant>& contestants, std::size_t live_mib,
                results_map& results) {
  bool ok = true;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (const std::string& workload : o.workloads) {
      if (round != 0 && is_adversary(workload)) continue;
      for (std::size_t i = 0; i < contestants.size(); ++i) {
        const contestant& c = contestants[(i + round) % contestants.size()];
        ok = run_one(o, workload, c, round, live_mib, results) && ok;
      }
    }
  }
  progress_done();
  return ok;
}

// For smoke runs: figures that no sound run can give. `peak_max` is the most that may ever be held.
bool plausible(const std::string& name, const series& s, bool scoot, double peak_max) {
  const auto check = [&](const char* figure, double low, double high) {
    const summary x = summarise(s.at(figure));
    if (x.min >= low && x.max <= high) return true;
    std::fprintf(stderr, "scoot-bench: implausible: %s %s is %g to %g, expected %g to %g\n", name.c_str(), figure,
                 x.min, x.max, low, high);
    return false;
  };
  bool ok = check("utilisation_steady", 0.01, 1.02);
  ok = check("utilisation_worst", 0.01, 1.02) && ok;
  ok = check("cpu_ns_per_op", 5, 1e5) && ok;
  ok = check("pause_us_p9999", 0.001, 1e6) && ok;
  ok = check("peak_bytes", 1, peak_max) && ok;
  ok = check("moved_bytes_per_allocated_byte", 0, scoot ? 50 : 0) && ok;
  ok = check("metadata_part", scoot ? 1e-6 : 0, scoot ? 0.2 : 0) && ok;
  return ok;
}

constexpr const char* json_figures[] = {
    "utilisation_steady", "utilisation_worst",    "peak_bytes",    "cpu_ns_per_op",  "moved_bytes_per_allocated_byte",
    "pause_us_p9999",     "pause_us_max",         "metadata_part", "call_ns_per_op", "give_back_ms",
    "operations",         "preempted_operations", "retries"};

nlohmann::ordered_json json_row(const std::string& workload, const std::string& allocator, const series& s) {
  nlohmann::ordered_json row;
  row["workload"] = workload;
  row["allocator"] = allocator;
  for (const char* figure : json_figures) row[figure] = summarise(s.at(figure)).median;
  for (const char* figure : {"utilisation_steady", "utilisation_worst", "cpu_ns_per_op", "call_ns_per_op",
                             "moved_bytes_per_allocated_byte", "pause_us_p9999", "pause_us_max"}) {
    const summary x = summarise(s.at(figure));
    row[std::string(figure) + "_min"] = x.min;
    row[std::string(figure) + "_max"] = x.max;
  }
  row["rounds"] = s.at("cpu_ns_per_op").size();
  return row;
}

std::vector<std::string> table_row(const std::string& workload, const std::string& allocator, const series& s) {
  const auto median = [&](const char* figure) { return summarise(s.at(figure)).median; };
  const summary cpu = summarise(s.at("cpu_ns_per_op"));
  return {workload,
          allocator,
          format_fixed(median("utilisation_steady"), 3),
          format_fixed(median("utilisation_worst"), 3),
          format_fixed(median("peak_bytes") / (1 << 20), 1),
          format_fixed(cpu.median, 1),
          format_fixed(cpu.min, 0) + "-" + format_fixed(cpu.max, 0),
          format_fixed(median("call_ns_per_op"), 1),
          format_fixed(median("moved_bytes_per_allocated_byte"), 3),
          format_fixed(100 * median("metadata_part"), 2),
          format_fixed(median("pause_us_p9999"), 1),
          format_fixed(median("pause_us_max"), 0),
          format_fixed(median("give_back_ms"), 1)};
}

// The table of the workloads, and the same as JSON. False if a smoke run's figure is implausible.
bool show_workloads(const heap_bench_options& o, const std::vector<contestant>& contestants, std::size_t live_mib,
                    const results_map& results, json_rows& rows) {
  bool ok = true;
  std::vector<std::vector<std::string>> table = {{"workload", "allocator", "steady", "worst", "peak MiB", "cpu ns/op",
                                                  "min-max", "call ns/op", "moved B/B", "meta %", "p99.99 us", "max us",
                                                  "give back ms"}};
  for (const std::string& workload : o.workloads) {
    for (const contestant& c : contestants) {
      const auto found = results.find({workload, c.name});
      if (found == results.end() || is_adversary(workload)) continue;
      table.push_back(table_row(workload, c.name, found->second));
      rows.push_back(json_row(workload, c.name, found->second));
      rows.back()["live_bytes"] = live_mib << 20;
      if (c.scoot) rows.back()["budget_factor"] = budget_factor(o.setup, c);
      if (!o.smoke) continue;
      // Scoot keeps to its budget; page tables and the benchmark's own few pages come on top. A malloc has none.
      const double live = static_cast<double>(live_mib << 20);
      const double peak_max = c.scoot ? budget_factor(o.setup, c) * live * 1.005 + 256e3 : 4 * live;
      ok = plausible(workload + " " + c.name, found->second, c.scoot, peak_max) && ok;
    }
  }
  if (table.size() == 1) return ok;
  std::printf("%zu MiB live, medians of %u; commit %s\n", live_mib, o.rounds, commit().c_str());
  print_table(table);
  return ok;
}

// The table of the adversaries: most held / most live.
bool show_adversaries(const heap_bench_options& o, const std::vector<contestant>& contestants, std::size_t live_mib,
                      const results_map& results, json_rows& rows) {
  bool ok = true;
  std::vector<std::vector<std::string>> table = {{"most held / most live", ""}};
  for (const std::string& workload : o.workloads)
    if (is_adversary(workload)) table[0].push_back(workload);
  if (table[0].size() == 2) return ok;
  for (const contestant& c : contestants) {
    std::vector<std::string> line = {c.name, ""};
    for (const std::string& workload : o.workloads) {
      if (!is_adversary(workload)) continue;
      const auto found = results.find({workload, c.name});
      if (found == results.end()) {
        line.emplace_back("-");
        continue;
      }
      const double waste = found->second.at("waste").front();
      line.push_back(format_fixed(waste, 3));
      nlohmann::ordered_json row;
      row["workload"] = workload;
      row["allocator"] = c.name;
      for (const char* figure : {"waste", "peak_bytes", "peak_live_bytes", "cpu_ns_per_op", "operations"})
        row[figure] = found->second.at(figure).front();
      row["live_bytes"] = live_mib << 20;
      rows.push_back(row);
      if (o.smoke && !(waste > 0.9 && waste < 20)) {
        std::fprintf(stderr, "scoot-bench: implausible: %s %s wastes %g\n", workload.c_str(), c.name.c_str(), waste);
        ok = false;
      }
    }
    table.push_back(line);
  }
  std::printf("%zu MiB live at most; commit %s\n", live_mib, commit().c_str());
  print_table(table);
  return ok;
}

}  // namespace

bool parse_budget(const std::string& text, double& factor) {
  if (text == "default" || text == "tight") {
    factor = text == "tight" ? budget_factor_tight : budget_factor_default;
    return true;
  }
  char* end = nullptr;
  factor = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && factor >= 1 && factor <= 100;
}

int run_heap_bench(heap_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.live_mib = {std::min<std::size_t>(o.live_mib.front(), 16)};
    o.rounds = 1;
  }
  if (o.workloads.empty()) {
    o.workloads.assign(std::begin(heap_workloads), std::end(heap_workloads));
    o.workloads.insert(o.workloads.end(), std::begin(heap_adversaries), std::end(heap_adversaries));
  }
  std::vector<contestant> contestants;
  if (!choose_contestants(o.allocators, contestants)) return 1;
  bool ok = true;
  for (const std::size_t live_mib : o.live_mib) {
    results_map results;
    ok = run_rounds(o, contestants, live_mib, results) && ok;
    ok = show_workloads(o, contestants, live_mib, results, rows) && ok;
    ok = show_adversaries(o, contestants, live_mib, results, rows) && ok;
  }
  return ok ? 0 : 1;
}

}  // namespace bench
