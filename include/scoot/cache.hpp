// SPDX-License-Identifier: MIT
//
// cache: a thread-safe in-process key-value cache whose items live in relocating heaps, under one budget.
//
//     key hash -> shard (lock, index, queues, timing wheel, heap) x N, over one page pool
//
// Items are evicted by S3-FIFO when the budget is full, and leave within 2 s of their expiry. What fragmentation a
// change of item sizes leaves behind is moved together in bounded steps inside the operations, so the cache neither
// grows over its budget nor pauses.
//
// Keys are 1 to key_bytes_max arbitrary bytes; values are up to options.item_bytes_max less key and header.
// Threads: every function may be called from any thread; a visitor runs under its shard's lock and must be short and
// must not enter the same cache.
// Addresses: a visited value is valid during the visit only; a pinned one until its pin is gone. A pin keeps the bytes
// where they are and as they were even if the item is replaced, deleted, evicted or expires meanwhile.
// Failure: results are enums; nothing throws. Non-goals: persistence, values above the item limit, transactions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "scoot/diagnosis.hpp"
#include "scoot/export.h"
#include "scoot/heap.hpp"
#include "scoot/pressure.hpp"
#include "scoot/purgeable.hpp"

namespace scoot {

inline constexpr std::size_t key_bytes_max = 250;
inline constexpr std::uint32_t expires_never = 0;
inline constexpr std::size_t purgeable_auto = ~std::size_t{0};

// What a cache is made with.
struct cache_options {
  std::size_t budget_bytes = std::size_t{64} << 20;   // ceiling of all the cache holds: items, index, queues, metadata
  unsigned shards = 0;                                // a power of two up to 256; 0: by threads and budget
  std::size_t item_bytes_max = std::size_t{1} << 20;  // key, value and header; larger items are refused (too_large)
  bool evict = true;  // false: a full cache refuses to store (no_memory); about a 64th of the budget is left to touches
  bool maintenance_thread = true;  // false: the program calls maintain() itself, a few times a second
  // A second, cold tier in memory that the kernel may take back whenever it is short (see purgeable.hpp): what is
  // evicted goes there, up to so many bytes, is read from there, and comes back when it is asked for again. Not part of
  // the budget, but for about 10 bytes an item. 0: none; purgeable_auto: half of the memory that nobody needs, as that
  // changes. There is none either where the kernel takes no such memory, or if evict is false.
  std::size_t purgeable_bytes = 0;
  // Watch the memory of the machine and its control groups (see pressure.hpp), and give way when it gets short: waste
  // first, then items, while what the budget allows follows the monitor's target. Of `pressure` the callbacks and the
  // least and most that is held are the cache's own.
  bool follow_pressure = false;
  pressure_options pressure;
  bool purgeable_keep_refused = false;      // for tests: the tier works with memory that the kernel does not take
  std::uint32_t (*clock)(void*) = nullptr;  // for tests: unix seconds; null: the monotonic clock from today's date
  void* clock_context = nullptr;
  std::uint64_t hash_seed =
      0;  // for tests that must repeat; 0: drawn at random, so that nobody can choose colliding keys
  // A file that cache::save wrote: the cache begins with what is in it, and the file is gone. If it does not fit, or
  // there is none, the cache begins empty; restarted() says what happened. Its hash seed prevails. Null: none.
  const char* restart_file = nullptr;
};

// What became of a restart file.
enum class restart_outcome : unsigned char {
  off,      // none was asked for
  nothing,  // there was none
  done,     // it was read, or written
  refused,  // it could not be used; see `reason`
  failed,   // it could not be written; see `reason`
};

// What cache::save wrote, or a cache began with.
struct restart_report {
  restart_outcome outcome = restart_outcome::off;
  char reason[160] = "";
  std::uint64_t items = 0;           // written, or now in the cache, in both tiers
  std::uint64_t item_bytes = 0;      // their keys and values
  std::uint64_t cold_items = 0;      // of them, in the cold tier
  std::uint64_t expired_items = 0;   // left out since they are expired or flushed
  std::uint64_t dropped_items = 0;   // read, but the cache has no room for them (a smaller budget or item_bytes_max)
  std::uint64_t damaged_chunks = 0;  // of the file, left out since their checksum was wrong
  std::uint64_t file_bytes = 0;
  std::uint64_t elapsed_us = 0;  // of the whole
  std::uint64_t down_s = 0;      // between writing and reading, when reading
};

// How an operation ended.
enum class cache_status : unsigned char {
  ok,           // done; for a store: stored
  not_found,    // there is no such item (get, delete, touch, arithmetic, cas)
  not_stored,   // the mode's condition did not hold (add, replace, append, prepend)
  exists,       // cas: the item was changed since
  not_numeric,  // arithmetic: the value is no decimal number below 2^64
  too_large,    // key empty or above its limit, or item above its; a plain set refused so removes the older item
  no_memory,    // nothing could be evicted (or eviction is off); the older item of that key is removed by a plain set
};

// When to store.
enum class store_mode : unsigned char { set, add, replace, append, prepend, compare_and_swap };

// Of a store of any mode.
struct store_options {
  store_mode mode = store_mode::set;
  std::uint32_t flags = 0;                   // opaque to the cache; append and prepend keep the item's own
  std::uint32_t expires_at = expires_never;  // unix seconds (see cache::now); append and prepend keep the item's own
  std::uint64_t cas = 0;                     // compare_and_swap: the unique the item must still have
  const struct store_extras* extras = nullptr;
};

// What a store reports beside its status.
struct stored_item {
  std::uint64_t cas = 0;        // if it was asked for
  std::size_t value_bytes = 0;  // of the whole value, after append and prepend too
};

// What memcached's meta and binary commands ask of a store, and plain ones do not.
struct store_extras {
  bool give_cas = false;      // give the item a cas unique at once, and report it
  std::uint64_t new_cas = 0;  // the unique to give, rather than the next one
  std::optional<std::uint64_t> expect =
      std::nullopt;               // append, prepend: the unique the item must have (0: any), else `exists`
  bool invalidate = false;        // compare_and_swap with an older unique: store it as stale, with the old expiry
  bool create = false;            // append, prepend: store it as it is where there is no item
  bool binary_key = false;        // a note for readers
  stored_item* stored = nullptr;  // filled in if the status is ok
};

// An item as a visitor or a pin sees it.
struct item_view {
  std::string_view key;
  std::string_view value;
  std::uint32_t flags = 0;
  std::uint32_t expires_at = expires_never;
  std::uint64_t cas = 0;  // 0 unless asked for by read_options::cas; with read_options::meta the one it has, if any
  // Only with read_options::meta, and as they were before this read:
  std::uint32_t expired_at = expires_never;  // the expiry before read_options::touch
  std::uint32_t idle_s = 0;                  // since the last use; 0 if meta_read::idle was never asked of this item
  bool idle_known = false;
  bool read = false;  // it was read before
  bool stale = false;
  bool won = false;  // a reader was told to store it anew already
  bool binary_key = false;
  bool wins = false;     // this reader is told to
  bool created = false;  // by this read
};

class pinned_item;

// Reading with memcached's meta commands: one reader at a time is told that it is the one to store the item anew.
struct meta_read {
  bool use = true;         // the read counts as a use of the item
  bool unnoticed = false;  // it is neither a use nor counted, and nobody wins by it
  bool idle = false;       // keep the second of the last use from now on, and report it
  std::optional<std::uint32_t> create =
      std::nullopt;              // where there is no item, make an empty one with this expiry; its reader wins
  bool create_prevails = false;  // over read_options::touch, where an item is made
  std::uint64_t create_cas = 0;  // the unique for it, rather than the next one
  bool binary_key = false;       // a note for it
  std::optional<std::uint32_t> recache = std::nullopt;  // the reader wins if the item expires before this second
  bool recache_after_touch = false;                     // ... with the expiry that read_options::touch sets
};

// What a read asks for besides key and value.
struct read_options {
  // Give the item a cas unique if it has none, and report it. Where there is no memory for that, the unique is one that
  // follows from flags and value, so that it changes only if they do.
  bool cas = false;
  std::optional<std::uint32_t> touch = std::nullopt;  // set a new expiry (unix seconds)
  // Where a read may leave a pin: an item whose value has at least pin_bytes_min bytes is pinned into *pinned before
  // the visit, so that the visitor may keep the view's addresses, and move the pin away. A smaller item leaves
  // *pinned empty, and so does one that cannot be pinned for want of memory. What *pinned held before is given back.
  pinned_item* pinned = nullptr;
  std::size_t pin_bytes_min = std::size_t{16} << 10;
  const meta_read* meta = nullptr;
};

// Of a deletion.
struct remove_options {
  std::uint64_t cas = 0;    // the unique the item must have, else `exists`; 0: any
  bool compare = false;     // `cas` is compared even if it is 0
  bool keep_stale = false;  // do not remove it: mark it stale, so that one reader is told to store it anew
  bool drop_value = false;  // do not remove it: empty its value and set its flags
  std::uint32_t flags = 0;  // drop_value
  std::optional<std::uint32_t> expires_at = std::nullopt;  // keep_stale, drop_value: a new expiry
  std::uint64_t new_cas = 0;  // keep_stale, drop_value: the unique to give, rather than the next one
};

// For increments and decrements.
struct arithmetic_options {
  std::uint64_t delta = 1;
  bool decrement = false;                              // increments wrap at 2^64, decrements stop at 0
  std::uint64_t cas = 0;                               // the unique the item must have, else `exists`; 0: any
  bool give_cas = false;                               // give the item a cas unique, and report it
  std::uint64_t new_cas = 0;                           // the unique to give, rather than the next one
  std::optional<std::uint32_t> create = std::nullopt;  // where there is no item, make one with this expiry and ...
  std::uint64_t initial = 0;                           // ... this number
  bool binary_key = false;                             // a note for it
  std::optional<std::uint32_t> touch = std::nullopt;   // set a new expiry
  bool report = false;  // needed by all but the first two; fills in the rest of the result
};

// Of an increment or decrement.
struct arithmetic_result {
  cache_status status = cache_status::not_found;
  std::uint64_t value = 0;
  std::uint64_t cas = 0;                     // if it was asked for
  std::uint32_t expires_at = expires_never;  // after the operation
  std::uint32_t expired_at = expires_never;  // before `touch`
};

// The cold tier.
struct cold_stats {
  purge_support support = purge_support::refused;
  std::size_t ceiling_bytes = 0;  // of its chunks, now; 0: off
  std::size_t items = 0;          // those on pages that were purged lately may be among them
  std::size_t chunks = 0;
  std::size_t offered_bytes = 0;    // that the kernel may take, less what it is known to have taken
  std::size_t index_bytes = 0;      // part of the budget
  std::uint64_t reads = 0;          // of offered memory
  std::uint64_t lost_reads = 0;     // of these, found it purged
  std::uint64_t hits = 0;           // items asked for, by any operation, that were here
  std::uint64_t promotions = 0;     // of these, copied to the hot tier
  std::uint64_t demotions = 0;      // items that came here rather than being evicted
  std::uint64_t demoted_bytes = 0;  // headers included
  std::uint64_t lost_items = 0;     // with purged memory
  std::uint64_t purged_bytes = 0;
  std::uint64_t dropped_items = 0;    // at the ceiling, or for want of room in the index
  std::uint64_t too_large_items = 0;  // evicted, because they are larger than a chunk
};

// A chunk of the cold tier, for whoever draws it.
struct cold_chunk_view {
  std::uint32_t number = 0;               // of its shard's: dense, and used again
  chunk_state state = chunk_state::free;  // offered, partly_purged, purged (and not used since) or free
  bool read = false;                      // since it was offered
  std::size_t bytes = 0;                  // of a chunk
  std::size_t used_bytes = 0;             // of it, when it was offered
  std::size_t purged_bytes = 0;           // of these, known to be purged
  std::size_t items = 0;                  // that can be found in it
  std::uint64_t filled = 0;               // how many chunks its shard had filled before
  std::uint64_t age = 0;                  // chunks that its shard filled since
  std::uint64_t purged = 0;               // a bit for each 64th of the chunk that is known to be purged, lowest first
};

// A pinned block of the cache: scoot::pin_info, and in which shard.
struct cache_pin {
  unsigned shard = 0;
  pin_info pin;
};

// What a cache holds and did, over all its shards.
struct cache_stats {
  std::size_t budget_bytes = 0;
  std::size_t item_bytes_max = 0;
  std::size_t items = 0;       // live
  std::size_t item_bytes = 0;  // keys and values of the live items
  // The eviction queues, where items wait for their turn to be judged: [0] new ones, [1] those that were used again.
  std::size_t queued_items[2] = {};
  std::size_t queued_bytes[2] = {};   // with headers
  std::uint32_t queue_age_s[2] = {};  // for how long the one whose turn is next has waited, in the shard where it is
                                      // longest
  std::uint32_t evicted_age_s = 0;    // for how long the last that was evicted had
  page_pool_stats pool;               // what is held
  std::size_t target_bytes = 0;       // of the budget, what may be held now, under pressure less
  heap_stats heap;                    // summed over the shards
  std::size_t index_bytes = 0;        // index and queues
  unsigned shards = 0;
  std::uint64_t items_stored = 0;  // ever
  std::uint64_t gets = 0, get_hits = 0, get_expired = 0, get_flushed = 0;
  std::uint64_t sets = 0;  // store operations of any mode
  std::uint64_t touches = 0, touch_hits = 0;
  std::uint64_t deletes = 0, delete_hits = 0;
  std::uint64_t increments = 0, increment_hits = 0, decrements = 0, decrement_hits = 0;
  std::uint64_t cas_hits = 0, cas_badval = 0, cas_misses = 0;
  std::uint64_t flushes = 0;
  std::uint64_t evictions = 0;         // live items removed to make room
  std::uint64_t evicted_unread = 0;    // of those, never read
  std::uint64_t evicted_expiring = 0;  // of those, with an expiry
  std::uint64_t expired = 0;           // items removed by the timing wheel
  std::uint64_t reclaimed = 0;         // expired items removed on the way of another operation
  std::uint64_t expired_unread = 0;    // of expired and reclaimed, never read
  std::uint64_t store_too_large = 0, store_no_memory = 0;
  std::size_t pinned_items = 0;
  cold_stats cold;
  bool follows_pressure = false;
  pressure_stats pressure;  // if it does
  // What maintain() did and cost, in the cache's own thread or the program's. Moves beside these were part of stores.
  std::uint64_t idle_compactions = 0;       // times that a shard had enough to gain
  std::uint64_t idle_bytes_moved = 0;       // by them
  std::uint64_t idle_bytes_given_back = 0;  // to the system, by them
  std::uint64_t idle_stops[5] = {};         // why they stopped, by stop_reason
  std::uint64_t maintenance_cpu_us = 0;     // processor time of all of maintain()
};

class cache;
namespace caching {
class shard;
}

// A value held in place. Movable; gives its pin back when destroyed, which must be before the cache is.
class SCOOT_EXPORT pinned_item {
 public:
  pinned_item() = default;
  pinned_item(pinned_item&& other) noexcept { *this = std::move(other); }
  pinned_item& operator=(pinned_item&& other) noexcept;
  ~pinned_item() { reset(); }
  [[nodiscard]] explicit operator bool() const noexcept { return cache_ != nullptr; }
  [[nodiscard]] const item_view& view() const noexcept { return view_; }  // lasts as long as the pin
  void reset() noexcept;

