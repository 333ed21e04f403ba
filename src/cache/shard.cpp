// SPDX-License-Identifier: MIT
//
// The shard's housekeeping: creation, movers, finding and removing items, expiry, flush, eviction, room.
#include "cache/shard.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/check.hpp"

namespace scoot::caching {

namespace {

constexpr std::size_t os_page = 4096;  // for the size of steps only
constexpr unsigned shrink_evictions_max = 2048;
constexpr double waste_target = 1.0 / 128;  // also where a shard is small: what is not wasted holds items

std::int64_t seconds_of(clockid_t id) noexcept {
  timespec t{};
  clock_gettime(id, &t);
  return t.tv_sec;
}

}  // namespace

clock::clock(const cache_options& options) noexcept
    : read_(options.clock),
      context_(options.clock_context),
      offset_(seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_MONOTONIC_COARSE)) {}

std::uint32_t clock::now() const noexcept {
  if (read_ != nullptr) return read_(context_);
  return static_cast<std::uint32_t>(seconds_of(CLOCK_MONOTONIC_COARSE) + offset_);
}

std::unique_ptr<shard> shard::create(const shard_options& options) noexcept {
  std::unique_ptr<heap> h = heap::create(*options.pool, {.waste_target = waste_target});
  if (h == nullptr) return nullptr;
  std::unique_ptr<shard> made(new (std::nothrow) shard(options, std::move(h)));
  if (made == nullptr || !made->start()) return nullptr;
  return made;
}

shard::shard(const shard_options& options, std::unique_ptr<heap> h) noexcept
    : options_(options),
      heap_(std::move(h)),
      items_(heap_->add_kind({"cache item", 4, &shard::move_item, this})),
      chunks_(heap_->add_kind({"cache queue", 8, &shard::move_chunk, this})),
      fixed_(heap_->add_kind({"cache index", 64, nullptr, nullptr})),
      index_(*heap_, fixed_, options.seed),
      lists_(*heap_, fixed_),
      wheel_(lists_, options.time->now()),
      pins_(*heap_, fixed_) {}

bool shard::start() noexcept {
  lists_.pass_time(options_.time->now());
  if (!items_ || !chunks_ || !fixed_ || !index_.start() || !lists_.start(wheel::list_end, chunks_)) return false;
  if (options_.cold == nullptr) return true;
  cold_ = cold_tier::create(*heap_, fixed_, *options_.cold);
  return cold_ != nullptr;
}

// ---- movers -------------------------------------------------------------------------------------------------------

verdict shard::move_item(void* self, void* from, void* to, std::size_t) noexcept {
  auto& me = *static_cast<shard*>(self);
  const item it(from);
  const slot s = me.index_.find(me.index_.name_of(it), [&](slot at) { return at.get().block() == from; });
  if (!s) return verdict::keep;  // not stored yet
  if (!me.live(s)) {
    me.forget(s, s.epoch() != me.epoch_ ? cause::flushed : cause::reclaimed);
    return verdict::drop;
  }
  std::memcpy(to, from, it.bytes());
  me.index_.set(s, item(to), s.epoch());
  return verdict::moved;
}

verdict shard::move_chunk(void* self, void* from, void* to, std::size_t size) noexcept {
  std::memcpy(to, from, size);
  static_cast<shard*>(self)->lists_.move(from, to);
  return verdict::moved;
}

// ---- finding and removing -----------------------------------------------------------------------------------------

bool shard::expired(item it) const noexcept {
  const std::uint32_t at = it.expires_at();
  return at != expires_never && at <= options_.time->now();
}

shard::slot shard::find(const hashed_key& k) noexcept {
  return index_.find(k.called, [&](slot s) {
    const item it = s.get();
    return it.key_bytes() == k.key.size() && std::memcmp(it.key().data(), k.key.data(), k.key.size()) == 0;
  });
}

