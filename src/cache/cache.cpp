// SPDX-License-Identifier: MIT
//
// cache: chooses the shard, takes its lock, and sees to memory when an operation lacks it; budget and upkeep over all.
#include "scoot/cache.hpp"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <new>
#include <random>
#include <thread>
#include <utility>

#include "base/check.hpp"
#include "cache/cache_impl.hpp"

namespace scoot {

using caching::cache_impl;
using caching::hashed_key;
using caching::item;
using caching::name;
using caching::shard;

namespace caching {

namespace {

constexpr std::size_t shard_budget_min = std::size_t{256} << 10;
constexpr std::size_t shard_budget_wanted = std::size_t{32} << 20;
constexpr unsigned shards_max = 256;

unsigned choose_shards(const cache_options& options) noexcept {
  if (options.shards != 0) return options.shards;
  // Each further shard is a heap, which costs part of an OS page for each size in use: up to 1 MiB for several hundred.
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t wanted = std::clamp<std::size_t>(
      std::min<std::size_t>(4 * threads, options.budget_bytes / shard_budget_wanted), 1, shards_max);
  return static_cast<unsigned>(std::bit_floor(wanted));
}

// A seed of its own keeps keys that collide in one cache from colliding in all.
std::uint64_t choose_seed() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  const std::uint64_t low = static_cast<std::uint64_t>(t.tv_nsec) ^ reinterpret_cast<std::uintptr_t>(&t);
  try {
    std::random_device random;
    return (std::uint64_t{random()} << 32 | random()) ^ low;
  } catch (...) {
    return low * 0x9e3779b97f4a7c15u;
  }
}

// A block above half a page is a run of pages, which comes from the kernel by itself and goes back there. So that
// values of tens of KiB are not, pages are larger than the pool's own choice for small budgets, but where address space
// is short.
std::unique_ptr<page_pool> create_pool(std::size_t budget_bytes) noexcept {
  constexpr std::size_t page_bytes = std::size_t{256} << 10, budget_least = std::size_t{16} << 20,
                        budget_most = std::size_t{256} << 20;  // from here on the pool's choice is as large
  if (sizeof(void*) >= 8 && budget_bytes >= budget_least && budget_bytes < budget_most) {
    auto pool = page_pool::create({budget_bytes, page_bytes, 0});
    if (pool != nullptr && pool->stats().address_bytes >= 2 * budget_bytes) return pool;
  }
  return page_pool::create({budget_bytes, 0, 0});
}

}  // namespace

std::uint64_t random_number() noexcept { return choose_seed(); }

std::unique_ptr<cache_impl> cache_impl::create(const cache_options& asked) noexcept {
  cache_options options = asked;
  options.restart_file = nullptr;                  // the path need not last
  const unsigned shards = choose_shards(options);  // at least 1
  if (!std::has_single_bit(shards) || shards > shards_max || options.item_bytes_max < 512) return nullptr;
  if (options.budget_bytes < shards * shard_budget_min) return nullptr;
  std::unique_ptr<cache_impl> made(new (std::nothrow) cache_impl(options, shards));
  if (made == nullptr || !made->policy_.valid()) return nullptr;
  made->pool_ = create_pool(options.budget_bytes);
  if (made->pool_ == nullptr) return nullptr;
  restart_reader file;  // only now, when little can go wrong any more: it is there once
  auto found = restart_reader::found::nothing;
  if (asked.restart_file != nullptr) found = file.take(asked.restart_file);
  if (found == restart_reader::found::taken) made->seed_ = file.head().hash_seed;  // names depend on it
  made->shards_.reset(new (std::nothrow) std::unique_ptr<shard>[shards]);
  if (made->shards_ == nullptr) return nullptr;
  for (; made->shard_count_ < shards; ++made->shard_count_) {
    made->shards_[made->shard_count_] =
        shard::create({made.get(), made->shard_count_, made->pool_.get(), made->seed_, options.item_bytes_max,
                       options.evict, &made->clock_, &made->cas_, &made->fair_bytes_, made->policy_.cold()});
    if (made->shards_[made->shard_count_] == nullptr) return nullptr;
  }
  if (!options.evict && !made->pool_->set_budget(made->for_stores(options.budget_bytes))) return nullptr;
  if (!made->policy_.start(made->budget_min())) return nullptr;
  if (asked.restart_file != nullptr) made->restarted_.outcome = restart_outcome::nothing;
  if (found == restart_reader::found::refused) {
    made->restarted_.outcome = restart_outcome::refused;
    std::snprintf(made->restarted_.reason, sizeof made->restarted_.reason, "%s", file.reason());
  } else if (found == restart_reader::found::taken) {
    made->load(file);
  }
  if (options.maintenance_thread && !made->start_thread()) return nullptr;
  return made;
}

cache_impl::cache_impl(const cache_options& options, unsigned shards) noexcept
    : options_(options),
      clock_(options),
      seed_(options.hash_seed != 0 ? options.hash_seed : choose_seed()),
      policy_(*this, options, shards),
      fair_bytes_(options.budget_bytes / shards),
      asked_(options.budget_bytes),
      target_(options.budget_bytes) {}

void cache_impl::stop_threads() noexcept {
  if (thread_.joinable()) {
    {
      const std::lock_guard guard(thread_mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  policy_.stop();
}

cache_impl::~cache_impl() {
  stop_threads();
  for (unsigned i = 0; i < shard_count_; ++i) {
    SCOOT_CHECK(1, shards_[i]->pinned() == 0, "the cache is destroyed while items are pinned");
  }
}

bool cache_impl::start_thread() noexcept {
  try {
    thread_ = std::thread([this] {
      std::unique_lock guard(thread_mutex_);
      while (!stopping_) {
        guard.unlock();
        while (maintain() && !stopping_.load(std::memory_order_relaxed)) std::this_thread::yield();
        guard.lock();
        wake_.wait_for(guard, std::chrono::milliseconds(250), [this] { return stopping_.load(); });
      }
    });
  } catch (...) {
    return false;
  }
  return true;
}

namespace {

std::uint64_t thread_cpu_us() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace

// ---- memory -------------------------------------------------------------------------------------------------------

std::size_t cache_impl::budget_min() const noexcept {
  return std::max(page_pool::budget_bytes_min, shard_count_ * shard_budget_min);
}

bool cache_impl::maintain() noexcept {
  const std::uint64_t before = thread_cpu_us();
  policy_.refresh();
  follow_target();
  bool more = false;
  for (unsigned i = 0; i < shard_count_; ++i) {
    shard& s = *shards_[i];
    if (cutting_.load(std::memory_order_relaxed)) more |= cut_step(s);
    const std::lock_guard guard(s.lock());
    more |= s.maintain();
  }
  maintenance_cpu_us_.fetch_add(thread_cpu_us() - before, std::memory_order_relaxed);
  return more;
}

// ---- the rest -----------------------------------------------------------------------------------------------------

cache_status cache_impl::check_size(const hashed_key& k, std::size_t value_bytes,
                                    const store_options& options) noexcept {
  const item_fields fields{options.flags != 0, options.expires_at != expires_never, false, false};
  if (value_bytes <= options_.item_bytes_max &&
      item::bytes_for(k.key.size(), value_bytes, fields) <= options_.item_bytes_max) {
    return cache_status::ok;
  }
  too_large_.fetch_add(1, std::memory_order_relaxed);
  if (options.mode == store_mode::set) {
    shard& s = shard_of(k);
    const std::lock_guard guard(s.lock());
    s.discard(k);
  }
  return cache_status::too_large;
}

cache_status cache_impl::refuse(const hashed_key& k, const store_options& options) noexcept {
  no_memory_.fetch_add(1, std::memory_order_relaxed);
  if (options.mode == store_mode::set) {
    shard& s = shard_of(k);
    const std::lock_guard guard(s.lock());
    s.discard(k);
  }
  return cache_status::no_memory;
}

cache_status cache_impl::refuse_key() noexcept {
  too_large_.fetch_add(1, std::memory_order_relaxed);
  return cache_status::too_large;
}

// Asks the memory for what the gets of these keys will touch: shard by shard first for the index, then for the items.
void cache_impl::prefetch(const hashed_key* keys, std::size_t count) noexcept {
  std::uint64_t done = 0;
  for (std::size_t first = 0; first < count; ++first) {
    if ((done >> first & 1) != 0) continue;
    const unsigned number = shard_number(keys[first].hash);
    std::uint64_t group = 0;
    for (std::size_t i = first; i < count; ++i) {
      if (shard_number(keys[i].hash) == number) group |= std::uint64_t{1} << i;
    }
    done |= group;
    shard& s = nth(number);
    const std::lock_guard guard(s.lock());
    for (std::uint64_t g = group; g != 0; g &= g - 1) s.prefetch_bucket(keys[std::countr_zero(g)]);
    for (std::uint64_t g = group; g != 0; g &= g - 1) s.prefetch_item(keys[std::countr_zero(g)]);
  }
}

void cache_impl::for_each(shard::visitor visit, void* context) noexcept {
  const std::lock_guard one_scan(scan_mutex_);
  for (unsigned i = 0; i < shard_count_; ++i) {
    shard& s = *shards_[i];
    std::size_t position = 0;
    do {
      const std::lock_guard guard(s.lock());
      position = s.scan(position, visit, context);
    } while (position != 0);
  }
}

cache_stats cache_impl::stats() const noexcept {
  cache_stats sum;
  for (unsigned i = 0; i < shard_count_; ++i) {
    const std::lock_guard guard(shards_[i]->lock());
    shards_[i]->add_stats(sum);
  }
  policy_.add_stats(sum);
  sum.pool = pool_->stats();
  sum.budget_bytes = asked_.load(std::memory_order_relaxed);
  sum.target_bytes = target_.load(std::memory_order_relaxed);
  sum.item_bytes_max = options_.item_bytes_max;
  sum.shards = shard_count_;
  sum.flushes = flushes_.load(std::memory_order_relaxed);
  sum.store_too_large = too_large_.load(std::memory_order_relaxed);
  sum.store_no_memory = no_memory_.load(std::memory_order_relaxed);
  sum.maintenance_cpu_us = maintenance_cpu_us_.load(std::memory_order_relaxed);
  return sum;
}

void cache_impl::observe_evictions(shard::visitor observe, void* context) noexcept {
  for (unsigned i = 0; i < shard_count_; ++i) {
    const std::lock_guard guard(shards_[i]->lock());
    shards_[i]->observe_evictions(observe, context);
  }
}

void cache_impl::reset_stats() noexcept {
  flushes_ = too_large_ = no_memory_ = 0;
  for (unsigned i = 0; i < shard_count_; ++i) {
    const std::lock_guard guard(shards_[i]->lock());
    shards_[i]->reset_stats();
  }
}

}  // namespace caching

// ---- public interface ---------------------------------------------------------------------------------------------

std::unique_ptr<cache> cache::create(const cache_options& options) noexcept { return cache_impl::create(options); }

void cache::operator delete(cache* self, std::destroying_delete_t) noexcept {
  if (self == nullptr) return;
  auto* impl = static_cast<cache_impl*>(self);
  impl->~cache_impl();
  ::operator delete(impl);
}

namespace {

cache_impl& impl_of(cache* c) noexcept { return *static_cast<cache_impl*>(c); }
const cache_impl& impl_of(const cache* c) noexcept { return *static_cast<const cache_impl*>(c); }

bool valid(std::string_view key) noexcept { return !key.empty() && key.size() <= key_bytes_max; }

}  // namespace

namespace {

[[gnu::noinline]] cache_status get_without_memory(cache_impl& impl, const hashed_key& k, shard::visitor visit,
                                                  void* context, const read_options& options) noexcept {
  shard& s = impl.shard_of(k);
  cache_status status = cache_status::not_found;
  if (impl.run_on_reserve(s, [&] { return s.get(k, options, visit, context, status); })) return status;
  const std::lock_guard guard(s.lock());
  if (options.cas || options.touch || options.meta != nullptr) return s.get_in_need(k, options, visit, context);
  // Where there is no memory to make a cold item hot, it is not there.
  s.discard(k);
  return cache_status::not_found;
}

cache_status get_from(cache_impl& impl, const hashed_key& k, shard::visitor visit, void* context,
                      const read_options& options) noexcept {
  if (options.pinned != nullptr) options.pinned->reset();  // which may want the shard's lock
  shard& s = impl.shard_of(k);
  cache_status status = cache_status::not_found;
  const bool had_memory = impl.run(s, [&] { return s.get(k, options, visit, context, status); });
  return had_memory ? status : get_without_memory(impl, k, visit, context, options);
}

}  // namespace

cache_status cache::get_erased(std::string_view key, erased_visitor visit, void* context,
                               const read_options& options) noexcept {
  if (!valid(key)) return cache_status::not_found;
  cache_impl& impl = impl_of(this);
  return get_from(impl, impl.hashed(key), visit, context, options);
}

cache_status cache::get_many_erased(std::span<const std::string_view> keys, erased_visitor_of_many visit, void* context,
                                    const read_options& options) noexcept {
  cache_impl& impl = impl_of(this);
  constexpr std::size_t batch = 32;
  struct visited {
    erased_visitor_of_many visit;
    void* context;
    std::size_t i;
  } one{visit, context, 0};
  const erased_visitor forward = [](void* c, const item_view& view) noexcept {
    const auto& v = *static_cast<visited*>(c);
    v.visit(v.context, v.i, view);
  };
  cache_status status = cache_status::ok;
  for (std::size_t first = 0; first < keys.size(); first += batch) {
    const std::size_t count = std::min(batch, keys.size() - first);
    hashed_key hashed[batch];
    for (std::size_t i = 0; i < count; ++i) hashed[i] = impl.hashed(keys[first + i]);
    if (count > 2) impl.prefetch(hashed, count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!valid(hashed[i].key)) continue;
      one.i = first + i;
      if (get_from(impl, hashed[i], forward, &one, options) == cache_status::no_memory)
        status = cache_status::no_memory;
    }
  }
  return status;
}

pinned_item cache::pin(std::string_view key, const read_options& options) noexcept {
  pinned_item pinned;
  read_options with_pin = options;
  with_pin.pinned = &pinned;
  with_pin.pin_bytes_min = 0;
  (void)get_erased(
      key, [](void*, const item_view&) noexcept {}, nullptr, with_pin);
  return pinned;
}

cache_status cache::store(std::string_view key, std::string_view value, const store_options& options) noexcept {
  cache_impl& impl = impl_of(this);
  if (!valid(key)) return impl.refuse_key();
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  cache_status status = impl.check_size(k, value.size(), options);
  if (status != cache_status::ok) return status;
  if (!impl.run(s, [&] { return s.store(k, value, options, nullptr, status); })) status = impl.refuse(k, options);
  impl.help_cutting(s);
  return status;
}

pending_item cache::reserve(std::string_view key, std::size_t value_bytes, const store_options& options,
                            cache_status& status) noexcept {
  cache_impl& impl = impl_of(this);
  pending_item pending;
  status = cache_status::too_large;
  if (!valid(key)) {
    status = impl.refuse_key();
    return pending;
  }
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  status = impl.check_size(k, value_bytes, options);
  if (status != cache_status::ok) return pending;
  void* block = nullptr;
  if (!impl.run(s, [&] { return s.reserve(k, value_bytes, options, block); })) {
    status = impl.refuse(k, options);
    return pending;
  }
  pending.cache_ = this;
  pending.item_ = block;
  pending.value_ = item(block).value();
  pending.value_bytes_ = value_bytes;
  pending.shard_ = impl.shard_number(k.hash);
  return pending;
}

cache_status cache::commit(pending_item&& pending, const store_options& options) noexcept {
  if (!pending) return cache_status::no_memory;
  cache_impl& impl = impl_of(this);
  const item it(pending.item_);
  const hashed_key k = impl.hashed(it.key());
  shard& s = impl.shard_of(k);
  const std::string_view value(pending.value_, pending.value_bytes_);
  cache_status status = cache_status::ok;
  if (!impl.run(s, [&] { return s.store(k, value, options, pending.item_, status); })) {
    status = impl.refuse(k, options);
  }
  const bool extends = options.mode == store_mode::append || options.mode == store_mode::prepend;
  if (status == cache_status::ok && !extends) {
    pending.cache_ = nullptr;  // the block is the item now
  } else {
    pending.reset();
  }
  impl.help_cutting(s);
  return status;
}

cache_status cache::remove(std::string_view key) noexcept {
  if (!valid(key)) return cache_status::not_found;
  cache_impl& impl = impl_of(this);
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  const std::lock_guard guard(s.lock());
  return s.remove(k);
}

cache_status cache::remove(std::string_view key, const remove_options& options) noexcept {
  if (!valid(key)) return cache_status::not_found;
  cache_impl& impl = impl_of(this);
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  cache_status status = cache_status::not_found;
  if (impl.run_to_the_last(s, [&] { return s.remove(k, options, status); })) return status;
  const std::lock_guard guard(s.lock());
  return s.refused(k);
}

cache_status cache::touch(std::string_view key, std::uint32_t expires_at) noexcept {
  if (!valid(key)) return cache_status::not_found;
  cache_impl& impl = impl_of(this);
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  cache_status status = cache_status::not_found;
  if (impl.run_to_the_last(s, [&] { return s.touch(k, expires_at, status); })) return status;
  const std::lock_guard guard(s.lock());
  return s.refused(k);
}

arithmetic_result cache::arithmetic(std::string_view key, const arithmetic_options& options) noexcept {
  arithmetic_result result;
  if (!valid(key)) return result;
  cache_impl& impl = impl_of(this);
  const hashed_key k = impl.hashed(key);
  shard& s = impl.shard_of(k);
  if (!impl.run_to_the_last(s, [&] { return s.arithmetic(k, options, result); })) {
    result.status = cache_status::no_memory;
  }
  return result;
}

void cache::flush(std::uint32_t at) noexcept {
  cache_impl& impl = impl_of(this);
  impl.count_flush();
  for (unsigned i = 0; i < impl.shards(); ++i) {
    const std::lock_guard guard(impl.nth(i).lock());
    impl.nth(i).flush(at);
  }
}

bool cache::set_budget(std::size_t bytes) noexcept { return impl_of(this).set_budget(bytes); }
std::size_t cache::release(std::size_t bytes) noexcept { return impl_of(this).release(bytes, true); }
bool cache::maintain() noexcept { return impl_of(this).maintain(); }
std::uint32_t cache::now() const noexcept { return impl_of(this).now(); }
cache_stats cache::stats() const noexcept { return impl_of(this).stats(); }
void cache::reset_stats() noexcept { impl_of(this).reset_stats(); }
restart_report cache::save(const char* path) noexcept { return impl_of(this).save(path); }
const restart_report& cache::restarted() const noexcept { return impl_of(this).restarted(); }

void cache::observe_evictions(erased_visitor observe, void* context) noexcept {
  impl_of(this).observe_evictions(observe, context);
}

std::string_view pending_item::key() const noexcept { return item(item_).key(); }

std::uint64_t cache::visit_some_erased(std::uint64_t cursor, erased_visitor visit, void* context) noexcept {
  constexpr unsigned position_bits = 48;
  cache_impl& impl = impl_of(this);
  const auto number = static_cast<unsigned>(cursor >> position_bits);
  if (number >= impl.shards()) return 0;
  shard& s = impl.nth(number);
  std::size_t next = 0;
  {
    const std::lock_guard guard(s.lock());
    next = s.look(static_cast<std::size_t>(cursor & ((std::uint64_t{1} << position_bits) - 1)), visit, context);
  }
  if (next != 0) return std::uint64_t{number} << position_bits | next;
  return number + 1 < impl.shards() ? std::uint64_t{number + 1} << position_bits : 0;
}

std::uint64_t cache::visit_pages_erased(std::uint64_t cursor, erased_page_visitor visit, void* context,
                                        const page_visit& how) noexcept {
  cache_impl& impl = impl_of(this);
  struct visited {
    erased_page_visitor visit;
    void* context;
    unsigned number;
  } one{visit, context, static_cast<unsigned>(cursor >> page_cursor_bits)};
  if (one.number >= impl.shards()) return 0;
  shard& s = impl.nth(one.number);
  std::uint64_t next = 0;
  {
    const std::lock_guard guard(s.lock());
    next = s.visit_pages(
        cursor & ((std::uint64_t{1} << page_cursor_bits) - 1), how,
        [](void* c, const page_view& page) noexcept {
          const auto& v = *static_cast<const visited*>(c);
          v.visit(v.context, v.number, page);
        },
        &one);
  }
  if (next != 0) return std::uint64_t{one.number} << page_cursor_bits | next;
  return one.number + 1 < impl.shards() ? std::uint64_t{one.number + 1} << page_cursor_bits : 0;
}

std::size_t cache::list_page_use(std::size_t first, std::span<page_content> room) const noexcept {
  return impl_of(this).list_page_use(first, room);
}

void cache::for_each_erased(erased_visitor visit, void* context) noexcept { impl_of(this).for_each(visit, context); }

// ---- what is held -------------------------------------------------------------------------------------------------

pinned_item& pinned_item::operator=(pinned_item&& other) noexcept {
  if (this == &other) return *this;
  reset();
  cache_ = std::exchange(other.cache_, nullptr);
  item_ = other.item_;
  shard_ = other.shard_;
  view_ = other.view_;
  return *this;
}

void pinned_item::reset() noexcept {
  if (cache_ == nullptr) return;
  shard& s = impl_of(std::exchange(cache_, nullptr)).nth(shard_);
  const std::lock_guard guard(s.lock());
  s.unpin(item_);
}

pending_item& pending_item::operator=(pending_item&& other) noexcept {
  if (this == &other) return *this;
  reset();
  cache_ = std::exchange(other.cache_, nullptr);
  item_ = other.item_;
  value_ = other.value_;
  value_bytes_ = other.value_bytes_;
  shard_ = other.shard_;
  return *this;
}

void pending_item::reset() noexcept {
  if (cache_ == nullptr) return;
  shard& s = impl_of(std::exchange(cache_, nullptr)).nth(shard_);
  const std::lock_guard guard(s.lock());
  s.drop_reserved(item_);
}

}  // namespace scoot
