// SPDX-License-Identifier: MIT
//
// shard: one part of a cache, chosen by key hash: a lock, and under it a heap, the index, queues, wheel and pins.
//
//     name --> index --> item (a heap block)        queues, wheel: names only      pins: blocks in use by readers
//                 ^______ mover: hash the key, change the one entry ________|
//
// The index entry is the only address of an item, so whatever allocates in the heap (it may move items) invalidates
// every slot and item at hand: functions here find the item again after each allocation.
//
// Threads: all functions but lock() want the lock held. Failure: an operation that lacks memory changes nothing and
// answers `more_room`; the caller calls make_room() and starts it again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "cache/cold_tier.hpp"
#include "cache/eviction.hpp"
#include "cache/index.hpp"
#include "cache/item.hpp"
#include "cache/lock.hpp"
#include "cache/name_lists.hpp"
#include "cache/pins.hpp"
#include "cache/wheel.hpp"
#include "scoot/cache.hpp"

namespace scoot::caching {

class restart_writer;
struct restart_totals;

// Unix seconds by the cache's clock.
class clock {
 public:
  explicit clock(const cache_options& options) noexcept;
  [[nodiscard]] std::uint32_t now() const noexcept;

 private:
  std::uint32_t (*read_)(void*);
  void* context_;
  std::int64_t offset_;  // unix time less monotonic time, in seconds
};

// What all shards of a cache share.
struct shard_options {
  cache* owner = nullptr;
  unsigned number = 0;  // of its owner's
  page_pool* pool = nullptr;
  std::uint64_t seed = 0;
  std::size_t item_bytes_max = 0;
  bool evict = true;
  const clock* time = nullptr;
  std::atomic<std::uint64_t>* cas = nullptr;             // the last unique given
  const std::atomic<std::size_t>* fair_bytes = nullptr;  // a shard's part of the budget
  const cold_options* cold = nullptr;                    // null: no cold tier
};

struct hashed_key {
  std::string_view key;
  std::uint64_t hash = 0;
  name called;
};

enum class progress : bool { finished, more_room };

class shard {
 public:
  using visitor = void (*)(void* context, const item_view& view) noexcept;

  [[nodiscard]] static std::unique_ptr<shard> create(const shard_options& options) noexcept;
  ~shard() = default;
  shard(const shard&) = delete;
  shard& operator=(const shard&) = delete;

  [[nodiscard]] shard_lock& lock() noexcept { return lock_; }

  progress get(const hashed_key& k, const read_options& options, visitor visit, void* context,
               cache_status& status) noexcept;
  // The same where all was tried and there is no memory: what can be done without is.
  cache_status get_in_need(const hashed_key& k, const read_options& options, visitor visit, void* context) noexcept;
  // What becomes of an operation for which there is no memory: no_memory, or not_found if it would have found nothing.
  [[nodiscard]] cache_status refused(const hashed_key& k) noexcept;
  void prefetch_bucket(const hashed_key& k) const noexcept { index_.prefetch(k.called); }
  void prefetch_item(const hashed_key& k) noexcept;

  // Stores a copy of the value, or, where `ready` is given, that block (from reserve), whose value it then is.
  progress store(const hashed_key& k, std::string_view value, const store_options& options, void* ready,
                 cache_status& status) noexcept;
  progress reserve(const hashed_key& k, std::size_t value_bytes, const store_options& options, void*& block) noexcept;
  void drop_reserved(void* block) noexcept;

  cache_status remove(const hashed_key& k) noexcept;
  progress remove(const hashed_key& k, const remove_options& options, cache_status& status) noexcept;
  void discard(const hashed_key& k) noexcept;  // the older item of a plain set that failed
  progress touch(const hashed_key& k, std::uint32_t expires_at, cache_status& status) noexcept;
  progress arithmetic(const hashed_key& k, const arithmetic_options& options, arithmetic_result& result) noexcept;

  // Of gets with read_options::pinned, whose pins end by unpin().
  [[nodiscard]] std::size_t pinned() const noexcept { return pins_.count(); }
  void unpin(void* block) noexcept;

  void flush(std::uint32_t at) noexcept;

