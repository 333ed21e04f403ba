// SPDX-License-Identifier: MIT
//
// Goal: what an item of the cold tier still is, and when it stops being there. Method: one behaviour a test, on a small
// cache from which items are pushed out on purpose. cold_model_test.cpp has them all together, at random.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cold_support.hpp"

namespace scoot::testing {
namespace {

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
