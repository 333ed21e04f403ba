// SPDX-License-Identifier: MIT
//
// Goal: whatever is hot, cold, purged or dropped, an operation sees the item exactly as it was stored last, or none;
// and what is gone stays gone until it is stored again. Method: seeded operations on a small cache whose cold tier is
// several times its budget, beside an oracle that forgets what the cache says is gone; every item is moved between
// operations, the kernel is asked to reclaim chunks or single pages of the cold tier (which it does for its owner
// without privileges), and all invariants are checked. Where the kernel purges nothing, the tier keeps its memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bits.hpp"
#include "cache/decimal.hpp"
#include "cold_support.hpp"

namespace scoot::testing {
namespace {

class cold_model {
 public:
  cold_model(std::uint64_t seed, std::size_t purgeable_bytes, unsigned shards, bool purges)
      : random_(seed),
        purges_(purges),
        cache_(cache::create(cold_options_on(clock_, 2 * mib, purgeable_bytes, shards))) {}

  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] cache& subject() { return *cache_; }

  bool step() {
    using operation = void (cold_model::*)();
    static constexpr operation operations[] = {
        &cold_model::store,  &cold_model::store, &cold_model::store,      &cold_model::store,
        &cold_model::store,  &cold_model::store, &cold_model::store,      &cold_model::store,
        &cold_model::extend, &cold_model::swap,  &cold_model::arithmetic, &cold_model::remove,
        &cold_model::touch,  &cold_model::get,   &cold_model::get,        &cold_model::get,
        &cold_model::get,    &cold_model::look,  &cold_model::get_many,   &cold_model::pass_time,
        &cold_model::rarely, &cold_model::pin,   &cold_model::two_steps,  &cold_model::get_stale};
    (this->*operations[random_.below(std::size(operations))])();
    if (random_.below(8) == 0) move_everything(*cache_);
    return failure_.empty();
  }

  bool check_all() {
    verify(*cache_);
    const cache_stats s = cache_->stats();
    expect(s.pool.held_bytes <= s.pool.budget_bytes, "the budget is exceeded", {});
    expect(s.cold.chunks * 32 * kib <= s.cold.ceiling_bytes, "the ceiling is exceeded", {});
    for (unsigned n = 0; n < keys; ++n) get_key(key_of(n), {});
    return failure_.empty();
  }

 private:
  static constexpr unsigned keys = 8000;

  std::string key_of(std::uint64_t n) { return "key" + std::to_string(n) + std::string(n % 7 == 0 ? 200 : 0, 'k'); }
  std::string some_key() { return key_of(random_.below(3) != 0 ? random_.below(keys) : random_.below(keys / 20)); }
  std::string some_value() {
    if (random_.below(4) == 0) return std::to_string(random_() >> random_.below(64));
    return patterned(random_(), random_.below(20) == 0 ? random_.below(40000) : random_.below(3000));
  }
  std::uint32_t some_expiry() {
    const auto in = random_.below(4);
    if (in > 1) return expires_never;
    return clock_.seconds + static_cast<std::uint32_t>(random_.below(in == 0 ? 100 : 100000));
  }
  void expect(bool condition, const char* what, const std::string& key) {
    if (!condition && failure_.empty()) failure_ = std::string(what) + " " + key.substr(0, 20);
  }

  copied* live(const std::string& key) {
    const auto at = oracle_.find(key);
    if (at == oracle_.end()) return nullptr;
    if (at->second.expires_at == expires_never || at->second.expires_at > clock_.seconds) return &at->second;
    oracle_.erase(at);
    return nullptr;
  }
  // The cache says whether it has the item. If it has, so must the oracle; if not, the oracle forgets it.
  copied* settle(const std::string& key, bool there) {
    copied* mine = live(key);
    if (there) expect(mine != nullptr, "what was gone came back:", key);
    if (!there) oracle_.erase(key);
    return there ? mine : nullptr;
  }

