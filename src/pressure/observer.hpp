// SPDX-License-Identifier: MIT
//
// observer: the whole of a monitor but its thread: levels, sources, policy, callbacks. Driven from outside, by one
// thread, in turns:
//
//     wait until one of places() is ready, or until step() said  ->  take(what is ready)  ->  step()
//
// so that a test can be that thread, with a clock and a file system of its own. What others may ask while it runs is
// published: numbers one by one, by atomics; the list of sources under a lock that is taken for writing only when a
// source appears or is lost.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "os/events.hpp"
#include "os/os.hpp"
#include "pressure/levels.hpp"
#include "pressure/source.hpp"
#include "pressure/targets.hpp"
#include "scoot/pressure.hpp"

namespace scoot::pressure {

struct surroundings {
  std::uint64_t (*clock)() noexcept = os::now_ns;
  std::uint64_t (*cpu_clock)() noexcept = os::thread_cpu_ns;  // of the driving thread
  const char* watch = nullptr;                                // MEMORY_PRESSURE_WATCH
  const char* write = nullptr;                                // MEMORY_PRESSURE_WRITE
};

// Numbers that others read. Each is written by the driving thread only, but the first two.
struct published {
  using number = std::atomic<std::uint64_t>;
  number purged_pending{0}, shortage_pending{0};  // added to by reports, taken by step()
  number limit{0}, used{0}, available{0}, headroom{0}, held{0}, deficit{0}, target{0};
  number readings{0}, alarms{0}, notices{0}, fruitless{0}, asked{0}, given{0}, growths{0}, purged{0};
  number give_back_ns_max{0}, interval_ns{0};
};

class observer {
 public:
  static constexpr std::size_t places_max = pressure_source_count;

  // The options' texts must outlive it; the surroundings' are used here only.
  observer(const pressure_options& options, const surroundings& around) noexcept;

  // What to wait for; returns how many there are.
  [[nodiscard]] std::size_t places(std::span<pollfd, places_max> into) const noexcept;

  // Takes the alarms of those of them that are ready.
  void take(std::span<const pollfd> ready) noexcept;

  // Reads what is available, decides, calls back. `woken_ns`: when the driving thread woke. Returns how long to wait.
  std::uint64_t step(std::uint64_t woken_ns) noexcept;

  [[nodiscard]] published& numbers() noexcept { return numbers_; }
  [[nodiscard]] const published& numbers() const noexcept { return numbers_; }
  [[nodiscard]] std::size_t list(pressure_source_info* infos, std::size_t room) const noexcept;

 private:
  struct slot {
    std::unique_ptr<source> made;
    pressure_source_state state = pressure_source_state::off;
    int error = 0;
    path_text where;
    std::atomic<std::uint64_t> alarms{0};
  };

  slot& slot_of(pressure_source kind) noexcept { return slots_[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] bool wanted(pressure_source kind) const noexcept;
  void set(pressure_source kind, made_source made) noexcept;
  void lose(slot& of, int error) noexcept;
  void take_from(std::size_t index, short revents) noexcept;
  void refresh(std::uint64_t now_ns) noexcept;
  void watch_cgroup() noexcept;
  void note_headroom() noexcept;
  void take_reports(std::uint64_t now_ns) noexcept;
  void notice(const decision& d, std::uint64_t woken_ns) noexcept;
  void publish(const reading& r, const decision& d) noexcept;

  pressure_options options_;
  surroundings around_;
  targets targets_;
  pacing pacing_;
  memory_levels levels_;
  std::uint64_t next_find_ns_ = 0;
  std::uint64_t next_check_ns_ = 0;
  std::uint64_t next_look_ns_ = 0;
  std::uint64_t cpu_before_ = 0;  // processor time of the driving thread at the last step; 0: callbacks are in it
  std::uint64_t cost_ns_ = 0;     // of a step and of waiting for it, smoothed
  bool cgroup_lost_ = false;
  path_text watched_cgroup_;
  bool watched_limited_ = false;
  pressure_source cause_ = pressure_source::headroom;  // the strongest alarm since nothing was missing
  severity cause_level_ = severity::none;
  published numbers_;
  mutable std::mutex slots_lock_;  // held to change slots_ but for alarms, and to read them from elsewhere
  std::array<slot, pressure_source_count> slots_;
};

}  // namespace scoot::pressure