// The item of that key if it is live; a dead one is removed on the way.
shard::slot shard::find_live(const hashed_key& k) noexcept {
  const slot s = find(k);
  if (!s || live(s)) return s;
  remove(s, s.epoch() != epoch_ ? cause::flushed : cause::reclaimed);
  return {};
}

shard::slot shard::find_queued(const name_lists::popped& p) noexcept {
  return index_.find(p.of, [&](slot s) { return s.get().mark() == p.mark && index_.name_of(s.get()) == p.of; });
}

shard::slot shard::find_filed(const name_lists::popped& p) noexcept {
  return index_.find(p.of, [&](slot s) {
    const item it = s.get();
    return it.has_expiry_field() && it.wheel_mark() == p.mark && index_.name_of(it) == p.of;
  });
}

void shard::forget(slot s, cause why) noexcept {
  const item it = s.get();
  const std::size_t bytes = it.bytes();
  const auto q = static_cast<eviction::queue>(it.mark() & 1);
  policy_.removed(q, bytes);
  // What its key has earned outlives a value that expires or is deleted.
  if (q == eviction::main && (why == cause::expired || why == cause::reclaimed || why == cause::deleted)) {
    policy_.remember(index_, index_.name_of(it));
  }
  item_bytes_ -= it.key_bytes() + it.value_bytes();
  expiring_ -= it.has_expiry_field() ? 1 : 0;
  --in_epoch_[s.epoch()];
  const bool unread = !it.was_read();
  if (why == cause::evicted) {
    ++counts_.evictions;
    counts_.evicted_unread += unread;
    counts_.evicted_expiring += it.expires_at() != expires_never;
    if (observer_ != nullptr) [[unlikely]]
      observer_(observer_context_, view_meta(it, options_.time->now()));
  } else if (why == cause::expired || why == cause::reclaimed) {
    ++(why == cause::expired ? counts_.expired : counts_.reclaimed);
    counts_.expired_unread += unread;
  }
  index_.erase(s);
}

void shard::remove(slot s, cause why) noexcept {
  void* const block = s.get().block();
  forget(s, why);
  retire(block);
}

void shard::retire(void* block) noexcept {
  if (pins_.abandon(block)) return;
  if (full_) credit_ += static_cast<std::ptrdiff_t>(heap_->usable_size(block));
  heap_->free(block);
}

// ---- memory -------------------------------------------------------------------------------------------------------

void* shard::allocate(std::size_t bytes) noexcept {
  if (full_ && !poor_ && options_.evict) pay(bytes);
  void* block = heap_->allocate(items_, bytes);
  if (block == nullptr) {
    room_bytes_ = bytes;
    credit_ = 0;  // whatever was freed is of no use
    full_ = true;
    poor_ = is_poor();
  } else if (full_) {
    credit_ -= static_cast<std::ptrdiff_t>(heap_->usable_size(block));
  }
  return block;
}

// Evicts ahead of an allocation, because one that fails has cost compaction that eviction would have saved.
void shard::pay(std::size_t bytes, unsigned evictions_max) noexcept {
  // Room may have come back meanwhile, by deletes, expiry or other shards. A large block pays much, so it looks each
  // time.
  if (++payments_ % 256 == 0 || bytes >= os_page) {
    const page_pool_stats pool = options_.pool->stats();
    if (pool.held_bytes + pool.page_bytes + bytes <= pool.budget_bytes + pool.idle_bytes) {
      full_ = false;
      return;
    }
  }
  for (unsigned tries = 0; tries < evictions_max && credit_ < static_cast<std::ptrdiff_t>(bytes); ++tries) {
    if (!evict_one().any) break;
  }
  credit_ = std::clamp<std::ptrdiff_t>(credit_, -65536, 1 << 20);
}

progress shard::out_of_memory(std::size_t bytes) noexcept {
  room_bytes_ = bytes;
  return progress::more_room;
}

