// SPDX-License-Identifier: MIT
//
// cache_model: drives a cache and a std::map oracle with the same operations, on a clock of its own, and says where
// they differ. What to do next comes from a source of choices: a seeded generator in the model tests, the input's bytes
// in the fuzz target.
//
// Exact: the budget holds everything, so the cache and the oracle must agree. Not exact: items may have been evicted
// between two operations, and the oracle follows, but no operation may give or keep anything else than the oracle has,
// fail for want of memory, or lose the item that it works on.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/decimal.hpp"
#include "support.hpp"

namespace scoot::testing {

struct cache_model_options {
  std::size_t budget_bytes = std::size_t{32} << 20;
  unsigned shards = 1;
  bool exact = true;
  std::size_t value_bytes_max = 40000;  // of a store; append and prepend stop there
  std::uint64_t hash_seed = 0;
};

// Choices: operator()() gives 64 bits, below(n) a number below n.
template <class Choices>
class cache_model {
 public:
  cache_model(Choices choices, const cache_model_options& options) : choices_(std::move(choices)), options_(options) {
    cache_options of_cache = options_on(clock_, options.budget_bytes, options.shards);
    of_cache.hash_seed = options.hash_seed;
    cache_ = cache::create(of_cache);
    (void)expect(cache_ != nullptr, "no cache");
  }

  // Empty as long as all is well.
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] cache& subject() { return *cache_; }
  [[nodiscard]] Choices& choices() { return choices_; }

  // One operation, then every item is moved. False once something was wrong.
  bool step() {
    if (!failure_.empty()) return false;
    using operation = void (cache_model::*)();
    static constexpr operation operations[] = {
        &cache_model::store,      &cache_model::store,      &cache_model::store,       &cache_model::store,
        &cache_model::store,      &cache_model::extend,     &cache_model::extend,      &cache_model::compare_and_swap,
        &cache_model::arithmetic, &cache_model::arithmetic, &cache_model::remove,      &cache_model::remove,
        &cache_model::touch,      &cache_model::pin,        &cache_model::get,         &cache_model::two_steps,
        &cache_model::two_steps,  &cache_model::pass_time,  &cache_model::get,         &cache_model::get_many,
        &cache_model::refuse,     &cache_model::set_budget, &cache_model::store_meta,  &cache_model::store_meta,
        &cache_model::get_meta,   &cache_model::get_meta,   &cache_model::remove_meta, &cache_model::arithmetic_meta};
    (this->*operations[choices_.below(std::size(operations))])();
    move_everything(*cache_);
    return failure_.empty();
  }

  // Every byte of every item, and every invariant. Items that the model did not store, whose keys do not begin with
  // "key", are none of its business.
  bool check_all() {
    if (!failure_.empty()) return false;
    verify(*cache_);
    const cache_stats s = cache_->stats();
    (void)expect(s.pool.held_bytes <= s.pool.budget_bytes, "the budget is exceeded");
    std::size_t live_items = 0;
    for (auto at = oracle_.begin(); at != oracle_.end();) {
      const std::string key = (at++)->first;
      const copied* mine = live(key);
      if (mine == nullptr) continue;
      const auto theirs = read(*cache_, key);
      if (!expect(theirs || !options_.exact, "an item is gone", key)) return false;
      if (theirs) same(*theirs, *mine, key), ++live_items;
    }
    std::map<std::string, int> seen;
    cache_->for_each([&](const item_view& view) {
      if (view.key.substr(0, 3) == "key") ++seen[std::string(view.key)];
    });
    for (const auto& entry : seen) (void)expect(entry.second == 1, "a walk sees an item twice", entry.first);
    (void)expect(seen.size() == live_items, "a walk sees other items");
    for (const held& h : pins_) (void)expect(h.pin.view().value == h.value, "a pinned value changed");
    return failure_.empty();
  }

