// SPDX-License-Identifier: MIT
//
// Goal: what kinds and pins are said to hold and strand is so. Method: sums over kinds against the heap's own
// statistics in seeded random heaps; stranded bytes against what compact then gives back when the pins go.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "directory.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"
#include "scoot/scoot.h"

namespace scoot::testing {
namespace {

class profile_test : public heap_fixture {
 protected:
  [[nodiscard]] std::size_t stranded() const {
    std::vector<pin_info> all(h->stats().pinned_blocks);
    EXPECT_EQ(list_pins(*h, all), all.size());
    std::size_t sum = 0;
    for (const pin_info& pin : all) sum += pin.stranded_bytes;
    return sum;
  }
};

TEST_F(profile_test, kinds_add_up_to_the_heap) {
  make(32 * mib);
  directory second;
  const kind other = second.add_kind(*h, 64);
  const kind still = h->add_kind({"still", 8, nullptr, nullptr});
  std::mt19937_64 random(9);
  for (int i = 0; i < 6000; ++i) {
    const std::size_t size = random() % 40 == 0 ? 8 + random() % 200000 : 8 + random() % 2000;
    switch (random() % 3) {
      case 0:
        ASSERT_GE(blocks.allocate(*h, k, size), 0);
        break;
      case 1:
        ASSERT_GE(second.allocate(*h, other, size), 0);
        break;
      default:
        ASSERT_NE(h->allocate(still, 1 + size / 4), nullptr);
        break;
    }
    directory& victims = random() % 2 == 0 ? blocks : second;
    if (random() % 4 != 0 && !victims.at.empty()) {
      const std::size_t victim = random() % victims.at.size();
      if (victims.at[victim] != nullptr) victims.free(*h, victim);
    }
  }
  h->compact();
  h->move_everything();
  const heap_stats s = h->stats();
  ASSERT_EQ(kind_count(*h), 3U);
  kind_stats sum;
  for (std::uint8_t i = 0; i < 3; ++i) {
    const kind_stats one = stats_of(*h, kind{i});
    EXPECT_GE(one.held_bytes, one.live_bytes);
    EXPECT_EQ(one.movable, i != 2);
    EXPECT_GT(one.blocks, 0U);
    sum.blocks += one.blocks;
    sum.live_bytes += one.live_bytes;
    sum.hole_bytes += one.hole_bytes;
    sum.held_bytes += one.held_bytes;
    sum.shelves += one.shelves;
    sum.blocks_moved += one.blocks_moved;
    sum.bytes_moved += one.bytes_moved;
  }
  EXPECT_EQ(sum.blocks, s.blocks);
  EXPECT_EQ(sum.live_bytes, s.live_bytes);
  EXPECT_EQ(sum.shelves, s.shelves);
  EXPECT_EQ(sum.blocks_moved, s.blocks_moved);
  EXPECT_EQ(sum.bytes_moved, s.bytes_moved);
  EXPECT_LE(sum.hole_bytes, s.hole_bytes);
  EXPECT_LE(sum.held_bytes, s.held_bytes);
  EXPECT_STREQ(stats_of(*h, still).name, "still");
  EXPECT_EQ(stats_of(*h, still).blocks_moved, 0U);
  EXPECT_EQ(stats_of(*h, kind{}).blocks, 0U);
}

TEST_F(profile_test, drops_and_refusals_are_counted_by_kind) {
  make(8 * mib);
  for (int i = 0; i < 100; ++i) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  blocks.answer = [](std::uint32_t index) { return index % 4 == 0 ? verdict::drop : verdict::keep; };
  h->move_everything();
  const kind_stats s = stats_of(*h, k);
  EXPECT_EQ(s.blocks_dropped, h->stats().blocks_dropped);
  EXPECT_EQ(s.blocks_kept, h->stats().blocks_kept);
  EXPECT_GT(s.blocks_dropped, 0U);
  EXPECT_GT(s.blocks_kept, 0U);
}

// --- Pins ------------------------------------------------------------------------------------------------------------

TEST_F(profile_test, a_pin_is_listed_with_holder_kind_and_age) {
  make(8 * mib);
  for (std::size_t size : {100U, 20000U, 200000U}) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    ASSERT_TRUE(h->pin(blocks.at.back(), "a reader"));
    ASSERT_TRUE(h->pin(blocks.at.back()));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  pin_info pins[4];
  ASSERT_EQ(list_pins(*h, pins), 3U);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(pins[i].bytes, h->usable_size(pins[i].block));
    EXPECT_STREQ(pins[i].kind_name, "directory");
    EXPECT_STREQ(pins[i].holder, "a reader");
    EXPECT_EQ(pins[i].pins, 2U);
    EXPECT_GE(pins[i].age_ns, 20'000'000U);
    EXPECT_LE(pins[i].age_ns, 60'000'000'000U);
    bytes += pins[i].bytes;
  }
  EXPECT_EQ(bytes, h->stats().live_bytes);
  EXPECT_EQ(stats_of(*h, k).pinned_blocks, 3U);
}

TEST_F(profile_test, the_holder_who_has_had_a_block_longest_is_named_until_he_lets_go) {
  make(8 * mib);
  for (std::size_t size : {100U, 20000U, 200000U}) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    void* const block = blocks.at.back();
    ASSERT_TRUE(h->pin(block, "a"));
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    ASSERT_TRUE(h->pin(block, "b"));
    ASSERT_TRUE(h->pin(block, "a"));
    ASSERT_TRUE(h->pin(block, "c"));
    const auto told = [&] {
      pin_info pins[1];
      EXPECT_EQ(list_pins(*h, pins), 1U);
      return pins[0];
    };
    EXPECT_STREQ(told().holder, "a");
    EXPECT_EQ(told().pins, 4U);
    EXPECT_EQ(explain(*h, block).pins, 4U);
    h->unpin(block, "a");
    EXPECT_STREQ(told().holder, "a");
    EXPECT_GE(told().age_ns, 40'000'000U);
    h->unpin(block, std::string("a").c_str());
    EXPECT_STREQ(told().holder, "b") << "who came after him";
    EXPECT_STREQ(explain(*h, block).pin_holder, "b");
    EXPECT_LE(told().age_ns, 30'000'000'000U);
    EXPECT_EQ(told().pins, 2U);
    h->unpin(block);
    EXPECT_STREQ(told().holder, "b") << "of those with names the last one goes first";
    ASSERT_TRUE(h->pin(block));
    h->unpin(block);
    EXPECT_STREQ(told().holder, "b") << "a pin without a name goes before those";
    EXPECT_EQ(h->move_everything(), 0U);
    h->unpin(block, "b");
    EXPECT_EQ(list_pins(*h, {}), 0U);
    h->verify();
    blocks.free(*h, blocks.at.size() - 1);
  }
}

// The table grows meanwhile, and closes gaps.
TEST_F(profile_test, holders_of_many_blocks_keep_their_order) {
  make(8 * mib);
  static const char* const names[] = {"0", "1", "2", "3", "4"};
  std::mt19937_64 random(3);
  std::vector<std::vector<unsigned>> holders(300);
  for (std::size_t i = 0; i < holders.size(); ++i) ASSERT_GE(blocks.allocate(*h, k, 64), 0);
  for (int step = 0; step < 20000; ++step) {
    const std::size_t i = random() % (step < 10000 ? holders.size() : 40);
    const auto who = static_cast<unsigned>(random() % 5);
    std::vector<unsigned>& of = holders[i];
    const auto known = std::find(of.begin(), of.end(), who);
    if (known != of.end()) {
      h->unpin(blocks.at[i], names[who]);
      of.erase(known);
    } else if (of.size() < 3) {
      ASSERT_TRUE(h->pin(blocks.at[i], names[who]));
      of.push_back(who);
    }
    const explanation e = explain(*h, blocks.at[i]);
    ASSERT_EQ(e.pins, of.size());
    ASSERT_STREQ(e.pin_holder, of.empty() ? "" : names[of.front()]);
    if (step % 1000 == 0) h->verify();
  }
  for (std::size_t i = 0; i < holders.size(); ++i) {
    for (unsigned who : holders[i]) h->unpin(blocks.at[i], names[who]);
  }
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

TEST_F(profile_test, null_is_neither_pinned_nor_of_any_size) {
  make(8 * mib);
  EXPECT_FALSE(h->pin(nullptr));
  h->unpin(nullptr);
  EXPECT_EQ(h->usable_size(nullptr), 0U);
}

// A pin in every page, and nearly nothing else: what they strand is what compact gives back without them. That is the
// OS page it lies on, or two; of a small block also what is above it of that, which is the top's.
TEST_F(profile_test, stranded_bytes_are_what_comes_back_when_the_pins_go) {
  for (std::size_t size : {64U, 1000U, 6000U, 20000U}) {
    make(32 * mib, {1, 32 * kib}, 64 * kib);
    blocks.at.clear();
    const std::size_t count = 16 * mib / size;
    for (std::size_t i = 0; i < count; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    const std::size_t step = 4 * 64 * kib / size;
    const std::size_t first = step - 1 - 64 * kib / size / 4;  // well inside its page, wherever the shelf begins
    std::vector<std::byte*> pinned;
    for (std::size_t i = first; i < count; i += step) {
      ASSERT_TRUE(h->pin(blocks.at[i], "every fourth page"));
      pinned.push_back(blocks.at[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (i % step != first) blocks.free(*h, i);
    }
    h->compact();
    const std::size_t told = stranded();
    const bool is_small = size <= 4 * kib;  // has a shelf
    EXPECT_LE(told, pinned.size() * (2 * 4096 + (is_small ? size : 0))) << size;
    EXPECT_TRUE(is_small || told > 0) << size;
    const std::size_t above = is_small ? pinned.size() * 4096 : 0;
    EXPECT_LE(h->estimate().bytes_to_gain, told / 8 + 128 * kib) << "and no forecast counts on them";
    for (std::byte* block : pinned) h->unpin(block);
    const compaction done = h->compact();
    EXPECT_LE(told, done.bytes_given_back + done.bytes_given_back / 8 + 128 * kib) << size;
    EXPECT_GE(told + told / 8 + above + 128 * kib, done.bytes_given_back) << size;
    EXPECT_EQ(stranded(), 0U);
  }
}

TEST_F(profile_test, a_pin_strands_nothing_while_other_blocks_can_fill_the_holes_below_it) {
  if (moves_everything()) GTEST_SKIP() << "needs blocks to be where they were allocated";
  make(16 * mib, {1, 32 * kib}, 64 * kib);
  for (int i = 0; i < 10000; ++i) ASSERT_GE(blocks.allocate(*h, k, 256), 0);
  ASSERT_TRUE(h->pin(blocks.at[255]));
  for (std::size_t i = 0; i < 255; ++i) blocks.free(*h, i);
  EXPECT_EQ(stranded(), 0U);
  h->compact();
  EXPECT_EQ(stranded(), 0U);
}

TEST_F(profile_test, the_worst_pins_come_first_when_there_is_room_for_few) {
  make(16 * mib, {1, 32 * kib}, 64 * kib);
  for (int i = 0; i < 5000; ++i) ASSERT_GE(blocks.allocate(*h, k, 512), 0);
  for (std::size_t i = 5; i < 5000; i += 17 + i % 50) ASSERT_TRUE(h->pin(blocks.at[i]));
  for (std::size_t i = 0; i < 5000; ++i) {
    if (explain(*h, blocks.at[i]).pins == 0) blocks.free(*h, i);
  }
  std::vector<pin_info> all(h->stats().pinned_blocks);
  ASSERT_EQ(list_pins(*h, all), all.size());
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_GE(all[i - 1].stranded_bytes, all[i].stranded_bytes);
  EXPECT_GT(all[0].stranded_bytes, 0U);
  pin_info few[3];
  EXPECT_EQ(list_pins(*h, few), all.size());
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(few[i].stranded_bytes, all[i].stranded_bytes);
  EXPECT_EQ(list_pins(*h, {}), all.size());
}

TEST_F(profile_test, holders_are_summed_up_and_the_rest_of_them_too) {
  make(8 * mib);
  static const char* const names[] = {"one", "two", "three", "four"};
  for (std::size_t i = 0; i < 40; ++i) {
    ASSERT_GE(blocks.allocate(*h, k, 1000), 0);
    ASSERT_TRUE(h->pin(blocks.at[i], names[i % 4]));
  }
  pin_holder lines[8];
  ASSERT_EQ(list_pin_holders(*h, lines), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(lines[i].blocks, 10U);
    EXPECT_GE(lines[i].bytes, 10000U);
  }
  ASSERT_EQ(list_pin_holders(*h, {lines, 3}), 3U);
  EXPECT_STREQ(lines[2].holder, "...");
  EXPECT_EQ(lines[0].blocks + lines[1].blocks + lines[2].blocks, 40U);
}

// --- From C ----------------------------------------------------------------------------------------------------------

TEST(c_diagnosis, answers_as_the_cxx_functions_do) {
  scoot_pool_options options = {};
  options.budget_bytes = 4 * mib;
  scoot_pool* pool = scoot_pool_create(&options);
  scoot_heap* h = scoot_heap_create(pool, nullptr);
  scoot_kind_options kind_options = {};
  kind_options.name = "c kind";
  const scoot_kind k = scoot_heap_add_kind(h, &kind_options);
  void* block = scoot_allocate(h, k, 100);
  ASSERT_TRUE(scoot_pin_as(h, block, "c holder"));
  scoot_explanation e = scoot_explain(h, static_cast<char*>(block) + 5);
  EXPECT_EQ(e.what, SCOOT_LIVE);
  EXPECT_NE(std::string(e.text).find("kind 'c kind', pinned 1 times, longest by 'c holder'"), std::string::npos)
      << e.text;
  EXPECT_EQ(e.block, block);
  EXPECT_EQ(e.bytes, scoot_usable_size(h, block));
  EXPECT_EQ(e.offset, 5U);
  EXPECT_EQ(e.kind.index, k.index);
  EXPECT_EQ(e.pins, 1U);
  EXPECT_STREQ(e.pin_holder, "c holder");
  e = scoot_explain(h, nullptr);
  EXPECT_EQ(e.what, SCOOT_FOREIGN);
  EXPECT_FALSE(scoot_kind_valid(e.kind));
  scoot_pin_info pins[2];
  ASSERT_EQ(scoot_list_pins(h, pins, 2), 1U);
  EXPECT_EQ(pins[0].block, block);
  EXPECT_STREQ(pins[0].holder, "c holder");
  const scoot_kind_usage usage = scoot_kind_stats(h, k);
  EXPECT_EQ(usage.blocks, 1U);
  EXPECT_EQ(usage.pinned_blocks, 1U);
  EXPECT_EQ(usage.live_bytes, scoot_usable_size(h, block));
  EXPECT_STREQ(usage.name, "c kind");
  EXPECT_EQ(usage.alignment, 8U);
  EXPECT_FALSE(usage.movable);
  std::string json;
  EXPECT_TRUE(scoot_write_snapshot(
      h,
      [](void* context, const char* bytes, size_t size) {
        static_cast<std::string*>(context)->append(bytes, size);
        return true;
      },
      &json, nullptr));
  EXPECT_EQ(json.front(), '{');
  EXPECT_EQ(json.back(), '}');
  scoot_heap_destroy(h);
  scoot_pool_destroy(pool);
}

}  // namespace
}  // namespace scoot::testing
