// SPDX-License-Identifier: MIT
//
// The parent of `scoot-bench heap speed`. The loops themselves are in heap_speed.cpp.
#include <cstdio>

#include "heap_bench.hpp"
#include "heap_child.hpp"

namespace bench {
namespace {

constexpr std::size_t live_bytes = std::size_t{64} << 20;  // of which the budget is a multiple; far more than is live
constexpr std::uint64_t pairs = 1'024'000;
constexpr std::uint64_t pairs_smoke = 10'240;

bool run_one(const heap_bench_options& o, const contestant& c, unsigned round, bool first_only, series& into) {
  std::vector<std::string> a = {"speed", "operations=" + std::to_string(o.smoke ? pairs_smoke : pairs),
                                std::string("first_only=") + (first_only ? "1" : "0")};
  const std::vector<std::string> common = common_arguments(o.setup, c, round, live_bytes);
  a.insert(a.end(), common.begin(), common.end());
  const child_result r = run_self(a, c.library, child_timeout_s);
  if (!r.ok) {
    std::fprintf(stderr, "scoot-bench: speed of %s failed: %s\n", c.name.c_str(), r.error.c_str());
    return false;
  }
  collect(r.answer, into);
  return true;
}

nlohmann::ordered_json json_row(const char* pattern, const std::string& allocator, const summary& x) {
  nlohmann::ordered_json row;
  row["pattern"] = pattern;
  row["allocator"] = allocator;
  row["cpu_ns_per_pair"] = x.median;
  row["cpu_ns_per_pair_min"] = x.min;
  row["cpu_ns_per_pair_max"] = x.max;
  return row;
}

bool plausible(const heap_bench_options& o, const char* pattern, const std::string& name, const summary& x) {
  if (!o.smoke || (x.min > 0.3 && x.max < 1e5)) return true;
  std::fprintf(stderr, "scoot-bench: implausible: %s %s takes %g ns\n", name.c_str(), pattern, x.median);
  return false;
}

// Whether all patterns were measured for all contestants, and (smoke) plausibly.
bool run_patterns(const heap_bench_options& o, const std::vector<contestant>& contestants, json_rows& rows) {
  bool ok = true;
  std::map<std::string, series> results;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const contestant& c = contestants[(i + round) % contestants.size()];
      progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  speed  " + c.name);
      ok = run_one(o, c, round, false, results[c.name]) && ok;
    }
  }
  progress_done();
  std::vector<std::vector<std::string>> table = {{"CPU ns a pair", ""}};
  for (const char* p : speed_patterns) table[0].insert(table[0].end(), {p, "min-max"});
  for (const contestant& c : contestants) {
    const series& s = results[c.name];
    if (s.empty()) continue;
    std::vector<std::string> line = {c.name, ""};
    for (const char* p : speed_patterns) {
      const summary x = summarise(s.at(p));
      line.push_back(format_fixed(x.median, 2));
      line.push_back(format_fixed(x.min, 1) + "-" + format_fixed(x.max, 1));
      rows.push_back(json_row(p, c.name, x));
      rows.back()["rounds"] = s.at(p).size();
      ok = plausible(o, p, c.name, x) && ok;
    }
    table.push_back(line);
  }
  std::printf("one thread, blocks of 16 to 1024 bytes where not said otherwise, medians of %u; commit %s\n", o.rounds,
              commit().c_str());
  print_table(table);
  return ok;
}

// Repeats the first pattern in fresh processes: an allocator with a slow mode that some processes fall into shows here.
bool run_processes(const heap_bench_options& o, const std::vector<contestant>& contestants, json_rows& rows) {
  bool ok = true;
  std::map<std::string, series> results;
  for (unsigned process = 0; process < o.processes; ++process) {
    progress("process " + std::to_string(process + 1) + "/" + std::to_string(o.processes) + "  speed");
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const contestant& c = contestants[(i + process) % contestants.size()];
      ok = run_one(o, c, process, true, results[c.name]) && ok;
    }
  }
  progress_done();
  std::vector<std::vector<std::string>> table = {{"CPU ns a pair", "", "min", "median", "max", "max / median"}};
  for (const contestant& c : contestants) {
    const series& s = results[c.name];
    if (s.empty()) continue;
    const summary x = summarise(s.at(speed_patterns[0]));
    table.push_back({c.name, "", format_fixed(x.min, 2), format_fixed(x.median, 2), format_fixed(x.max, 2),
                     format_fixed(x.max / x.median, 2)});
    rows.push_back(json_row("pair, fresh processes", c.name, x));
    rows.back()["processes"] = s.at(speed_patterns[0]).size();
    ok = plausible(o, "pair, fresh processes", c.name, x) && ok;
  }
  std::printf("%s in %u fresh processes\n", speed_patterns[0], o.processes);
  print_table(table);
  return ok;
}

}  // namespace

int run_speed_bench(heap_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.rounds = 1;
    o.processes = std::min(o.processes, 2U);
  }
  std::vector<contestant> contestants;
  if (!choose_contestants(o.allocators, contestants)) return 1;
  bool ok = run_patterns(o, contestants, rows);
  if (o.processes != 0) ok = run_processes(o, contestants, rows) && ok;
  return ok ? 0 : 1;
}

}  // namespace bench
