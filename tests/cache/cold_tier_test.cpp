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
#include <string>
#include <vector>

#include "base/bits.hpp"
#include "cache/decimal.hpp"
#include "os/os.hpp"
#include "os/purge.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t kib = std::size_t{1} << 10;

cache_options cold_options_on(fake_clock& clock, std::size_t budget_bytes, std::size_t purgeable_bytes,
                              unsigned shards = 1) {
  cache_options options = options_on(clock, budget_bytes, shards);
  options.purgeable_bytes = purgeable_bytes;
  options.purgeable_keep_refused = true;
  options.hash_seed = 4711;
  return options;
}

bool kernel_purges() { return purgeable::support() == purge_support::seen; }

// Has the kernel purge every n-th OS page of the cold tier, from a random one on.
void purge(cache& c, seeded& random, std::size_t every) {
  const std::size_t page = os::page_bytes();
  for (unsigned i = 0; i < inside(c).shards(); ++i) {
    const std::lock_guard guard(inside(c).nth(i).lock());
    caching::cold_tier* tier = inside(c).nth(i).cold();
    if (tier == nullptr) continue;
    purgeable& region = tier->region();
    const purgeable_stats stats = region.stats();
    for (std::uint32_t chunk = 0; chunk < stats.chunks_max; ++chunk) {
      const chunk_state state = region.state(chunk).state;
      if (state != chunk_state::offered && state != chunk_state::partly_purged) continue;
      for (std::size_t at = random.below(every) * page; at < stats.chunk_bytes; at += every * page) {
        (void)os::reclaim(region.data(chunk) + at, page);
      }
    }
  }
}

cold_stats cold(cache& c) { return c.stats().cold; }

// ---- the model ----------------------------------------------------------------------------------------------------

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

// ---- one behaviour each -------------------------------------------------------------------------------------------

class cold_fixture : public ::testing::Test {
 protected:
  void make(std::size_t budget_bytes = 2 * mib, std::size_t purgeable_bytes = 32 * mib) {
    c = cache::create(cold_options_on(clock, budget_bytes, purgeable_bytes));
    ASSERT_NE(c, nullptr);
  }
  // Stores so much else that what was stored before is cold.
  void push_out(std::size_t bytes = 3 * mib) {
    for (std::size_t i = 0; i < bytes / kib; ++i) {
      ASSERT_EQ(c->store("other" + std::to_string(others++), std::string(kib, 'o')), cache_status::ok);
    }
  }
  [[nodiscard]] bool is_cold(const std::string& key) {
    const caching::hashed_key k = inside(*c).hashed(key);
    return static_cast<bool>(inside(*c).nth(0).cold()->find(k.key, k.called));
  }

  fake_clock clock;
  std::unique_ptr<cache> c;
  std::size_t others = 0;
};

TEST_F(cold_fixture, what_is_evicted_comes_back_with_everything_it_had) {
  make();
  store_options options;
  options.flags = 77;
  options.expires_at = clock.seconds + 1000;
  store_extras with_unique;  // given at once, since an item that was read stays hot
  stored_item stored;
  with_unique.give_cas = true;
  with_unique.stored = &stored;
  options.extras = &with_unique;
  ASSERT_EQ(c->store("key", "value", options), cache_status::ok);
  const std::uint64_t unique = stored.cas;
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("key"));
  EXPECT_EQ(c->stats().evictions, 0U);
  read_options with_cas;
  with_cas.cas = true;
  const auto found = read(*c, "key", with_cas);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->value, "value");
  EXPECT_EQ(found->flags, 77U);
  EXPECT_EQ(found->expires_at, clock.seconds + 1000);
  EXPECT_EQ(found->cas, unique);
  EXPECT_FALSE(is_cold("key"));
  EXPECT_EQ(cold(*c).hits, 1U);
  EXPECT_EQ(cold(*c).promotions, 1U);
  EXPECT_GT(cold(*c).demotions, 1000U);
  verify(*c);
}

