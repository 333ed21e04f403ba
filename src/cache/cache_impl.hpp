// SPDX-License-Identifier: MIT
//
// cache_impl: what stands behind scoot::cache: the shards, the pool, the budget, the maintenance thread.
//
// Locks: a shard's lock is taken alone or under budget_mutex_ or scan_mutex_, never two shards' at once. Nothing is
// locked under a shard's lock but the pool's own, and what an observer of evictions locks: it must not call the cache.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "cache/memory_policy.hpp"
#include "cache/restart_file.hpp"
#include "cache/shard.hpp"
#include "scoot/cache.hpp"

namespace scoot::caching {

[[nodiscard]] std::uint64_t random_number() noexcept;

class cache_impl final : public cache {
 public:
  [[nodiscard]] static std::unique_ptr<cache_impl> create(const cache_options& options) noexcept;
  ~cache_impl();

  [[nodiscard]] unsigned shards() const noexcept { return shard_count_; }
  [[nodiscard]] shard& nth(unsigned number) const noexcept { return *shards_[number]; }
  [[nodiscard]] unsigned shard_number(std::uint64_t hash) const noexcept {
    return static_cast<unsigned>(hash >> 56) & (shard_count_ - 1);
  }
  [[nodiscard]] shard& shard_of(const hashed_key& k) const noexcept { return *shards_[shard_number(k.hash)]; }
  [[nodiscard]] hashed_key hashed(std::string_view key) const noexcept {
    const std::uint64_t hash = hash_of(key, seed_);
    return {key, hash, name::of(hash)};
  }

  // Runs an operation under the shard's lock until it has the memory it needs. False if there is none to be had.
  template <class Operation>
  bool run(shard& s, Operation&& operation) noexcept {
    unsigned idle = 0;
    for (unsigned round = 0; idle < shard_count_ + 2; ++round) {
      bool did = false;
      {
        const std::lock_guard guard(s.lock());
        const bool finished = operation() == progress::finished;
        // A poor shard asks the others first; where that is in vain it gives up something of its own.
        const bool asks_first = shard_count_ > 1 && options_.evict && round < 4 && idle == 0 && s.is_poor();
        if (!finished && !asks_first) did = s.make_room(round);
        s.keep_nothing();
        if (finished) return true;
      }
      if (!did) did = relieve(s, round);
      idle = did ? 0 : idle + 1;
    }
    return false;
  }

  // The same for what makes items larger that are there, to which some memory is left where nothing is evicted.
  template <class Operation>
  bool run_to_the_last(shard& s, Operation&& operation) noexcept {
    return run(s, operation) || run_on_reserve(s, operation);
  }
  template <class Operation>
  bool run_on_reserve(shard& s, Operation&& operation) noexcept {
    if (options_.evict) return false;
    const std::lock_guard hold(budget_mutex_);
    const std::size_t all = target_.load(std::memory_order_relaxed);
    (void)pool_->set_budget(std::max(all, pool_->held_bytes()));
    // Once: room was made before, in vain.
    bool done = false;
    {
      const std::lock_guard guard(s.lock());
      done = operation() == progress::finished;
      s.keep_nothing();
    }
    (void)pool_->set_budget(for_stores(all));
    return done;
  }

  // The size limits; a plain set that breaks one removes the older item.
  [[nodiscard]] cache_status check_size(const hashed_key& k, std::size_t value_bytes,
                                        const store_options& options) noexcept;
  cache_status refuse(const hashed_key& k, const store_options& options) noexcept;  // for want of memory
  cache_status refuse_key() noexcept;

  void prefetch(const hashed_key* keys, std::size_t count) noexcept;
  void help_cutting(shard& s) noexcept {
    if (cutting_.load(std::memory_order_relaxed)) [[unlikely]]
      (void)cut_step(s);
  }

  bool set_budget(std::size_t bytes) noexcept;
  // Makes what the policy leaves of the budget the one in force. Never waits; maintain() makes up for it.
  void follow_target() noexcept;
  // cache::release. If it may not wait, it passes over shards that are in use.
  std::size_t release(std::size_t bytes, bool may_wait) noexcept;
  [[nodiscard]] std::size_t held_bytes() const noexcept { return pool_->held_bytes(); }
  bool maintain() noexcept;
  void for_each(shard::visitor visit, void* context) noexcept;
  void count_flush() noexcept { flushes_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t now() const noexcept { return clock_.now(); }
  [[nodiscard]] cache_stats stats() const noexcept;
  void reset_stats() noexcept;
  [[nodiscard]] std::size_t list_page_use(std::size_t first, std::span<page_content> room) const noexcept {
    return scoot::list_page_use(*pool_, first, room);
  }
  void observe_evictions(shard::visitor observe, void* context) noexcept;

  restart_report save(const char* path) noexcept;
  [[nodiscard]] const restart_report& restarted() const noexcept { return restarted_; }

 private:
  static constexpr std::size_t relief_bytes = std::size_t{256} << 10;
  static constexpr std::size_t relief_bytes_min = std::size_t{16} << 10;
  static constexpr std::size_t reserve_part = 64;  // of the budget, one is kept back

  cache_impl(const cache_options& options, unsigned shards) noexcept;
  [[nodiscard]] bool start_thread() noexcept;
  void stop_threads() noexcept;
  void load(restart_reader& file) noexcept;
  bool relieve(shard& poor, unsigned round) noexcept;
  bool cut_step(shard& s) noexcept;
  [[nodiscard]] std::size_t budget_min() const noexcept;
  // What of a budget stores may take.
  [[nodiscard]] std::size_t for_stores(std::size_t bytes) const noexcept {
    return options_.evict ? bytes : std::max(bytes - bytes / reserve_part, budget_min());
  }
  bool put_in_force(std::size_t bytes) noexcept;

  const cache_options options_;
  const clock clock_;
  std::uint64_t seed_;
  std::atomic<std::uint64_t> cas_{0};
  memory_policy policy_;
  std::unique_ptr<page_pool> pool_;
  std::unique_ptr<std::unique_ptr<shard>[]> shards_;
  unsigned shard_count_ = 0;

  std::mutex budget_mutex_;
  std::atomic<std::size_t> fair_bytes_;
  std::atomic<std::size_t> asked_;   // the budget asked for
  std::atomic<std::size_t> target_;  // what is left of it; the pool's is above it while a cut is under way
  std::atomic<bool> cutting_{false};
  std::atomic<unsigned> release_next_{0};  // the shard

  restart_report restarted_;

  std::mutex scan_mutex_;
  std::atomic<std::uint64_t> flushes_{0}, too_large_{0}, no_memory_{0};
  std::atomic<std::uint64_t> maintenance_cpu_us_{0};

  std::mutex thread_mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace scoot::caching
