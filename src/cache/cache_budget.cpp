// SPDX-License-Identifier: MIT
//
// The cache's budget: shards that give way to others, a budget that is cut or grows, memory given back on request.
#include <algorithm>
#include <mutex>

#include "cache/cache_impl.hpp"

namespace scoot::caching {

// Lets the shard that holds most give something up for `poor`.
bool cache_impl::relieve(shard& poor, unsigned round) noexcept {
  (void)pool_->trim();
  shard* richest = nullptr;
  std::size_t most = 0;
  for (unsigned i = 0; i < shard_count_; ++i) {
    shard& s = *shards_[(i + round) % shard_count_];
    if (&s == &poor) continue;
    const std::lock_guard guard(s.lock());
    const std::size_t held = s.held_bytes();
    if (held > most) most = held, richest = &s;
  }
  if (richest == nullptr) return false;
  const std::lock_guard guard(richest->lock());
  return richest->make_room_for_others(relief_bytes);
}

bool cache_impl::cut_step(shard& s) noexcept {
  const std::size_t target = target_.load(std::memory_order_relaxed);
  std::size_t held = pool_->stats().held_bytes;
  if (held > target) {
    const std::size_t share = std::min((held - target) / shard_count_ + 4096, relief_bytes);
    const std::lock_guard guard(s.lock());
    (void)s.shrink(share);
  }
  (void)pool_->trim();
  const std::size_t before = held;
  const std::lock_guard guard(budget_mutex_);
  held = pool_->stats().held_bytes;
  const std::size_t now = target_.load(std::memory_order_relaxed);
  (void)pool_->set_budget(std::max(for_stores(now), held));
  if (held <= now) cutting_.store(false, std::memory_order_relaxed);
  return held < before;
}

bool cache_impl::set_budget(std::size_t bytes) noexcept {
  if (bytes < budget_min()) return false;
  const std::lock_guard guard(budget_mutex_);
  if (!put_in_force(policy_.target_bytes(bytes))) return false;
  asked_.store(bytes, std::memory_order_relaxed);
  return true;
}

void cache_impl::follow_target() noexcept {
  const std::unique_lock guard(budget_mutex_, std::try_to_lock);
  if (!guard) return;
  const std::size_t wanted = std::max(policy_.target_bytes(asked_.load(std::memory_order_relaxed)), budget_min());
  if (wanted != target_.load(std::memory_order_relaxed)) (void)put_in_force(wanted);
}

// With budget_mutex_ held. A cut comes in steps: the pool's budget follows what is held on its way down, so that stores
// still find room.
bool cache_impl::put_in_force(std::size_t bytes) noexcept {
  bytes = std::max(bytes, budget_min());
  (void)pool_->trim();
  const std::size_t held = pool_->held_bytes();
  if (!pool_->set_budget(std::max(for_stores(bytes), held))) return false;
  target_.store(bytes, std::memory_order_relaxed);
  fair_bytes_.store(bytes / shard_count_, std::memory_order_relaxed);
  cutting_.store(held > bytes, std::memory_order_relaxed);
  return true;
}

std::size_t cache_impl::release(std::size_t bytes, bool may_wait) noexcept {
  const std::size_t before = pool_->held_bytes();
  const auto given = [&] { return before - std::min(before, pool_->held_bytes()); };
  policy_.close_cold();
  (void)pool_->trim();
  unsigned vain = 0;
  for (std::size_t step = 0, steps = 2 * shard_count_ * (bytes / relief_bytes + 2); step < steps; ++step) {
    const std::size_t done = given();
    if (done >= bytes || vain == shard_count_) break;
    shard& s = *shards_[release_next_.fetch_add(1, std::memory_order_relaxed) % shard_count_];
    ++vain;
    if (may_wait) {
      s.lock().lock();
    } else if (!s.lock().try_lock()) {
      continue;
    }
    const std::lock_guard guard(s.lock(), std::adopt_lock);
    if (s.shrink(std::min((bytes - done) / shard_count_ + relief_bytes_min, relief_bytes)) != 0) vain = 0;
  }
  (void)pool_->trim();
  return given();
}

}  // namespace scoot::caching
