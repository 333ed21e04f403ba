// SPDX-License-Identifier: MIT
//
// Goal: whoever looks at a cache while it works is told of every chunk of the cold tier and of every pin, and by whom.
// Method: small caches of several shards, what is told added up and compared with the statistics.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scoot/cache.hpp"
#include "support.hpp"

namespace scoot {
namespace {

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

std::unique_ptr<cache> make(testing::fake_clock& clock, std::size_t purgeable_bytes) {
  cache_options options = testing::options_on(clock, 4 * mib);
  options.shards = 4;
  options.purgeable_bytes = purgeable_bytes;
  options.purgeable_keep_refused = true;
  return cache::create(options);
}

std::vector<std::pair<unsigned, cold_chunk_view>> chunks_of(cache& c) {
  std::vector<std::pair<unsigned, cold_chunk_view>> all;
  std::uint64_t cursor = 0;
  do {
    cursor =
        c.visit_cold(cursor, [&](unsigned shard, const cold_chunk_view& chunk) { all.emplace_back(shard, chunk); });
  } while (cursor != 0);
  return all;
}

TEST(cache_look, every_chunk_of_the_cold_tier_is_told_of_once) {
  testing::fake_clock clock;
  const auto c = make(clock, 16 * mib);
  ASSERT_NE(c, nullptr);
  EXPECT_TRUE(chunks_of(*c).empty());
  for (int i = 0; i < 16000; ++i)
    ASSERT_EQ(c->store("key" + std::to_string(i), std::string(kib, 'v')), cache_status::ok);
  const cold_stats s = c->stats().cold;
  std::set<std::pair<unsigned, std::uint32_t>> seen;
  std::size_t items = 0, held = 0;
  for (const auto& [shard, chunk] : chunks_of(*c)) {
    EXPECT_TRUE(seen.emplace(shard, chunk.number).second);
    EXPECT_LE(chunk.purged_bytes, chunk.used_bytes);
    EXPECT_LE(chunk.used_bytes, chunk.bytes);
    if (chunk.state == chunk_state::free || chunk.state == chunk_state::purged) continue;
    ++held;
    items += chunk.items;
    EXPECT_GT(chunk.items, 0U);
  }
  EXPECT_EQ(held, s.chunks);
  EXPECT_LE(items, s.items);
  EXPECT_GT(items, s.items * 9 / 10) << "less those that wait in the open buffers";
  c->flush();
  while (c->maintain()) {
  }
  for (const auto& [shard, chunk] : chunks_of(*c)) EXPECT_EQ(chunk.items, 0U) << shard;
}

TEST(cache_look, there_are_no_chunks_without_a_cold_tier) {
  testing::fake_clock clock;
  const auto c = make(clock, 0);
  ASSERT_NE(c, nullptr);
  EXPECT_TRUE(chunks_of(*c).empty());
}

TEST(cache_look, pins_are_listed_with_their_holders_over_all_shards) {
  testing::fake_clock clock;
  const auto c = make(clock, 0);
  ASSERT_NE(c, nullptr);
  std::vector<cache_pin> room(64);
  std::vector<pin_holder> holders(4);
  EXPECT_EQ(c->list_pins(room), 0U);
  EXPECT_EQ(c->list_pin_holders(holders), 0U);
  std::vector<pinned_item> pins;
  for (int i = 0; i < 20; ++i) {
    const std::string key = "key" + std::to_string(i);
    ASSERT_EQ(c->store(key, std::string(2000, 'v')), cache_status::ok);
    pins.push_back(c->pin(key));
    ASSERT_TRUE(pins.back());
  }
  cache_status status = cache_status::ok;
  pending_item pending = c->reserve("pending", 3000, {}, status);
  ASSERT_TRUE(pending);
  ASSERT_EQ(c->list_pins(room), 21U);
  std::set<unsigned> shards;
  for (std::size_t i = 0; i < 21; ++i) {
    shards.insert(room[i].shard);
    EXPECT_GE(room[i].pin.bytes, 2000U);
  }
  EXPECT_GT(shards.size(), 1U);
  EXPECT_EQ(c->list_pins({room.data(), 5}), 21U);
  ASSERT_EQ(c->list_pin_holders(holders), 2U);
  std::sort(holders.begin(), holders.begin() + 2, [](const auto& a, const auto& b) { return a.blocks > b.blocks; });
  EXPECT_STREQ(holders[0].holder, "reader");
  EXPECT_EQ(holders[0].blocks, 20U);
  EXPECT_STREQ(holders[1].holder, "writer");
  EXPECT_EQ(holders[1].blocks, 1U);
  ASSERT_EQ(c->list_pin_holders({holders.data(), 1}), 1U);
  EXPECT_STREQ(holders[0].holder, "...");
  EXPECT_EQ(holders[0].blocks, 21U);
  pins.clear();
  pending.reset();
  EXPECT_EQ(c->list_pins(room), 0U);
}

}  // namespace
}  // namespace scoot
