// SPDX-License-Identifier: MIT
//
// Goal: what heap.hpp promises of compact, effort, stop reasons and estimate. Method: heaps whose waste is known.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

// Times are checked against bounds far above what is seen (microseconds), for builds with checks and busy machines.
constexpr int slowness = 50;

class compaction_test : public heap_fixture {
 protected:
  void make_holey(std::size_t size, std::size_t count, std::size_t keep) {
    heap_options options;
    options.waste_target = 1;
    make(64 * mib, options);
    for (std::size_t i = 0; i < count; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    thin_out(keep);
  }
};

TEST_F(compaction_test, of_an_empty_heap_has_nothing_to_gain) {
  make(4 * mib);
  const compaction done = h->compact();
  EXPECT_EQ(done.why, stop_reason::nothing_to_gain);
  EXPECT_EQ(done.bytes_given_back, 0U);
  EXPECT_EQ(h->estimate().bytes_to_gain, 0U);
  EXPECT_EQ(h->estimate().bytes_to_move, 0U);
}

TEST_F(compaction_test, of_a_full_dense_heap_moves_nothing) {
  make(8 * mib);
  for (std::size_t size : {40U, 500U, 8000U}) {
    while (blocks.allocate(*h, k, size) >= 0) {
    }
  }
  h->compact();
  blocks.asked = 0;
  const compaction done = h->compact();
  EXPECT_EQ(done.why, stop_reason::nothing_to_gain);
  EXPECT_EQ(done.bytes_moved, 0U);
  EXPECT_EQ(blocks.asked, 0U);
}

TEST_F(compaction_test, that_can_gain_nothing_is_cheap_however_often_it_is_called) {
  make_holey(300, 50000, 10);
  h->compact();
  blocks.asked = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) {
    const compaction done = h->compact();
    ASSERT_EQ(done.why, stop_reason::nothing_to_gain);
    ASSERT_EQ(done.bytes_moved, 0U);
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(blocks.asked, 0U);
  EXPECT_LT(took, slowness * std::chrono::milliseconds(100));
}

TEST_F(compaction_test, after_freeing_nine_tenths_leaves_little_more_than_what_is_live) {
  for (std::size_t size : {16U, 100U, 700U, 4000U, 8000U}) {
    make_holey(size, 32 * mib / size, 10);
    const compaction done = h->compact();
    const heap_stats s = h->stats();
    EXPECT_EQ(done.why, stop_reason::done) << size;
    EXPECT_LE(s.held_bytes, s.live_bytes + s.live_bytes / 32 + 2 * pool->page_bytes()) << size;
    EXPECT_LE(done.bytes_moved, s.live_bytes) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    blocks.at.clear();
  }
}

TEST_F(compaction_test, clears_the_large_space_too) {
  for (std::size_t size : {9000U, 15000U, 25000U}) {
    make_holey(size, 32 * mib / size, 10);
    h->compact();
    const heap_stats s = h->stats();
    EXPECT_LE(s.held_bytes, s.live_bytes * 4 / 3 + 2 * pool->page_bytes()) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    blocks.at.clear();
  }
}

TEST_F(compaction_test, gives_what_it_frees_to_the_os) {
  make_holey(512, 60000, 10);
  const std::size_t before = pool->stats().held_bytes;
  const compaction done = h->compact();
  EXPECT_GE(done.bytes_given_back, 20 * mib);
  EXPECT_LE(pool->stats().held_bytes, before - done.bytes_given_back + 2 * mib);
  EXPECT_LE(pool->stats().idle_bytes, 2 * mib);
}

TEST_F(compaction_test, moves_no_more_bytes_than_the_effort_allows) {
  make_holey(200, 60000, 4);
  const std::size_t live = h->stats().live_bytes;
  for (std::size_t bytes_max : {0U, 1U, 199U, 200U, 1000U, 4096U, 65536U, 1U << 20}) {
    effort e;
    e.bytes_max = bytes_max;
    const std::size_t before = blocks.bytes_moved;
    const compaction done = h->compact(e);
    EXPECT_LE(done.bytes_moved, bytes_max);
    EXPECT_EQ(done.bytes_moved, blocks.bytes_moved - before);
    EXPECT_EQ(done.why, stop_reason::effort_spent) << bytes_max;
    EXPECT_GE(done.bytes_moved + 200, bytes_max) << "an effort is there to be used";
  }
  EXPECT_EQ(h->stats().live_bytes, live);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(compaction_test, in_small_steps_gets_as_far_as_in_one) {
  make_holey(200, 60000, 4);
  effort e;
  e.bytes_max = 50000;
  std::size_t steps = 0;
  compaction done;
  do {
    done = h->compact(e);
    ASSERT_LT(++steps, 1000U);
  } while (done.why == stop_reason::effort_spent);
  const heap_stats s = h->stats();
  EXPECT_LE(s.held_bytes, s.live_bytes + s.live_bytes / 32 + 2 * pool->page_bytes());
  EXPECT_GT(steps, 10U);
  EXPECT_EQ(h->compact().bytes_moved, 0U);
}

TEST_F(compaction_test, stops_when_its_time_is_up) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  make_holey(64, 400000, 3);
  effort e;
  e.time_max = std::chrono::microseconds(200);
  const auto begin = std::chrono::steady_clock::now();
  const compaction done = h->compact(e);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(done.why, stop_reason::effort_spent);
  EXPECT_LT(took, slowness * std::chrono::milliseconds(20));
  EXPECT_LT(blocks.blocks_moved, 100000U);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(compaction_test, with_no_time_at_all_moves_next_to_nothing) {
  make_holey(64, 100000, 3);
  effort e;
  e.time_max = std::chrono::nanoseconds(0);
  const compaction done = h->compact(e);
  EXPECT_EQ(done.why, stop_reason::effort_spent);
  EXPECT_LE(done.bytes_moved, 64 * kib);
}

TEST_F(compaction_test, says_that_pins_hold_the_rest) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  make_holey(400, 40000, 10);
  for (std::byte* block : blocks.at) {
    if (block == nullptr) continue;
    ASSERT_TRUE(h->pin(block));
  }
  const compaction done = h->compact();
  EXPECT_EQ(done.why, stop_reason::pinned);
  EXPECT_EQ(done.bytes_moved, 0U);
  EXPECT_EQ(blocks.asked, 0U);
  for (std::byte* block : blocks.at) {
    if (block != nullptr) h->unpin(block);
  }
  EXPECT_EQ(h->compact().why, stop_reason::done);
}

TEST_F(compaction_test, says_that_kinds_without_a_mover_hold_the_rest) {
  make(32 * mib);
  const kind still = h->add_kind({});
  std::vector<void*> fixed;
  for (int i = 0; i < 20000; ++i) fixed.push_back(h->allocate(still, 500));
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    if (i % 10 != 0) h->free(fixed[i]);
  }
  EXPECT_EQ(h->compact().why, stop_reason::pinned);
  EXPECT_GE(h->stats().live_bytes, 2000U * 500);
}

