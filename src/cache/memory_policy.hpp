// SPDX-License-Identifier: MIT
//
// memory_policy: how much memory the cache may hold, of which sort, and what goes first when others need some.
//
//     hot: items, index, ...        <= target <= budget         cold: purgeable chunks  <= ceiling
//     |====================|........|.........|                 |=====================|.......|
//       what is wasted goes first,                                goes before either, and by itself:
//       what is worth least then                                  the kernel takes it without asking
//
// Who wants memory back finds it in this order:
// 1. The cold tier. We do nothing: it is available already, and the kernel takes no more of it than it needs. That is
//    why the monitor sees no deficit as long as it is there.
// 2. Waste: compaction, then
// 3. items, the least worth first, when the pressure monitor (pressure.hpp) finds a deficit. What is evicted then is
//    not kept in the cold tier, which is closed meanwhile: a copy would need memory first. The monitor's target, what
//    may be held from then on, becomes the budget in force, until it has grown back to the one that was asked for.
//
// The ceiling of the cold tier is what the options say, or follows what the machine has to spare: half of what is
// available (free, or dropped by the kernel at once, so with what is in the cold tier already) beyond some headroom.
// The other half is left to the page cache of everybody.
//
// Threads: every function may be called from any thread; what shards read is atomic. The monitor's thread, which may
// have real-time priority, takes no lock that it would have to wait for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "cache/cold_tier.hpp"
#include "scoot/cache.hpp"
#include "scoot/pressure.hpp"

namespace scoot::caching {

class cache_impl;

class memory_policy {
 public:
  memory_policy(cache_impl& owner, const cache_options& options, unsigned shards) noexcept;

  // Whether the options make sense together.
  [[nodiscard]] bool valid() const noexcept;

  // What the shards' cold tiers go by; null: there are none.
  [[nodiscard]] const cold_options* cold() const noexcept { return cold_.chunk_bytes != 0 ? &cold_ : nullptr; }

  // Begins to follow the pressure, if that is wanted; the shards must be there. False if it can't. stop() ends it.
  [[nodiscard]] bool start(std::size_t held_bytes_min) noexcept;
  void stop() noexcept { monitor_.reset(); }

  // The part of a budget that pressure leaves.
  [[nodiscard]] std::size_t target_bytes(std::size_t budget_bytes) const noexcept {
    const std::size_t target = target_.load(std::memory_order_relaxed);
    return target < budget_bytes ? target : budget_bytes;
  }

  // Memory is given back: for a second or so nothing goes to the cold tier.
  void close_cold() noexcept;

  // What wants a look now and then: what was purged, what there is to spare, whether the pressure is over.
  void refresh() noexcept;

  void add_stats(cache_stats& sum) const noexcept;

 private:
  static std::size_t give_back(void* self, const pressure_notice& notice) noexcept;
  static std::size_t held(void* self) noexcept;
  static void may_grow(void* self, std::size_t target_bytes) noexcept;
  void measure_spare() noexcept;

  cache_impl& owner_;
  const cache_options options_;
  const unsigned shards_;
  cold_options cold_;
  std::atomic<std::size_t> ceiling_{0};  // of a shard's cold tier
  std::atomic<bool> closed_{false};
  std::atomic<std::int64_t> closed_s_{0};  // when, by a clock that nobody sets
  std::atomic<std::int64_t> measured_s_{0};
  std::atomic<std::size_t> purged_bytes_{0};  // that the monitor was not told of
  std::atomic<std::size_t> target_{std::numeric_limits<std::size_t>::max()};
  std::unique_ptr<pressure_monitor> monitor_;
};

}  // namespace scoot::caching