  // The cache is written to a file, and made again from it with other shards. False once something was wrong.
  bool restart(const std::string& path, unsigned shards) {
    pins_.clear();
    pending_.reset();
    cache_options of_cache = options_on(clock_, options_.budget_bytes, shards);
    if (!expect(cache_->save(path.c_str()).outcome == restart_outcome::done, "it cannot be saved")) return false;
    cache_.reset();
    if (choices_.below(3) == 0) clock_.seconds += static_cast<std::uint32_t>(choices_.below(300));
    of_cache.restart_file = path.c_str();
    cache_ = cache::create(of_cache);
    budget_ = options_.budget_bytes;
    if (!expect(cache_ != nullptr, "no cache")) return false;
    const restart_report& r = cache_->restarted();
    (void)expect(r.outcome == restart_outcome::done && r.damaged_chunks == 0, "it cannot be read");
    (void)expect(!options_.exact || r.dropped_items == 0, "there was room for all");
    return check_all();
  }

  // Gives back what is held, and lets a cut of the budget be reached.
  bool finish() {
    (void)check_all();
    pins_.clear();
    pending_.reset();
    for (int i = 0; i < 20000 && cache_->maintain(); ++i) {
    }
    (void)expect(cache_->stats().pool.held_bytes <= budget_, "a smaller budget was not reached");
    return check_all();
  }

 private:
  struct held {
    pinned_item pin;
    std::string value;
  };
  static constexpr std::size_t pins_max = 20, pinned_bytes_max = std::size_t{200} << 10;

  bool expect(bool condition, const char* what, const std::string& key = {}) {
    if (!condition && failure_.empty()) failure_ = key.empty() ? what : std::string(what) + ": " + key.substr(0, 20);
    return condition;
  }

  std::string some_key() {
    return std::string("key") + std::to_string(choices_.below(300)) + std::string(choices_.below(2) * 200, 'k');
  }
  std::string some_value() {
    const std::size_t bytes = choices_.below(10) == 0 ? choices_.below(options_.value_bytes_max) : choices_.below(300);
    if (choices_.below(4) == 0) return std::to_string(choices_() >> choices_.below(64));
    return patterned(choices_(), bytes);
  }
  std::uint32_t some_expiry() {
    switch (choices_.below(6)) {
      case 0:
        return clock_.seconds + static_cast<std::uint32_t>(choices_.below(5));
      case 1:
        return clock_.seconds + static_cast<std::uint32_t>(choices_.below(500));
      case 2:
        return clock_.seconds + static_cast<std::uint32_t>(choices_.below(1000000));
      default:
        return expires_never;
    }
  }

  // The oracle's item, if it is live.
  copied* live(const std::string& key) {
    const auto at = oracle_.find(key);
    if (at == oracle_.end()) return nullptr;
    if (at->second.expires_at != 0 && at->second.expires_at <= clock_.seconds) {
      oracle_.erase(at);
      return nullptr;
    }
    return &at->second;
  }
  // The same; where the cache may have evicted it, the oracle follows.
  copied* known(const std::string& key) {
    copied* mine = live(key);
    if (options_.exact || mine == nullptr) return mine;
    if (read(*cache_, key)) return mine;
    oracle_.erase(key);
    return nullptr;
  }

  void same(const copied& theirs, const copied& mine, const std::string& key) {
    (void)expect(theirs.value == mine.value, "another value", key);
    (void)expect(theirs.flags == mine.flags, "other flags", key);
    (void)expect(theirs.expires_at == mine.expires_at, "another expiry", key);
  }

  void store() {
    const std::string key = some_key(), value = some_value();
    store_options options;
    options.flags = choices_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(choices_());
    options.expires_at = some_expiry();
    options.mode =
        std::array{store_mode::set, store_mode::set, store_mode::add, store_mode::replace}[choices_.below(4)];
    const bool there = known(key) != nullptr;
    const bool refused = (options.mode == store_mode::add && there) || (options.mode == store_mode::replace && !there);
    const cache_status expected = refused ? cache_status::not_stored : cache_status::ok;
    (void)expect(cache_->store(key, value, options) == expected, "store", key);
    if (!refused) oracle_[key] = {value, options.flags, options.expires_at, 0};
  }

  void extend() {
    const std::string key = some_key(), value = some_value().substr(0, 1000);
    store_options options;
    options.mode = choices_.below(2) == 0 ? store_mode::append : store_mode::prepend;
    copied* mine = known(key);
    if (mine != nullptr && mine->value.size() > options_.value_bytes_max) return;
    const cache_status status = cache_->store(key, value, options);
    extended(mine, status, options.mode, value, key);
  }

