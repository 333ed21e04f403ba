// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "clock.hpp"
#include "process_memory.hpp"
#include "report.hpp"
#include "server_runs.hpp"

namespace bench {
namespace {

constexpr double mib = 1 << 20;
constexpr std::size_t slack_bytes = std::size_t{16} << 20;  // of RSS above the limit, for all that is no item

// Of the runs that follow a change: after how long a server is given up.
constexpr double react_s_max = 10;
constexpr double expiry_s_max = 75;
constexpr unsigned expiry_s = 8;  // longer than filling takes
constexpr double shift_first_volume = 1.1;
constexpr double shift_volume_step = 0.25;
constexpr double shift_volume_max = 6;
constexpr std::size_t shift_from_bytes = 100;
constexpr std::size_t shift_to_bytes = 1024;
constexpr unsigned change_rounds_max = 3;

constexpr std::size_t fill_values[] = {20, 100, 250, 1024};

std::string fill_name(std::size_t value_bytes) { return "items-per-MiB-" + std::to_string(value_bytes) + "B"; }
std::string rss_name(std::size_t value_bytes) { return "RSS-MiB-" + std::to_string(value_bytes) + "B"; }

// A server of its own for one measurement, and a client.
struct subject {
  server running;
  load_client client;
  std::uint64_t refused = 0;  // sets

