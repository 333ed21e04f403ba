// SPDX-License-Identifier: MIT
#include "cache/memory_policy.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>

#include "base/bits.hpp"
#include "scoot/pressure.hpp"

namespace scoot::caching {

namespace {

constexpr std::size_t chunk_bytes_min = std::size_t{16} << 10;
constexpr std::size_t chunk_bytes_max = std::size_t{256} << 10;
constexpr std::size_t chunks_min = 4;                               // of a shard
constexpr std::uint64_t shard_bytes_max = std::uint64_t{16} << 30;  // half of what a place can name

// As the pressure monitor keeps at least.
constexpr std::uint64_t headroom_bytes_min = std::uint64_t{8} << 20;
constexpr std::uint64_t headroom_bytes_max = std::uint64_t{256} << 20;

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
  const bool automatic = options.purgeable_bytes == purgeable_auto;
  const std::uint64_t most = automatic ? measure_memory_room().limit_bytes : options.purgeable_bytes;
  cold_.address_bytes = static_cast<std::size_t>(
      std::clamp<std::uint64_t>(most / shards / cold_.chunk_bytes * cold_.chunk_bytes, chunks_min * cold_.chunk_bytes,
                                std::min<std::uint64_t>(shard_bytes_max, std::numeric_limits<std::size_t>::max() / 2)));
  if (!automatic) ceiling_ = cold_.address_bytes;
  refresh();
  cold_.ceiling_bytes = &ceiling_;
  cold_.closed = &closed_;
  cold_.index_bytes_max = options.budget_bytes / shards / 4;
  cold_.keep_refused = options.purgeable_keep_refused;
}

bool memory_policy::valid() const noexcept {
  return options_.purgeable_bytes == 0 ||
         options_.purgeable_bytes / shards_ >= chunks_min * choose_chunk_bytes(options_, shards_);
}

void memory_policy::refresh() noexcept {
  if (options_.purgeable_bytes != purgeable_auto || cold() == nullptr) return;
  using std::chrono::steady_clock;
  const std::int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now().time_since_epoch()).count() + 1;
  std::int64_t before = measured_s_.load(std::memory_order_relaxed);
  if (before == now || !measured_s_.compare_exchange_strong(before, now, std::memory_order_relaxed)) return;
  const memory_room room = measure_memory_room();
  const std::uint64_t headroom = std::clamp(room.limit_bytes / 32, headroom_bytes_min, headroom_bytes_max);
  const std::uint64_t spare = (room.available_bytes - std::min(room.available_bytes, headroom)) / 2;
  ceiling_.store(static_cast<std::size_t>(std::min<std::uint64_t>(spare / shards_, cold_.address_bytes)),
                 std::memory_order_relaxed);
}

void memory_policy::add_stats(cache_stats& sum) const noexcept {
  sum.cold.support = purgeable::support();
  sum.cold.ceiling_bytes = ceiling_.load(std::memory_order_relaxed) * shards_;
}

}  // namespace scoot::caching
