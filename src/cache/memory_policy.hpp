// SPDX-License-Identifier: MIT
//
// memory_policy: how much memory the cache may hold, and of which sort.
//
//     hot: items, index, ...  <= budget              cold: purgeable chunks  <= ceiling
//     |=====================.........|               |=========================........|
//
// The ceiling of the cold tier is what the options say, or follows what the machine has to spare: half of what is
// available (free, or dropped by the kernel at once, so with what is in the cold tier already) beyond some headroom.
// The other half is left to the page cache of everybody.
//
// Threads: every function may be called from any thread; what shards read is atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "cache/cold_tier.hpp"
#include "scoot/cache.hpp"

namespace scoot::caching {

class memory_policy {
 public:
  memory_policy(const cache_options& options, unsigned shards) noexcept;

  // Whether the options make sense together.
  [[nodiscard]] bool valid() const noexcept;

  // What the shards' cold tiers go by; null: there are none.
  [[nodiscard]] const cold_options* cold() const noexcept { return cold_.chunk_bytes != 0 ? &cold_ : nullptr; }

  // Measures what there is to spare, if that matters and a second has passed. Call it now and then.
  void refresh() noexcept;

  void add_stats(cache_stats& sum) const noexcept;

 private:
  const cache_options options_;
  const unsigned shards_;
  std::atomic<std::int64_t> measured_s_{0};  // when, by a clock that nobody sets
  cold_options cold_;
  std::atomic<std::size_t> ceiling_{0};  // of a shard's cold tier
  std::atomic<bool> closed_{false};
};

}  // namespace scoot::caching
