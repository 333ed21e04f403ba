// SPDX-License-Identifier: MIT
#include "server_bench.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <sstream>

#include "clock.hpp"
#include "server_runs.hpp"

namespace bench {
namespace {

// The contestants: scootd first, memcached second where it is installed.
std::vector<server_setup> contestants(const server_bench_options& o, const std::string& folder, int core) {
  std::vector<server_setup> all;
  for (const auto& [name, program] : {std::pair{"scootd", o.scootd}, std::pair{"memcached", o.memcached}}) {
    if (program.empty() || access(program.c_str(), X_OK) != 0) continue;
    server_setup s;
    s.name = name;
    s.program = program;
    s.threads = o.threads;
    s.unix_socket = o.unix_socket;
    s.core = core;
    s.folder = folder;
    if (s.name == "scootd") {
      std::istringstream words(o.scootd_options);
      for (std::string word; words >> word;) s.more.push_back(word);
    }
    all.push_back(s);
  }
  return all;
}

// Each round's own quotient, so that what drifts hits both sides of it.
std::optional<summary> ratio(const cell_result& r) {
  std::vector<double> quotients;
  for (std::size_t i = 0; i < r.values[0].size() && i < r.values[1].size(); ++i)
    if (r.values[1][i] > 0) quotients.push_back(r.values[0][i] / r.values[1][i]);
  if (quotients.empty()) return std::nullopt;
  return summarise(quotients);
}

// --- reporting ---

void add_row(const cell_result& r, const std::vector<server_setup>& setups, json_rows& rows,
             std::vector<std::vector<std::string>>& table) {
  nlohmann::ordered_json row;
  row["cell"] = r.name;
  row["scootd"] = nullptr;
  row["memcached"] = nullptr;
  row["ratio"] = nullptr;
  row["unit"] = r.unit;
  std::vector<std::string> line = {r.name, r.unit, "-", "-", "-", ""};
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const summary x = summarise(r.values[i]);
    row[setups[i].name] = x.median;
    row[setups[i].name + "_min"] = x.min;
    row[setups[i].name + "_max"] = x.max;
    row[setups[i].name + "_refused"] = r.refused[i];
    std::string& cell = line[setups[i].name == "scootd" ? 2 : 3];
    cell = format_fixed(x.median, r.digits);
    if (r.values[i].size() > 1)
      cell += " (" + format_fixed(x.min, r.digits) + "-" + format_fixed(x.max, r.digits) + ")";
  }
  if (const std::optional<summary> q = ratio(r)) {
    row["ratio"] = q->median;
    row["ratio_min"] = q->min;
    row["ratio_max"] = q->max;
    line[4] = format_fixed(q->median, 3);
    line[5] = format_fixed(q->min, 2) + "-" + format_fixed(q->max, 2);
  }
  row["rounds"] = r.values[0].size();
  rows.push_back(row);
  table.push_back(line);
}

// For smoke runs: figures that no sound run can give.
bool plausible(const cell_result& r, const std::vector<server_setup>& setups) {
  bool ok = true;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const summary x = summarise(r.values[i]);
    if (x.min < r.low || x.max > r.high)
      ok = complain("implausible: " + r.name + " of " + setups[i].name + " is " + std::to_string(x.median));
  }
  return ok;
}

}  // namespace

bool complain(const std::string& what) {
  std::fprintf(stderr, "scoot-bench: %s\n", what.c_str());
  return false;
}

bool server_runs::wants(const std::string& cell) const {
  return options.cells.empty() || std::find(options.cells.begin(), options.cells.end(), cell) != options.cells.end();
}

void server_runs::tell(const std::string& what) const {
  const double passed_s = static_cast<double>(wall_ns() - start_ns) / 1e9;
  progress(format_fixed(passed_s / 60, 1) + " of about " + format_fixed(std::max(planned_s, passed_s) / 60, 1) +
           " min  " + what);
}

std::vector<std::string> server_cells() {
  std::vector<std::string> names = load_cell_names();
  const std::vector<std::string> more = memory_cell_names();
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

int run_server_bench(server_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.rounds = 1;
    o.seconds = std::min(o.seconds, 0.1);
    o.load_memory_mib = 64;
    o.fill_memory_mib = 32;
    if (o.cells.empty()) {
      o.cells = load_cell_names();
      o.cells.insert(o.cells.end(), {"items-per-MiB-100B", "RSS-MiB-100B", "shift-resident", "limit-halved"});
    }
  }
  if (o.scootd.empty()) o.scootd = scootd_beside_this();
  const core_pair cores = choose_cores();
  pin_this_thread(cores.client);
  const scratch_folder folder;
  const std::vector<server_setup> setups = contestants(o, folder.path(), cores.server);
  if (setups.empty() || setups.front().name != "scootd") {
    complain(o.scootd.empty() ? "scootd is not built; say where it is with --scootd" : o.scootd + " is no program");
    return 1;
  }
  if (setups.size() < 2) complain("memcached is left out: there is no " + o.memcached);
  std::vector<cell_result> results;
  server_runs runs{o, setups, results, wall_ns()};
  runs.planned_s = planned_load_s(runs) + planned_memory_s(runs);
  bool ok = run_loads(runs) && run_latencies(runs) && run_fills(runs) && run_changes(runs);
  progress_done();
  std::vector<std::vector<std::string>> table = {
      {"cell", "unit", "scootd (min-max)", "memcached (min-max)", "ratio", "min-max"}};
  for (const cell_result& r : results) {
    add_row(r, setups, rows, table);
    if (o.smoke) ok = plausible(r, setups) && ok;
  }
  std::printf("-t %u, %u connections, %s, medians of %u; commit %s\n", o.threads, o.connections,
              o.unix_socket ? "unix socket" : "TCP", o.rounds, commit().c_str());
  print_table(table);
  for (const cell_result& r : results) {
    for (std::size_t i = 0; i < setups.size(); ++i) {
      if (r.refused[i] == 0) continue;
      std::printf("%s: %s refused %llu sets\n", r.name.c_str(), setups[i].name.c_str(),
                  static_cast<unsigned long long>(r.refused[i]));
    }
  }
  return ok ? 0 : 1;
}

}  // namespace bench
