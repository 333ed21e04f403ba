// SPDX-License-Identifier: MIT
#include "server/client_memory.hpp"

namespace scoot::server {

void client_memory::change_bytes(std::size_t before, std::size_t now) noexcept {
  const std::size_t sum = bytes_.fetch_add(now - before, std::memory_order_relaxed) + (now - before);
  if (sum > trim_from_bytes && !swelled_.load(std::memory_order_relaxed)) {
    swelled_.store(true, std::memory_order_relaxed);
  }
}

void client_memory::change_pinned(std::size_t before, std::size_t now) noexcept {
  const std::lock_guard hold(pins_lock_);
  pinned_.store(pinned_bytes() + now - before, std::memory_order_relaxed);
  tell();
}

void client_memory::set_budget(std::size_t bytes) noexcept {
  const std::lock_guard hold(pins_lock_);
  pinned_max_.store(bytes / 4, std::memory_order_relaxed);
  tell();
}

void client_memory::tell() noexcept {
  if (short_of_pins()) {
    observed_.fetch_or(pins_short, std::memory_order_relaxed);
  } else {
    observed_.fetch_and(~pins_short, std::memory_order_relaxed);
  }
}

}  // namespace scoot::server