  void store() {
    const std::string key = some_key(), value = some_value();
    store_options options;
    options.flags = random_.below(2) == 0 ? 0 : static_cast<std::uint32_t>(random_());
    options.expires_at = some_expiry();
    options.mode = std::array{store_mode::set, store_mode::set, store_mode::add, store_mode::replace}[random_.below(4)];
    const cache_status status = cache_->store(key, value, options);
    expect(status == cache_status::ok || (status == cache_status::not_stored && options.mode != store_mode::set),
           "store", key);
    if (status == cache_status::not_stored) {
      settle(key, options.mode == store_mode::add);
      return;
    }
    if (options.mode == store_mode::replace) settle(key, true);
    oracle_[key] = {value, options.flags, options.expires_at, 0};
  }
  void extend() {
    const std::string key = some_key(), value = some_value().substr(0, 300);
    store_options options;
    options.mode = random_.below(2) == 0 ? store_mode::append : store_mode::prepend;
    if (const copied* mine = live(key); mine != nullptr && mine->value.size() > 40000) return;
    const cache_status status = cache_->store(key, value, options);
    copied* mine = settle(key, status == cache_status::ok);
    if (mine == nullptr) return;
    mine->value = options.mode == store_mode::append ? mine->value + value : value + mine->value;
    mine->cas = 0;
  }
  void swap() {
    const std::string key = some_key(), value = some_value();
    const copied* known = live(key);
    store_options options;
    options.mode = store_mode::compare_and_swap;
    options.cas = known != nullptr && known->cas != 0 && random_.below(4) != 0 ? known->cas : random_();
    const cache_status status = cache_->store(key, value, options);
    const copied* mine = settle(key, status != cache_status::not_found);
    if (mine == nullptr) return;
    expect((status == cache_status::ok) == (mine->cas == options.cas), "compare and swap", key);
    if (status == cache_status::ok) oracle_[key] = {value, 0, 0, 0};
  }
  void arithmetic() {
    const std::string key = some_key();
    arithmetic_options options;
    options.delta = random_() >> random_.below(64);
    const arithmetic_result r = cache_->arithmetic(key, options);
    copied* mine = settle(key, r.status != cache_status::not_found);
    if (mine == nullptr) return;
    std::uint64_t before = 0;
    const bool numeric = caching::parse_decimal(mine->value, before);
    expect(r.status == (numeric ? cache_status::ok : cache_status::not_numeric), "arithmetic", key);
    if (!numeric) return;
    expect(r.value == before + options.delta, "another sum", key);
    std::string digits = std::to_string(r.value);
    if (digits.size() < mine->value.size()) digits.resize(mine->value.size(), ' ');
    mine->value = digits;
    mine->cas = 0;
  }
  void remove() {
    const std::string key = some_key();
    if (random_.below(2) == 0) {
      settle(key, cache_->remove(key) == cache_status::ok);
    } else {
      settle(key, cache_->remove(key, remove_options{}) == cache_status::ok);
    }
    oracle_.erase(key);
  }
  void touch() {
    const std::string key = some_key();
    const std::uint32_t at = some_expiry();
    if (copied* mine = settle(key, cache_->touch(key, at) == cache_status::ok)) mine->expires_at = at;
  }
  void get_key(const std::string& key, const read_options& options) {
    const auto theirs = read(*cache_, key, options);
    copied* mine = settle(key, theirs.has_value());
    if (mine == nullptr) return;
    if (options.touch) mine->expires_at = *options.touch;
    expect(theirs->value == mine->value, "another value", key);
    expect(theirs->flags == mine->flags && theirs->expires_at == mine->expires_at, "other flags or expiry", key);
    if (!options.cas) return;
    expect(theirs->cas != 0 && (mine->cas == 0 || mine->cas == theirs->cas), "another unique", key);
    mine->cas = theirs->cas;
  }
  void get() {
    read_options options;
    options.cas = random_.below(3) == 0;
    if (random_.below(4) == 0) options.touch = some_expiry();
    get_key(some_key(), options);
  }
  void look() { get_key(some_key(), {}); }
  void get_stale() {
    const std::string key = some_key();
    meta_read meta;
    meta.idle = random_.below(2) == 0;
    read_options options;
    options.meta = &meta;
    get_key(key, options);
  }
  void get_many() {
    std::vector<std::string> names;
    for (std::size_t i = 0, n = 1 + random_.below(40); i < n; ++i) names.push_back(some_key());
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    const std::vector<std::string_view> views(names.begin(), names.end());
    std::vector<std::string> values(names.size());
    std::vector<bool> found(names.size());
    cache_->get_many(views, [&](std::size_t i, const item_view& view) {
      found[i] = true;
      values[i] = view.value;
    });
    for (std::size_t i = 0; i < names.size(); ++i) {
      const copied* mine = settle(names[i], found[i]);
      if (mine != nullptr) expect(values[i] == mine->value, "get_many gives another value", names[i]);
    }
  }
  void pin() {
    if (pins_.size() > 5 || (!pins_.empty() && random_.below(2) == 0)) {
      expect(pins_.back().first.view().value == pins_.back().second, "a pinned value changed", {});
      pins_.pop_back();
      return;
    }
    const std::string key = some_key();
    pinned_item pinned = cache_->pin(key);
    if (!pinned) return;  // there may be no memory for the pin
    const copied* mine = settle(key, true);
    if (mine == nullptr) return;
    expect(pinned.view().value == mine->value, "another value is pinned", key);
    pins_.emplace_back(std::move(pinned), mine->value);
  }
  void two_steps() {
    const std::string key = some_key(), value = some_value();
    store_options options;
    options.expires_at = some_expiry();
    cache_status status{};
    pending_item pending = cache_->reserve(key, value.size(), options, status);
    expect(static_cast<bool>(pending), "reserve", key);
    if (!pending) return;
    for (int i = 0; i < 3; ++i) get();
    std::copy(value.begin(), value.end(), pending.value());
    expect(cache_->commit(std::move(pending), options) == cache_status::ok, "commit", key);
    oracle_[key] = {value, 0, options.expires_at, 0};
  }
  void pass_time() {
    clock_.seconds += static_cast<std::uint32_t>(random_.below(10));
    if (random_.below(3) == 0) (void)cache_->maintain();
  }
  void rarely() {
    switch (random_.below(600)) {
      case 0:
        cache_->flush();
        oracle_.clear();
        break;
      case 1:
        expect(cache_->set_budget(2 * mib + random_.below(mib)), "set_budget", {});
        break;
      default:
        if (purges_ && random_.below(12) == 0) purge(*cache_, random_, std::array{1, 2, 7, 50}[random_.below(4)]);
    }
  }

