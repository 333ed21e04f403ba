// SPDX-License-Identifier: MIT
//
// budget: the ceiling on what a pool holds, and what it holds. Lock-free; any thread.
#pragma once

#include <atomic>
#include <cstddef>

namespace scoot {

class budget {
 public:
  explicit budget(std::size_t limit_bytes) noexcept : limit_(limit_bytes) {}

  // Takes `bytes` of room; false, and nothing taken, if there is not as much.
  [[nodiscard]] bool charge(std::size_t bytes) noexcept {
    std::size_t held = held_.load(std::memory_order_relaxed);
    do {
      const std::size_t limit = limit_.load(std::memory_order_relaxed);
      if (bytes > limit || held > limit - bytes) return false;
    } while (!held_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed));
    if (held + bytes > peak_.load(std::memory_order_relaxed)) raise_peak(held + bytes);
    return true;
  }

  // Takes room for what is held already, whether there is any or not.
  void charge_held(std::size_t bytes) noexcept {
    const std::size_t held = held_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (held > peak_.load(std::memory_order_relaxed)) raise_peak(held);
  }

  void uncharge(std::size_t bytes) noexcept { held_.fetch_sub(bytes, std::memory_order_relaxed); }

  [[nodiscard]] std::size_t held() const noexcept { return held_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t peak() const noexcept { return peak_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  void set_limit(std::size_t bytes) noexcept { limit_.store(bytes, std::memory_order_relaxed); }

 private:
  void raise_peak(std::size_t held) noexcept {
    std::size_t peak = peak_.load(std::memory_order_relaxed);
    while (held > peak && !peak_.compare_exchange_weak(peak, held, std::memory_order_relaxed)) {
    }
  }

  std::atomic<std::size_t> limit_;
  std::atomic<std::size_t> held_{0};
  std::atomic<std::size_t> peak_{0};
};

}  // namespace scoot