shard::evicted shard::evict_one() noexcept {
  evicted result;
  for (unsigned looked = 0; looked < 64; ++looked) {
    const bool small_empty = lists_.empty(eviction::small), main_empty = lists_.empty(eviction::main);
    if (small_empty && main_empty) return result;
    const auto q = policy_.next_queue(small_empty, main_empty);
    // Names come in order, so the memory behind those to come can be asked for ahead of time.
    name_lists::popped p;
    if (lists_.peek(q, 6, p)) index_.prefetch(p.of);
    if (lists_.peek(q, 3, p)) prefetch_item({{}, 0, p.of});
    if (!lists_.pop(q, p)) return result;
    const bool kept = keeps_ && p.of == kept_;
    result.any |= !kept;
    const slot s = find_queued(p);
    if (!s) continue;
    const item it = s.get();
    const std::size_t bytes = it.bytes();
    if (!live(s)) {
      remove(s, s.epoch() != epoch_ ? cause::flushed : cause::reclaimed);
      result.bytes = bytes;
      return result;
    }
    if ((!kept && policy_.judge(q, it) == eviction::verdict::evict) || !lists_.can_push(eviction::main)) {
      policy_.remember(index_, p.of);
      evicted_age_s_ = lists_.second() - p.since;
      remove(s, cold_ != nullptr && cold_->add(p.of, it) ? cause::demoted : cause::evicted);
      result.bytes = bytes;
      return result;
    }
    policy_.removed(q, bytes);
    policy_.added(eviction::main, bytes);
    item(it).set_mark(lists_.push(eviction::main, p.of));
  }
  return result;
}

bool shard::make_room(unsigned round) noexcept {
  const std::size_t wanted = room_bytes_ + (room_bytes_ < os_page / 2 ? 512 : 2 * os_page);
  std::size_t freed = expire(64);
  if (freed < wanted) freed += sweep(64);
  bool any = freed != 0;
  for (unsigned tries = 0; options_.evict && tries < 256 && freed < wanted; ++tries) {
    const evicted e = evict_one();
    if (!e.any) break;
    any = true;
    freed += e.bytes;
  }
  // Freed slots are of use to their own size at once; only where that was not enough do blocks have to move.
  if (round == 0 && any) return true;
  const std::size_t effort_bytes = std::min<std::size_t>(2 * wanted, std::size_t{256} << 10);
  const compaction c = heap_->compact({effort_bytes + (std::size_t{64} << 10)});
  return any || c.bytes_given_back != 0;
}

std::size_t shard::shrink(std::size_t bytes) noexcept {
  const std::size_t before = held_bytes();
  (void)expire(256);
  (void)sweep(256);
  (void)fit_index(32);
  struct evicting {
    shard* self;
    unsigned tries;
  } evictions{this, options_.evict ? shrink_evictions_max : 0};
  release_options options;
  options.context = &evictions;
  options.evict = [](void* context, std::size_t wanted) noexcept {
    auto& e = *static_cast<evicting*>(context);
    std::size_t freed = 0;
    for (; e.tries != 0 && freed < wanted; --e.tries) {
      const evicted one = e.self->evict_one();
      if (!one.any) break;
      freed += one.bytes;
    }
    return freed;
  };
  options.limit.bytes_max = bytes * 2 + (std::size_t{64} << 10);
  (void)heap_->release(bytes, options);
  const std::size_t after = held_bytes();
  return before > after ? before - after : 0;
}

// ---- time ---------------------------------------------------------------------------------------------------------

