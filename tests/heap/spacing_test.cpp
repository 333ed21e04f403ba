// SPDX-License-Identifier: MIT
//
// Goal: what spacing.cpp promises: compact() serves sizes of which there are few blocks by fewer shelves, allocations
// give a size a shelf of its own again, and neither loses a block nor costs more than it saves.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "directory.hpp"

namespace scoot::testing {
namespace {

class spacing_test : public heap_fixture {
 protected:
  // `each` blocks of every 64th of a doubling from 1 to 8 KiB.
  void fill_thinly(std::size_t each) {
    make(64 * mib);
    for (std::size_t size = kib; size <= 8 * kib; size += size / 64) {
      for (std::size_t i = 0; i < each; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
  }

  void expect_whole() {
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
};

TEST_F(spacing_test, compact_serves_few_blocks_of_many_sizes_by_few_shelves) {
  fill_thinly(3);
  const heap_stats before = h->stats();
  h->compact();
  const heap_stats after = h->stats();
  EXPECT_LT(after.shelves, before.shelves / 3);
  EXPECT_LT(after.held_bytes, before.held_bytes);
  EXPECT_LE(after.live_bytes, before.live_bytes + (before.shelves - after.shelves) * 2048);
  EXPECT_EQ(after.blocks, before.blocks);
  expect_whole();
  EXPECT_EQ(h->compact().why, stop_reason::nothing_to_gain) << "there must be an end to it";
}

TEST_F(spacing_test, compact_leaves_shelves_of_many_blocks_alone) {
  make(64 * mib);
  for (std::size_t size = 256; size <= 512; size += 8) {
    for (std::size_t i = 0; i < 2000; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  }
  const heap_stats before = h->stats();
  const compaction done = h->compact();
  EXPECT_EQ(h->stats().shelves, before.shelves);
  EXPECT_LE(done.bytes_moved, 2 * done.bytes_given_back + 4096) << "but for what lay on their last OS pages";
  EXPECT_LE(done.bytes_moved, before.shelves * std::size_t{4096} / 2);
}

TEST_F(spacing_test, compact_joins_what_lies_on_the_last_os_pages_of_similar_sizes) {
  make(64 * mib);
  for (std::size_t size = 256; size <= 512; size += 8) {
    for (std::size_t i = 0; i < 2000 + size % 13; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  }
  const heap_stats before = h->stats();
  h->compact();
  if (!moves_everything()) {  // then little lay on last OS pages
    EXPECT_LE(h->stats().held_bytes + 6 * std::size_t{4096}, before.held_bytes);
    EXPECT_LT(h->stats().slack_bytes, before.slack_bytes * 3 / 4);
  }
  expect_whole();
  EXPECT_EQ(h->compact().why, stop_reason::nothing_to_gain) << "there must be an end to it";
}

TEST_F(spacing_test, no_block_grows_by_more_than_an_eighth_however_often_tops_are_joined) {
  if (moves_everything()) GTEST_SKIP() << "then some spill to larger shelves besides";
  make(64 * mib);
  for (std::size_t round = 0; round < 12; ++round) {
    for (std::size_t size = 256; size <= 512; size += 8) {
      for (std::size_t i = 0; i < 100 + (size * round) % 7; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
    h->compact();
  }
  std::size_t rounded_up = 0;
  for (const std::byte* block : blocks.at) {
    std::uint32_t header[2];
    std::memcpy(header, block, sizeof header);
    const std::size_t usable = h->usable_size(block);
    EXPECT_LE(usable, header[1] + header[1] / 8 + header[1] / 32 + 8) << header[1] << ", which may have spilled before";
    rounded_up += usable > header[1] + std::size_t{8} ? 1 : 0;
  }
  EXPECT_GT(rounded_up, 0U) << "or nothing was tested";
  EXPECT_LT(rounded_up, blocks.at.size() / 10);
  expect_whole();
}

TEST_F(spacing_test, nor_however_often_shelves_are_closed_and_opened_besides) {
  if (moves_everything()) GTEST_SKIP() << "then some spill to larger shelves besides";
  heap_options options;
  options.waste_target = 1;  // nothing spills
  make(64 * mib, options);
  std::mt19937 random(1);
  for (int round = 0; round < 24; ++round) {
    for (int i = 0; i < 200; ++i) ASSERT_GE(blocks.allocate(*h, k, 200 + random() % 600), 0);
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (blocks.at[i] != nullptr && random() % 4 == 0) blocks.free(*h, i);
    }
    h->compact();
  }
  std::size_t rounded_up = 0;
  for (const std::byte* block : blocks.at) {
    if (block == nullptr) continue;
    std::uint32_t header[2];
    std::memcpy(header, block, sizeof header);
    const std::size_t slot = (header[1] + std::size_t{7}) / 8 * 8;
    EXPECT_LE(h->usable_size(block), slot + slot / 8) << header[1];
    rounded_up += h->usable_size(block) > slot ? 1 : 0;
  }
  EXPECT_GT(rounded_up, 0U) << "or nothing was tested";
  expect_whole();
}

TEST_F(spacing_test, each_step_of_a_bounded_compaction_keeps_all_and_they_come_to_the_same) {
  fill_thinly(3);
  h->compact();
  const std::size_t shelves = h->stats().shelves;
  const std::size_t held = h->stats().held_bytes;
  blocks.at.clear();
  fill_thinly(3);
  int steps = 0;
  for (; steps < 1000; ++steps) {
    const compaction done = h->compact({16 * kib});
    EXPECT_LE(done.bytes_moved, 16 * kib);
    ASSERT_NO_FATAL_FAILURE(expect_whole());
    if (done.why != stop_reason::effort_spent) break;
  }
  EXPECT_GT(steps, 10);
  EXPECT_LE(h->stats().shelves, shelves + 2);
  EXPECT_LE(h->stats().held_bytes, held + 16 * 4096);
}

TEST_F(spacing_test, a_size_gets_a_shelf_of_its_own_again_when_there_are_many_of_it) {
  if (moves_everything()) GTEST_SKIP() << "counts what allocations alone do";
  fill_thinly(3);
  h->compact();
  const heap_stats thin = h->stats();
  std::size_t asked = 0;
  std::mt19937_64 random(3);
  while (asked < 32 * mib) {
    const std::size_t size = kib + random() % (7 * kib);
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    asked += size;
  }
  const heap_stats thick = h->stats();
  EXPECT_GT(thick.shelves, 3 * thin.shelves);
  // Exact slots cost 1/128 on average; what was stored before its size had a shelf again is rounded further.
  EXPECT_LE(static_cast<double>(thick.live_bytes - thin.live_bytes), static_cast<double>(asked) * 1.025);
  expect_whole();
}

TEST_F(spacing_test, blocks_with_pins_keep_their_shelf_and_place) {
  fill_thinly(3);
  std::vector<std::byte*> pinned;
  for (std::size_t i = 0; i < blocks.at.size(); i += 50) {
    ASSERT_TRUE(h->pin(blocks.at[i]));
    pinned.push_back(blocks.at[i]);
  }
  h->compact();
  for (std::size_t i = 0; i < pinned.size(); ++i) EXPECT_EQ(blocks.at[i * 50], pinned[i]);
  expect_whole();
  for (std::byte* block : pinned) h->unpin(block);
}

TEST_F(spacing_test, blocks_whose_mover_refuses_or_drops_break_nothing) {
  fill_thinly(4);
  std::mt19937_64 random(5);
  blocks.answer = [&](std::uint32_t index) {
    switch (random() % 4) {
      case 0:
        return verdict::keep;
      case 1:
        blocks.at[index] = nullptr;
        return verdict::drop;
      default:
        return verdict::moved;
    }
  };
  for (int i = 0; i < 20; ++i) {
    h->compact();
    ASSERT_NO_FATAL_FAILURE(expect_whole());
  }
  // What was left behind in a closed shelf is freed like any other block.
  blocks.answer = {};
  blocks.free_all(*h);
  h->compact();
  EXPECT_EQ(h->stats().blocks, 0U);
  EXPECT_EQ(h->stats().shelves, 0U);
  h->verify();
}

TEST_F(spacing_test, many_blocks_of_a_size_between_slots_get_a_finer_one) {
  if (moves_everything()) GTEST_SKIP() << "counts what allocations alone do";
  make(64 * mib);
  const kind fine = blocks.add_kind(*h, 4);
  for (int i = 0; i < 1000; ++i) ASSERT_GE(blocks.allocate(*h, fine, 100), 0);
  EXPECT_EQ(h->stats().shelves, 1U) << "four bytes each of a few are less than a shelf costs";
  EXPECT_EQ(h->stats().live_bytes, 1000U * 104);
  for (int i = 0; i < 19000; ++i) ASSERT_GE(blocks.allocate(*h, fine, 100), 0);
  for (int i = 0; i < 20000; ++i) ASSERT_GE(blocks.allocate(*h, fine, 104), 0);
  EXPECT_EQ(h->stats().shelves, 2U);
  EXPECT_LT(h->stats().live_bytes, 20000U * 204 + 32 * kib);
  EXPECT_GE(h->stats().live_bytes, 20000U * 204);
  expect_whole();
}

TEST_F(spacing_test, an_emptied_heap_forgets_its_sizes) {
  fill_thinly(3);
  const std::size_t metadata = pool->stats().metadata_bytes;
  blocks.free_all(*h);
  h->compact();
  EXPECT_EQ(h->stats().shelves, 0U);
  EXPECT_LT(pool->stats().metadata_bytes, metadata);
  for (std::size_t size : {1000, 2000, 4000}) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  EXPECT_EQ(h->stats().shelves, 3U);
  expect_whole();
}

TEST_F(spacing_test, a_heap_that_became_small_forgets_its_pages_and_may_grow_again) {
  make(64 * mib);
  for (int round = 0; round < 3; ++round) {
    ASSERT_GE(blocks.allocate(*h, k, 100), 0);
    h->compact();
    const std::size_t small = pool->stats().metadata_bytes;
    while (h->stats().held_bytes < 48 * mib) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
    const std::size_t pages = h->stats().pages;
    expect_whole();
    while (blocks.at.size() > 1) {
      blocks.free(*h, blocks.at.size() - 1);
      blocks.at.pop_back();
    }
    h->compact();
    EXPECT_LE(pool->stats().metadata_bytes, small + pages * 64 / 2) << "64 bytes a page was known";
    expect_whole();
  }
}

}  // namespace
}  // namespace scoot::testing
