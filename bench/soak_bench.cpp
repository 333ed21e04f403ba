// SPDX-License-Identifier: MIT
//
// The parent of `scoot-bench soak`, which judges. The cycles are in heap_soak.cpp.
#include "soak_bench.hpp"

#include <cstdio>

#include "contestants.hpp"

namespace bench {
namespace {

// The same load may cost so much more at the end than at the start, and in any one cycle than in the median one.
constexpr double growth_max = 1.01;
constexpr double excursion_max = 1.05;
// Smoke runs have few and small cycles, in which an OS page a shelf counts.
constexpr double growth_max_smoke = 1.05;
constexpr double excursion_max_smoke = 1.15;
constexpr double smoke_seconds = 2;

constexpr const char* figures[] = {"cycles",
                                   "seconds",
                                   "bloat_first",
                                   "bloat_last",
                                   "bloat_min",
                                   "bloat_max",
                                   "utilisation_worst",
                                   "operations",
                                   "retries",
                                   "cpu_ns_per_op",
                                   "moved_bytes_per_allocated_byte",
                                   "pause_us_p9999",
                                   "pause_us_max"};

}  // namespace

int run_soak(soak_options o, json_rows& rows) {
  const double seconds = o.smoke ? smoke_seconds : 60 * o.minutes;
  if (o.smoke) o.live_mib = std::min<std::size_t>(o.live_mib, 8);
  child_setup setup;
  setup.seed = o.seed;
  const contestant scoot{"scoot", "", true};
  std::vector<std::string> a = {"soak", "seconds=" + std::to_string(seconds),
                                std::string("damage=") + (o.leak ? "1" : "0")};
  const std::vector<std::string> common = common_arguments(setup, scoot, 0, o.live_mib << 20);
  a.insert(a.end(), common.begin(), common.end());
  const child_result r = run_self(a, "", static_cast<unsigned>(seconds) + child_timeout_s);
  if (!r.ok || r.answer.count("verified") == 0) {
    std::fprintf(stderr, "scoot-bench: the soak failed: %s\n", r.error.c_str());
    return 1;
  }
  const auto figure = [&](const char* name) { return r.answer.at(name); };
  nlohmann::ordered_json row;
  row["bench"] = "soak";
  for (const char* name : figures) row[name] = figure(name);
  row["live_bytes"] = o.live_mib << 20;
  const double growth = figure("bloat_last") / figure("bloat_first");
  const double excursion = figure("bloat_max") / figure("bloat_first");
  const bool flat = growth <= (o.smoke ? growth_max_smoke : growth_max) &&
                    excursion <= (o.smoke ? excursion_max_smoke : excursion_max);
  row["flat"] = flat;
  rows.push_back(row);
  std::printf("%zu MiB live, %.0f s; bloat is held / live under the same load; commit %s\n", o.live_mib,
              figure("seconds"), commit().c_str());
  print_table({{"cycles", "", "first third", "last third", "least", "most", "worst util.", "M ops", "cpu ns/op",
                "moved B/B", "p99.99 us", "max us"},
               {format_fixed(figure("cycles"), 0), "", format_fixed(figure("bloat_first"), 4),
                format_fixed(figure("bloat_last"), 4), format_fixed(figure("bloat_min"), 4),
                format_fixed(figure("bloat_max"), 4), format_fixed(figure("utilisation_worst"), 3),
                format_fixed(figure("operations") / 1e6, 1), format_fixed(figure("cpu_ns_per_op"), 1),
                format_fixed(figure("moved_bytes_per_allocated_byte"), 3), format_fixed(figure("pause_us_p9999"), 1),
                format_fixed(figure("pause_us_max"), 0)}});
  std::printf("bloat %s: %+.2f %% from the first third to the last, %+.2f %% in the worst cycle\n",
              flat ? "stayed flat" : "GREW", 100 * (growth - 1), 100 * (excursion - 1));
  return flat ? 0 : 1;
}

}  // namespace bench
