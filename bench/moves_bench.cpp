// SPDX-License-Identifier: MIT
//
// The parent of `scoot-bench moves`. What is measured is in heap_moves.cpp.
#include "moves_bench.hpp"

#include <algorithm>
#include <cstdio>

#include "contestants.hpp"

namespace bench {
namespace {

// A quotient of two figures of one process, by round.
std::vector<double> quotients(const series& s, const char* above, const char* below) {
  std::vector<double> result;
  for (std::size_t i = 0; i < s.at(above).size(); ++i) result.push_back(s.at(above)[i] / s.at(below)[i]);
  return result;
}

constexpr const char* json_figures[] = {"move_ns",      "memcpy_random_ns", "memcpy_in_order_ns",
                                        "give_back_ns", "blocks_moved",     "bytes_moved"};

nlohmann::ordered_json json_row(std::uint32_t size, const series& s) {
  nlohmann::ordered_json row;
  row["block_bytes"] = size;
  for (const char* figure : json_figures) row[figure] = summarise(s.at(figure)).median;
  const double ns = summarise(s.at("move_ns")).median;
  row["blocks_moved_per_second"] = 1e9 / ns;
  row["bytes_moved_per_second"] = 1e9 / ns * size;
  const summary at_random = summarise(quotients(s, "memcpy_random_ns", "move_ns"));
  row["rate_over_memcpy_random"] = at_random.median;
  row["rate_over_memcpy_random_min"] = at_random.min;
  row["rate_over_memcpy_random_max"] = at_random.max;
  row["rate_over_memcpy_in_order"] = summarise(quotients(s, "memcpy_in_order_ns", "move_ns")).median;
  row["rounds"] = s.at("move_ns").size();
  return row;
}

std::vector<std::string> table_row(std::uint32_t size, const series& s) {
  const auto median = [&](const char* figure) { return summarise(s.at(figure)).median; };
  const double ns = median("move_ns");
  const summary at_random = summarise(quotients(s, "memcpy_random_ns", "move_ns"));
  return {std::to_string(size),
          "",
          format_fixed(ns, 1),
          format_fixed(1e3 / ns, 2),
          format_fixed(size / ns, 2),
          format_fixed(median("memcpy_random_ns"), 1),
          format_fixed(median("memcpy_in_order_ns"), 1),
          format_fixed(median("give_back_ns"), 1),
          format_fixed(at_random.median, 2),
          format_fixed(at_random.min, 2) + "-" + format_fixed(at_random.max, 2),
          format_fixed(summarise(quotients(s, "memcpy_in_order_ns", "move_ns")).median, 2)};
}

}  // namespace

int run_moves_bench(moves_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.live_mib = 8;
    o.rounds = 1;
  }
  bool ok = true;
  std::map<std::uint32_t, series> results;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (const std::uint32_t size : o.sizes) {
      progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  moves of " +
               std::to_string(size) + " bytes");
      const child_result r =
          run_self({"moves", "block_bytes=" + std::to_string(size), "live_bytes=" + std::to_string(o.live_mib << 20),
                    "seed=" + std::to_string(o.seed + round)},
                   "", child_timeout_s);
      if (!r.ok || r.answer.count("verified") == 0) {
        std::fprintf(stderr, "scoot-bench: moves of %u bytes failed: %s\n", size, r.error.c_str());
        ok = false;
        continue;
      }
      collect(r.answer, results[size]);
    }
  }
  progress_done();
  std::vector<std::vector<std::string>> table = {{"block bytes", "", "move ns", "M blocks/s", "GB/s",
                                                  "memcpy random ns", "in order ns", "giving back ns", "rate / random",
                                                  "min-max", "rate / in order"}};
  for (const auto& entry : results) {
    table.push_back(table_row(entry.first, entry.second));
    rows.push_back(json_row(entry.first, entry.second));
    rows.back()["live_bytes"] = o.live_mib << 20;
    const summary x = summarise(entry.second.at("move_ns"));
    if (o.smoke && !(x.min > 1 && x.max < 1e6)) {
      std::fprintf(stderr, "scoot-bench: implausible: a move of %u bytes takes %g ns\n", entry.first, x.median);
      ok = false;
    }
  }
  std::printf("CPU time a block moved; %zu MiB of blocks, half freed at random; medians of %u; commit %s\n", o.live_mib,
              o.rounds, commit().c_str());
  print_table(table);
  return ok ? 0 : 1;
}

}  // namespace bench