// Looks at up to names_max names that are due. Returns the bytes freed. Invalidates: addresses of items.
std::size_t shard::expire(unsigned names_max) noexcept {
  const std::uint32_t now = options_.time->now();
  (void)wheel_.advance(now, 65536);
  std::size_t freed = 0;
  for (; names_max != 0 && !lists_.empty(wheel::due_list); --names_max) {
    if (lists_.spares() == 0 && !lists_.reserve(1)) break;  // an item that is not expired yet is filed again
    name_lists::popped p;
    if (lists_.peek(wheel::due_list, 6, p)) index_.prefetch(p.of);
    if (lists_.peek(wheel::due_list, 3, p)) prefetch_item({{}, 0, p.of});
    if (!lists_.pop(wheel::due_list, p)) break;
    const slot s = find_filed(p);
    if (!s) continue;
    const item it = s.get();
    if (s.epoch() != epoch_ || expired(it)) {
      freed += it.bytes();
      remove(s, s.epoch() != epoch_ ? cause::flushed : cause::expired);
    } else if (it.expires_at() != expires_never) {
      file(it, p.of);
    }
  }
  return freed;
}

void shard::begin_flush() noexcept {
  const unsigned next = (epoch_ + 1) & 3;
  // Only three flushes within one sweep get here with items left of the flush before.
  while (in_epoch_[next] != 0) (void)sweep(1024);
  epoch_ = next;
  if (cold_ != nullptr) cold_->clear();
  flush_at_ = 0;
  sweep_at_ = 0;
}

void shard::flush(std::uint32_t at) noexcept {
  if (at == 0 || at <= options_.time->now()) {
    begin_flush();
  } else {
    flush_at_ = at;
  }
}

// Removes what has been flushed from the next few buckets. Returns the bytes freed.
std::size_t shard::sweep(std::size_t buckets) noexcept {
  if (index_.entries() == in_epoch_[epoch_]) return 0;
  std::size_t freed = 0;
  sweep_at_ = index_.walk(sweep_at_ < index_.buckets() ? sweep_at_ : 0, buckets, [&](slot s) {
    if (s.epoch() == epoch_) return;
    freed += s.get().bytes();
    remove(s, cause::flushed);
  });
  return freed;
}

// ---- upkeep -------------------------------------------------------------------------------------------------------

// Rewrites a chunk of names where a quarter of them or more are stale.
bool shard::tidy_lists() noexcept {
  bool did = false;
  if (lists_.queued() > index_.entries() + index_.entries() / 4 + 512) {
    lists_.tidy(0, 2, [&](const name_lists::popped& p, std::uint8_t mark) {
      const slot s = find_queued(p);
      if (s) s.get().set_mark(mark);
      return static_cast<bool>(s);
    });
    did = true;
  }
  if (lists_.filed() > expiring_ + expiring_ / 4 + 512) {
    lists_.tidy(wheel::due_list, wheel::list_end, [&](const name_lists::popped& p, std::uint8_t mark) {
      const slot s = find_filed(p);
      if (s) s.get().set_wheel_mark(mark);
      return static_cast<bool>(s);
    });
    did = true;
  }
  return did;
}

// Grows or shrinks the index by up to `steps` buckets. Invalidates: addresses of items. False if nothing was done.
bool shard::fit_index(unsigned steps) noexcept {
  bool did = false;
  for (; steps != 0 && index_.wants_to_grow() && grow_index(); --steps) did = true;
  for (; steps != 0 && index_.wants_to_shrink() && index_.shrink(); --steps) did = true;
  return did;
}

bool shard::grow_index() noexcept {
  if (index_.grow_allocates() && full_ && options_.evict) {
    if (grow_wait_ != 0 && --grow_wait_ != 0) return false;
    if (!poor_) pay(index::grow_bytes + 2 * os_page);  // what is freed may be in several sizes
  }
  if (!index_.grow()) {
    grow_wait_ = 256;
    return false;
  }
  return true;
}

// The same for the cold tier's.
bool shard::fit_cold(unsigned steps) noexcept {
  if (!cold_->wants_to_fit()) return false;
  if (const std::size_t bytes = cold_->fit_bytes(); bytes != 0 && full_ && !poor_) pay(bytes + os_page, 512);
  return cold_->fit(steps);
}