TEST_F(cold_fixture, operations_work_on_cold_items_as_on_hot_ones) {
  make();
  const std::vector<std::string> keys = {"number", "text",    "touched", "replaced",
                                         "added",  "deleted", "stale",   "swapped"};
  for (const std::string& key : keys) {
    if (key == "swapped") continue;  // stored once, below: twice would be a use
    ASSERT_EQ(c->store(key, key == "number" ? "41" : key), cache_status::ok);
  }
  store_options options;
  store_extras with_unique;
  stored_item stored;
  with_unique.give_cas = true;
  with_unique.stored = &stored;
  options.extras = &with_unique;
  ASSERT_EQ(c->store("swapped", "swapped", options), cache_status::ok);
  options.extras = nullptr;
  push_out(6 * mib);
  for (const std::string& key : keys) ASSERT_TRUE(is_cold(key)) << key;
  EXPECT_EQ(c->arithmetic("number", {}).value, 42U);
  options.mode = store_mode::append;
  EXPECT_EQ(c->store("text", "s", options), cache_status::ok);
  EXPECT_EQ(c->touch("touched", clock.seconds + 10), cache_status::ok);
  options.mode = store_mode::replace;
  EXPECT_EQ(c->store("replaced", "new", options), cache_status::ok);
  options.mode = store_mode::add;
  EXPECT_EQ(c->store("added", "new", options), cache_status::not_stored);
  EXPECT_EQ(c->remove("deleted"), cache_status::ok);
  EXPECT_EQ(c->remove("deleted"), cache_status::not_found);
  remove_options stale;
  stale.keep_stale = true;
  EXPECT_EQ(c->remove("stale", stale), cache_status::ok);
  options.mode = store_mode::compare_and_swap;
  options.cas = stored.cas;
  EXPECT_EQ(c->store("swapped", "new", options), cache_status::ok);
  for (const std::string& key : keys) EXPECT_FALSE(is_cold(key)) << key;
  EXPECT_EQ(value_of(*c, "number"), "42");
  EXPECT_EQ(value_of(*c, "text"), "texts");
  EXPECT_EQ(read(*c, "touched")->expires_at, clock.seconds + 10);
  EXPECT_EQ(value_of(*c, "replaced"), "new");
  EXPECT_EQ(value_of(*c, "added"), "added");
  EXPECT_EQ(value_of(*c, "deleted"), "(not found)");
  EXPECT_EQ(value_of(*c, "swapped"), "new");
  verify(*c);
}

TEST_F(cold_fixture, the_second_plain_read_makes_an_item_hot) {
  make();
  store_options options;
  options.flags = 5;
  ASSERT_EQ(c->store("key", "value", options), cache_status::ok);
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("key"));
  const auto first = read(*c, "key");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->value, "value");
  EXPECT_EQ(first->flags, 5U);
  EXPECT_TRUE(is_cold("key"));
  EXPECT_EQ(cold(*c).hits, 1U);
  EXPECT_EQ(cold(*c).promotions, 0U);
  EXPECT_EQ(value_of(*c, "key"), "value");
  EXPECT_FALSE(is_cold("key"));
  EXPECT_EQ(cold(*c).hits, 2U);
  EXPECT_EQ(cold(*c).promotions, 1U);
  EXPECT_EQ(c->stats().get_hits, 2U);
  // One that is to be pinned becomes hot at once.
  ASSERT_EQ(c->store("pinned", "value"), cache_status::ok);
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("pinned"));
  (void)c->pin("pinned");
  EXPECT_FALSE(is_cold("pinned"));
  verify(*c);
}

TEST_F(cold_fixture, a_set_and_a_refused_set_both_end_the_cold_item) {
  make();
  ASSERT_EQ(c->store("key", "old"), cache_status::ok);
  ASSERT_EQ(c->store("large", "old"), cache_status::ok);
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("key") && is_cold("large"));
  EXPECT_EQ(c->store("key", "new"), cache_status::ok);
  EXPECT_EQ(c->store("large", std::string(2 * mib, 'x')), cache_status::too_large);
  EXPECT_FALSE(is_cold("key") || is_cold("large"));
  EXPECT_EQ(value_of(*c, "key"), "new");
  EXPECT_EQ(value_of(*c, "large"), "(not found)");
}

TEST_F(cold_fixture, flush_and_expiry_reach_cold_items) {
  make();
  store_options options;
  options.expires_at = clock.seconds + 10;
  ASSERT_EQ(c->store("expiring", "value", options), cache_status::ok);
  ASSERT_EQ(c->store("flushed", "value"), cache_status::ok);
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("expiring") && is_cold("flushed"));
  clock.seconds += 10;
  EXPECT_EQ(c->remove("expiring"), cache_status::not_found);
  EXPECT_EQ(value_of(*c, "expiring"), "(not found)");
  c->flush();
  EXPECT_EQ(value_of(*c, "flushed"), "(not found)");
  EXPECT_EQ(cold(*c).items, 0U);
  while (c->maintain()) {
  }
  EXPECT_EQ(cold(*c).chunks, 0U);
  verify(*c);
}

TEST_F(cold_fixture, a_touched_cold_item_expires_by_its_new_time) {
  make();
  ASSERT_EQ(c->store("key", "value"), cache_status::ok);
  push_out(6 * mib);
  ASSERT_TRUE(is_cold("key"));
  ASSERT_EQ(c->touch("key", clock.seconds + 5), cache_status::ok);
  clock.seconds += 6;
  for (int i = 0; i < 100; ++i) (void)c->maintain();
  EXPECT_EQ(c->stats().expired, 1U);
  verify(*c);
}

