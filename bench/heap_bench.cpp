// SPDX-License-Identifier: MIT
#include "heap_bench.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "allocators.hpp"
#include "child_process.hpp"
#include "heap_child.hpp"
#include "report.hpp"

namespace bench {
namespace {

constexpr double budget_default = 1.25;  // of the live bytes
constexpr double budget_tight = 1.08;
constexpr unsigned child_timeout_s = 1800;

struct contestant {
  std::string name;
  std::string library;
  bool scoot = false;
};

std::optional<contestant> find_contestant(const std::string& name) {
  if (name == "scoot" || name == "scoot-tight") return contestant{name, "", true};
  for (const peer& p : peers)
    if (p.name == name) return contestant{name, p.library, false};
  return std::nullopt;
}

// Whether a process started with the library really runs on that malloc.
bool installed(const contestant& c) {
  if (c.scoot) return true;
  const child_result r = run_self({"probe"}, c.library, 30);
  return r.ok && r.answer.count(c.name) != 0;
}

// The contestants asked for. Those not installed are left out with a note; false if one has an unknown name.
bool choose_contestants(const std::vector<std::string>& names, std::vector<contestant>& chosen) {
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    wanted.emplace_back("scoot");
    for (const peer& p : peers) wanted.emplace_back(p.name);
  }
  for (const std::string& name : wanted) {
    const std::optional<contestant> c = find_contestant(name);
    if (!c) {
      std::fprintf(stderr, "scoot-bench: no allocator is called %s\n", name.c_str());
      return false;
    }
    if (installed(*c))
      chosen.push_back(*c);
    else
      std::fprintf(stderr, "scoot-bench: %s is left out: %s is not installed\n", name.c_str(), c->library.c_str());
  }
  return !chosen.empty();
}

double budget_factor(const heap_bench_options& o, const contestant& c) {
  if (c.name == "scoot-tight" || o.budget == "tight") return budget_tight;
  if (o.budget == "default") return budget_default;
  return std::strtod(o.budget.c_str(), nullptr);
}

std::vector<std::string> common_arguments(const heap_bench_options& o, const contestant& c, unsigned round) {
  std::vector<std::string> a;
  a.push_back(std::string("scoot=") + (c.scoot ? "1" : "0"));
  a.push_back("seed=" + std::to_string(o.seed + round));
  const double budget = budget_factor(o, c) * static_cast<double>(o.live_mib << 20);
  a.push_back("budget=" + std::to_string(static_cast<std::size_t>(budget)));
  a.push_back("waste_target=" + std::to_string(o.waste_target));
  a.push_back("move_bytes_max=" + std::to_string(o.move_kib << 10));
  return a;
}

using series = std::map<std::string, std::vector<double>>;  // by figure, a value a round

void collect(const child_answer& answer, series& into) {
  for (const auto& figure : answer) into[figure.first].push_back(figure.second);
}

// Runs every workload with every contestant, rounds outermost, so that what drifts on the machine hits all alike.
bool run_rounds(const heap_bench_options& o, const std::vector<contestant>& contestants,
                std::map<std::pair<std::string, std::string>, series>& results) {
  bool ok = true;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (const std::string& workload : o.workloads) {
      for (std::size_t i = 0; i < contestants.size(); ++i) {
        const contestant& c = contestants[(i + round) % contestants.size()];
        progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  " + workload + "  " +
                 c.name);
        std::vector<std::string> a = {"heap", "workload=" + workload};
        const std::vector<std::string> common = common_arguments(o, c, round);
        a.insert(a.end(), common.begin(), common.end());
        a.push_back("live_bytes=" + std::to_string(o.live_mib << 20));
        a.push_back("volume=" + std::to_string(o.volume));
        a.push_back("verify_every=" + std::to_string(o.smoke ? 1 : o.verify_every));
        a.push_back("samples=" + std::to_string(o.smoke ? 8 : 48));
        a.push_back(std::string("phases=") + (o.phases ? "1" : "0"));
        if (o.phases) std::fprintf(stderr, "%s, %s:\n", workload.c_str(), c.name.c_str());
        const child_result r = run_self(a, c.library, child_timeout_s);
        if (!r.ok || r.answer.count("verified") == 0) {
          std::fprintf(stderr, "scoot-bench: %s over %s failed: %s\n", workload.c_str(), c.name.c_str(),
                       r.error.c_str());
          ok = false;
          continue;
        }
        collect(r.answer, results[{workload, c.name}]);
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
  return ok;
}

constexpr const char* json_figures[] = {"utilisation_steady",
                                        "utilisation_worst",
                                        "peak_bytes",
                                        "cpu_ns_per_op",
                                        "moved_bytes_per_allocated_byte",
                                        "pause_us_p9999",
                                        "pause_us_max",
                                        "call_ns_per_op",
                                        "give_back_ms",
                                        "operations",
                                        "preempted_operations",
                                        "retries"};

nlohmann::ordered_json json_row(const std::string& workload, const std::string& allocator, const series& s) {
  nlohmann::ordered_json row;
  row["workload"] = workload;
  row["allocator"] = allocator;
  for (const char* figure : json_figures) row[figure] = summarise(s.at(figure)).median;
  for (const char* figure : {"utilisation_steady", "utilisation_worst", "cpu_ns_per_op", "call_ns_per_op",
                             "moved_bytes_per_allocated_byte", "pause_us_p9999"}) {
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
          format_fixed(median("pause_us_p9999"), 1),
          format_fixed(median("pause_us_max"), 0),
          format_fixed(median("give_back_ms"), 1)};
}

constexpr const char* speed_patterns[] = {"pair",     "fifo-1024",  "lifo-1024",  "random-1024",
                                          "set-16Ki", "set-1-8KiB", "set-8-64KiB"};

bool run_speed_rounds(const heap_bench_options& o, const std::vector<contestant>& contestants,
                      std::map<std::string, series>& results) {
  bool ok = true;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const contestant& c = contestants[(i + round) % contestants.size()];
      progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  speed  " + c.name);
      std::vector<std::string> a = {"speed", "operations=" + std::to_string(o.smoke ? 10'240 : 1'024'000)};
      const std::vector<std::string> common = common_arguments(o, c, round);
      a.insert(a.end(), common.begin(), common.end());
      const child_result r = run_self(a, c.library, child_timeout_s);
      if (!r.ok) {
        std::fprintf(stderr, "scoot-bench: speed of %s failed: %s\n", c.name.c_str(), r.error.c_str());
        ok = false;
        continue;
      }
      collect(r.answer, results[c.name]);
    }
  }
  progress_done();
  return ok;
}

}  // namespace

int run_heap_bench(heap_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.live_mib = std::min<std::size_t>(o.live_mib, 16);
    o.rounds = 1;
  }
  if (o.workloads.empty()) o.workloads.assign(std::begin(heap_workloads), std::end(heap_workloads));
  std::vector<contestant> contestants;
  if (!choose_contestants(o.allocators, contestants)) return 1;
  std::map<std::pair<std::string, std::string>, series> results;
  bool ok = run_rounds(o, contestants, results);