// What every operation that changes something does for the upkeep.
void shard::step() noexcept {
  check_flush();
  if (cold_ != nullptr) (void)fit_cold(2);
  if (index_.wants_to_grow() || index_.wants_to_shrink()) (void)fit_index(2);
  if (index_.entries() != in_epoch_[epoch_]) (void)sweep(4);
  if (!lists_.empty(wheel::due_list)) (void)expire(4);
  (void)tidy_lists();
}

bool shard::maintain() noexcept {
  check_flush();
  if (!options_.evict) full_ = false;  // by the last look
  lists_.pass_time(options_.time->now());
  (void)expire(256);
  (void)sweep(64);
  const bool fitted = fit_index(32);
  const bool tidied = tidy_lists();
  const bool cold = cold_ != nullptr && cold_->maintain();
  // What expiry or a flush left behind in holes is given back; the few holes of everyday traffic are left to it.
  const std::size_t gain = heap_->estimate().bytes_to_gain;
  bool compacted = false;
  if (gain > std::max<std::size_t>(held_bytes() / 16, std::size_t{512} << 10)) {
    const compaction c = heap_->compact({std::size_t{512} << 10});
    compacted = c.why == stop_reason::effort_spent && c.bytes_given_back != 0;
    ++counts_.idle_compactions;
    counts_.idle_bytes_moved += c.bytes_moved;
    counts_.idle_bytes_given_back += c.bytes_given_back;
    ++counts_.idle_stops[static_cast<std::size_t>(c.why)];
  }
  const bool due = !lists_.empty(wheel::due_list) && lists_.spares() != 0;  // else there is no memory to go on
  return compacted || due || cold || index_.entries() != in_epoch_[epoch_] || fitted || tidied ||
         !wheel_.advance(options_.time->now(), 65536);
}

std::size_t shard::scan(std::size_t position, visitor visit, void* context) noexcept {
  check_flush();
  const std::size_t next = index_.walk(position, 16, [&](slot s) {
    if (live(s)) visit(context, s.get().view());
  });
  index_.set_scan(next != 0, next);
  return next;
}

std::size_t shard::look(std::size_t position, visitor visit, void* context) noexcept {
  check_flush();
  const std::uint32_t now = options_.time->now();
  return index_.walk(position, 16, [&](slot s) {
    if (live(s)) visit(context, view_meta(s.get(), now));
  });
}

void shard::prefetch_item(const hashed_key& k) noexcept {
  (void)index_.find(k.called, [](slot s) {
    const auto* bytes = static_cast<const char*>(s.get().block());
    __builtin_prefetch(bytes);
    __builtin_prefetch(bytes + 48);  // most keys end before
    return true;
  });
}

void shard::unpin(void* block) noexcept {
  if (pins_.release(block)) heap_->free(block);
}

// ---- counts -------------------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t cache_stats::*counters[] = {
    &cache_stats::items_stored,     &cache_stats::gets,
    &cache_stats::get_hits,         &cache_stats::get_expired,
    &cache_stats::get_flushed,      &cache_stats::sets,
    &cache_stats::touches,          &cache_stats::touch_hits,
    &cache_stats::deletes,          &cache_stats::delete_hits,
    &cache_stats::increments,       &cache_stats::increment_hits,
    &cache_stats::decrements,       &cache_stats::decrement_hits,
    &cache_stats::cas_hits,         &cache_stats::cas_badval,
    &cache_stats::cas_misses,       &cache_stats::evictions,
    &cache_stats::expired,          &cache_stats::evicted_unread,
    &cache_stats::evicted_expiring, &cache_stats::reclaimed,
    &cache_stats::expired_unread,   &cache_stats::idle_compactions,
    &cache_stats::idle_bytes_moved, &cache_stats::idle_bytes_given_back};

}  // namespace