TEST_F(compaction_test, says_that_movers_refused_the_rest_and_asks_again_the_next_time) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  make_holey(400, 20000, 10);
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  compaction done = h->compact();
  EXPECT_EQ(done.why, stop_reason::refused);
  EXPECT_EQ(done.bytes_moved, 0U);
  EXPECT_GT(done.blocks_kept, 0U);
  EXPECT_EQ(done.blocks_kept, blocks.asked);
  blocks.asked = 0;
  h->compact();
  EXPECT_GT(blocks.asked, 0U);
  blocks.answer = {};
  done = h->compact();
  EXPECT_EQ(done.why, stop_reason::done);
  EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes * 33 / 32 + 2 * pool->page_bytes());
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(compaction_test, counts_drops) {
  make_holey(400, 20000, 10);
  blocks.answer = [](std::uint32_t index) { return index % 20 == 0 ? verdict::drop : verdict::moved; };
  const std::size_t before = h->stats().blocks;
  const compaction done = h->compact();
  EXPECT_GT(done.blocks_dropped, 0U);
  EXPECT_EQ(h->stats().blocks, before - done.blocks_dropped);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(compaction_test, reports_the_bytes_it_gave_to_the_os) {
  for (std::size_t size : {24U, 800U, 12000U, 100000U}) {
    make_holey(size, 16 * mib / size, 5);
    const page_pool_stats before = pool->stats();
    const compaction done = h->compact();
    const page_pool_stats after = pool->stats();
    const std::size_t less = (before.held_bytes - before.metadata_bytes) - (after.held_bytes - after.metadata_bytes);
    EXPECT_GE(done.bytes_given_back, less) << size;
    EXPECT_LE(done.bytes_given_back, less + done.bytes_moved) << size;
    blocks.at.clear();
  }
}

TEST_F(compaction_test, estimate_forecasts_what_compact_then_does) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  for (std::size_t size : {24U, 100U, 800U, 4000U, 12000U, 100000U}) {
    make_holey(size, 24 * mib / size, 5);
    blocks.asked = 0;
    const forecast f = h->estimate();
    EXPECT_EQ(blocks.asked, 0U);
    const compaction done = h->compact();
    const std::size_t tolerance = done.bytes_given_back / 10 + 2 * pool->page_bytes();
    EXPECT_LE(f.bytes_to_gain, done.bytes_given_back + tolerance) << size;
    EXPECT_GE(f.bytes_to_gain + tolerance, done.bytes_given_back) << size;
    EXPECT_GE(f.bytes_to_move, done.bytes_moved) << size;
    EXPECT_LE(h->estimate().bytes_to_gain, tolerance) << size;
    blocks.at.clear();
  }
}

