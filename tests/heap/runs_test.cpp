// SPDX-License-Identifier: MIT
//
// Goal: a block of many pages is served while the budget has room, whatever lies where in the address space, at a
// bounded cost; and what cannot move makes it fail, and break nothing. Method: pools whose address space is a quarter
// more than their budget and all there is (the OS refuses more), filled, and thinned out at random.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "directory.hpp"
#include "os/os.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class runs_test : public heap_fixture {
 protected:
  static constexpr std::size_t budget = 32 * mib;

  void SetUp() override {
    pool = page_pool::create({budget, 64 * kib, budget / 4 * 5});
    ASSERT_NE(pool, nullptr);
    h = heap::create(*pool);
    ASSERT_NE(h, nullptr);
    k = blocks.add_kind(*h);
    os::refuse_reserve(true);
  }
  void TearDown() override { os::refuse_reserve(false); }

  // Blocks of the sizes in turn until none is served.
  void fill_with(const std::vector<std::size_t>& sizes) {
    std::size_t refused = 0;
    for (std::size_t i = 0; refused < sizes.size(); ++i) {
      refused = blocks.allocate(*h, k, sizes[i % sizes.size()]) < 0 ? refused + 1 : 0;
    }
  }
  void free_at_random(double part) {
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (blocks.at[i] != nullptr && std::uniform_real_distribution<>()(random) < part) blocks.free(*h, i);
    }
  }
  // Frees blocks at random until so much of the budget is live at most.
  void free_down_to(std::size_t live_bytes_max) {
    while (h->stats().live_bytes > live_bytes_max) {
      const std::size_t i = random() % blocks.at.size();
      if (blocks.at[i] != nullptr) blocks.free(*h, i);
    }
  }
  [[nodiscard]] std::size_t room() const {
    const page_pool_stats s = pool->stats();
    return s.budget_bytes - s.held_bytes + s.idle_bytes;
  }
  // Allocates, and checks what it moved and that nothing broke.
  std::ptrdiff_t allocate_bounded(std::size_t size) {
    blocks.bytes_moved = 0;
    const std::ptrdiff_t got = blocks.allocate(*h, k, size);
    if (!moves_everything()) {
      EXPECT_LE(blocks.bytes_moved, size + heap_options{}.move_bytes_max);
    }
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    return got;
  }

  std::mt19937_64 random{7};
};

TEST_F(runs_test, the_memory_of_runs_that_were_freed_serves_the_next) {
  constexpr std::size_t size = 48 * kib;
  for (std::size_t i = 0; i < 20 * mib / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  for (std::size_t i = 0; i < 10; ++i) blocks.free(*h, i);
  EXPECT_EQ(pool->stats().idle_bytes, 10 * size);
  const std::size_t held = pool->stats().held_bytes;
  for (std::size_t i = 0; i < 10; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  EXPECT_EQ(pool->stats().idle_bytes, 0U);
  EXPECT_EQ(pool->stats().held_bytes, held);
  for (std::size_t i = 10; i < blocks.at.size(); ++i) blocks.free(*h, i);
  EXPECT_LE(pool->stats().idle_bytes, mib) << "no more than is worth keeping";
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(runs_test, half_the_budget_in_one_block_from_a_heap_half_full_of_small_ones) {
  fill_with({300, 1000, 2500});
  free_down_to(budget / 2 - 2 * mib);
  h->compact();
  EXPECT_GE(allocate_bounded(budget / 2), 0);
  EXPECT_GT(blocks.blocks_moved, 0U);
}

TEST_F(runs_test, half_the_budget_from_a_heap_half_full_of_all_sorts) {
  fill_with({300, 5000, 20 * kib, 40 * kib, 100 * kib, 500 * kib, 2 * mib});
  free_down_to(budget / 2 - 2 * mib);
  h->compact();
  EXPECT_GE(allocate_bounded(budget / 2), 0);
}

TEST_F(runs_test, is_served_without_a_compaction_before) {
  fill_with({300, 1000, 20 * kib, 100 * kib});
  free_down_to(budget / 2 - 2 * mib);
  std::ptrdiff_t got = -1;
  for (int attempt = 0; attempt < 4 && got < 0; ++attempt) got = allocate_bounded(budget / 2);
  EXPECT_GE(got, 0);
}

TEST_F(runs_test, of_other_runs_make_way) {
  std::vector<std::ptrdiff_t> all;
  for (std::ptrdiff_t got = 0; (got = blocks.allocate(*h, k, mib)) >= 0;) all.push_back(got);
  ASSERT_GT(all.size(), 28U);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i % 2 == 0) blocks.free(*h, static_cast<std::size_t>(all[i]));
  }
  // No two of the free megabytes are side by side, but for the end.
  for (int i = 0; i < 3; ++i) EXPECT_GE(allocate_bounded(4 * mib), 0) << i;
  EXPECT_GT(blocks.blocks_moved, 0U);
}

TEST_F(runs_test, come_and_go_at_random_for_as_long_as_there_is_room) {
  fill_with({1000, 20 * kib});
  free_at_random(0.5);
  h->compact();
  std::vector<std::size_t> live;
  for (int i = 0; i < 150; ++i) {
    const std::size_t size = 64 * kib + random() % (3 * mib);
    while (!live.empty() && (room() < size + mib || random() % 4 == 0)) {
      const std::size_t at = random() % live.size();
      blocks.free(*h, live[at]);
      live[at] = live.back();
      live.pop_back();
    }
    if (room() < size + mib) continue;
    const std::ptrdiff_t got = allocate_bounded(size);
    ASSERT_GE(got, 0) << i << ": " << size << " bytes refused with room for " << room();
    live.push_back(static_cast<std::size_t>(got));
  }
  EXPECT_GT(live.size(), 0U);
}

TEST_F(runs_test, pinned_blocks_defeat_it_until_they_are_unpinned) {
  fill_with({1000, 20 * kib, 100 * kib});
  std::vector<void*> pinned;
  for (std::size_t i = 1; i < 40; ++i) blocks.free(*h, i);  // room to note the pins
  for (std::size_t i = 0; i < blocks.at.size(); i += 40) {
    ASSERT_TRUE(h->pin(blocks.at[i]));
    pinned.push_back(blocks.at[i]);
  }
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (i % 40 != 0 && random() % 8 < 5) blocks.free(*h, i);
  }
  h->compact();
  const std::size_t held = pool->stats().held_bytes;
  EXPECT_LT(allocate_bounded(budget / 2), 0);
  EXPECT_LE(pool->stats().held_bytes, held + 64 * kib);
  for (void* block : pinned) h->unpin(block);
  h->compact();
  EXPECT_GE(allocate_bounded(budget / 2), 0);
}

