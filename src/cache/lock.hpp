// SPDX-License-Identifier: MIT
//
// The lock of a shard: four bytes, one atomic exchange to take and one to give back while nobody waits.
//
// Waiters sleep in the kernel (std::atomic::wait, a futex on Linux) after a short spin, because a shard is held for
// a fraction of a microsecond, rarely for tens of them. Not recursive, not fair.
// Source: U. Drepper, "Futexes are tricky", the second mutex.
#pragma once

#include <atomic>
#include <cstdint>

namespace scoot::caching {

class shard_lock {
 public:
  void lock() noexcept {
    std::uint32_t expected = free;
    if (state_.compare_exchange_strong(expected, held, std::memory_order_acquire, std::memory_order_relaxed)) return;
    lock_slow();
  }

  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t expected = free;
    return state_.compare_exchange_strong(expected, held, std::memory_order_acquire, std::memory_order_relaxed);
  }

  void unlock() noexcept {
    if (state_.exchange(free, std::memory_order_release) == contended) state_.notify_one();
  }

 private:
  static constexpr std::uint32_t free = 0, held = 1, contended = 2;

  [[gnu::noinline]] void lock_slow() noexcept {
    for (int spin = 0; spin < 64; ++spin) {
      std::uint32_t expected = free;
      if (state_.load(std::memory_order_relaxed) == free &&
          state_.compare_exchange_weak(expected, held, std::memory_order_acquire, std::memory_order_relaxed)) {
        return;
      }
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
    while (state_.exchange(contended, std::memory_order_acquire) != free) {
      state_.wait(contended, std::memory_order_relaxed);
    }
  }

  std::atomic<std::uint32_t> state_{free};
};

}  // namespace scoot::caching