  std::vector<std::vector<std::string>> table = {{"workload", "allocator", "steady", "worst", "peak MiB", "cpu ns/op",
                                                  "min-max", "call ns/op", "moved B/B", "p99.99 us", "max us",
                                                  "give back ms"}};
  for (const std::string& workload : o.workloads) {
    for (const contestant& c : contestants) {
      const auto found = results.find({workload, c.name});
      if (found == results.end()) continue;
      table.push_back(table_row(workload, c.name, found->second));
      rows.push_back(json_row(workload, c.name, found->second));
      rows.back()["live_bytes"] = o.live_mib << 20;
      if (c.scoot) rows.back()["budget_factor"] = budget_factor(o, c);
      if (!o.smoke) continue;
      // Scoot keeps to its budget; page tables and the benchmark's own few pages come on top. A malloc has none.
      const double live = static_cast<double>(o.live_mib << 20);
      const double peak_max = c.scoot ? budget_factor(o, c) * live * 1.005 + 256e3 : 4 * live;
      ok = plausible(workload + " " + c.name, found->second, c.scoot, peak_max) && ok;
    }
  }
  std::printf("%zu MiB live, medians of %u; commit %s\n", o.live_mib, o.rounds, commit().c_str());
  print_table(table);
  return ok ? 0 : 1;
}

int run_speed_bench(heap_bench_options o, json_rows& rows) {
  o.live_mib = 64;
  if (o.smoke) o.rounds = 1;
  std::vector<contestant> contestants;
  if (!choose_contestants(o.allocators, contestants)) return 1;
  std::map<std::string, series> results;
  bool ok = run_speed_rounds(o, contestants, results);
  std::vector<std::vector<std::string>> table = {{"CPU ns a pair", ""}};
  for (const char* p : speed_patterns) table[0].insert(table[0].end(), {p, "min-max"});
  for (const contestant& c : contestants) {
    const auto found = results.find(c.name);
    if (found == results.end()) continue;
    std::vector<std::string> line = {c.name, ""};
    for (const char* p : speed_patterns) {
      const summary x = summarise(found->second.at(p));
      line.push_back(format_fixed(x.median, 2));
      line.push_back(format_fixed(x.min, 1) + "-" + format_fixed(x.max, 1));
      nlohmann::ordered_json row;
      row["pattern"] = p;
      row["allocator"] = c.name;
      row["cpu_ns_per_pair"] = x.median;
      row["cpu_ns_per_pair_min"] = x.min;
      row["cpu_ns_per_pair_max"] = x.max;
      row["rounds"] = found->second.at(p).size();
      rows.push_back(row);
      if (o.smoke && !(x.min > 0.3 && x.max < 1e5)) {
        std::fprintf(stderr, "scoot-bench: implausible: %s %s takes %g ns\n", c.name.c_str(), p, x.median);
        ok = false;
      }
    }
    table.push_back(line);
  }
  std::printf("one thread, blocks of 16 to 1024 bytes where not said otherwise, medians of %u; commit %s\n", o.rounds,
              commit().c_str());
  print_table(table);
  return ok ? 0 : 1;
}

}  // namespace bench