 private:
  friend class cache;
  friend class caching::shard;
  cache* cache_ = nullptr;
  void* item_ = nullptr;
  unsigned shard_ = 0;
  item_view view_;
};

// Room for an item that is not visible yet: fill value() and commit(). Dropped without a trace if it is not committed.
// Pinned meanwhile, so that a socket can be read straight into it.
class SCOOT_EXPORT pending_item {
 public:
  pending_item() = default;
  pending_item(pending_item&& other) noexcept { *this = std::move(other); }
  pending_item& operator=(pending_item&& other) noexcept;
  ~pending_item() { reset(); }
  [[nodiscard]] explicit operator bool() const noexcept { return cache_ != nullptr; }
  [[nodiscard]] char* value() const noexcept { return value_; }                    // where to write it
  [[nodiscard]] std::size_t value_bytes() const noexcept { return value_bytes_; }  // that were reserved
  [[nodiscard]] std::string_view key() const noexcept;  // valid as long as the item is pending
  void reset() noexcept;

 private:
  friend class cache;
  cache* cache_ = nullptr;
  void* item_ = nullptr;
  char* value_ = nullptr;
  std::size_t value_bytes_ = 0;
  unsigned shard_ = 0;
};

// The cache itself; see the top of this file.
class SCOOT_EXPORT cache {
 public:
  // Null if the options are out of range or the memory for an empty cache cannot be had.
  [[nodiscard]] static std::unique_ptr<cache> create(const cache_options& options) noexcept;

