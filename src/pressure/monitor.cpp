// SPDX-License-Identifier: MIT
//
// pressure_monitor: the observer's thread, and what the program may ask of it from other threads.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#include "base/check.hpp"
#include "pressure/observer.hpp"
#include "scoot/pressure.hpp"

namespace scoot {

namespace {

using pressure::observer;
using pressure::published;

std::uint64_t get(const published::number& n) noexcept { return n.load(std::memory_order_relaxed); }

std::size_t to_size(std::uint64_t bytes) noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(bytes, std::numeric_limits<std::size_t>::max()));
}

pressure::surroundings environment() noexcept {
  pressure::surroundings result;
  result.watch = getenv("MEMORY_PRESSURE_WATCH");
  result.write = getenv("MEMORY_PRESSURE_WRITE");
  return result;
}

class monitor_impl final : public pressure_monitor {
 public:
  explicit monitor_impl(const pressure_options& options) noexcept
      : priority_(options.realtime_priority), observer_(options, environment()) {}

  monitor_impl(const monitor_impl&) = delete;
  monitor_impl& operator=(const monitor_impl&) = delete;

  ~monitor_impl() {
    if (!started_) return;
    SCOOT_CHECK(1, pthread_equal(thread_, pthread_self()) == 0, "a pressure monitor was deleted by its own callback");
    stopping_.store(true, std::memory_order_release);
    os::raise(wake_);
    pthread_join(thread_, nullptr);
  }

  [[nodiscard]] bool start() noexcept {
    os::opened made = os::make_event();
    if (!made.file) return false;
    wake_ = std::move(made.file);
    // The program's signals are for its own threads.
    sigset_t every;
    sigset_t before;
    sigfillset(&every);
    if (pthread_sigmask(SIG_SETMASK, &every, &before) != 0) return false;
    started_ = pthread_create(
                   &thread_, nullptr,
                   [](void* self) -> void* {
                     static_cast<monitor_impl*>(self)->run();
                     return nullptr;
                   },
                   this) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started_;
  }

  void wake() noexcept { os::raise(wake_); }

  [[nodiscard]] bool read_within(std::uint32_t timeout_ms) noexcept {
    std::unique_lock lock(turns_lock_);
    const std::uint64_t wanted = turns_wanted_.fetch_add(1, std::memory_order_acq_rel) + 1;
    wake();
    return turns_changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return turns_done_ >= wanted; });
  }

  [[nodiscard]] observer& watched() noexcept { return observer_; }
  [[nodiscard]] const observer& watched() const noexcept { return observer_; }

  void fill(pressure_stats& s) const noexcept {
    s.wake_delay_ns_max = get(wake_delay_ns_max_);
    s.cpu_ns = get(cpu_ns_);
    s.scheduling = scheduling_.load(std::memory_order_relaxed);
    s.stack_locked = stack_locked_.load(std::memory_order_relaxed);
  }

 private:
  void run() noexcept {
    (void)pthread_setname_np(pthread_self(), "scoot-pressure");
    const os::stack_lock stack;
    stack_locked_.store(stack.locked(), std::memory_order_relaxed);
    const os::scheduling got = os::ask_for_scheduling(priority_);
    scheduling_.store(static_cast<pressure_scheduling>(got), std::memory_order_relaxed);

    std::uint64_t wait_ns = 0;
    std::uint64_t next_step_ns = 0;
    pollfd places[observer::places_max + 1];
    for (;;) {
      const std::size_t count = observer_.places(std::span<pollfd, observer::places_max>(places, observer::places_max));
      places[count] = {wake_.get(), POLLIN, 0};
      const std::uint64_t until = os::now_ns() + wait_ns;
      const int ready = os::wait({places, count + 1}, wait_ns);
      const std::uint64_t woken = os::now_ns();
      // Alarms may come in thousands a second; readings do not.
      if (ready > 0 && woken < next_step_ns && places[count].revents == 0) {
        (void)os::wait({places + count, 1}, next_step_ns - woken);
      }
      if (ready == 0 && woken > until + get(wake_delay_ns_max_)) {
        wake_delay_ns_max_.store(woken - until, std::memory_order_relaxed);
      }
      if (places[count].revents != 0) {
        std::uint64_t raised = 0;
        (void)os::read_some(wake_, {reinterpret_cast<char*>(&raised), sizeof(raised)});
      }
      if (stopping_.load(std::memory_order_acquire)) return;
      const std::uint64_t turns = turns_wanted_.load(std::memory_order_acquire);
      observer_.take({places, count});
      wait_ns = observer_.step(woken);
      next_step_ns = os::now_ns() + pressure::pacing::interval_min_ns;
      cpu_ns_.store(os::thread_cpu_ns(), std::memory_order_relaxed);
      answer(turns);
    }
  }

  // Tells those who wait for a reading.
  void answer(std::uint64_t turns) noexcept {
    if (turns == turns_answered_) return;
    turns_answered_ = turns;
    const std::lock_guard lock(turns_lock_);
    turns_done_ = turns;
    turns_changed_.notify_all();
  }

  int priority_;
  observer observer_;
  os::descriptor wake_;
  pthread_t thread_{};
  bool started_ = false;
  std::atomic<bool> stopping_{false};
  published::number wake_delay_ns_max_{0};
  published::number cpu_ns_{0};
  std::atomic<pressure_scheduling> scheduling_{pressure_scheduling::plain};
  std::atomic<bool> stack_locked_{false};

  // Readings that were asked for. The thread takes the lock only if one was.
  std::mutex turns_lock_;
  std::condition_variable turns_changed_;
  std::atomic<std::uint64_t> turns_wanted_{0};
  std::uint64_t turns_done_ = 0;      // under the lock
  std::uint64_t turns_answered_ = 0;  // the thread's own
};