  void extended(copied* mine, cache_status status, store_mode mode, const std::string& value, const std::string& key) {
    if (!expect(status == (mine != nullptr ? cache_status::ok : cache_status::not_stored), "extend", key)) return;
    if (mine == nullptr) return;
    mine->value = mode == store_mode::append ? mine->value + value : value + mine->value;
    mine->cas = 0;
    mine->stale = mine->won = false;
  }

  void compare_and_swap() {
    const std::string key = some_key(), value = some_value();
    const copied* mine = known(key);
    store_options options;
    options.mode = store_mode::compare_and_swap;
    options.cas = mine != nullptr && mine->cas != 0 && choices_.below(3) != 0 ? mine->cas : choices_();
    const cache_status expected = mine == nullptr                                ? cache_status::not_found
                                  : mine->cas == options.cas && options.cas != 0 ? cache_status::ok
                                                                                 : cache_status::exists;
    const cache_status status = cache_->store(key, value, options);
    (void)expect(status == expected, "compare and swap", key);
    if (status == cache_status::ok) oracle_[key] = {value, 0, 0, 0};
  }

  void arithmetic() {
    const std::string key = some_key();
    copied* mine = known(key);
    arithmetic_options options;
    options.delta = choices_() >> choices_.below(64);
    options.decrement = choices_.below(2) == 0;
    const arithmetic_result r = cache_->arithmetic(key, options);
    if (mine == nullptr) {
      (void)expect(r.status == cache_status::not_found, "arithmetic on nothing", key);
      return;
    }
    std::uint64_t before = 0;
    const bool is_number = caching::parse_decimal(mine->value, before);  // has a test of its own
    (void)expect(r.status == (is_number ? cache_status::ok : cache_status::not_numeric), "arithmetic", key);
    if (!is_number) return;
    const std::uint64_t after = options.decrement ? before - std::min(before, options.delta) : before + options.delta;
    (void)expect(r.value == after, "another sum", key);
    std::string digits = std::to_string(after);
    if (digits.size() > mine->value.size()) mine->stale = mine->won = false;
    if (digits.size() < mine->value.size()) digits.resize(mine->value.size(), ' ');
    mine->value = digits;
    mine->cas = 0;
  }

  void remove() {
    const std::string key = some_key();
    const bool there = known(key) != nullptr;
    (void)expect(cache_->remove(key) == (there ? cache_status::ok : cache_status::not_found), "remove", key);
    oracle_.erase(key);
  }

  void touch() {
    const std::string key = some_key();
    copied* mine = known(key);
    const std::uint32_t at = some_expiry();
    const cache_status expected = mine != nullptr ? cache_status::ok : cache_status::not_found;
    (void)expect(cache_->touch(key, at) == expected, "touch", key);
    if (mine != nullptr) mine->expires_at = at;
  }