  // Call after an operation, and after make_room on its behalf, before the lock is given up: an operation that needs
  // the item that is there keeps it from being evicted to make room for the new one.
  void keep_nothing() noexcept {
    if (keeps_) keeps_ = false;
  }

  // Frees memory, for an operation that lacks it, in one bounded step. False if there was nothing that could be done.
  // `round` counts the steps taken for the same operation. Invalidates: addresses of items.
  bool make_room(unsigned round) noexcept;

  // One bounded step of expiry, flush, index and queue work. True if more is left.
  bool maintain() noexcept;

  // The same for the sake of other shards: what comes free goes to the pool.
  bool make_room_for_others(std::size_t bytes) noexcept { return shrink(bytes) != 0; }

  // Compacts, and evicts what compaction can't give, until about `bytes` less are held, in one bounded step; returns by
  // how much held bytes fell.
  std::size_t shrink(std::size_t bytes) noexcept;

  // What restart.cpp does to a shard. save() writes everything to the file and leaves the shard empty. To fill it
  // again: expect() so many items, take_in() each, then queue() their names in the order in which they are to leave.
  void save(restart_writer& file, restart_totals& totals) noexcept;
  void expect(std::size_t items) noexcept { index_.reserve(items); }
  enum class taken : unsigned char { stored, there_already, no_room };
  struct taken_in {
    hashed_key k;
    item from;           // as it was; the heap has no part in it
    std::int64_t shift;  // of the times in it
  };
  [[nodiscard]] taken take_in(const taken_in& one, bool first_to_leave) noexcept;
  [[nodiscard]] taken take_in_cold(const taken_in& one) noexcept;
  [[nodiscard]] bool has_cold() const noexcept { return cold_ != nullptr; }
  void prefetch_both(name n) const noexcept { index_.prefetch_both(n); }
  void prefetch_rest(const hashed_key& k) const noexcept { index_.prefetch_rest(k.called); }
  [[nodiscard]] bool queue_as_it_was(name n, std::uint8_t mark) noexcept {
    return lists_.push_again(mark & 1U, {n, mark});
  }
  [[nodiscard]] bool queue(name n, std::uint8_t mark) noexcept;  // false: there is no such item
  void queue_all() noexcept;                                     // in no order, where names were lost
  [[nodiscard]] std::uint32_t flush_at() const noexcept { return flush_at_; }

  // Visits the live items at the next few positions; returns where to go on, 0 at the end.
  std::size_t scan(std::size_t position, visitor visit, void* context) noexcept;

  // The same, but nothing is held on to between calls: what moves in the index meanwhile may be missed or seen twice.
  std::size_t look(std::size_t position, visitor visit, void* context) noexcept;

  [[nodiscard]] std::uint64_t visit_pages(std::uint64_t cursor, const page_visit& how, page_visitor visit,
                                          void* context) const noexcept {
    return scoot::visit_pages(*heap_, cursor, how, visit, context);
  }
  // As cold_tier::look.
  std::uint32_t look_at_cold(std::uint32_t from, std::uint32_t most, cold_tier::visitor visit,
                             void* context) const noexcept {
    return cold_ == nullptr ? 0 : cold_->look(from, most, visit, context);
  }
  [[nodiscard]] bool has_pins() const noexcept { return heap_->stats().pinned_blocks != 0; }
  std::size_t list_pins(std::span<pin_info> room) const noexcept { return scoot::list_pins(*heap_, room); }
  std::size_t list_pin_holders(std::span<pin_holder> room) const noexcept {
    return scoot::list_pin_holders(*heap_, room);
  }
  void observe_evictions(visitor observe, void* context) noexcept { observer_ = observe, observer_context_ = context; }

  void add_stats(cache_stats& sum) const noexcept;
  void reset_stats() noexcept;
  [[nodiscard]] std::size_t held_bytes() const noexcept { return heap_->held_bytes(); }
  // True if others hold so much that they should give way, rather than this shard lose what it has.
  [[nodiscard]] bool is_poor() const noexcept {
    return held_bytes() < options_.fair_bytes->load(std::memory_order_relaxed) / 4 * 3;
  }