monitor_impl& self(pressure_monitor& m) noexcept { return static_cast<monitor_impl&>(m); }
const monitor_impl& self(const pressure_monitor& m) noexcept { return static_cast<const monitor_impl&>(m); }

bool sensible(const pressure_options& o) noexcept {
  if (o.root == nullptr || o.window_ms == 0 || o.step_ms == 0 || o.cooldown_ms == 0) return false;
  if (!(o.watch_cost_max > 0 && o.watch_cost_max <= 1)) return false;
  if (o.held_bytes_max != 0 && o.held_bytes_max < o.held_bytes_min) return false;
  return o.headroom_bytes_max == 0 || o.headroom_bytes_min <= o.headroom_bytes_max;
}

}  // namespace

const char* to_string(pressure_source source) noexcept {
  switch (source) {
    case pressure_source::headroom:
      return "headroom";
    case pressure_source::cgroup_threshold:
      return "cgroup_threshold";
    case pressure_source::cgroup_level:
      return "cgroup_level";
    case pressure_source::cgroup_events:
      return "cgroup_events";
    case pressure_source::cgroup_psi:
      return "cgroup_psi";
    case pressure_source::system_psi:
      return "system_psi";
    case pressure_source::service_manager:
      return "service_manager";
    case pressure_source::canary:
      return "canary";
    case pressure_source::fifo:
      return "fifo";
    case pressure_source::program:
      return "program";
  }
  return "unknown";
}

memory_room measure_memory_room(const char* root) noexcept {
  pressure::memory_levels levels(root);
  memory_room room;
  if (!levels.find(os::now_ns())) return room;
  room.limit_bytes = levels.effective_limit();
  room.available_bytes = levels.tightest()->available;
  return room;
}

std::unique_ptr<pressure_monitor> pressure_monitor::create(const pressure_options& options) noexcept {
  if (!sensible(options)) return nullptr;
  auto* made = new (std::nothrow) monitor_impl(options);
  std::unique_ptr<pressure_monitor> result(made);
  if (made == nullptr || !made->start()) return nullptr;
  return result;
}

void pressure_monitor::operator delete(pressure_monitor* monitor, std::destroying_delete_t) noexcept {
  if (monitor == nullptr) return;
  auto* const impl = static_cast<monitor_impl*>(monitor);
  impl->~monitor_impl();
  ::operator delete(static_cast<void*>(impl));
}

std::size_t pressure_monitor::deficit_bytes() const noexcept {
  return to_size(get(self(*this).watched().numbers().deficit));
}

std::size_t pressure_monitor::target_bytes() const noexcept {
  return to_size(get(self(*this).watched().numbers().target));
}

void pressure_monitor::report_purged(std::size_t bytes) noexcept {
  self(*this).watched().numbers().purged_pending.fetch_add(bytes, std::memory_order_relaxed);
}

void pressure_monitor::report_shortage(std::size_t bytes) noexcept {
  // Of several reports before the next reading the largest counts. One more than the bytes: 0 means that there is none.
  published::number& pending = self(*this).watched().numbers().shortage_pending;
  const std::uint64_t mine = std::uint64_t{bytes} + (std::uint64_t{bytes} != ~std::uint64_t{0} ? 1 : 0);
  std::uint64_t there = get(pending);
  while (there < mine && !pending.compare_exchange_weak(there, mine, std::memory_order_relaxed)) {
  }
  self(*this).wake();
}

bool pressure_monitor::read_now(std::uint32_t timeout_ms) noexcept { return self(*this).read_within(timeout_ms); }

pressure_stats pressure_monitor::stats() const noexcept {
  const published& n = self(*this).watched().numbers();
  pressure_stats s;
  s.limit_bytes = get(n.limit);
  s.used_bytes = get(n.used);
  s.available_bytes = get(n.available);
  s.headroom_bytes = get(n.headroom);
  s.held_bytes = to_size(get(n.held));
  s.deficit_bytes = to_size(get(n.deficit));
  s.target_bytes = to_size(get(n.target));
  s.readings = get(n.readings);
  s.alarms = get(n.alarms);
  s.notices = get(n.notices);
  s.fruitless_notices = get(n.fruitless);
  s.asked_bytes = get(n.asked);
  s.given_bytes = get(n.given);
  s.growths = get(n.growths);
  s.purged_bytes = get(n.purged);
  s.give_back_ns_max = get(n.give_back_ns_max);
  s.interval_ns = get(n.interval_ns);
  self(*this).fill(s);
  return s;
}

std::size_t pressure_monitor::list_sources(pressure_source_info* infos, std::size_t room) const noexcept {
  return self(*this).watched().list(infos, room);
}

}  // namespace scoot