  void pin() {
    if (!pins_.empty() && choices_.below(2) == 0) {
      const std::size_t which = choices_.below(pins_.size());
      (void)expect(pins_[which].pin.view().value == pins_[which].value, "a pinned value changed");
      pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(which));
      return;
    }
    const std::string key = some_key();
    const copied* mine = known(key);
    pinned_item pinned = cache_->pin(key);
    if (!expect(static_cast<bool>(pinned) == (mine != nullptr), "pin", key) || mine == nullptr) return;
    (void)expect(pinned.view().value == mine->value, "another value is pinned", key);
    std::size_t bytes = mine->value.size();
    for (const held& h : pins_) bytes += h.value.size();
    if (pins_.size() < pins_max && bytes < pinned_bytes_max) pins_.push_back({std::move(pinned), mine->value});
  }

  // Reserves, or fills and commits or drops what was reserved.
  void two_steps() {
    if (!pending_) {
      pending_key_ = some_key();
      pending_options_ = {};
      pending_options_.flags = static_cast<std::uint32_t>(choices_.below(3));
      pending_options_.expires_at = some_expiry();
      if (choices_.below(4) == 0) pending_options_.mode = store_mode::append;
      const std::size_t bytes =
          pending_options_.mode == store_mode::append ? choices_.below(1000) : choices_.below(options_.value_bytes_max);
      cache_status status{};
      pending_ = cache_->reserve(pending_key_, bytes, pending_options_, status);
      (void)expect(static_cast<bool>(pending_), "reserve", pending_key_);
      return;
    }
    if (choices_.below(4) == 0) return pending_.reset();
    const std::string value = patterned(choices_(), pending_.value_bytes());
    std::copy(value.begin(), value.end(), pending_.value());
    copied* mine = known(pending_key_);
    const bool appends = pending_options_.mode == store_mode::append;
    if (appends && mine != nullptr && mine->value.size() > options_.value_bytes_max) return pending_.reset();
    const cache_status status = cache_->commit(std::move(pending_), pending_options_);
    if (appends) return extended(mine, status, store_mode::append, value, pending_key_);
    (void)expect(status == cache_status::ok, "commit", pending_key_);
    oracle_[pending_key_] = {value, pending_options_.flags, pending_options_.expires_at, 0};
  }

  void pass_time() {
    clock_.seconds += static_cast<std::uint32_t>(choices_.below(3) == 0 ? choices_.below(300) : choices_.below(3));
    if (choices_.below(3) == 0) (void)cache_->maintain();
    if (choices_.below(40) == 0) {
      cache_->flush();
      oracle_.clear();
    }
  }

  void get() {
    const std::string key = some_key();
    copied* mine = known(key);
    read_options options;
    options.cas = choices_.below(2) == 0;
    if (choices_.below(4) == 0) options.touch = some_expiry();
    const auto theirs = read(*cache_, key, options);
    if (!expect(theirs.has_value() == (mine != nullptr), "get", key) || mine == nullptr) return;
    if (options.touch) mine->expires_at = *options.touch;
    same(*theirs, *mine, key);
    if (!options.cas) return;
    (void)expect(theirs->cas != 0 && (mine->cas == 0 || theirs->cas == mine->cas), "another unique", key);
    mine->cas = theirs->cas;
  }

  void get_many() {
    std::vector<std::string> keys;
    for (std::size_t i = 0, n = 1 + choices_.below(40); i < n; ++i) keys.push_back(some_key());
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    std::vector<const copied*> mine;
    for (const std::string& key : keys) mine.push_back(known(key));
    std::size_t last = 0, found = 0;
    cache_->get_many(views, [&](std::size_t i, const item_view& view) {
      (void)expect(i < keys.size() && (found == 0 || i > last), "get_many visits out of order");
      last = i, ++found;
      if (expect(mine[i] != nullptr && view.key == keys[i], "get_many finds another item", keys[i])) {
        (void)expect(view.value == mine[i]->value, "get_many gives another value", keys[i]);
      }
    });
    const auto there = std::count_if(mine.begin(), mine.end(), [](const copied* m) { return m != nullptr; });
    (void)expect(found == static_cast<std::size_t>(there), "get_many misses an item");
  }

  // What is too large is refused, and a plain set that is refused removes the older item.
  void refuse() {
    const std::string key = some_key();
    const std::string value(cache_->stats().item_bytes_max, 'x');
    store_options options;
    options.mode = choices_.below(2) == 0 ? store_mode::set : store_mode::replace;
    (void)expect(cache_->store(key, value, options) == cache_status::too_large, "too large", key);
    if (options.mode == store_mode::set) oracle_.erase(key);
  }

  // What meta and binary commands ask for beyond the plain operations.
  std::uint32_t later() { return clock_.seconds + 1 + static_cast<std::uint32_t>(choices_.below(500)); }
  std::uint64_t some_unique(const copied* mine) {
    return mine != nullptr && mine->cas != 0 && choices_.below(2) == 0 ? mine->cas : choices_() | 1;
  }

  void store_meta() {
    const std::string key = some_key();
    std::string value = some_value();
    store_options options;
    store_extras extras;
    stored_item stored;
    options.extras = &extras;
    options.flags = choices_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(choices_());
    options.expires_at = choices_.below(2) == 0 ? expires_never : later();
    options.mode = std::array{store_mode::set, store_mode::add, store_mode::replace, store_mode::append,
                              store_mode::prepend}[choices_.below(5)];
    const bool extends = options.mode == store_mode::append || options.mode == store_mode::prepend;
    copied* mine = known(key);
    if (extends && mine != nullptr && mine->value.size() > options_.value_bytes_max) return;
    extras.stored = &stored;
    extras.give_cas = choices_.below(2) == 0;
    if (choices_.below(4) == 0) extras.new_cas = choices_() | 1;
    extras.create = extends && choices_.below(2) == 0;
    if (extends && choices_.below(3) == 0) extras.expect = some_unique(mine);
    cache_status expected = cache_status::ok;
    if (options.mode == store_mode::add && mine != nullptr) expected = cache_status::not_stored;
    if (options.mode == store_mode::replace && mine == nullptr) expected = cache_status::not_stored;
    if (extends && mine == nullptr && !extras.create) expected = cache_status::not_stored;
    if (extends && mine != nullptr && extras.expect && *extras.expect != mine->cas) expected = cache_status::exists;
    if (!expect(cache_->store(key, value, options) == expected, "store with extras", key)) return;
    if (expected != cache_status::ok) return;
    if (extends && mine != nullptr) {
      extended(mine, cache_status::ok, options.mode, value, key);
    } else {
      oracle_[key] = {value, options.flags, options.expires_at, 0};
    }
    copied& now = oracle_[key];
    now.cas = stored.cas;
    (void)expect(stored.value_bytes == now.value.size(), "another size is reported", key);
    if (extras.give_cas || extras.new_cas != 0) (void)expect(stored.cas != 0, "no unique is reported", key);
    if (extras.new_cas != 0) (void)expect(stored.cas == extras.new_cas, "another unique is given", key);
  }

  // One reader at a time is told to store anew what is stale, about to expire or not there.
  void get_meta() {
    const std::string key = some_key();
    copied* mine = known(key);
    meta_read meta;
    read_options options;
    options.meta = &meta;
    options.cas = choices_.below(3) == 0;
    meta.use = choices_.below(4) != 0;
    meta.idle = choices_.below(2) == 0;
    if (choices_.below(3) == 0) meta.create = choices_.below(2) == 0 ? expires_never : later();
    if (choices_.below(3) == 0) meta.recache = later();
    if (choices_.below(5) == 0) options.touch = later();
    bool seen = false, wins = false, stale = false, won = false;
    copied theirs;
    const cache_status status = cache_->get(
        key,
        [&](const item_view& view) {
          seen = true, wins = view.wins, stale = view.stale, won = view.won;
          theirs = {std::string(view.value), view.flags, view.expires_at, view.cas};
        },
        options);
    const bool created = mine == nullptr && meta.create.has_value();
    if (!expect((status == cache_status::ok) == (mine != nullptr || created), "get with meta", key)) return;
    (void)expect(seen == (status == cache_status::ok), "get with meta visits", key);
    if (!seen) return;
    if (created) {
      oracle_[key] = {"", 0, options.touch.value_or(*meta.create), 0};
      mine = &oracle_[key];
      (void)expect(wins && !stale && !won, "who makes an item wins", key);
      mine->won = true;
    } else {
      const bool early = meta.recache && mine->expires_at != expires_never && mine->expires_at < *meta.recache;
      (void)expect(stale == mine->stale && won == mine->won, "other marks", key);
      (void)expect(wins == (!mine->won && (mine->stale || early)), "the wrong one wins", key);
      mine->won = mine->won || wins;
      if (options.touch) mine->expires_at = *options.touch;
    }
    same(theirs, *mine, key);
    if (options.cas) {
      (void)expect(theirs.cas != 0 && (mine->cas == 0 || theirs.cas == mine->cas), "another unique", key);
      mine->cas = theirs.cas;
    }
  }

  void remove_meta() {
    const std::string key = some_key();
    copied* mine = known(key);
    remove_options options;
    options.compare = choices_.below(2) == 0;
    if (choices_.below(2) == 0) options.cas = some_unique(mine);
    options.keep_stale = choices_.below(2) == 0;
    options.drop_value = choices_.below(3) == 0;
    if (choices_.below(2) == 0) options.flags = static_cast<std::uint32_t>(choices_());
    if (choices_.below(2) == 0) options.expires_at = choices_.below(2) == 0 ? expires_never : later();
    if (choices_.below(3) == 0) options.new_cas = choices_() | 1;
    const bool compares = options.compare || options.cas != 0;
    const cache_status status = cache_->remove(key, options);
    if (mine == nullptr) return void(expect(status == cache_status::not_found, "remove of nothing", key));
    if (compares && (mine->cas == 0 || mine->cas != options.cas)) {
      return void(expect(status == cache_status::exists, "remove of another unique", key));
    }
    if (!expect(status == cache_status::ok, "remove with options", key)) return;
    if (!options.keep_stale && !options.drop_value) return void(oracle_.erase(key));
    if (options.drop_value) {
      *mine = {"", options.flags, options.expires_at.value_or(expires_never),
               options.new_cas != 0 ? options.new_cas : mine->cas};
    }
    if (options.keep_stale) {
      if (options.expires_at) mine->expires_at = *options.expires_at;
      mine->stale = true;
      mine->won = false;
      mine->cas = options.new_cas;  // else the next one, which nobody knows
    }
  }

  void arithmetic_meta() {
    const std::string key = some_key();
    copied* mine = known(key);
    arithmetic_options options;
    options.report = true;
    options.delta = choices_() >> choices_.below(64);
    options.decrement = choices_.below(2) == 0;
    if (choices_.below(3) == 0) options.cas = some_unique(mine);
    options.give_cas = choices_.below(2) == 0;
    if (choices_.below(4) == 0) options.new_cas = choices_() | 1;
    options.initial = choices_() >> choices_.below(64);
    if (choices_.below(2) == 0) options.create = choices_.below(2) == 0 ? expires_never : later();
    if (choices_.below(3) == 0) options.touch = later();
    const arithmetic_result r = cache_->arithmetic(key, options);
    if (mine == nullptr && !options.create) {
      return void(expect(r.status == cache_status::not_found, "arithmetic on nothing", key));
    }
    if (mine == nullptr) {
      if (!expect(r.status == cache_status::ok && r.value == options.initial, "a number is made", key)) return;
      oracle_[key] = {std::to_string(options.initial), 0, *options.create, r.cas};
      return void(expect(r.expires_at == *options.create, "another expiry of a number", key));
    }
    if (options.cas != 0 && mine->cas != options.cas && !mine->value.empty()) {
      return void(expect(r.status == cache_status::exists, "arithmetic on another unique", key));
    }
    std::uint64_t before = 0;
    if (!caching::parse_decimal(mine->value, before)) {
      return void(expect(r.status == cache_status::not_numeric, "arithmetic on a text", key));
    }
    const std::uint64_t after = options.decrement ? before - std::min(before, options.delta) : before + options.delta;
    if (!expect(r.status == cache_status::ok && r.value == after, "another sum", key)) return;
    (void)expect(r.expired_at == mine->expires_at, "another expiry before", key);
    if (options.touch) mine->expires_at = *options.touch;
    (void)expect(r.expires_at == mine->expires_at, "another expiry after", key);
    if (options.give_cas || options.new_cas != 0) (void)expect(r.cas != 0, "no unique of a sum", key);
    std::string digits = std::to_string(after);
    if (digits.size() > mine->value.size()) mine->stale = mine->won = false;
    if (digits.size() < mine->value.size()) digits.resize(mine->value.size(), ' ');
    mine->value = digits;
    mine->cas = r.cas;
  }

  // Up to twice the budget and back; an exact model never goes below what it began with.
  void set_budget() {
    budget_ = options_.budget_bytes + choices_.below(options_.budget_bytes);
    (void)expect(cache_->set_budget(budget_), "set_budget");
  }

  Choices choices_;
  const cache_model_options options_;
  std::size_t budget_ = options_.budget_bytes;
  fake_clock clock_;
  std::unique_ptr<cache> cache_;
  std::map<std::string, copied> oracle_;
  std::vector<held> pins_;
  pending_item pending_;
  std::string pending_key_;
  store_options pending_options_;
  std::string failure_;
};

}  // namespace scoot::testing
