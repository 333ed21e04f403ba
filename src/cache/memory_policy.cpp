// SPDX-License-Identifier: MIT
#include "cache/memory_policy.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>

#include "base/bits.hpp"
#include "cache/cache_impl.hpp"
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

std::int64_t steady_seconds() noexcept {
  using std::chrono::seconds;
  return std::chrono::duration_cast<seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

memory_policy::memory_policy(cache_impl& owner, const cache_options& options, unsigned shards) noexcept
    : owner_(owner), options_(options), shards_(shards) {
  if (options.purgeable_bytes == 0 || !options.evict) return;
  if (purgeable::support() == purge_support::refused && !options.purgeable_keep_refused) return;
  cold_.chunk_bytes = choose_chunk_bytes(options, shards);
  const bool automatic = options.purgeable_bytes == purgeable_auto;
  const std::uint64_t most = automatic ? measure_memory_room().limit_bytes : options.purgeable_bytes;
  cold_.address_bytes = static_cast<std::size_t>(
      std::clamp<std::uint64_t>(most / shards / cold_.chunk_bytes * cold_.chunk_bytes, chunks_min * cold_.chunk_bytes,
                                std::min<std::uint64_t>(shard_bytes_max, std::numeric_limits<std::size_t>::max() / 2)));
  ceiling_ = cold_.address_bytes;
  if (automatic) measure_spare();
  cold_.ceiling_bytes = &ceiling_;
  cold_.closed = &closed_;
  cold_.purged_bytes = &purged_bytes_;
  cold_.index_bytes_max = options.budget_bytes / shards / 4;
  cold_.keep_refused = options.purgeable_keep_refused;
}

bool memory_policy::valid() const noexcept {
  return options_.purgeable_bytes == 0 ||
         options_.purgeable_bytes / shards_ >= chunks_min * choose_chunk_bytes(options_, shards_);
}

bool memory_policy::start(std::size_t held_bytes_min) noexcept {
  if (!options_.follow_pressure) return true;
  pressure_options wanted = options_.pressure;
  wanted.give_back = &memory_policy::give_back;
  wanted.held = &memory_policy::held;
  wanted.may_grow = &memory_policy::may_grow;
  wanted.context = this;
  wanted.held_bytes_min = held_bytes_min;
  wanted.held_bytes_max = 0;
  monitor_ = pressure_monitor::create(wanted);
  return monitor_ != nullptr;
}

std::size_t memory_policy::give_back(void* self, const pressure_notice& notice) noexcept {
  auto& me = *static_cast<memory_policy*>(self);
  me.target_.store(notice.target_bytes, std::memory_order_relaxed);
  me.close_cold();
  me.owner_.follow_target();
  return me.owner_.release(notice.give_back_bytes, false);
}

std::size_t memory_policy::held(void* self) noexcept { return static_cast<memory_policy*>(self)->owner_.held_bytes(); }

void memory_policy::may_grow(void* self, std::size_t target_bytes) noexcept {
  auto& me = *static_cast<memory_policy*>(self);
  me.target_.store(target_bytes, std::memory_order_relaxed);
  me.owner_.follow_target();
}

void memory_policy::close_cold() noexcept {
  closed_s_.store(steady_seconds(), std::memory_order_relaxed);
  closed_.store(true, std::memory_order_relaxed);
}

void memory_policy::refresh() noexcept {
  const std::int64_t now = steady_seconds();
  if (closed_.load(std::memory_order_relaxed) && now > closed_s_.load(std::memory_order_relaxed) + 1 &&
      (monitor_ == nullptr || monitor_->deficit_bytes() == 0)) {
    closed_.store(false, std::memory_order_relaxed);
  }
  if (purged_bytes_.load(std::memory_order_relaxed) != 0) {
    const std::size_t purged = purged_bytes_.exchange(0, std::memory_order_relaxed);
    if (monitor_ != nullptr) monitor_->report_purged(purged);
  }
  if (options_.purgeable_bytes != purgeable_auto || cold() == nullptr) return;
  std::int64_t before = measured_s_.load(std::memory_order_relaxed);
  if (before != now && measured_s_.compare_exchange_strong(before, now, std::memory_order_relaxed)) measure_spare();
}

void memory_policy::measure_spare() noexcept {
  const memory_room room = measure_memory_room();
  const std::uint64_t headroom = std::clamp(room.limit_bytes / 32, headroom_bytes_min, headroom_bytes_max);
  const std::uint64_t spare = (room.available_bytes - std::min(room.available_bytes, headroom)) / 2;
  ceiling_.store(static_cast<std::size_t>(std::min<std::uint64_t>(spare / shards_, cold_.address_bytes)),
                 std::memory_order_relaxed);
}

void memory_policy::add_stats(cache_stats& sum) const noexcept {
  sum.cold.support = purgeable::support();
  sum.cold.ceiling_bytes = ceiling_.load(std::memory_order_relaxed) * shards_;
  sum.follows_pressure = monitor_ != nullptr;
  if (monitor_ != nullptr) sum.pressure = monitor_->stats();
}

}  // namespace scoot::caching
