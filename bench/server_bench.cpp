// SPDX-License-Identifier: MIT
#include "server_bench.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "process_memory.hpp"
#include "server_pair.hpp"

namespace bench {
namespace {

struct load_cell {
  const char* name;
  std::size_t value_bytes;
  unsigned depth;         // requests of a connection in flight
  unsigned keys_per_get;  // an operation is a key
  unsigned set_percent;
  std::uint32_t keys;  // stored before
};

constexpr load_cell load_cells[] = {
    {"100B-d1-text", 100, 1, 1, 10, 100'000},      {"100B-d16-text", 100, 16, 1, 10, 100'000},
    {"1KiB-d1-text", 1024, 1, 1, 10, 40'000},      {"1KiB-d16-text", 1024, 16, 1, 10, 40'000},
    {"16KiB-d1-text", 16384, 1, 1, 10, 2'000},     {"multiget-100-text", 100, 1, 100, 0, 100'000},
    {"100B-d1-set-text", 100, 1, 1, 100, 100'000}, {"100B-d16-set-text", 100, 16, 1, 100, 100'000},
};

constexpr std::size_t fill_values[] = {20, 100, 250, 1024};

std::string fill_name(std::size_t value_bytes) { return "items-per-MiB-" + std::to_string(value_bytes) + "B"; }
std::string rss_name(std::size_t value_bytes) { return "RSS-MiB-" + std::to_string(value_bytes) + "B"; }

bool wanted(const server_bench_options& o, const std::string& cell) {
  return o.cells.empty() || std::find(o.cells.begin(), o.cells.end(), cell) != o.cells.end();
}

bool complain(const std::string& what) {
  std::fprintf(stderr, "scoot-bench: %s\n", what.c_str());
  return false;
}

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
    all.push_back(s);
  }
  return all;
}

using series = std::vector<double>;

struct cell_result {
  std::string name;
  std::string unit;
  int digits = 2;
  series values[2];  // by contestant, a value a round
};

// Each round's own quotient, so that what drifts hits both sides of it.
std::optional<summary> ratio(const cell_result& r) {
  series quotients;
  for (std::size_t i = 0; i < r.values[0].size() && i < r.values[1].size(); ++i)
    if (r.values[1][i] > 0) quotients.push_back(r.values[0][i] / r.values[1][i]);
  if (quotients.empty()) return std::nullopt;
  return summarise(quotients);
}

// --- CPU under load ---

struct load_target {
  server running;
  load_client client;
};

// CPU seconds of the server for a million operations of the cell.
bool measure_load(load_target& t, const load_cell& cell, double seconds, std::uint64_t seed, double& cpu_seconds) {
  const auto load = [&](double how_long) {
    return random_load(cell.keys, cell.depth, cell.keys_per_get, cell.set_percent, how_long, seed);
  };
  load_result r = t.client.run(cell.value_bytes, 16, load(seconds / 10));
  if (!r.ok) return complain(r.error);
  const unsigned long long before = process_cpu_ns(t.running.process.id());
  r = t.client.run(cell.value_bytes, 16, load(seconds));
  const unsigned long long after = process_cpu_ns(t.running.process.id());
  if (!r.ok) return complain(r.error);
  if (r.misses != 0) return complain(std::to_string(r.misses) + " keys were not there, though they all fit");
  if (r.operations == 0 || after <= before) return complain("nothing was measured");
  cpu_seconds = static_cast<double>(after - before) / 1e9 / (static_cast<double>(r.operations) / 1e6);
  return true;
}

bool run_loads(const server_bench_options& o, std::vector<server_setup> setups, std::vector<cell_result>& results) {
  std::vector<load_target> targets(setups.size());
  for (std::size_t i = 0; i < setups.size(); ++i) {
    std::string error;
    setups[i].memory_mib = o.load_memory_mib;
    if (!start_server(setups[i], targets[i].running, error)) return complain(error);
    if (!targets[i].client.connect(targets[i].running.address, o.connections))
      return complain(targets[i].client.error());
  }
  for (const load_cell& cell : load_cells) {
    if (!wanted(o, cell.name)) continue;
    cell_result result;
    result.name = cell.name;
    result.unit = "CPU s per million operations";
    result.digits = 3;
    const std::uint32_t stored_now = cell.keys / (o.smoke ? 10 : 1);
    load_cell scaled = cell;
    scaled.keys = stored_now;
    for (load_target& t : targets) {
      const load_result r = t.client.run(cell.value_bytes, 1, sequential_load(true, 0, stored_now));
      if (!r.ok) return complain(r.error);
    }
    for (unsigned round = 0; round < o.rounds; ++round) {
      for (std::size_t k = 0; k < targets.size(); ++k) {
        const std::size_t i = (k + round) % targets.size();
        progress(std::string(cell.name) + "  round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) +
                 "  " + setups[i].name);
        double cpu_seconds = 0;
        if (!measure_load(targets[i], scaled, o.seconds, round + 1, cpu_seconds)) return false;
        result.values[i].push_back(cpu_seconds);
      }
    }
    results.push_back(result);
  }
  return true;
}

// --- memory ---

