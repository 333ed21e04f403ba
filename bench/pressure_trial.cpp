// SPDX-License-Identifier: MIT
#include "pressure_trial.hpp"

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include "child_process.hpp"
#include "clock.hpp"
#include "server_pair.hpp"
#include "statistics.hpp"

namespace bench {
namespace {

constexpr double mib = 1 << 20;
constexpr std::uint64_t os_page = 4096;
constexpr int answer_ms = 20'000;
constexpr std::uint64_t sweep_period_us = 50'000;
constexpr int look_ms = 5;
constexpr double burst_s_max = 30;
constexpr double hit_rate_tolerance = 0.02;
constexpr double hits_before_s = 0.5;
constexpr double hit_step_s = 0.05;
constexpr std::uint32_t missing_sample = 4'000;

std::uint64_t seconds_ns(double s) { return static_cast<std::uint64_t>(s * 1e9); }

void sleep_s(double s) { usleep(static_cast<useconds_t>(s * 1e6)); }

// Priorities are a thread's in Linux: all of the process, and those it starts later inherit it.
void make_nice(pid_t process, int nice) {
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", ignored))
    setpriority(PRIO_PROCESS, static_cast<id_t>(std::strtoul(task.path().filename().c_str(), nullptr, 10)), nice);
}

// Without the capability and the limit neither root nor anybody gets real-time scheduling.
bool give_up_real_time() {
  const rlimit none{0, 0};
  return setrlimit(RLIMIT_RTPRIO, &none) == 0 && prctl(PR_CAPBSET_DROP, CAP_SYS_NICE) == 0;
}

// A trial under way. Members are destroyed in reverse: processes before their group.
struct trial {
  trial(const trial_setup& s, const trial_cell& c) : setup(s), cell(c) {}

  const trial_setup& setup;
  const trial_cell& cell;
  trial_result result;
  std::unique_ptr<memory_group> group;
  server scootd;
  role_process victim;
  role_process burst;
  std::vector<std::unique_ptr<role_process>> hogs;
  load_plan plan;
  std::unique_ptr<cache_load> load;
  std::uint64_t burst_start = 0;
  std::uint64_t burst_end = 0;

  bool run(pressure_machine& machine);
  bool fail(const std::string& what) {
    result.error = what;
    return false;
  }
  [[nodiscard]] double item_mib() const { return static_cast<double>(plan.value_bytes + load_key_bytes) / mib; }

