// SPDX-License-Identifier: MIT
#include "cache/memory_policy.hpp"

#include <algorithm>
#include <bit>

#include "base/bits.hpp"

namespace scoot::caching {

namespace {

constexpr std::size_t chunk_bytes_min = std::size_t{16} << 10;
constexpr std::size_t chunk_bytes_max = std::size_t{256} << 10;
constexpr std::size_t chunks_min = 4;                               // of a shard
constexpr std::uint64_t shard_bytes_max = std::uint64_t{16} << 30;  // half of what a place can name

// A buffer of this size is part of each shard's budget, and copied to a chunk in one go under the shard's lock.
std::size_t choose_chunk_bytes(const cache_options& options, unsigned shards) noexcept {
  return std::bit_floor(std::clamp<std::size_t>(options.budget_bytes / shards / 64, chunk_bytes_min, chunk_bytes_max));
}

}  // namespace

memory_policy::memory_policy(const cache_options& options, unsigned shards) noexcept
    : options_(options), shards_(shards) {
  if (options.purgeable_bytes == 0 || !options.evict) return;
  if (purgeable::support() == purge_support::refused && !options.purgeable_keep_refused) return;
  cold_.chunk_bytes = choose_chunk_bytes(options, shards);
  cold_.address_bytes = static_cast<std::size_t>(
      std::min<std::uint64_t>(base::round_up(options.purgeable_bytes / shards, cold_.chunk_bytes), shard_bytes_max));
  ceiling_ = cold_.address_bytes;
  cold_.ceiling_bytes = &ceiling_;
  cold_.closed = &closed_;
  cold_.index_bytes_max = options.budget_bytes / shards / 4;
  cold_.keep_refused = options.purgeable_keep_refused;
}

bool memory_policy::valid() const noexcept {
  return options_.purgeable_bytes == 0 ||
         options_.purgeable_bytes / shards_ >= chunks_min * choose_chunk_bytes(options_, shards_);
}

void memory_policy::add_stats(cache_stats& sum) const noexcept {
  sum.cold.support = purgeable::support();
  sum.cold.ceiling_bytes = ceiling_.load(std::memory_order_relaxed) * shards_;
}

}  // namespace scoot::caching