  // Tests' view of the inside: moves every item; checks every invariant.
  void move_everything() noexcept { heap_->move_everything(); }
  void verify() noexcept;
  [[nodiscard]] cold_tier* cold() noexcept { return cold_.get(); }

 private:
  using slot = index::slot;
  enum class cause : unsigned char { deleted, replaced, evicted, demoted, expired, reclaimed, flushed };

  shard(const shard_options& options, std::unique_ptr<heap> h) noexcept;
  [[nodiscard]] bool start() noexcept;

  void keep(name n) noexcept { kept_ = n, keeps_ = true; }

  static verdict move_item(void* self, void* from, void* to, std::size_t size) noexcept;
  static verdict move_chunk(void* self, void* from, void* to, std::size_t size) noexcept;

  // shard.cpp: finding, freeing, room
  [[nodiscard]] slot find(const hashed_key& k) noexcept;
  [[nodiscard]] slot find_live(const hashed_key& k) noexcept;
  [[nodiscard]] slot find_to_read(const hashed_key& k) noexcept;
  void pin(item it, const item_view& view, const read_options& options) noexcept;
  [[nodiscard]] slot find_queued(const name_lists::popped& p) noexcept;
  [[nodiscard]] slot find_filed(const name_lists::popped& p) noexcept;
  [[nodiscard]] bool expired(item it) const noexcept;
  [[nodiscard]] bool live(slot s) const noexcept { return s.epoch() == epoch_ && !expired(s.get()); }
  void forget(slot s, cause why) noexcept;  // all but the block
  void remove(slot s, cause why) noexcept;
  void retire(void* block) noexcept;  // frees it, or leaves it to its last pin
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;
  void pay(std::size_t bytes, unsigned evictions_max = 64) noexcept;
  [[nodiscard]] progress out_of_memory(std::size_t bytes) noexcept;
  struct evicted {
    std::size_t bytes = 0;
    bool any = false;  // a name was looked at that may go
  };
  evicted evict_one() noexcept;
  std::size_t expire(unsigned names_max) noexcept;
  std::size_t sweep(std::size_t buckets) noexcept;
  bool tidy_lists() noexcept;
  bool fit_index(unsigned steps) noexcept;
  bool fit_cold(unsigned steps) noexcept;
  bool grow_index() noexcept;
  void begin_flush() noexcept;
  void check_flush() noexcept {
    if (flush_at_ != 0 && options_.time->now() >= flush_at_) [[unlikely]]
      begin_flush();
  }
  void step() noexcept;

  // shard_operations.cpp
  // These want three chunks reserved: one for what is evicted meanwhile, two for the item's names.
  [[nodiscard]] progress install(const hashed_key& k, item it) noexcept;
  [[nodiscard]] bool add_new(const hashed_key& k, item it) noexcept;
  [[nodiscard]] progress recall(const hashed_key& k, slot& s) noexcept;
  [[nodiscard]] progress visit_cold(const hashed_key& k, const read_options& options, visitor visit, void* context,
                                    cache_status& status) noexcept;
  [[nodiscard]] progress find_or_recall(const hashed_key& k, slot& s) noexcept;
  bool remove_cold(const hashed_key& k) noexcept;
  void take_over(slot s, item it) noexcept;
  [[nodiscard]] bool overwrite(slot s, std::string_view value, const store_options& options) noexcept;
  [[nodiscard]] cache_status condition(slot s, const store_options& options) noexcept;
  progress put(const hashed_key& k, slot s, std::string_view value, const store_options& options, void* ready) noexcept;
  progress extend(const hashed_key& k, std::string_view value, const store_options& options,
                  cache_status& status) noexcept;
  progress replace_number(const hashed_key& k, std::string_view digits, const arithmetic_options& options,
                          bool& gone) noexcept;
  [[nodiscard]] std::uint64_t next_cas() noexcept { return options_.cas->fetch_add(1, std::memory_order_relaxed) + 1; }
  // There is no memory for what can be done without.
  [[nodiscard]] bool cramped() const noexcept { return in_need_ || (full_ && !options_.evict); }
  [[nodiscard]] std::uint64_t unique_of(item it) const noexcept;
  [[nodiscard]] bool has_unique(item it, std::uint64_t unique) const noexcept;
  [[nodiscard]] item_fields fields_for(const store_options& options) const noexcept {
    item_fields fields{options.flags != 0, options.expires_at != expires_never,
                       options.mode == store_mode::compare_and_swap && !cramped(),  // it will be read again soon
                       false};
    if (const store_extras* extras = options.extras; extras != nullptr) [[unlikely]] {
      fields.cas = fields.cas || extras->give_cas || extras->new_cas != 0;
      fields.expiry = fields.expiry || extras->invalidate;  // it may have to take over the old one's
      fields.notes = extras->binary_key || extras->invalidate;
    }
    return fields;
  }
  [[nodiscard]] std::uint64_t cas_for(const store_options& options) noexcept {
    return options.extras != nullptr && options.extras->new_cas != 0 ? options.extras->new_cas : next_cas();
  }
  void fill(item it, std::string_view key, std::size_t value_bytes, const store_options& options) noexcept;