  bool start_victim();
  bool start_scootd();
  bool warm_up();
  bool ready_burst();
  bool watch_burst();
  bool refill(double missing_before);
  void measure_hits();
  bool ask_victim();
  void hold(double seconds);
  void look();
};

bool trial::start_victim() {
  const auto join = [g = group.get()] { return g->join(); };
  std::string line;
  const std::vector<std::string> arguments = {"pressure", "victim", std::to_string(setup.victim_mib << 20),
                                              std::to_string(sweep_period_us)};
  return (victim.start(arguments, join) && victim.hear(line, answer_ms) && line == "ready") ||
         fail("the victim does not start");
}

bool trial::start_scootd() {
  server_setup s;
  s.program = setup.scootd;
  s.name = "scootd";
  s.memory_mib = cell.arm->cold_tier ? setup.hot_mib : setup.cache_mib;
  s.unix_socket = true;
  s.more = cell.arm->options;
  s.folder = setup.folder;
  s.prepare = [this] { return group->join() && (cell.arm->real_time || give_up_real_time()); };
  std::string error;
  return start_server(s, scootd, error) || fail(error);
}

bool trial::warm_up() {
  plan.value_bytes = setup.value_bytes;
  plan.items = static_cast<std::uint32_t>(static_cast<double>(setup.items_mib) / item_mib());
  plan.pattern = cell.pattern;
  plan.seed = cell.seed;
  load = std::make_unique<cache_load>(plan);
  if (!load->fill(scootd.address)) return fail("filling the cache: " + load->error());
  // Until what is hot is what is asked for, and each tier as full as it gets.
  load->start(0);
  const auto turns = static_cast<std::uint64_t>(setup.warm_turns * plan.items);
  const std::uint64_t deadline = wall_ns() + seconds_ns(setup.warm_s_max);
  while (load->running() && load->lookups() < turns && wall_ns() < deadline) usleep(5'000);
  return load->stop() || fail("the users: " + load->error());
}

// What is in swap of whom, if it is more than at the last look.
void trial::look() {
  const auto most = [](std::uint64_t& so_far, pid_t process) {
    if (process > 0) so_far = std::max(so_far, swapped_bytes(process) / os_page);
  };
  result.swapped = std::max(result.swapped, group->swapped_bytes().value_or(0) / os_page);
  most(result.swapped_victim, victim.id());
  most(result.swapped_scootd, scootd.process.id());
  most(result.swapped_burst, burst.id());
}

void trial::hold(double seconds) {
  for (const std::uint64_t until = wall_ns() + seconds_ns(seconds); wall_ns() < until;) {
    look();
    usleep(look_ms * 1000);
  }
}

// Starts the burst, which waits, and what runs beside it.
bool trial::ready_burst() {
  const std::vector<std::string> arguments = {"pressure", "burst", std::to_string(setup.burst_mib << 20),
                                              std::to_string(static_cast<std::uint64_t>(cell.burst_mib_per_s))};
  std::string line;
  if (!burst.start(arguments, [g = group.get()] { return g->join(); }) || !burst.hear(line, answer_ms) ||
      line != "ready")
    return fail("the burst does not start");
  if (cell.arm->hogs) {
    make_nice(scootd.process.id(), 19);
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
      hogs.push_back(std::make_unique<role_process>());
      if (!hogs.back()->start({"pressure", "hog"})) return fail("a hog does not start");
    }
    sleep_s(0.05);
  }
  const double used = static_cast<double>(group->usage_bytes()) / mib;
  result.headroom_mib = static_cast<double>(setup.limit_mib) - used;
  result.shortage_mib = used + static_cast<double>(setup.burst_mib) - static_cast<double>(setup.limit_mib);
  return true;
}

// From the burst's start to its end. It may end early: killed, for want of memory.
bool trial::watch_burst() {
  const std::uint64_t swapped_machine = swapped_out_pages(), refilled = load->refilled(), lookups = load->lookups();
  look();
  result.swapped_before = result.swapped;
  burst_start = wall_ns();
  const std::uint64_t deadline = burst_start + seconds_ns(burst_s_max);
  std::string line;
  burst.tell("go");
  bool done = false;
  while (!done && burst.running() && wall_ns() < deadline) {
    look();
    done = burst.hear(line, look_ms);
  }
  if (done) result.burst_s = std::strtod(line.substr(line.find(' ') + 1).c_str(), nullptr) / 1e9;
  hold(setup.hold_s);
  burst_end = wall_ns();
  result.swapped_machine = swapped_out_pages() - swapped_machine;
  result.swapped = std::max(result.swapped, group->swapped_bytes_peak() / os_page) - result.swapped_before;
  // The group's counters see charges under way as swap, the machine's sees what others swap: no more than either.
  result.swapped = std::min(result.swapped, result.swapped_machine);
  // Of what was stored again, what would not have been without the burst.
  const double missed_anyway = (1 - result.hit_before) * static_cast<double>(load->lookups() - lookups);
  result.lost_mib = std::max(0.0, static_cast<double>(load->refilled() - refilled) - missed_anyway) * item_mib();
  result.oom_kills = group->oom_kills();
  result.burst_died = !burst.running();
  result.victim_died = !victim.running();
  result.scootd_died = !scootd.process.running();
  std::vector<std::string> rest;
  burst.end(rest, answer_ms);
  hogs.clear();
  return done || result.oom_kills > 0 || fail("the burst does not get its memory");
}

// What is missing after the burst, and until users have stored it again.
bool trial::refill(double missing_before) {
  const auto items = static_cast<double>(plan.items);
  const bool served = load->stop();
  // Whom the kernel killed may close its connections before it has ended.
  result.scootd_died = result.scootd_died || (!served && result.oom_kills > 0);
  if (result.scootd_died) {
    result.lost_mib = items * item_mib();
    result.hit_worst = 0;
    result.recover_s = setup.refill_s_max;
    return result.oom_kills > 0 || fail("scootd ended by itself");
  }
  if (!served) return fail("the users: " + load->error());
  const double missing = load->missing_part(missing_sample, 2);
  if (missing < 0) return fail("the users: " + load->error());
  result.lost_mib = std::max(0.0, result.lost_mib + (missing - missing_before) * items * item_mib());
  result.recover_s = setup.refill_s_max;
  const std::uint64_t start = wall_ns();
  load->start(0);
  const std::uint64_t deadline = start + seconds_ns(setup.refill_s_max);
  for (std::uint64_t now = start; now < deadline && load->running(); now = wall_ns()) {
    usleep(10'000);
    const std::uint64_t from = now > start + seconds_ns(0.1) ? now - seconds_ns(0.1) : start;
    if (load->hit_rate(from, now) < result.hit_before - hit_rate_tolerance || now - from < seconds_ns(0.05)) continue;
    result.recover_s = static_cast<double>(from - start) / 1e9;
    break;
  }
  result.hit_after = load->hit_rate(start, start + seconds_ns(0.1));
  return load->stop() || fail("the users: " + load->error());
}

void trial::measure_hits() {
  const std::uint64_t step = seconds_ns(hit_step_s);
  for (std::uint64_t at = burst_start; at < burst_end; at += step) {
    const double hits = load->hit_rate(at, at + step);
    if (hits >= 0) result.hit_worst = std::min(result.hit_worst, hits);
  }
}

// Its sweeps, and whether its memory is what it wrote.
bool trial::ask_victim() {
  if (result.victim_died) return result.oom_kills > 0 || fail("the victim ended by itself");
  std::vector<std::string> lines;
  victim.end(lines, answer_ms);
  std::vector<double> before;
  bool intact = false;
  for (const std::string& l : lines) {
    std::istringstream in(l);
    std::string word;
    std::uint64_t start = 0, length = 0;
    in >> word >> start >> length;
    if (word == "faults") result.victim_faults = start;
    if (word == "intact") intact = true;
    if (word != "sweep") continue;
    const double us = static_cast<double>(length) / 1e3;
    if (start < burst_start) before.push_back(us);
    if (start + length >= burst_start && start < burst_end) result.sweep_us_worst = std::max(result.sweep_us_worst, us);
  }
  if (!intact || before.empty()) return fail("the victim's memory is not what it wrote");
  result.sweep_us_before = quantile(before, 0.5);
  return true;
}

bool trial::run(pressure_machine& machine) {
  group = machine.make_group(setup.limit_mib << 20);
  if (!group->there()) return fail(group->error());
  if (!start_victim() || !start_scootd() || !warm_up()) return false;
  const double missing = load->missing_part(missing_sample, 1);
  if (missing < 0) return fail("the users: " + load->error());
  load->start(setup.lookups_per_s);
  sleep_s(hits_before_s);
  if (!ready_burst()) return false;
  const std::uint64_t now = wall_ns();
  result.hit_before = load->hit_rate(now - seconds_ns(hits_before_s), now);
  if (!watch_burst() || !refill(missing)) return false;
  measure_hits();
  return ask_victim();
}

}  // namespace

trial_result run_trial(pressure_machine& machine, const trial_setup& setup, const trial_cell& cell) {
  trial t(setup, cell);
  t.result.ok = t.run(machine);
  return t.result;
}

}  // namespace bench
