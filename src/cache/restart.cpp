// SPDX-License-Identifier: MIT
//
// Writing a cache to a restart file.
#include "cache/restart.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "cache/cache_impl.hpp"

namespace scoot::caching {

namespace {

void add(const restart_totals& one, restart_head& head, restart_report& report) noexcept {
  head.items += one.items;
  head.hot_items += one.items - one.cold_items;
  for (std::size_t i = 0; i < std::size(one.bytes_by_uses); ++i) head.bytes_by_uses[i] += one.bytes_by_uses[i];
  report.items += one.items;
  report.item_bytes += one.item_bytes;
  report.cold_items += one.cold_items;
  report.expired_items += one.expired_items;
}

// Collects what is to be one chunk.
class chunk_filler {
 public:
  chunk_filler(restart_writer& file, restart_part part, std::uint32_t shard) noexcept
      : file_(file), bytes_(new (std::nothrow) char[restart_chunk_bytes]), part_(part), shard_(shard) {}
  void add(const void* data, std::size_t bytes) noexcept {
    if (bytes_ == nullptr || bytes > restart_chunk_bytes) {
      flush();
      (void)file_.append(part_, shard_, data, bytes);
      return;
    }
    if (used_ + bytes > restart_chunk_bytes) flush();
    std::memcpy(bytes_.get() + used_, data, bytes);
    used_ += bytes;
  }
  void flush() noexcept {
    if (used_ != 0) (void)file_.append(part_, shard_, bytes_.get(), used_);
    used_ = 0;
  }

 private:
  restart_writer& file_;
  const std::unique_ptr<char[]> bytes_;
  std::size_t used_ = 0;
  const restart_part part_;
  const std::uint32_t shard_;
};

}  // namespace

void shard::save(restart_writer& file, restart_totals& totals) noexcept {
  check_flush();
  while (index_.entries() != in_epoch_[epoch_]) (void)sweep(4096);  // what is left in the heap then is live or expired
  index_.clear();
  chunk_filler order(file, restart_part::order, options_.number);
  for (unsigned list = 0; list < wheel::list_end; ++list) {
    for (name_lists::popped p; lists_.pop(list, p);) {
      if (list > eviction::main) continue;
      const order_entry entry(p.of, p.mark);
      order.add(&entry.bits, order_entry::bytes);
    }
  }
  order.flush();
  struct taking {
    restart_totals& totals;
    chunk_filler to;
    std::uint32_t now;
    bool cold;
    void take(item it) noexcept {
      if (const std::uint32_t at = it.expires_at(); at != expires_never && at <= now) {
        ++totals.expired_items;
        return;
      }
      const std::size_t bytes = it.bytes();
      ++totals.items;
      totals.item_bytes += it.key_bytes() + it.value_bytes();
      if (cold) {
        ++totals.cold_items;
      } else {
        totals.bytes_by_uses[it.uses()] += bytes;
      }
      to.add(it.block(), bytes);
    }
  };
  taking hot{totals, {file, restart_part::hot, options_.number}, options_.time->now(), false};
  if (cold_ != nullptr) {
    taking cold{totals, {file, restart_part::cold, options_.number}, hot.now, true};
    cold_->hand_over(
        [](void* context, item it, bool used) {
          it.set_uses(used ? 1 : 0);
          static_cast<taking*>(context)->take(it);
        },
        &cold);
    cold.to.flush();
  }
  (void)heap_->hand_over(
      items_,
      [](void* context, const void* block, std::size_t) noexcept {
        static_cast<taking*>(context)->take(item(const_cast<void*>(block)));
      },
      &hot);
  hot.to.flush();
  std::fill(std::begin(in_epoch_), std::end(in_epoch_), 0);
  policy_ = {};
  item_bytes_ = expiring_ = 0;
}

restart_report cache_impl::save(const char* path) noexcept {
  const std::uint64_t began = boot_time_ns();
  restart_report report;
  report.outcome = restart_outcome::failed;
  stop_threads();
  const cache_stats before = stats();
  restart_writer file;
  std::vector<restart_totals> totals;
  bool ready = true;
  try {
    totals.resize(shard_count_);
  } catch (...) {
    ready = false;
  }
  constexpr std::size_t besides = 20;  // of an item: header, name
  const std::uint64_t expected = before.item_bytes + before.items * besides + before.cold.offered_bytes;
  restart_head head;
  if (ready && file.open(path, random_number(), expected)) {
    on_threads(shard_count_, [&](unsigned number) {
      shard& s = nth(number);
      const std::lock_guard guard(s.lock());
      s.save(file, totals[number]);
    });
    for (unsigned i = 0; i < shard_count_; ++i) head.flush_at = std::max(head.flush_at, nth(i).flush_at());
    for (const restart_totals& one : totals) add(one, head, report);
    head.hash_seed = seed_;
    head.cas = cas_.load(std::memory_order_relaxed);
    head.boot_ns = boot_time_ns();
    head.boot_id = options_.clock == nullptr ? boot_identity() : 0;
    head.saved_at = clock_.now();
    head.shards = shard_count_;
    head.held_bytes = before.pool.held_bytes - before.pool.idle_bytes;
    if (file.publish(head)) report.outcome = restart_outcome::done;
    report.file_bytes = head.file_bytes;
  }
  if (report.outcome != restart_outcome::done) {
    std::snprintf(report.reason, sizeof report.reason, "%s", ready ? file.reason() : "there is no memory");
  }
  report.elapsed_us = (boot_time_ns() - began) / 1000;
  return report;
}

}  // namespace scoot::caching