struct fill_figures {
  double items_per_mib = 0;
  double resident_mib_peak = 0;
};

// Stores twice what the limit could hold if items had no overhead at all beyond key and value, and reads every key
// back.
bool measure_fill(const server_bench_options& o, server_setup setup, std::size_t value_bytes, fill_figures& figures) {
  setup.memory_mib = o.fill_memory_mib;
  server running;
  load_client client;
  std::string error;
  if (!start_server(setup, running, error)) return complain(error);
  if (!client.connect(running.address, 1)) return complain(client.error());
  const auto keys = static_cast<std::uint32_t>((o.fill_memory_mib << 20) * 2 / (load_key_bytes + value_bytes));
  load_result r = client.run(value_bytes, 1, sequential_load(true, 0, keys));
  if (!r.ok) return complain(r.error);
  usleep(300'000);
  const std::size_t resident = resident_bytes(running.process.id());
  if (client.statistic("evictions") == "0") return complain(setup.name + " evicted nothing: it was not full");
  r = client.run(value_bytes, 16, sequential_load(false, 0, keys));
  if (!r.ok) return complain(r.error);
  const std::size_t peak = resident_bytes_peak(running.process.id());
  if (resident == 0 || peak == 0) return complain(setup.name + " is gone");
  constexpr double mib = 1 << 20;
  figures.items_per_mib = static_cast<double>(r.hits) / (static_cast<double>(resident) / mib);
  figures.resident_mib_peak = static_cast<double>(peak) / mib;
  return true;
}

bool run_fills(const server_bench_options& o, const std::vector<server_setup>& setups,
               std::vector<cell_result>& results) {
  for (const std::size_t value_bytes : fill_values) {
    if (!wanted(o, fill_name(value_bytes)) && !wanted(o, rss_name(value_bytes))) continue;
    cell_result items;
    cell_result resident;
    items.name = fill_name(value_bytes);
    items.unit = "items per MiB of RSS";
    items.digits = 0;
    resident.name = rss_name(value_bytes);
    resident.unit = "MiB of RSS at most, at -m " + std::to_string(o.fill_memory_mib);
    resident.digits = 1;
    for (std::size_t i = 0; i < setups.size(); ++i) {
      progress(items.name + "  " + setups[i].name);
      fill_figures figures;
      if (!measure_fill(o, setups[i], value_bytes, figures)) return false;
      items.values[i].push_back(figures.items_per_mib);
      resident.values[i].push_back(figures.resident_mib_peak);
    }
    if (wanted(o, items.name)) results.push_back(items);
    if (wanted(o, resident.name)) results.push_back(resident);
  }
  return true;
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
    line[setups[i].name == "scootd" ? 2 : 3] = format_fixed(x.median, r.digits);
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
bool plausible(const cell_result& r, const std::vector<server_setup>& setups, std::size_t memory_mib) {
  const bool cpu = r.unit.rfind("CPU", 0) == 0;
  const bool rss = r.name.rfind("RSS", 0) == 0;
  bool ok = true;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const summary x = summarise(r.values[i]);
    const double low = cpu ? 0.05 : rss ? 1 : 100;
    double high = cpu ? 1000 : 40'000;
    if (rss) high = static_cast<double>(memory_mib) + (setups[i].name == "scootd" ? 16 : 64);
    if (x.min < low || x.max > high)
      ok = complain("implausible: " + r.name + " of " + setups[i].name + " is " + std::to_string(x.median));
  }
  return ok;
}

}  // namespace

std::vector<std::string> server_cells() {
  std::vector<std::string> names;
  for (const load_cell& c : load_cells) names.emplace_back(c.name);
  for (const std::size_t v : fill_values) {
    names.push_back(fill_name(v));
    names.push_back(rss_name(v));
  }
  return names;
}

int run_server_bench(server_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.rounds = 1;
    o.seconds = std::min(o.seconds, 0.1);
    o.load_memory_mib = 64;
    o.fill_memory_mib = 16;
    if (o.cells.empty()) {
      for (const load_cell& c : load_cells) o.cells.emplace_back(c.name);
      for (const std::size_t v : {std::size_t{100}, std::size_t{1024}})
        o.cells.insert(o.cells.end(), {fill_name(v), rss_name(v)});
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
  const bool any_load =
      std::any_of(std::begin(load_cells), std::end(load_cells), [&](const load_cell& c) { return wanted(o, c.name); });
  bool ok = !any_load || run_loads(o, setups, results);
  ok = ok && run_fills(o, setups, results);
  progress_done();
  std::vector<std::vector<std::string>> table = {{"cell", "unit", "scootd", "memcached", "ratio", "min-max"}};
  for (const cell_result& r : results) {
    add_row(r, setups, rows, table);
    if (o.smoke) ok = plausible(r, setups, o.fill_memory_mib) && ok;
  }
  std::printf("-t %u, %u connections, %s, medians of %u; commit %s\n", o.threads, o.connections,
              o.unix_socket ? "unix socket" : "TCP", o.rounds, commit().c_str());
  print_table(table);
  return ok ? 0 : 1;
}

}  // namespace bench
