// SPDX-License-Identifier: MIT
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <thread>

#include "process_memory.hpp"
#include "report.hpp"
#include "server_runs.hpp"

namespace bench {
namespace {

struct load_cell {
  const char* name;
  std::size_t value_bytes;
  unsigned depth;         // requests of a connection in flight
  unsigned keys_per_get;  // an operation is a key
  unsigned set_percent;
  std::uint32_t keys;        // stored before
  unsigned connections = 0;  // 0: as the options say
  bool meta = false;
};

constexpr load_cell load_cells[] = {
    {"100B-d1-text", 100, 1, 1, 10, 100'000},
    {"100B-d16-text", 100, 16, 1, 10, 100'000},
    {"1KiB-d1-text", 1024, 1, 1, 10, 40'000},
    {"1KiB-d16-text", 1024, 16, 1, 10, 40'000},
    {"16KiB-d1-text", 16384, 1, 1, 10, 2'000},
    {"16KiB-d16-text", 16384, 16, 1, 10, 2'000},
    {"multiget-1-text", 100, 1, 1, 0, 100'000},
    {"multiget-10-text", 100, 1, 10, 0, 100'000},
    {"multiget-100-text", 100, 1, 100, 0, 100'000},
    {"100B-d1-set-text", 100, 1, 1, 100, 100'000},
    {"100B-d16-set-text", 100, 16, 1, 100, 100'000},
    {"100B-d1-c500-text", 100, 1, 1, 10, 100'000, 500},
    {"100B-d16-c500-text", 100, 16, 1, 10, 100'000, 500},
    {"100B-d1-meta", 100, 1, 1, 10, 100'000, 0, true},
    {"100B-d16-meta", 100, 16, 1, 10, 100'000, 0, true},
    {"1KiB-d1-meta", 1024, 1, 1, 10, 40'000, 0, true},
    {"1KiB-d16-meta", 1024, 16, 1, 10, 40'000, 0, true},
    {"100B-d1-set-meta", 100, 1, 1, 100, 100'000, 0, true},
};

// Requests at a steady rate, and the time until each is answered.
struct latency_cell {
  const char* name;
  std::size_t value_bytes;
  std::uint32_t keys;
};

constexpr latency_cell latency_cells[] = {{"100B", 100, 100'000}, {"1KiB", 1024, 40'000}};

// Of each round, so that what disturbs the machine for a while hits both: half as long as other measurements.
constexpr unsigned latency_turns = 5;

struct quantile {
  const char* name;
  double part;
};

constexpr quantile quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}};

std::string latency_name(const quantile& q, const latency_cell& c) {
  return std::string("latency-") + q.name + "-" + c.name;
}

// A server under load, with one client for each number of connections.
struct load_target {
  server running;
  std::map<unsigned, std::unique_ptr<load_client>> clients;

  load_client* client(unsigned connections) {
    std::unique_ptr<load_client>& c = clients[connections];
    if (c == nullptr) {
      c = std::make_unique<load_client>();
      if (!c->connect(running.address, connections)) complain(c->error());
    }
    return c->error().empty() ? c.get() : nullptr;
  }
};

bool start_targets(const server_runs& runs, std::vector<load_target>& targets) {
  targets = std::vector<load_target>(runs.setups.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    std::string error;
    server_setup setup = runs.setups[i];
    setup.memory_mib = runs.options.load_memory_mib;
    if (!start_server(setup, targets[i].running, error)) return complain(error);
  }
  return true;
}

// All fits, so nothing may be refused.
bool stored_all(const load_result& r) {
  if (!r.ok) return complain(r.error);
  return r.refused == 0 || complain(std::to_string(r.refused) + " sets were refused: " + r.refusal);
}

bool store_all(load_client& client, std::size_t value_bytes, std::uint32_t keys) {
  const load_result r = client.run({value_bytes}, sequential_load(true, 0, keys));
  return stored_all(r);
}

// CPU seconds of the server for a million operations of the cell.
bool measure_load(const server& running, load_client& client, const load_cell& cell, double seconds, std::uint64_t seed,
                  double& cpu_seconds) {
  load_form form;
  form.value_bytes = cell.value_bytes;
  form.meta = cell.meta;
  const auto load = [&](double how_long) {
    return random_load(cell.keys, cell.depth, cell.keys_per_get, cell.set_percent, how_long, seed);
  };
  load_result r = client.run(form, load(seconds / 10));
  if (!r.ok) return complain(r.error);
  const unsigned long long before = process_cpu_ns(running.process.id());
  r = client.run(form, load(seconds));
  const unsigned long long after = process_cpu_ns(running.process.id());
  if (!stored_all(r)) return false;
  if (r.misses != 0) return complain(std::to_string(r.misses) + " keys were not there, though they all fit");
  if (r.operations == 0 || after <= before) return complain("nothing was measured");
  cpu_seconds = static_cast<double>(after - before) / 1e9 / (static_cast<double>(r.operations) / 1e6);
  return true;
}

bool run_load_cell(server_runs& runs, std::vector<load_target>& targets, load_cell cell) {
  const server_bench_options& o = runs.options;
  cell_result result;
  result.name = cell.name;
  result.unit = "CPU s per million operations";
  result.digits = 3;
  result.low = 0.05;
  result.high = 1000;
  cell.keys /= o.smoke ? 10 : 1;
  std::vector<load_client*> clients;
  for (load_target& t : targets) {
    clients.push_back(t.client(cell.connections > 0 ? cell.connections : o.connections));
    if (clients.back() == nullptr || !store_all(*clients.back(), cell.value_bytes, cell.keys)) return false;
  }
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (std::size_t k = 0; k < targets.size(); ++k) {
      const std::size_t i = (k + round) % targets.size();
      runs.tell(std::string(cell.name) + "  round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) +
                "  " + runs.setups[i].name);
      double cpu_seconds = 0;
      if (!measure_load(targets[i].running, *clients[i], cell, o.seconds, round + 1, cpu_seconds)) return false;
      result.values[i].push_back(cpu_seconds);
    }
  }
  runs.results.push_back(result);
  return true;
}

bool wants_latency(const server_runs& runs, const latency_cell& cell) {
  return std::any_of(std::begin(quantiles), std::end(quantiles),
                     [&](const quantile& q) { return runs.wants(latency_name(q, cell)); });
}

// The servers share a processor, and what one does in idle moments would be waited for by the other's clients. So only
// one of them runs at a time.
class alone {
 public:
  alone(const std::vector<load_target>& targets, std::size_t runs) : targets_(targets), runs_(runs) { tell(SIGSTOP); }
  ~alone() { tell(SIGCONT); }
  alone(const alone&) = delete;
  alone& operator=(const alone&) = delete;

 private:
  void tell(int signal) const {
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      if (i != runs_) kill(targets_[i].running.process.id(), signal);
    }
  }

  const std::vector<load_target>& targets_;
  std::size_t runs_;
};

bool run_latency_cell(server_runs& runs, std::vector<load_target>& targets, const latency_cell& cell) {
  const server_bench_options& o = runs.options;
  std::vector<cell_result> results;
  for (const quantile& q : quantiles) {
    cell_result one;
    one.name = latency_name(q, cell);
    one.unit = "us until answered, " + std::to_string(o.latency_rate) + " requests/s";
    one.digits = 1;
    one.low = 1;
    one.high = 10'000'000;
    results.push_back(one);
  }
  const std::uint32_t keys = cell.keys / (o.smoke ? 10 : 1);
  for (load_target& t : targets) {
    load_client* const client = t.client(o.connections);
    if (client == nullptr || !store_all(*client, cell.value_bytes, keys)) return false;
  }
  // What storing so much leaves to be done later, such as a larger index, is not part of it.
  if (!o.smoke) std::this_thread::sleep_for(std::chrono::seconds(1));
  for (unsigned round = 0; round < o.rounds; ++round) {
    runs.tell(std::string("latency-") + cell.name + "  round " + std::to_string(round + 1) + "/" +
              std::to_string(o.rounds));
    std::vector<std::unique_ptr<histogram>> latency;
    for (std::size_t i = 0; i < targets.size(); ++i) latency.push_back(std::make_unique<histogram>());
    for (unsigned turn = 0; turn < latency_turns * targets.size(); ++turn) {
      const std::size_t i = (turn + turn / targets.size() + round) % targets.size();
      const auto load = random_load(keys, 1, 1, 10, o.seconds / 2, round * latency_turns + turn + 1);
      const alone others_stand_still(targets, i);
      const load_result r =
          targets[i].client(o.connections)->run_paced({cell.value_bytes}, o.latency_rate, load, *latency[i]);
      if (!stored_all(r)) return false;
    }
    for (std::size_t i = 0; i < targets.size(); ++i) {
      for (std::size_t q = 0; q < results.size(); ++q) {
        results[q].values[i].push_back(static_cast<double>(latency[i]->quantile(quantiles[q].part)) / 1e3);
      }
    }
  }
  for (const cell_result& one : results) {
    if (runs.wants(one.name)) runs.results.push_back(one);
  }
  return true;
}

}  // namespace

std::vector<std::string> load_cell_names() {
  std::vector<std::string> names;
  for (const load_cell& c : load_cells) names.emplace_back(c.name);
  for (const latency_cell& c : latency_cells) {
    for (const quantile& q : quantiles) names.push_back(latency_name(q, c));
  }
  return names;
}

double planned_load_s(const server_runs& runs) {
  const server_bench_options& o = runs.options;
  const auto loads = std::count_if(std::begin(load_cells), std::end(load_cells),
                                   [&](const load_cell& c) { return runs.wants(c.name); });
  const auto latencies = std::count_if(std::begin(latency_cells), std::end(latency_cells),
                                       [&](const latency_cell& c) { return wants_latency(runs, c); });
  const double measurements = 1.1 * static_cast<double>(loads) + latency_turns / 2.0 * static_cast<double>(latencies);
  return measurements * o.seconds * o.rounds * static_cast<double>(runs.setups.size());
}

bool run_loads(server_runs& runs) {
  std::vector<load_target> targets;
  for (const load_cell& cell : load_cells) {
    if (!runs.wants(cell.name)) continue;
    if (targets.empty() && !start_targets(runs, targets)) return false;
    if (!run_load_cell(runs, targets, cell)) return complain(std::string("in ") + cell.name);
  }
  return true;
}

bool run_latencies(server_runs& runs) {
  std::vector<load_target> targets;
  for (const latency_cell& cell : latency_cells) {
    if (!wants_latency(runs, cell)) continue;
    if (targets.empty() && !start_targets(runs, targets)) return false;
    if (!run_latency_cell(runs, targets, cell)) return complain(std::string("in latency-") + cell.name);
  }
  return true;
}

}  // namespace bench
