// SPDX-License-Identifier: MIT
#include "reaction_bench.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "child_process.hpp"
#include "clock.hpp"
#include "pressure_bench.hpp"
#include "pressure_machine.hpp"
#include "process_memory.hpp"

namespace bench {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr int start_ms = 20'000;
constexpr int answer_ms = 5'000;
constexpr int burst_ms = 15'000;

struct arm {
  const char* name;
  bool purgeable = false;  // memory is offered, and there is no monitor
  bool real_time = false;
  bool hogs = false;  // a busy process a processor
  bool nice = false;  // nice 19
  bool stopped = false;
  bool in_smoke = false;
};

constexpr arm arms[] = {
    {"monitor", false, false, false, false, false, true},
    {"monitor, real-time", false, true, false, false, false, false},
    {"monitor, hogs", false, false, true, false, false, false},
    {"monitor, real-time, hogs", false, true, true, false, false, true},
    {"monitor, nice 19, hogs", false, false, true, true, false, false},
    {"monitor, nice 19, real-time, hogs", false, true, true, true, false, false},
    {"monitor, stopped", false, false, false, false, true, false},
    {"purgeable, nice 19, hogs", true, false, true, true, false, true},
    {"purgeable, stopped", true, false, false, false, true, true},
};

struct arm_result {
  std::string error;   // not empty: the arm could not be held
  int scheduling = 0;  // that the monitor got
  std::vector<double> signal_us;
  std::vector<double> notice_us;  // from the crossing to the first callback; of bursts that had one
  std::vector<double> cpu_us;     // of the owner, while the burst lasted
  unsigned bursts = 0;
  unsigned served = 0;  // got all their memory, and nothing was killed
};

// Runs a real-time thread while it lives, if that is permitted: what is measured is not who measures.
class real_time_measuring {
 public:
  real_time_measuring() noexcept {
    sched_param parameters{};
    parameters.sched_priority = 2;
    on_ = sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters) == 0;
  }
  real_time_measuring(const real_time_measuring&) = delete;
  real_time_measuring& operator=(const real_time_measuring&) = delete;
  ~real_time_measuring() {
    const sched_param none{};
    if (on_) sched_setscheduler(0, SCHED_OTHER, &none);
  }

 private:
  bool on_;
};

// What a monitor keeps free where nobody else needs anything: pressure_options::headroom_bytes_min.
std::uint64_t headroom_bytes(std::uint64_t limit) { return std::max<std::uint64_t>(limit / 32, 8 * mib); }

class reaction_run {
 public:
  reaction_run(const reaction_options& options, pressure_machine* machine, std::string folder)
      : options_(options), machine_(machine), fifo_(std::move(folder) + "/fifo") {}

  arm_result run(const arm& a) {
    arm_ = &a;
    result_ = arm_result();
    if (a.hogs && !start_hogs()) return fail("a hog does not start");
    if (!a.purgeable && !a.stopped && !measure_signals()) return finish();
    for (unsigned i = 0; machine_ != nullptr && i < options_.bursts; ++i) {
      if (!measure_burst()) break;
    }
    return finish();
  }