// With pins, blocks without a mover and all sorts of sizes. Tolerance: a fifth, and an OS page a shelf and 2 pages.
TEST_F(compaction_test, estimate_holds_in_random_heaps_with_pins) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    blocks.at.clear();
    make(48 * mib, {1, 32 * kib}, 64 * kib);
    const kind still = h->add_kind({});
    std::mt19937_64 random(seed);
    const std::size_t largest = seed % 3 == 0 ? 25000 : 1500;
    for (int i = 0; i < 12000 && h->stats().live_bytes < 16 * mib; ++i) {
      ASSERT_GE(blocks.allocate(*h, k, 8 + random() % largest), 0);
      if (i % 10 != 0) continue;
      ASSERT_NE(h->allocate(still, 8 + random() % 200), nullptr);
    }
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (seed % 4 != 0 && random() % (20 * seed) == 0) {
        ASSERT_TRUE(h->pin(blocks.at[i]));
      } else if (random() % 8 < 2 + seed % 5) {
        blocks.free(*h, i);
      }
    }
    const std::size_t shelves = h->stats().shelves;
    const forecast f = h->estimate();
    const compaction done = h->compact();
    const std::size_t tolerance = done.bytes_given_back / 5 + shelves * 4096 + 2 * pool->page_bytes();
    EXPECT_LE(f.bytes_to_gain, done.bytes_given_back + tolerance) << "seed " << seed;
    EXPECT_GE(f.bytes_to_gain + tolerance, done.bytes_given_back) << "seed " << seed;
    EXPECT_LE(done.bytes_moved, f.bytes_to_move + f.bytes_to_move / 10 + 2 * pool->page_bytes()) << "seed " << seed;
    const forecast rest = h->estimate();
    EXPECT_LE(rest.bytes_to_gain, tolerance) << "seed " << seed;
  }
}

TEST_F(compaction_test, of_many_sizes_at_once_stays_within_the_space_bound) {
  make(64 * mib, {1, 32 * kib});
  std::uint64_t random = 3;
  for (int i = 0; i < 60000; ++i) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    ASSERT_GE(blocks.allocate(*h, k, 8 + (random >> 33) % 1500), 0);
  }
  thin_out(10);
  h->compact();
  const heap_stats s = h->stats();
  const std::size_t asked_at_least = s.live_bytes - 7 * s.blocks - s.live_bytes / 64;
  EXPECT_LE(s.held_bytes,
            asked_at_least + s.live_bytes / 32 + 7 * s.blocks + s.shelves * 2 * 4096 + pool->page_bytes());
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(compaction_test, makes_room_for_what_was_refused) {
  make(8 * mib, {1, 8});
  fill(100);
  thin_out(10);
  h->compact();
  EXPECT_GE(blocks.allocate(*h, k, 5 * mib), 0);
  EXPECT_TRUE(blocks.all_intact());
}

}  // namespace
}  // namespace scoot::testing
