// SPDX-License-Identifier: MIT
//
// What tests of the cold tier share: caches that have one, and a kernel that purges what it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "os/os.hpp"
#include "os/purge.hpp"
#include "support.hpp"

namespace scoot::testing {

inline constexpr std::size_t mib = std::size_t{1} << 20;
inline constexpr std::size_t kib = std::size_t{1} << 10;

inline cache_options cold_options_on(fake_clock& clock, std::size_t budget_bytes, std::size_t purgeable_bytes,
                                     unsigned shards = 1) {
  cache_options options = options_on(clock, budget_bytes, shards);
  options.purgeable_bytes = purgeable_bytes;
  options.purgeable_keep_refused = true;
  options.hash_seed = 4711;
  return options;
}

inline bool kernel_purges() { return purgeable::support() == purge_support::seen; }

// Has the kernel purge every n-th OS page of the cold tier, from a random one on.
inline void purge(cache& c, seeded& random, std::size_t every) {
  const std::size_t page = os::page_bytes();
  for (unsigned i = 0; i < inside(c).shards(); ++i) {
    const std::lock_guard guard(inside(c).nth(i).lock());
    caching::cold_tier* tier = inside(c).nth(i).cold();
    if (tier == nullptr) continue;
    purgeable& region = tier->region();
    const purgeable_stats stats = region.stats();
    for (std::uint32_t chunk = 0; chunk < stats.chunks_max; ++chunk) {
      const chunk_state state = region.state(chunk).state;
      if (state != chunk_state::offered && state != chunk_state::partly_purged) continue;
      for (std::size_t at = random.below(every) * page; at < stats.chunk_bytes; at += every * page) {
        (void)os::reclaim(region.data(chunk) + at, page);
      }
    }
  }
}

inline cold_stats cold(cache& c) { return c.stats().cold; }

}  // namespace scoot::testing