  // The part of a core that an owner takes while nothing happens: with plenty left, or with a little above the
  // headroom.
  std::optional<double> idle_percent(bool near) {
    static constexpr arm idle = {"idle", false, true, false, false, false, true};
    arm_ = &idle;
    result_ = arm_result();
    const auto group = near ? machine_->make_group(options_.limit_mib * mib) : nullptr;
    const auto left_mib = static_cast<unsigned>(headroom_bytes(options_.limit_mib * mib) / mib) + 4;
    role_process owner;
    if (!start_owner(owner, group.get(), near ? options_.limit_mib - left_mib : options_.held_mib)) return std::nullopt;
    usleep(100'000);
    const std::uint64_t start = wall_ns();
    const std::uint64_t before = process_cpu_ns(owner.id());
    usleep(static_cast<useconds_t>(options_.idle_s * 1e6));
    const auto used = static_cast<double>(process_cpu_ns(owner.id()) - before);
    std::string line;
    if (owner.hear(line, 0)) return std::nullopt;  // a notice: this was not idle
    return used / static_cast<double>(wall_ns() - start) * 100;
  }

 private:
  arm_result fail(const std::string& why) {
    if (result_.error.empty()) result_.error = why;
    return finish();
  }
  bool failed(const std::string& why) {
    result_.error = why;
    return false;
  }
  arm_result finish() {
    hogs_.clear();
    return std::move(result_);
  }

  bool start_hogs() {
    for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
      hogs_.push_back(std::make_unique<role_process>());
      if (!hogs_.back()->start({"pressure", "hog"})) return false;
    }
    usleep(50'000);
    return true;
  }

  bool start_owner(role_process& owner, const memory_group* group, unsigned held_mib) {
    std::vector<std::string> arguments{"reaction", "owner", arm_->purgeable ? "purgeable" : "monitor",
                                       std::to_string(held_mib), arm_->nice ? "19" : "0"};
    if (!arm_->purgeable) {
      arguments.emplace_back(arm_->real_time ? "1" : "0");
      arguments.push_back(fifo_);
    }
    const auto prepare = [group] { return group == nullptr || group->join(); };
    std::string line;
    if (!owner.start(arguments, prepare) || !owner.hear(line, start_ms) || line.rfind("ready ", 0) != 0) {
      return failed("the program that is to give back does not start");
    }
    result_.scheduling = static_cast<int>(std::strtol(line.c_str() + 6, nullptr, 10));
    if (!arm_->purgeable && arm_->real_time != (result_.scheduling == 2)) {
      return failed("real-time scheduling is not permitted");
    }
    return true;
  }

  // From a line in the FIFO to the callback; outside of any group.
  bool measure_signals() {
    role_process owner;
    if (!start_owner(owner, nullptr, options_.held_mib)) return false;
    const int fifo = open(fifo_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fifo < 0) return failed("the FIFO cannot be opened");
    const real_time_measuring measuring;
    for (unsigned i = 0; i < options_.signals; ++i) {
      // Sleeps of several lengths, so that the hogs are met anywhere in their turns.
      usleep(static_cast<useconds_t>(15'000 + i * 7919 % 20'000));
      const std::uint64_t sent = wall_ns();
      std::string line;
      if (write(fifo, "1\n", 2) != 2 || !owner.hear(line, answer_ms) || line.rfind("notice ", 0) != 0) {
        close(fifo);
        return failed("a signal was not answered");
      }
      result_.signal_us.push_back(static_cast<double>(std::strtoull(line.c_str() + 7, nullptr, 10) - sent) / 1e3);
    }
    close(fifo);
    return true;
  }

  // A burst into the group that cannot be served unless what is held is given back.
  bool measure_burst() {
    const auto group = machine_->make_group(options_.limit_mib * mib);
    if (!group->there()) return failed(group->error());
    role_process owner;
    role_process burst;
    if (!start_owner(owner, group.get(), options_.held_mib)) return false;
    const std::uint64_t limit = options_.limit_mib * mib;
    const std::uint64_t level = limit - headroom_bytes(limit);
    const std::vector<std::string> arguments{"reaction",
                                             "burst",
                                             std::to_string(options_.burst_mib),
                                             std::to_string(static_cast<unsigned long>(options_.rate_mib_s)),
                                             std::to_string(level),
                                             group->usage_file()};
    const auto prepare = [&group] {
      // Its own waiting is not to be measured, so it is real-time where that can be.
      sched_param parameters{};
      parameters.sched_priority = 1;
      (void)sched_setscheduler(0, SCHED_FIFO, &parameters);
      return group->join();
    };
    std::string line;
    if (!burst.start(arguments, prepare) || !burst.hear(line, start_ms)) return failed("the burst does not start");
    if (arm_->stopped) {
      kill(owner.id(), SIGSTOP);
      usleep(20'000);
    }
    const std::uint64_t cpu_before = process_cpu_ns(owner.id());
    burst.tell("go");
    std::uint64_t crossed = 0;
    bool done = false;
    while (!done && burst.hear(line, burst_ms)) {
      if (line.rfind("crossed ", 0) == 0) crossed = std::strtoull(line.c_str() + 8, nullptr, 10);
      done = line == "done";
    }
    const std::uint64_t cpu = process_cpu_ns(owner.id()) - cpu_before;
    ++result_.bursts;
    const bool alive = owner.running();
    if (done && alive && group->oom_kills() == 0) {
      ++result_.served;
      result_.cpu_us.push_back(static_cast<double>(cpu) / 1e3);
    }
    if (arm_->stopped) kill(owner.id(), SIGCONT);
    if (crossed != 0 && !arm_->purgeable && !arm_->stopped) note_first_notice(owner, crossed);
    if (arm_->purgeable && !done) return failed("the burst was not served though memory was offered");
    return true;
  }

  // Of what the owner said, the first notice is of the crossing: before, there was nothing to tell.
  void note_first_notice(role_process& owner, std::uint64_t crossed) {
    std::string line;
    if (!owner.hear(line, 100) || line.rfind("notice ", 0) != 0) return;
    const std::uint64_t at = std::strtoull(line.c_str() + 7, nullptr, 10);
    result_.notice_us.push_back(at > crossed ? static_cast<double>(at - crossed) / 1e3 : 0);
  }

  const reaction_options& options_;
  pressure_machine* machine_;
  std::string fifo_;
  const arm* arm_ = nullptr;
  arm_result result_;
  std::vector<std::unique_ptr<role_process>> hogs_;
};

std::string cell(const std::vector<double>& us, bool worst) {
  if (us.empty()) return "-";
  const summary s = summarise(us);
  return format_fixed((worst ? s.max : s.median) / 1e3, 3);
}

void report(const arm& a, const arm_result& r, std::vector<std::vector<std::string>>& table, json_rows& rows) {
  const char* const names[] = {"plain", "raised", "real-time"};
  table.push_back({a.name, a.purgeable ? "-" : names[r.scheduling], cell(r.signal_us, false), cell(r.signal_us, true),
                   cell(r.notice_us, false), cell(r.notice_us, true),
                   r.bursts == 0 ? "-" : std::to_string(r.served) + "/" + std::to_string(r.bursts),
                   cell(r.cpu_us, false)});
  nlohmann::ordered_json row{{"bench", "reaction"}, {"arm", a.name}, {"bursts", r.bursts}, {"served", r.served}};
  const auto add = [&row](const std::string& name, const std::vector<double>& values) {
    if (values.empty()) return;
    const summary s = summarise(values);
    row[name + "_median"] = s.median;
    row[name + "_max"] = s.max;
  };
  add("signal_us", r.signal_us);
  add("notice_us", r.notice_us);
  add("owner_cpu_us", r.cpu_us);
  rows.push_back(std::move(row));
}

// What must hold on any machine, however busy: that signals arrive was asked for on the way.
int judge(const arm& a, const arm_result& r) {
  if (!r.error.empty()) {
    std::printf("%s: %s\n", a.name, r.error.c_str());
    return r.error == "real-time scheduling is not permitted" ? 0 : 1;
  }
  if (a.purgeable && r.served != r.bursts) {
    std::printf("%s: %u of %u bursts were not served\n", a.name, r.bursts - r.served, r.bursts);
    return 1;
  }
  return 0;
}

}  // namespace

int run_reaction_bench(reaction_options options, json_rows& rows) {
  if (options.smoke) {
    options.signals = 5;
    options.bursts = 1;
    options.idle_s = 1;
  }
  std::string why_not;
  const auto machine = pressure_machine::take(0, why_not);
  char folder[] = "/tmp/scoot-reaction-XXXXXX";
  if (mkdtemp(folder) == nullptr) {
    std::printf("no folder can be made in /tmp\n");
    return 1;
  }
  std::vector<std::vector<std::string>> table{{"owner of the memory", "thread", "signal ms", "worst", "watermark ms",
                                               "worst", "bursts served", "owner's CPU ms"}};
  int status = 0;
  for (const arm& a : arms) {
    if (options.smoke && !a.in_smoke) continue;
    if (machine == nullptr && (a.purgeable || a.stopped)) continue;
    progress(a.name);
    const arm_result r = reaction_run(options, machine.get(), folder).run(a);
    progress_done();
    status |= judge(a, r);
    report(a, r, table, rows);
  }
  for (const bool near : {false, true}) {
    if (near && machine == nullptr) continue;
    const auto percent = reaction_run(options, machine.get(), folder).idle_percent(near);
    const char* const where = near ? "a little above the headroom" : "with plenty of memory";
    if (!percent) {
      std::printf("idle %s: could not be measured\n", where);
      continue;
    }
    std::printf("idle %s: %.3f %% of a core\n", where, *percent);
    rows.push_back({{"bench", "reaction"}, {"arm", std::string("idle ") + where}, {"percent", *percent}});
    if (*percent > (options.smoke ? 1.0 : 0.1)) status |= 1;
  }
  unlink((std::string(folder) + "/fifo").c_str());
  rmdir(folder);
  std::printf("\nFrom memory getting short to the callback; %u signals and %u bursts of %u MiB at %.0f MiB/s an arm\n",
              options.signals, options.bursts, options.burst_mib, options.rate_mib_s);
  if (machine != nullptr) std::printf("%s, limit %u MiB\n", machine->description().c_str(), options.limit_mib);
  print_table(table);
  if (machine == nullptr) std::printf("no bursts: %s\n", why_not.c_str());
  if (status == 0 && machine == nullptr) return skipped_status;
  return status;
}

}  // namespace bench