  cache(const cache&) = delete;
  cache& operator=(const cache&) = delete;
  static void operator delete(cache* self, std::destroying_delete_t) noexcept;

  // Calls visit(const item_view&) if the key is there; returns ok or not_found (no_memory: it is there, or was to be
  // made, but there is no room to note read_options::touch or what read_options::meta asks for). A read counts as a use
  // of the item.
  template <class Visit>
  cache_status get(std::string_view key, Visit&& visit, const read_options& options = {}) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return get_erased(
        key, [](void* context, const item_view& view) noexcept { (*static_cast<visitor*>(context))(view); },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))), options);
  }

  // Looks up many keys and calls visit(std::size_t i, const item_view&) for each keys[i] that is there, in the order of
  // the keys. Faster than one get after another, because it asks the memory for many keys at once. Not atomic: keys
  // are read one after another. ok, or no_memory as with get: of those items, which are left out.
  template <class Visit>
  cache_status get_many(std::span<const std::string_view> keys, Visit&& visit,
                        const read_options& options = {}) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return get_many_erased(
        keys,
        [](void* context, std::size_t i, const item_view& view) noexcept {
          (*static_cast<visitor*>(context))(i, view);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))), options);
  }

  // The item held in place, for reading without a copy; empty if it is not there. Worth it for large values only.
  [[nodiscard]] pinned_item pin(std::string_view key, const read_options& options = {}) noexcept;

  // Stores a copy of the value.
  cache_status store(std::string_view key, std::string_view value, const store_options& options = {}) noexcept;

  // The same in two steps, for values that arrive piecemeal. Empty if it is too large or there is no memory; `status`
  // then says which, and a plain set has removed the older item. commit() answers as store() does.
  [[nodiscard]] pending_item reserve(std::string_view key, std::size_t value_bytes, const store_options& options,
                                     cache_status& status) noexcept;
  cache_status commit(pending_item&& item, const store_options& options) noexcept;

  cache_status remove(std::string_view key) noexcept;
  cache_status remove(std::string_view key, const remove_options& options) noexcept;
  cache_status touch(std::string_view key, std::uint32_t expires_at) noexcept;

  // Adds to or takes from a decimal value in place. A result shorter than the value is padded with spaces on the right,
  // as memcached does.
  arithmetic_result arithmetic(std::string_view key, const arithmetic_options& options) noexcept;

  // Every item stored before `at` (unix seconds; 0: now) is gone from then on; their memory is given back in steps.
  void flush(std::uint32_t at = 0) noexcept;

  // Changes the budget while running. A cut takes effect in bounded steps, by eviction and compaction, within a few
  // seconds of traffic or maintenance. False, and no change, if it is below the least that a cache needs.
  [[nodiscard]] bool set_budget(std::size_t bytes) noexcept;

  // Gives about so many bytes back to the system now, in bounded steps under one shard's lock at a time: waste first,
  // then the items that are worth least, which are not kept in the cold tier either. The budget stays; whoever wants
  // the cache to stay small changes it as well. Returns what was given back.
  std::size_t release(std::size_t bytes) noexcept;

  // One bounded step (about a millisecond) of expiry, budget and compaction work over all shards. True if more is left.
  bool maintain() noexcept;

  // Unix seconds by the cache's clock: the date at its creation plus monotonic time, so a stepped clock expires
  // nothing.
  [[nodiscard]] std::uint32_t now() const noexcept;

  [[nodiscard]] cache_stats stats() const noexcept;  // what it holds and did
  void reset_stats() noexcept;                       // the counters that count events; not those of state

  // Writes everything to a file, for a cache that a later process on this machine makes with
  // cache_options::restart_file: items of both tiers with all that is noted of them, the order in which they are to
  // leave, the last cas unique, a planned flush. What is written is given back at once, so that cache and file together
  // take little more memory than the cache did. The cache is empty afterwards, and does no upkeep: destroy it. Nobody
  // else may use it meanwhile, and what is pinned stays behind. The path's file comes into being when all is written;
  // if that fails there is none, and if the reason is known beforehand (a path that is not to be written to, no room),
  // the cache is as it was. Several threads do it.
  restart_report save(const char* path) noexcept;
  [[nodiscard]] const restart_report& restarted() const noexcept;  // what this cache began with

  // From now on observe(context, item) is called for each item that is evicted, before it goes, under its shard's lock,
  // so that it must be quick and not call the cache; null: for none. When this returns no call of the observer before
  // is under way. Views are as with read_options::meta.
  void observe_evictions(void (*observe)(void* context, const item_view& item) noexcept, void* context) noexcept;

  // Calls visit for each live item, shard by shard in bounded steps under the lock; items stored or removed meanwhile
  // may be missed, none is seen twice.
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    for_each_erased([](void* context, const item_view& view) noexcept { (*static_cast<visitor*>(context))(view); },
                    const_cast<void*>(static_cast<const void*>(std::addressof(visit))));
  }

  // The same a few items at a time: visits some of them, of one shard under its lock, from a cursor on that is 0 at
  // first, and returns the cursor to go on from, 0 at the end. Nothing is held between calls, so items may be missed or
  // seen twice if others are stored meanwhile. Views are as with read_options::meta.
  template <class Visit>
  [[nodiscard]] std::uint64_t visit_some(std::uint64_t cursor, Visit&& visit) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return visit_some_erased(
        cursor, [](void* context, const item_view& view) noexcept { (*static_cast<visitor*>(context))(view); },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))));
  }

  // The pages under the cache, for whoever draws them while it works. Visits some pages of one shard's heap under its
  // lock: visit(unsigned shard, const page_view&), from a cursor on that is 0 at first, and returns the cursor to go on
  // from, 0 at the end. As with scoot::visit_pages nothing is held between calls. Kinds have the same index in all
  // shards. How long the lock is held: as visit_pages says, some 20 us with the options as they are by default.
  template <class Visit>
  [[nodiscard]] std::uint64_t visit_pages(std::uint64_t cursor, Visit&& visit, const page_visit& how = {}) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return visit_pages_erased(
        cursor,
        [](void* context, unsigned shard, const page_view& page) noexcept {
          (*static_cast<visitor*>(context))(shard, page);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))), how);
  }
  // The cursor to begin with a page that was visited, while its heap is as it was.
  [[nodiscard]] static std::uint64_t cursor_of(unsigned shard, const page_view& page) noexcept {
    return std::uint64_t{shard} << page_cursor_bits | page.cursor;
  }
  // The cold tier's chunks in the same way: visit(unsigned shard, const cold_chunk_view&). Chunks that were never used
  // are left out. Some us under a shard's lock.
  template <class Visit>
  [[nodiscard]] std::uint64_t visit_cold(std::uint64_t cursor, Visit&& visit) noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return visit_cold_erased(
        cursor,
        [](void* context, unsigned shard, const cold_chunk_view& chunk) noexcept {
          (*static_cast<visitor*>(context))(shard, chunk);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))));
  }
  // The cursor to begin with a chunk that was visited.
  [[nodiscard]] static std::uint64_t cold_cursor_of(unsigned shard, std::uint32_t chunk) noexcept {
    return std::uint64_t{shard} << 32 | chunk;
  }
  // As scoot::list_pins and list_pin_holders (the same limits and order), over all shards. Shards without pins cost
  // nothing; the lock of one with pins is held while its pages are walked over.
  std::size_t list_pins(std::span<cache_pin> room) noexcept;
  std::size_t list_pin_holders(std::span<pin_holder> room) noexcept;
  // Which pages are in use at all; see scoot::list_page_use. Locks the pool only.
  [[nodiscard]] std::size_t list_page_use(std::size_t first, std::span<page_content> room) const noexcept;

  ~cache() = default;  // does nothing: delete is the operator above

 protected:
  cache() = default;

 private:
  friend class pinned_item;
  friend class pending_item;
  using erased_visitor = void (*)(void* context, const item_view& view) noexcept;
  cache_status get_erased(std::string_view key, erased_visitor visit, void* context,
                          const read_options& options) noexcept;
  using erased_visitor_of_many = void (*)(void* context, std::size_t i, const item_view& view) noexcept;
  cache_status get_many_erased(std::span<const std::string_view> keys, erased_visitor_of_many visit, void* context,
                               const read_options& options) noexcept;
  void for_each_erased(erased_visitor visit, void* context) noexcept;
  [[nodiscard]] std::uint64_t visit_some_erased(std::uint64_t cursor, erased_visitor visit, void* context) noexcept;
  static constexpr unsigned page_cursor_bits = 52;  // what a heap's own cursor takes
  using erased_page_visitor = void (*)(void* context, unsigned shard, const page_view& page) noexcept;
  [[nodiscard]] std::uint64_t visit_pages_erased(std::uint64_t cursor, erased_page_visitor visit, void* context,
                                                 const page_visit& how) noexcept;
  using erased_cold_visitor = void (*)(void* context, unsigned shard, const cold_chunk_view& chunk) noexcept;
  [[nodiscard]] std::uint64_t visit_cold_erased(std::uint64_t cursor, erased_cold_visitor visit,
                                                void* context) noexcept;
};

}  // namespace scoot