  bool start(server_setup setup, std::size_t memory_mib) {
    std::string error;
    setup.memory_mib = memory_mib;
    if (!start_server(setup, running, error)) return complain(error);
    return client.connect(running.address, 1) || complain(client.error());
  }
  [[nodiscard]] std::size_t resident() const { return resident_bytes(running.process.id()); }
  bool store(const load_form& form, std::uint32_t first, std::uint32_t count) {
    const load_result r = client.run(form, sequential_load(true, first, count));
    refused += r.refused;
    return r.ok || complain(r.error);
  }
};

std::uint32_t keys_of(double volume_bytes, std::size_t value_bytes) {
  return static_cast<std::uint32_t>(volume_bytes / static_cast<double>(load_key_bytes + value_bytes));
}

// --- what is kept in how much ---

struct fill_figures {
  std::uint64_t refused = 0;
  double items_per_mib = 0;
  double resident_mib_peak = 0;
};

// Stores twice what the limit could hold if items had no overhead at all beyond key and value, and reads every key
// back.
bool measure_fill(const server_bench_options& o, const server_setup& setup, std::size_t value_bytes,
                  fill_figures& figures) {
  subject s;
  const std::uint32_t keys = keys_of(2 * static_cast<double>(o.fill_memory_mib) * mib, value_bytes);
  if (!s.start(setup, o.fill_memory_mib) || !s.store({value_bytes}, 0, keys)) return false;
  usleep(300'000);
  const std::size_t resident = s.resident();
  if (s.client.statistic("evictions") == "0") return complain(setup.name + " evicted nothing: it was not full");
  const load_result r = s.client.run({value_bytes}, sequential_load(false, 0, keys));
  if (!r.ok) return complain(r.error);
  const std::size_t peak = resident_bytes_peak(s.running.process.id());
  if (resident == 0 || peak == 0) return complain(setup.name + " is gone");
  figures.refused = s.refused;
  figures.items_per_mib = static_cast<double>(r.hits) / (static_cast<double>(resident) / mib);
  figures.resident_mib_peak = static_cast<double>(peak) / mib;
  return true;
}

// --- how fast a change is followed ---

// Seconds since `start` until the condition holds, asked every few milliseconds; `limit` if it never does.
double seconds_until(std::uint64_t start, double limit, const std::function<bool()>& condition) {
  for (;;) {
    const std::uint64_t now = wall_ns();
    const double passed = now > start ? static_cast<double>(now - start) / 1e9 : 0;
    if (passed >= limit || condition()) return std::min(passed, limit);
    usleep(5000);
  }
}

// A full cache's limit is halved: until RSS is at most the new limit and the slack.
bool measure_limit(const server_bench_options& o, const server_setup& setup, double& seconds) {
  subject s;
  const double full = 1.5 * static_cast<double>(o.fill_memory_mib) * mib;
  if (!s.start(setup, o.fill_memory_mib) || !s.store({100}, 0, keys_of(full, 100))) return false;
  const std::size_t half_mib = o.fill_memory_mib / 2;
  const std::uint64_t start = wall_ns();
  const std::string answer = s.client.command("cache_memlimit " + std::to_string(half_mib));
  if (answer != "OK") return complain(setup.name + " answers cache_memlimit: " + answer);
  const std::size_t goal = (half_mib << 20) + slack_bytes;
  seconds = seconds_until(start, o.smoke ? 3 : react_s_max, [&] { return s.resident() <= goal; });
  return true;
}

// Everything expires at about the same time: until at most a hundredth of the items is left, from when the last one
// expired.
bool measure_expiry(const server_bench_options& o, const server_setup& setup, double& seconds) {
  subject s;
  load_form form;
  form.value_bytes = 100;
  form.exptime = o.smoke ? 2 : expiry_s;
  const std::uint32_t keys = keys_of(0.4 * static_cast<double>(o.fill_memory_mib) * mib, form.value_bytes);
  const std::uint64_t first_stored = wall_ns();
  if (!s.start(setup, o.fill_memory_mib) || !s.store(form, 0, keys)) return false;
  const std::uint64_t last_stored = wall_ns();
  if (last_stored - first_stored > form.exptime * 1'000'000'000ULL) return complain("too slow to fill before expiry");
  const auto items = [&] { return std::strtoull(s.client.statistic("curr_items").c_str(), nullptr, 10); };
  seconds = seconds_until(last_stored + form.exptime * 1'000'000'000ULL, o.smoke ? 3 : expiry_s_max, [&] {
    usleep(15'000);
    return items() <= keys / 100;
  });
  return true;
}

// flush_all of a full cache: until RSS is at most what the empty server had, and the slack.
bool measure_flush(const server_bench_options& o, const server_setup& setup, double& seconds) {
  subject s;
  const double full = 1.5 * static_cast<double>(o.fill_memory_mib) * mib;
  if (!s.start(setup, o.fill_memory_mib)) return false;
  const std::size_t goal = s.resident() + slack_bytes;
  if (!s.store({100}, 0, keys_of(full, 100))) return false;
  const std::uint64_t start = wall_ns();
  const std::string answer = s.client.command("flush_all");
  if (answer != "OK") return complain(setup.name + " answers flush_all: " + answer);
  seconds = seconds_until(start, o.smoke ? 3 : react_s_max, [&] { return s.resident() <= goal; });
  return true;
}

struct shift_figures {
  std::uint64_t refused = 0;
  double resident = 0;  // after the first volume, of a fresh server's
  double volume = 0;    // budgets written until resident is near a fresh server's
};

// The part of `keys` keys that is there, by a sample.
bool sample_resident(load_client& client, std::uint32_t keys, double& part) {
  const auto sample = [left = 60, random = random_source(keys), keys](std::vector<load_request>& batch) mutable {
    if (left-- > 0) batch.push_back({false, random.below(keys), 100, 7919, keys});
  };
  const load_result r = client.run({shift_to_bytes}, sample);
  if (!r.ok) return complain(r.error);
  part = static_cast<double>(r.hits) / static_cast<double>(r.operations);
  return true;
}

// A server full of small items is sent larger ones.
bool measure_shift(const server_bench_options& o, const server_setup& setup, shift_figures& figures) {
  const double budget = static_cast<double>(o.load_memory_mib) * mib;
  std::uint32_t written = keys_of(shift_first_volume * budget, shift_to_bytes);
  const auto all = [written] { return sequential_load(false, 0, written); };
  std::uint64_t fresh_items = 0;
  {
    subject fresh;
    if (!fresh.start(setup, o.load_memory_mib) || !fresh.store({shift_to_bytes}, 0, written)) return false;
    const load_result r = fresh.client.run({shift_to_bytes}, all());
    if (!r.ok) return complain(r.error);
    fresh_items = r.hits;
  }
  subject s;
  const std::uint32_t before = keys_of(2 * budget, shift_from_bytes);
  if (!s.start(setup, o.load_memory_mib) || !s.store({shift_from_bytes}, 0, before)) return false;
  if (!s.store({shift_to_bytes}, 0, written)) return false;
  const load_result r = s.client.run({shift_to_bytes}, all());
  if (!r.ok || fresh_items == 0) return complain(r.error);
  const auto fresh = static_cast<double>(fresh_items);
  figures.resident = static_cast<double>(r.hits) / fresh;
  figures.volume = shift_first_volume;
  double part = static_cast<double>(r.hits) / written;
  while (part * written < 0.95 * fresh && figures.volume < shift_volume_max) {
    const std::uint32_t more = keys_of(shift_volume_step * budget, shift_to_bytes);
    if (!s.store({shift_to_bytes}, written, more)) return false;
    written += more;
    figures.volume += shift_volume_step;
    if (!sample_resident(s.client, written, part)) return false;
  }
  figures.refused = s.refused;
  return true;
}

struct reaction_cell {
  const char* name;
  const char* what;
  double limit_s;
  bool (*measure)(const server_bench_options&, const server_setup&, double&);
};

constexpr reaction_cell reaction_cells[] = {
    {"limit-halved", "s until RSS is below the new limit", react_s_max, measure_limit},
    {"expiry", "s until expired items are gone", expiry_s_max, measure_expiry},
    {"flush", "s until RSS is down", react_s_max, measure_flush},
};
constexpr const char* shift_resident_name = "shift-resident";
constexpr const char* shift_volume_name = "shift-volume";

cell_result make_result(const std::string& name, const std::string& unit, int digits, double low, double high) {
  cell_result r;
  r.name = name;
  r.unit = unit;
  r.digits = digits;
  r.low = low;
  r.high = high;
  return r;
}

}  // namespace

std::vector<std::string> memory_cell_names() {
  std::vector<std::string> names;
  for (const std::size_t v : fill_values) {
    names.push_back(fill_name(v));
    names.push_back(rss_name(v));
  }
  for (const reaction_cell& c : reaction_cells) names.emplace_back(c.name);
  names.emplace_back(shift_resident_name);
  names.emplace_back(shift_volume_name);
  return names;
}

// Filling and reading back take about 4 us an item; memcached is waited for until it is given up.
double planned_memory_s(const server_runs& runs) {
  const server_bench_options& o = runs.options;
  const auto servers = static_cast<double>(runs.setups.size());
  const auto fill_mib = static_cast<double>(o.fill_memory_mib);
  const auto items_s = [](double volume_mib, std::size_t value_bytes) {
    return volume_mib * mib / static_cast<double>(load_key_bytes + value_bytes) * 4e-6;
  };
  double s = 0;
  for (const std::size_t v : fill_values) {
    if (runs.wants(fill_name(v)) || runs.wants(rss_name(v))) s += servers * items_s(2 * fill_mib, v);
  }
  double changes_s = 0;
  for (const reaction_cell& cell : reaction_cells) {
    if (!runs.wants(cell.name)) continue;
    changes_s += servers * items_s(1.5 * fill_mib, 100) + (o.smoke ? 3 : cell.limit_s);
  }
  if (runs.wants(shift_resident_name) || runs.wants(shift_volume_name)) {
    const auto budget_mib = static_cast<double>(o.load_memory_mib);
    changes_s += servers * items_s(2 * budget_mib, shift_from_bytes) +
                 (servers * 3 + shift_volume_max) * items_s(budget_mib, shift_to_bytes);
  }
  return s + changes_s * std::min(o.rounds, change_rounds_max);
}

bool run_fills(server_runs& runs) {
  const server_bench_options& o = runs.options;
  for (const std::size_t value_bytes : fill_values) {
    if (!runs.wants(fill_name(value_bytes)) && !runs.wants(rss_name(value_bytes))) continue;
    cell_result items = make_result(fill_name(value_bytes), "items per MiB of RSS", 0, 100, 40'000);
    cell_result resident =
        make_result(rss_name(value_bytes), "MiB of RSS at most, at -m " + std::to_string(o.fill_memory_mib), 1, 1,
                    static_cast<double>(o.fill_memory_mib) + 64);
    for (std::size_t i = 0; i < runs.setups.size(); ++i) {
      runs.tell(items.name + "  " + runs.setups[i].name);
      fill_figures figures;
      if (!measure_fill(o, runs.setups[i], value_bytes, figures)) return false;
      items.values[i].push_back(figures.items_per_mib);
      items.refused[i] = resident.refused[i] = figures.refused;
      resident.values[i].push_back(figures.resident_mib_peak);
    }
    if (o.smoke && resident.values[0][0] > static_cast<double>(o.fill_memory_mib) + 16) {
      return complain("scootd holds more than its limit and 16 MiB");
    }
    if (runs.wants(items.name)) runs.results.push_back(items);
    if (runs.wants(resident.name)) runs.results.push_back(resident);
  }
  return true;
}

bool run_changes(server_runs& runs) {
  const server_bench_options& o = runs.options;
  const unsigned rounds = std::min(o.rounds, change_rounds_max);
  for (const reaction_cell& cell : reaction_cells) {
    if (!runs.wants(cell.name)) continue;
    const auto limit = std::to_string(static_cast<int>(cell.limit_s));
    cell_result r = make_result(cell.name, std::string(cell.what) + " (" + limit + ": never)", 2, 0, cell.limit_s);
    for (unsigned round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < runs.setups.size(); ++i) {
        runs.tell(r.name + "  " + runs.setups[i].name);
        double seconds = 0;
        if (!cell.measure(o, runs.setups[i], seconds)) return false;
        r.values[i].push_back(seconds);
      }
    }
    if (o.smoke && r.values[0][0] >= 3) return complain(r.name + ": scootd does not follow");
    runs.results.push_back(r);
  }
  if (!runs.wants(shift_resident_name) && !runs.wants(shift_volume_name)) return true;
  cell_result resident =
      make_result(shift_resident_name, "1 KiB payload after 1.1 budgets, of a fresh server's", 3, 0, 1.2);
  cell_result volume = make_result(shift_volume_name, "budgets written until .95 of a fresh server's (6.1: never)", 2,
                                   1, shift_volume_max + shift_volume_step);
  for (unsigned round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < runs.setups.size(); ++i) {
      runs.tell(std::string("shift  ") + runs.setups[i].name);
      shift_figures figures;
      if (!measure_shift(o, runs.setups[i], figures)) return false;
      resident.values[i].push_back(figures.resident);
      resident.refused[i] += figures.refused;
      volume.values[i].push_back(figures.volume);
    }
  }
  if (o.smoke && resident.values[0][0] < 0.8) return complain("scootd does not follow a shift of sizes");
  if (runs.wants(resident.name)) runs.results.push_back(resident);
  if (runs.wants(volume.name)) runs.results.push_back(volume);
  return true;
}

}  // namespace bench
