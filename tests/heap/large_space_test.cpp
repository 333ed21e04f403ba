// SPDX-License-Identifier: MIT
//
// Goal: blocks that share pages stay dense while they come and go at random, by moving little at a time, and what must
// not move does not. Method: steady replacement of blocks of 9 to 60 KiB, held bytes and moved bytes against live and
// allocated ones, each operation's moves against its allowance.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class large_space_test : public heap_fixture {
 protected:
  std::size_t draw() { return least + random() % (most - least); }

  std::size_t any_live() {
    for (;;) {
      const std::size_t at = random() % live.size();
      if (blocks.at[live[at]] != nullptr) return at;
      live[at] = live.back();  // dropped
      live.pop_back();
    }
  }
  void free_one() {
    const std::size_t at = any_live();
    blocks.free(*h, live[at]);
    live[at] = live.back();
    live.pop_back();
  }
  // False if refused.
  bool allocate_one(kind of) {
    const std::size_t size = draw();
    const std::size_t before = blocks.bytes_moved;
    const std::ptrdiff_t got = blocks.allocate(*h, of, size);
    if (!moves_everything()) {
      EXPECT_LE(blocks.bytes_moved - before, size + heap_options{}.move_bytes_max);
    }
    if (got < 0) return false;
    live.push_back(static_cast<std::size_t>(got));
    return true;
  }
  void replace(std::size_t live_bytes_max, std::size_t volume, kind of) {
    const std::uint64_t until = h->stats().allocated_bytes + volume;
    while (h->stats().allocated_bytes < until) {
      if (h->stats().live_bytes < live_bytes_max) {
        ASSERT_TRUE(allocate_one(of));
      } else {
        free_one();
      }
    }
  }

  std::size_t least = 9 * kib, most = 60 * kib;
  std::vector<std::size_t> live;
  std::mt19937_64 random{11};
};

TEST_F(large_space_test, stays_dense_under_random_replacement_by_moving_little) {
  make(80 * mib, {}, mib);
  replace(64 * mib, 64 * mib, k);
  blocks.bytes_moved = 0;
  const std::uint64_t before = h->stats().allocated_bytes;
  replace(64 * mib, 512 * mib, k);
  const heap_stats s = h->stats();
  EXPECT_LE(s.held_bytes, s.live_bytes + s.live_bytes / 20);
  EXPECT_GT(blocks.bytes_moved, 0U);
  if (!moves_everything()) {
    EXPECT_LE(blocks.bytes_moved, (s.allocated_bytes - before) * 3 / 10);
  }
  h->verify();
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(large_space_test, serves_a_budget_hardly_larger_than_what_is_live) {
  make(34 * mib, {}, mib);
  replace(32 * mib, 160 * mib, k);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(large_space_test, clears_nothing_that_is_pinned) {
  make(40 * mib, {}, mib);
  const kind pinned_kind = blocks.add_kind(*h, 64);
  replace(16 * mib, 16 * mib, k);
  std::vector<std::pair<std::size_t, std::byte*>> pinned;
  for (std::size_t i = 0; i < live.size(); i += 7) {
    ASSERT_TRUE(h->pin(blocks.at[live[i]]));
    pinned.emplace_back(live[i], blocks.at[live[i]]);
  }
  live.erase(std::remove_if(live.begin(), live.end(),
                            [&](std::size_t id) {
                              return std::any_of(pinned.begin(), pinned.end(),
                                                 [id](const auto& each) { return each.first == id; });
                            }),
             live.end());
  replace(32 * mib, 128 * mib, pinned_kind);
  EXPECT_GT(blocks.blocks_moved, 0U);
  for (const auto& [id, address] : pinned) {
    EXPECT_EQ(blocks.at[id], address);
    h->unpin(blocks.at[id]);
  }
  h->verify();
}

TEST_F(large_space_test, a_mover_that_always_refuses_is_asked_seldom) {
  if (moves_everything()) GTEST_SKIP() << "counts how often allocations alone ask";
  make(48 * mib, {}, mib);
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  replace(32 * mib, 32 * mib, k);
  blocks.asked = 0;
  const std::uint64_t before = h->stats().allocations;
  replace(32 * mib, 128 * mib, k);
  EXPECT_EQ(blocks.blocks_moved, 0U);
  EXPECT_LE(blocks.asked, (h->stats().allocations - before) / 4);
}

TEST_F(large_space_test, refusals_in_the_emptiest_pages_strand_these_pages_alone) {
  make(48 * mib, {.waste_target = 1}, 512 * kib);
  std::vector<std::vector<std::size_t>> pages;  // indices of the blocks in each
  for (std::size_t i = 0; i < 40 * mib / (20 * kib); ++i) {
    ASSERT_GE(blocks.allocate(*h, k, 20 * kib), 0);
    const auto number = reinterpret_cast<std::uintptr_t>(blocks.at[i]) / (512 * kib);
    if (i == 0 || number != reinterpret_cast<std::uintptr_t>(blocks.at[i - 1]) / (512 * kib)) pages.emplace_back();
    pages.back().push_back(i);
  }
  constexpr std::size_t refusing = 5;  // pages with one block each, the others have four
  std::vector<std::size_t> alone;
  for (const auto& page : pages) {
    if (alone.size() < refusing) alone.push_back(page.front());
    for (std::size_t n = alone.size() < refusing ? 1 : 4; n < page.size(); ++n) blocks.free(*h, page[n]);
  }
  blocks.answer = [&alone](std::uint32_t index) {
    return std::count(alone.begin(), alone.end(), index) != 0 ? verdict::keep : verdict::moved;
  };
  EXPECT_EQ(h->compact().why, stop_reason::refused);
  EXPECT_LE(h->stats().pages, pages.size() / 5 + refusing);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(large_space_test, aligned_blocks_find_aligned_windows) {
  make(36 * mib, {}, mib);
  const kind aligned = blocks.add_kind(*h, 4096);
  replace(16 * mib, 16 * mib, k);
  replace(32 * mib, 128 * mib, aligned);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(large_space_test, blocks_dropped_by_their_mover_make_room) {
  make(36 * mib, {}, mib);
  replace(32 * mib, 32 * mib, k);
  blocks.answer = [this](std::uint32_t) { return random() % 3 == 0 ? verdict::drop : verdict::moved; };
  replace(32 * mib, 96 * mib, k);
  EXPECT_GT(h->stats().blocks_dropped, 0U);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

// Blocks that would have a shelf fill holes between large ones, a few in each page; also when pages are packed
// together.
TEST_F(large_space_test, pages_with_small_blocks_in_their_holes_are_packed_together) {
  heap_options dense;
  dense.waste_target = 1.0 / 256;
  make(24 * mib, dense, 64 * kib);
  for (int round = 0; round < 6; ++round) {
    least = 4112, most = 6000;
    replace(12 * mib, 8 * mib, k);
    least = 1024, most = 2000;
    replace(14 * mib, 6 * mib, k);
    for (std::size_t i = live.size() / 3; i-- > 0;) free_one();
    EXPECT_EQ(h->compact({}).why, stop_reason::done);
    h->verify();
    ASSERT_TRUE(blocks.all_intact());
  }
}

}  // namespace
}  // namespace scoot::testing
