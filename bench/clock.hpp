// SPDX-License-Identifier: MIT
//
// Clocks of the benchmarks: CPU time of the process, wall time, and a tick counter that is cheap enough to be read
// around every single operation (the processor's own where there is one, CLOCK_MONOTONIC elsewhere).
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace bench {

inline std::uint64_t clock_ns(clockid_t id) noexcept {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

inline std::uint64_t wall_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }

// CPU time, user and system, of all threads of this process.
inline std::uint64_t cpu_ns() noexcept { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

inline std::uint64_t thread_cpu_ns() noexcept { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t t = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(t));
  return t;
#else
  return wall_ns();
#endif
}

// Turns ticks into nanoseconds by the wall time that passed since it was made: the longer it lived, the better.
class tick_scale {
 public:
  tick_scale() noexcept : wall_(wall_ns()), ticks_(ticks()) {
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t a = ticks();
      const std::uint64_t d = ticks() - a;
      if (d < overhead_) overhead_ = d;
    }
  }
  [[nodiscard]] double ns_per_tick() const noexcept {
    const std::uint64_t t = ticks() - ticks_;
    return t == 0 ? 1.0 : static_cast<double>(wall_ns() - wall_) / static_cast<double>(t);
  }
  // Ticks between two readings of the counter with nothing in between.
  [[nodiscard]] std::uint64_t overhead() const noexcept { return overhead_; }

 private:
  std::uint64_t wall_;
  std::uint64_t ticks_;
  std::uint64_t overhead_ = UINT64_MAX;
};

}  // namespace bench