  // shard_fields.cpp
  void copy_fields(item from, item to) noexcept;
  [[nodiscard]] progress allocate_replacement(const hashed_key& k, std::size_t value_bytes, item_fields fields, slot& s,
                                              void*& block) noexcept;
  [[nodiscard]] progress add_fields(const hashed_key& k, item_fields add, slot& s) noexcept;
  [[nodiscard]] bool add_fields_in_place(item it, item_fields add) noexcept;
  void file(item it, name n) noexcept;
  [[nodiscard]] bool room_for_expiry(const hashed_key& k, std::uint32_t at) noexcept;
  void set_expiry(item it, name n, std::uint32_t at) noexcept;

  // shard_meta.cpp
  progress get_meta(const hashed_key& k, const read_options& options, visitor visit, void* context,
                    cache_status& status) noexcept;
  [[nodiscard]] static item_view view_meta(item it, std::uint32_t now) noexcept;
  [[nodiscard]] progress create_empty(const hashed_key& k, const read_options& options) noexcept;
  progress store_meta(const hashed_key& k, std::string_view value, const store_options& options, void* ready,
                      cache_status& status) noexcept;
  progress empty(const hashed_key& k, const remove_options& options, slot& s) noexcept;
  progress prepare_arithmetic(const hashed_key& k, const arithmetic_options& options, slot& s,
                              arithmetic_result& result, bool& done) noexcept;
  progress create_number(const hashed_key& k, const arithmetic_options& options, arithmetic_result& result) noexcept;
  void report_arithmetic(const hashed_key& k, const arithmetic_options& options, arithmetic_result& result) noexcept;

  shard_lock lock_;
  unsigned epoch_ = 0;          // of live items; others have been flushed
  std::uint32_t flush_at_ = 0;  // when the next flush begins; 0: none is planned
  const shard_options options_;
  const std::unique_ptr<heap> heap_;
  const kind items_, chunks_, fixed_;
  index index_;
  name_lists lists_;
  wheel wheel_;
  pins pins_;
  eviction policy_;
  std::unique_ptr<cold_tier> cold_;  // null: there is none
  std::size_t in_epoch_[4] = {};     // items
  std::size_t item_bytes_ = 0;       // keys and values
  std::uint32_t evicted_age_s_ = 0;  // of the last one, in its queue
  std::size_t expiring_ = 0;         // items with an expiry field
  std::size_t sweep_at_ = 0;
  std::size_t room_bytes_ = 0;  // what an operation lacked last
  // Since an allocation failed, each is paid for beforehand by evictions: credit_ is what was freed less what was
  // allocated since, in usable bytes. Now and then it is tried whether there is room again.
  bool full_ = false;
  bool poor_ = false;     // by the last look: it does not pay
  bool in_need_ = false;  // all was tried
  unsigned payments_ = 0;
  unsigned grow_wait_ = 0;  // operations until the index tries again to get a segment
  std::ptrdiff_t credit_ = 0;
  name kept_;
  bool keeps_ = false;
  visitor observer_ = nullptr;  // of evictions
  void* observer_context_ = nullptr;
  cache_stats counts_;  // of events only
};

}  // namespace scoot::caching
