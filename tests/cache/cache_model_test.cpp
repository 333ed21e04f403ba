// SPDX-License-Identifier: MIT
//
// Goal: no sequence of operations makes the cache give back anything but what was stored last. Method: seeded random
// operations against a std::map oracle, on a clock of its own, with every item moved after every step, and all
// invariants and every byte checked every few. Two budgets: one where nothing is evicted, so that the cache and the
// oracle must agree exactly, and one where an item may be missing, but never wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "cache/decimal.hpp"
#include "support.hpp"

namespace scoot {
namespace {

using testing::copied;

class model {
 public:
  model(std::uint64_t seed, std::size_t budget_bytes, unsigned shards, bool exact, std::size_t value_bytes_max)
      : random_(seed),
        exact_(exact),
        value_bytes_max_(value_bytes_max),
        cache_(cache::create(testing::options_on(clock_, budget_bytes, shards))) {}

  void run(int steps, int verify_every) {
    for (int i = 0; i < steps; ++i) {
      step();
      if (::testing::Test::HasFatalFailure()) return;
      testing::move_everything(*cache_);
      if (i % verify_every == 0) check_all();
    }
    check_all();
    pins_.clear();
    pending_.reset();
    testing::verify(*cache_);
  }

 private:
  struct held {
    pinned_item pin;
    std::string value;
  };