void shard::add_stats(cache_stats& sum) const noexcept {
  for (const auto counter : counters) sum.*counter += counts_.*counter;
  for (std::size_t i = 0; i < std::size(counts_.idle_stops); ++i) sum.idle_stops[i] += counts_.idle_stops[i];
  sum.items += in_epoch_[epoch_];
  sum.item_bytes += item_bytes_;
  for (const auto q : {eviction::small, eviction::main}) {
    sum.queued_items[q] += policy_.items(q);
    sum.queued_bytes[q] += policy_.bytes(q);
    sum.queue_age_s[q] = std::max(sum.queue_age_s[q], policy_.items(q) == 0 ? 0 : lists_.age(q));
  }
  sum.evicted_age_s = std::max(sum.evicted_age_s, evicted_age_s_);
  sum.index_bytes += index_.bytes() + lists_.bytes();
  sum.pinned_items += pins_.count();
  if (cold_ != nullptr) cold_->add_stats(sum.cold);
  const heap_stats h = heap_->stats();
  sum.heap.blocks += h.blocks;
  sum.heap.live_bytes += h.live_bytes;
  sum.heap.held_bytes += h.held_bytes;
  sum.heap.hole_bytes += h.hole_bytes;
  sum.heap.slack_bytes += h.slack_bytes;
  sum.heap.metadata_bytes += h.metadata_bytes;
  sum.heap.pages += h.pages;
  sum.heap.shelves += h.shelves;
  sum.heap.pinned_blocks += h.pinned_blocks;
  sum.heap.allocations += h.allocations;
  sum.heap.allocated_bytes += h.allocated_bytes;
  sum.heap.blocks_moved += h.blocks_moved;
  sum.heap.bytes_moved += h.bytes_moved;
  sum.heap.blocks_dropped += h.blocks_dropped;
  sum.heap.blocks_kept += h.blocks_kept;
  sum.heap.blocks_examined += h.blocks_examined;
  sum.heap.failures += h.failures;
  for (std::size_t i = 0; i < pause_classes; ++i) sum.heap.pauses[i] += h.pauses[i];
  sum.heap.pause_ns += h.pause_ns;
}

void shard::reset_stats() noexcept {
  for (const auto counter : counters) counts_.*counter = 0;
  if (cold_ != nullptr) cold_->reset_stats();
  std::fill(std::begin(counts_.idle_stops), std::end(counts_.idle_stops), 0);
}

void shard::verify() noexcept {
  heap_->verify();
  index_.verify();
  lists_.verify();
  std::size_t bytes[2] = {}, epochs[4] = {}, expiring = 0, payload = 0;
  for (std::size_t at = 0;;) {
    at = index_.walk(at, 64, [&](slot s) {
      const item it = s.get();
      bytes[it.mark() & 1] += it.bytes();
      ++epochs[s.epoch()];
      expiring += it.has_expiry_field() ? 1 : 0;
      payload += it.key_bytes() + it.value_bytes();
    });
    if (at == 0) break;
  }
  SCOOT_CHECK(1, bytes[0] == policy_.bytes(eviction::small) && bytes[1] == policy_.bytes(eviction::main),
              "bytes of the queues are wrong: %zu and %zu", bytes[0], bytes[1]);
  SCOOT_CHECK(1, policy_.items() == index_.entries(), "the policy counts %zu items", policy_.items());
  SCOOT_CHECK(1, std::equal(std::begin(epochs), std::end(epochs), std::begin(in_epoch_)), "items of epochs are wrong");
  if (cold_ != nullptr) {
    cold_->verify();
    cold_->for_each_key([&](std::string_view key) {
      const std::uint64_t hash = hash_of(key, options_.seed);
      SCOOT_CHECK(1, !find({key, hash, name::of(hash)}), "a key is in both tiers");
    });
  }
  SCOOT_CHECK(1, expiring == expiring_ && payload == item_bytes_, "expiring items or their bytes are wrong");
}

}  // namespace scoot::caching