TEST_F(runs_test, movers_that_refuse_now_and_then_only_delay_it) {
  fill_with({1000, 20 * kib, 100 * kib});
  free_down_to(budget / 2 - 2 * mib);
  h->compact();
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  EXPECT_LT(allocate_bounded(budget / 2), 0);
  blocks.answer = [this](std::uint32_t) { return random() % 1000 == 0 ? verdict::keep : verdict::moved; };
  std::ptrdiff_t got = -1;
  for (int attempt = 0; attempt < 50 && got < 0; ++attempt) {
    got = allocate_bounded(budget / 2);
    if (got < 0) h->compact();
  }
  EXPECT_GE(got, 0);
}

TEST_F(runs_test, blocks_dropped_on_the_way_are_gone) {
  fill_with({1000, 20 * kib, 100 * kib});
  free_down_to(budget / 2 - 2 * mib);
  h->compact();
  blocks.answer = [this](std::uint32_t) { return random() % 8 == 0 ? verdict::drop : verdict::moved; };
  EXPECT_GE(allocate_bounded(budget / 2), 0);
  EXPECT_GT(h->stats().blocks_dropped, 0U);
}

TEST_F(runs_test, of_two_heaps_in_two_threads_leave_each_other_alone) {
  h.reset();
  std::atomic<int> served{0};
  const auto work = [this, &served](unsigned seed) {
    const auto mine = heap::create(*pool);
    directory blocks_here;
    const kind here = blocks_here.add_kind(*mine);
    std::mt19937_64 dice(seed);
    std::vector<std::size_t> live;
    for (int i = 0; i < 600; ++i) {
      const std::size_t size = i % 3 == 0 ? 30 * kib : 64 * kib + dice() % (2 * mib);
      const std::ptrdiff_t got = blocks_here.allocate(*mine, here, size);
      if (got >= 0) {
        live.push_back(static_cast<std::size_t>(got));
        ++served;
      }
      while (!live.empty() && (mine->stats().held_bytes > budget / 16 * 9 || (got < 0 && dice() % 2 == 0))) {
        const std::size_t at = dice() % live.size();
        blocks_here.free(*mine, live[at]);
        live[at] = live.back();
        live.pop_back();
      }
    }
    mine->verify();
    EXPECT_TRUE(blocks_here.all_intact());
  };
  std::thread other(work, 1);
  work(2);
  other.join();
  EXPECT_GT(served.load(), 400);
  EXPECT_EQ(pool->stats().pages, 0U);
}

TEST_F(runs_test, never_take_more_than_some_dozens_of_mappings) {
  const std::size_t before = mappings();
  std::size_t most = 0;
  for (int round = 0; round < 6; ++round) {
    fill_with({1000, 20 * kib, 33 * kib, 100 * kib, mib});
    free_down_to(budget / 2);
    h->compact();
    EXPECT_GE(allocate_bounded(budget / 4), 0);
    most = std::max(most, mappings());
    free_at_random(0.8);
    pool->trim();
    most = std::max(most, mappings());
  }
  EXPECT_LE(most, before + 40);
}

}  // namespace
}  // namespace scoot::testing