  std::string random_key() {
    return std::string("key") + std::to_string(random_.below(300)) + std::string(random_.below(2) * 200, 'k');
  }
  std::string random_value() {
    const std::size_t bytes = random_.below(10) == 0 ? random_.below(value_bytes_max_) : random_.below(300);
    if (random_.below(4) == 0) return std::to_string(random_() >> random_.below(64));
    return testing::patterned(random_(), bytes);
  }
  std::uint32_t random_expiry() {
    switch (random_.below(6)) {
      case 0:
        return clock_.seconds + static_cast<std::uint32_t>(random_.below(5));
      case 1:
        return clock_.seconds + static_cast<std::uint32_t>(random_.below(500));
      case 2:
        return clock_.seconds + static_cast<std::uint32_t>(random_.below(1000000));
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
  // Tells whether the cache has the key; where it may have evicted it, the oracle follows.
  copied* known(const std::string& key) {
    copied* mine = live(key);
    if (exact_ || mine == nullptr) return mine;
    if (testing::read(*cache_, key)) return mine;
    oracle_.erase(key);
    return nullptr;
  }

  void step() {
    switch (random_.below(18)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return store();
      case 5:
      case 6:
        return extend();
      case 7:
        return compare_and_swap();
      case 8:
      case 9:
        return arithmetic();
      case 10:
      case 11:
        return remove();
      case 12:
        return touch();
      case 13:
        return pin();
      case 14:
        return two_steps();
      case 15:
        return pass_time();
      default:
        return get();
    }
  }

  void store() {
    const std::string key = random_key(), value = random_value();
    store_options options;
    options.flags = random_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(random_());
    options.expires_at = random_expiry();
    options.mode = std::array{store_mode::set, store_mode::set, store_mode::add, store_mode::replace}[random_.below(4)];
    const bool there = known(key) != nullptr;
    const cache_status expected =
        (options.mode == store_mode::add && there) || (options.mode == store_mode::replace && !there)
            ? cache_status::not_stored
            : cache_status::ok;
    ASSERT_EQ(cache_->store(key, value, options), expected);
    if (expected == cache_status::ok) oracle_[key] = {value, options.flags, options.expires_at, 0};
  }

  void extend() {
    const std::string key = random_key(), value = random_value().substr(0, 1000);
    store_options options;
    options.mode = random_.below(2) == 0 ? store_mode::append : store_mode::prepend;
    copied* mine = known(key);
    if (mine != nullptr && mine->value.size() > value_bytes_max_) return;
    const cache_status status = cache_->store(key, value, options);
    ASSERT_EQ(status, mine != nullptr ? cache_status::ok : cache_status::not_stored);
    if (mine == nullptr) return;
    mine->value = options.mode == store_mode::append ? mine->value + value : value + mine->value;
    mine->cas = 0;
  }

  void compare_and_swap() {
    const std::string key = random_key(), value = random_value();
    copied* mine = known(key);
    store_options options;
    options.mode = store_mode::compare_and_swap;
    options.cas = mine != nullptr && mine->cas != 0 && random_.below(3) != 0 ? mine->cas : random_();
    const cache_status expected = mine == nullptr            ? cache_status::not_found
                                  : mine->cas == options.cas ? cache_status::ok
                                                             : cache_status::exists;
    const cache_status status = cache_->store(key, value, options);
    ASSERT_EQ(status, expected);
    if (status == cache_status::ok) oracle_[key] = {value, 0, 0, 0};
  }

  void arithmetic() {
    const std::string key = random_key();
    copied* mine = known(key);
    arithmetic_options options;
    options.delta = random_() >> random_.below(64);
    options.decrement = random_.below(2) == 0;
    const arithmetic_result r = cache_->arithmetic(key, options);
    if (mine == nullptr) {
      ASSERT_EQ(r.status, cache_status::not_found);
      return;
    }
    std::uint64_t before = 0;
    const bool is_number = caching::parse_decimal(mine->value, before);  // has a test of its own
    ASSERT_EQ(r.status, is_number ? cache_status::ok : cache_status::not_numeric);
    if (!is_number) return;
    const std::uint64_t after = options.decrement ? before - std::min(before, options.delta) : before + options.delta;
    ASSERT_EQ(r.value, after);
    std::string digits = std::to_string(after);
    if (digits.size() < mine->value.size()) digits.resize(mine->value.size(), ' ');
    mine->value = digits;
    mine->cas = 0;
  }

  void remove() {
    const std::string key = random_key();
    const bool there = known(key) != nullptr;
    ASSERT_EQ(cache_->remove(key), there ? cache_status::ok : cache_status::not_found);
    oracle_.erase(key);
  }

  void touch() {
    const std::string key = random_key();
    copied* mine = known(key);
    const std::uint32_t at = random_expiry();
    ASSERT_EQ(cache_->touch(key, at), mine != nullptr ? cache_status::ok : cache_status::not_found);
    if (mine != nullptr) mine->expires_at = at;
  }

  void pin() {
    if (!pins_.empty() && random_.below(2) == 0) {
      const std::size_t which = random_.below(pins_.size());
      ASSERT_EQ(pins_[which].pin.view().value, pins_[which].value);
      pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(which));
      return;
    }
    const std::string key = random_key();
    const copied* mine = known(key);
    pinned_item pinned = cache_->pin(key);
    ASSERT_EQ(static_cast<bool>(pinned), mine != nullptr);
    if (mine == nullptr) return;
    ASSERT_EQ(pinned.view().value, mine->value);
    if (pins_.size() < 20) pins_.push_back({std::move(pinned), mine->value});
  }

  void two_steps() {
    if (!pending_) {
      pending_key_ = random_key();
      pending_options_ = {};
      pending_options_.flags = static_cast<std::uint32_t>(random_.below(3));
      pending_options_.expires_at = random_expiry();
      cache_status status{};
      pending_ = cache_->reserve(pending_key_, random_.below(value_bytes_max_), pending_options_, status);
      ASSERT_TRUE(pending_);
      return;
    }
    if (random_.below(4) == 0) return pending_.reset();
    const std::string value = testing::patterned(random_(), pending_.value_bytes());
    std::copy(value.begin(), value.end(), pending_.value());
    ASSERT_EQ(cache_->commit(std::move(pending_), pending_options_), cache_status::ok);
    oracle_[pending_key_] = {value, pending_options_.flags, pending_options_.expires_at, 0};
  }

  void pass_time() {
    clock_.seconds += static_cast<std::uint32_t>(random_.below(3) == 0 ? random_.below(300) : random_.below(3));
    if (random_.below(3) == 0) (void)cache_->maintain();
    if (random_.below(40) == 0) {
      cache_->flush();
      oracle_.clear();
    }
  }

  void get() {
    const std::string key = random_key();
    copied* mine = known(key);
    read_options options;
    options.cas = random_.below(2) == 0;
    if (random_.below(4) == 0) options.touch = random_expiry();
    const auto theirs = testing::read(*cache_, key, options);
    ASSERT_EQ(theirs.has_value(), mine != nullptr);
    if (mine == nullptr) return;
    if (options.touch) mine->expires_at = *options.touch;
    same(*theirs, *mine);
    if (!options.cas) return;
    ASSERT_NE(theirs->cas, 0u);
    if (mine->cas != 0) {
      ASSERT_EQ(theirs->cas, mine->cas);
    }
    mine->cas = theirs->cas;
  }

  static void same(const copied& theirs, const copied& mine) {
    ASSERT_EQ(theirs.value, mine.value);
    ASSERT_EQ(theirs.flags, mine.flags);
    ASSERT_EQ(theirs.expires_at, mine.expires_at);
  }

  void check_all() {
    testing::verify(*cache_);
    const cache_stats s = cache_->stats();
    ASSERT_LE(s.pool.held_bytes, s.pool.budget_bytes);
    std::size_t live_items = 0;
    for (auto at = oracle_.begin(); at != oracle_.end();) {
      const std::string key = (at++)->first;
      const copied* mine = live(key);
      if (mine == nullptr) continue;
      const auto theirs = testing::read(*cache_, key);
      if (exact_) {
        ASSERT_TRUE(theirs) << key;
      }
      if (theirs) same(*theirs, *mine), ++live_items;
    }
    std::map<std::string, int> seen;
    cache_->for_each([&](const item_view& view) { ++seen[std::string(view.key)]; });
    for (const auto& entry : seen) ASSERT_EQ(entry.second, 1) << entry.first;
    ASSERT_EQ(seen.size(), live_items);
    for (const held& h : pins_) ASSERT_EQ(h.pin.view().value, h.value);
  }

  testing::seeded random_;
  const bool exact_;
  const std::size_t value_bytes_max_;
  testing::fake_clock clock_;
  std::unique_ptr<cache> cache_;
  std::map<std::string, copied> oracle_;
  std::vector<held> pins_;
  pending_item pending_;
  std::string pending_key_;
  store_options pending_options_;
};

TEST(cache_model, agrees_with_the_oracle_while_everything_moves) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    model m(seed, std::size_t{32} << 20, seed % 2 == 0 ? 4 : 1, true, 40000);
    m.run(2500, 100);
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

TEST(cache_model, never_gives_back_anything_else_under_eviction) {
  for (std::uint64_t seed = 11; seed <= 14; ++seed) {
    model m(seed, std::size_t{2} << 20, seed % 2 == 0 ? 2 : 1, false, 100000);
    m.run(2500, 100);
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace scoot