  seeded random_;
  const bool purges_;
  fake_clock clock_;
  std::unique_ptr<cache> cache_;
  std::map<std::string, copied> oracle_;
  std::vector<std::pair<pinned_item, std::string>> pins_;
  std::string failure_;
};

cold_stats run_model(std::uint64_t seed, std::size_t purgeable_bytes, unsigned shards, bool purges) {
  cold_model model(seed, purgeable_bytes, shards, purges);
  constexpr int steps = 30000;
  for (int i = 0; i < steps; ++i) {
    if (!model.step() || (i % (steps / 8) == 0 && !model.check_all())) break;
  }
  EXPECT_EQ(model.failure(), "") << "seed " << seed;
  return cold(model.subject());
}

TEST(cold_tier, gives_the_last_value_or_none_at_a_ceiling) {
  const cold_stats s = run_model(1, 3 * mib, 1, false);
  EXPECT_GT(s.promotions, 500U);
  EXPECT_GT(s.hits, 1000U);
  EXPECT_GT(s.dropped_items, 100U);
  EXPECT_EQ(s.lost_items, 0U);
}

TEST(cold_tier, gives_the_last_value_or_none_while_the_kernel_purges) {
  if (!kernel_purges()) GTEST_SKIP() << "the kernel does not purge here";
  const cold_stats s = run_model(2, 16 * mib, 1, true);
  EXPECT_GT(s.hits, 100U);
  EXPECT_GT(s.promotions, 20U);
  EXPECT_GT(s.lost_items, 500U);
  EXPECT_GT(s.purged_bytes, mib);
}

TEST(cold_tier, gives_the_last_value_or_none_with_several_shards) {
  const cold_stats s = run_model(3, 8 * mib, 4, kernel_purges());
  EXPECT_GT(s.hits, 100U);
  EXPECT_GT(s.promotions, 20U);
}

}  // namespace
}  // namespace scoot::testing