TEST_F(cold_fixture, the_cold_tier_is_beside_the_budget_and_within_its_ceiling) {
  make(2 * mib, 8 * mib);
  push_out(24 * mib);
  const cache_stats s = c->stats();
  EXPECT_LE(s.pool.held_bytes, 2 * mib);
  EXPECT_EQ(s.cold.ceiling_bytes, 8 * mib);
  EXPECT_LE(s.cold.chunks * 32 * kib, 8 * mib);
  EXPECT_GT(s.cold.items, 6500U);
  EXPECT_GT(s.cold.dropped_items, 12000U);
  EXPECT_GT(s.items, 1500U);
  // The newest of the cold ones are there, the oldest are not.
  EXPECT_EQ(value_of(*c, "other0"), "(not found)");
  EXPECT_NE(value_of(*c, "other" + std::to_string(others - 2500)), "(not found)");
}

TEST_F(cold_fixture, what_the_kernel_purged_leaves_the_index) {
  if (!kernel_purges()) GTEST_SKIP() << "the kernel does not purge here";
  make();
  push_out(8 * mib);
  const std::size_t before = cold(*c).items;
  ASSERT_GT(before, 5000U);
  seeded random(1);
  for (int i = 0; i < 3; ++i) purge(*c, random, 1);
  for (int i = 0; i < 10; ++i) (void)c->maintain();
  const cold_stats s = cold(*c);
  EXPECT_LT(s.items, before / 10);
  EXPECT_GT(s.lost_items, before / 10 * 9);
  EXPECT_GT(s.purged_bytes, 5 * mib);
  std::size_t taken = 0;
  EXPECT_EQ(c->visit_cold(0, [&](unsigned, const auto& chunk) { taken += chunk.state == chunk_state::purged; }), 0U);
  EXPECT_GT(taken, 5 * mib / (32 * kib) * 9 / 10);
  verify(*c);
  for (std::size_t i = 0; i < others; ++i) {
    const auto found = read(*c, "other" + std::to_string(i));
    ASSERT_TRUE(!found || found->value == std::string(kib, 'o'));
  }
}

TEST_F(cold_fixture, what_was_read_is_offered_again_once) {
  if (!kernel_purges()) GTEST_SKIP() << "the kernel takes no offers here";
  make();
  ASSERT_EQ(c->store("key", "value"), cache_status::ok);
  push_out(4 * mib);
  const auto offers = [&] { return inside(*c).nth(0).cold()->region().stats().offers; };
  while (c->maintain()) {
  }
  const std::uint64_t before = offers();
  (void)c->maintain();
  EXPECT_EQ(offers(), before) << "nothing was read";
  ASSERT_TRUE(is_cold("key"));
  (void)c->maintain();
  EXPECT_EQ(offers(), before + 1);
  (void)c->maintain();
  EXPECT_EQ(offers(), before + 1);
  EXPECT_EQ(read(*c, "key")->value, "value");
}

TEST_F(cold_fixture, many_small_items_find_room_in_an_index_that_grows_and_shrinks) {
  make(12 * mib, 32 * mib);
  constexpr unsigned count = 400'000;
  for (unsigned i = 0; i < count; ++i) {
    ASSERT_EQ(c->store("key" + std::to_string(i), std::to_string(i)), cache_status::ok);
  }
  const cold_stats s = cold(*c);
  EXPECT_LT(s.dropped_items, count / 100);
  EXPECT_LT(static_cast<double>(s.index_bytes), static_cast<double>(s.items) * 12 + 300e3);
  verify(*c);
  unsigned found = 0;
  for (unsigned i = 0; i < count; i += 7) {
    const auto item = read(*c, "key" + std::to_string(i));
    if (!item) continue;
    ++found;
    ASSERT_EQ(item->value, std::to_string(i));
  }
  EXPECT_GT(found, count / 7 / 100 * 97);
  c->flush();
  for (int i = 0; i < 3000 && c->maintain(); ++i) {
  }
  EXPECT_LT(cold(*c).index_bytes, 300 * kib);
  verify(*c);
}

TEST_F(cold_fixture, items_larger_than_a_chunk_are_evicted_as_ever) {
  make(8 * mib);
  const std::string large(300 * kib, 'x');
  for (int i = 0; i < 60; ++i) ASSERT_EQ(c->store("large" + std::to_string(i), large), cache_status::ok);
  EXPECT_GT(cold(*c).too_large_items, 20U);
  EXPECT_EQ(cold(*c).too_large_items, c->stats().evictions);
}

TEST(cold_tier, is_off_unless_asked_for_and_where_nothing_is_evicted) {
  fake_clock clock;
  for (const bool evict : {true, false}) {
    cache_options options = options_on(clock, 2 * mib);
    options.evict = evict;
    options.purgeable_bytes = evict ? 0 : 8 * mib;
    const auto c = cache::create(options);
    ASSERT_NE(c, nullptr);
    for (int i = 0; i < 4000; ++i) (void)c->store("key" + std::to_string(i), std::string(kib, 'x'));
    EXPECT_EQ(cold(*c).ceiling_bytes, 0U);
    EXPECT_EQ(cold(*c).demotions, 0U);
  }
  EXPECT_EQ(cache::create(cold_options_on(clock, 8 * mib, 100 * kib)), nullptr);
}

}  // namespace
}  // namespace scoot::testing
