// SPDX-License-Identifier: MIT
//
// Goal: what heap.hpp promises of movers, verdicts, pins and the moves an allocation may make. Method: movers that
// count, refuse and drop on demand.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class mover_test : public heap_fixture {
 protected:
  // Blocks of all ranges: slots, large space, runs.
  void fill_with_all_sizes(std::size_t bytes) {
    std::size_t got = 0;
    for (std::size_t i = 0; got < bytes; ++i) {
      static constexpr std::size_t sizes[] = {8, 24, 100, 333, 1024, 2000, 5000, 8192, 12000, 30000, 40000, 150000};
      const std::size_t size = sizes[i * 7 % std::size(sizes)];
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
      got += size;
    }
  }
};

class pin_test : public mover_test {};

TEST_F(mover_test, move_everything_moves_every_unpinned_block_of_every_size) {
  make(16 * mib);
  fill_with_all_sizes(4 * mib);
  const std::vector<std::byte*> before = blocks.at;
  EXPECT_EQ(h->move_everything(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) ASSERT_NE(blocks.at[i], before[i]) << "block " << i;
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(mover_test, move_everything_moves_again_each_time_it_is_called) {
  make(16 * mib);
  fill_with_all_sizes(2 * mib);
  for (int round = 0; round < 10; ++round) {
    const std::vector<std::byte*> before = blocks.at;
    ASSERT_EQ(h->move_everything(), before.size());
    for (std::size_t i = 0; i < before.size(); ++i) ASSERT_NE(blocks.at[i], before[i]);
    ASSERT_TRUE(blocks.all_intact());
  }
  EXPECT_LE(pool->stats().held_bytes, 16 * mib);
}

TEST_F(mover_test, a_dropped_block_is_freed) {
  make(16 * mib);
  fill_with_all_sizes(2 * mib);
  const std::size_t count = blocks.at.size();
  blocks.answer = [](std::uint32_t index) { return index % 2 == 0 ? verdict::drop : verdict::moved; };
  h->move_everything();
  const heap_stats s = h->stats();
  EXPECT_EQ(s.blocks_dropped, (count + 1) / 2);
  EXPECT_EQ(s.blocks, count / 2);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(mover_test, a_mover_may_drop_every_block) {
  make(8 * mib);
  fill(300);
  thin_out(2);
  blocks.answer = [](std::uint32_t) { return verdict::drop; };
  h->compact();
  h->move_everything();
  EXPECT_EQ(h->stats().blocks, 0U);
  EXPECT_TRUE(std::all_of(blocks.at.begin(), blocks.at.end(), [](const std::byte* b) { return b == nullptr; }));
  h->compact();
  EXPECT_LE(h->stats().held_bytes, 128 * kib);
  h->verify();
}

TEST_F(mover_test, drops_made_by_an_allocation_make_room_for_it) {
  make(4 * mib);
  fill(256);
  blocks.answer = [](std::uint32_t) { return verdict::drop; };
  thin_out(4);
  std::size_t got = 0;
  while (got < 2 * mib && blocks.allocate(*h, k, 2000) >= 0) got += 2000;
  EXPECT_GE(got, 2 * mib);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(mover_test, a_kept_block_stays_where_it_is) {
  make(16 * mib);
  fill_with_all_sizes(2 * mib);
  const std::vector<std::byte*> before = blocks.at;
  blocks.answer = [](std::uint32_t index) { return index % 3 == 0 ? verdict::keep : verdict::moved; };
  h->move_everything();
  for (std::size_t i = 0; i < before.size(); i += 3) ASSERT_EQ(blocks.at[i], before[i]);
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_GE(h->stats().blocks_kept, before.size() / 3);
  h->verify();
}

TEST_F(mover_test, a_kept_block_at_the_top_does_not_strand_what_lies_below) {
  make(16 * mib);
  for (int i = 0; i < 40000; ++i) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const auto last = static_cast<std::uint32_t>(blocks.at.size() - 1);
  blocks.answer = [=](std::uint32_t index) { return index == last ? verdict::keep : verdict::moved; };
  for (std::size_t i = 0; i < last; ++i) {
    if (i % 10 != 0) blocks.free(*h, i);
  }
  h->compact();
  const heap_stats s = h->stats();
  EXPECT_LE(s.held_bytes, s.live_bytes + 3 * pool->page_bytes());
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(mover_test, a_heap_that_refuses_everything_is_not_asked_without_end) {
  make(8 * mib, {0.0001, 32 * kib});
  fill(200);
  thin_out(2);
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  const std::size_t live = h->stats().blocks;
  blocks.asked = 0;
  EXPECT_EQ(h->compact().why, stop_reason::refused);
  EXPECT_LE(blocks.asked, live);
  blocks.asked = 0;
  std::size_t allocations = 0;
  while (allocations < 1000 && blocks.allocate(*h, k, 3000) >= 0) ++allocations;
  EXPECT_LE(blocks.asked, live + 100 * (allocations + 1)) << "over " << allocations << " allocations";
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(mover_test, no_allocation_moves_more_than_its_share) {
  if (moves_everything()) GTEST_SKIP() << "counts what an allocation moves";
  heap_options options;
  options.waste_target = 0.001;
  options.move_bytes_max = 16 * kib;
  make(4 * mib, options, 64 * kib);
  std::uint64_t random = 1;
  std::size_t worst = 0;
  for (int step = 0; step < 60000; ++step) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    const std::size_t bits = random >> 33;
    const std::size_t size = bits % 16 == 0 ? 8 + bits % 40000 : 8 + bits % 1500;
    const std::size_t moved_before = blocks.bytes_moved;
    const std::size_t count_before = blocks.blocks_moved;
    const auto index = blocks.allocate(*h, k, size);
    const std::size_t moved = blocks.bytes_moved - moved_before;
    if (blocks.blocks_moved - count_before > 1) {
      ASSERT_LE(moved, options.move_bytes_max + size + size / 64 + 16) << "step " << step << " of size " << size;
      worst = std::max(worst, moved);
    }
    if (index < 0 || step % 5 != 0) {
      for (int tries = 0; tries < (index < 0 ? 20 : 1); ++tries) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const std::size_t victim = (random >> 33) % blocks.at.size();
        if (blocks.at[victim] != nullptr) blocks.free(*h, victim);
      }
    }
  }
  EXPECT_GT(blocks.blocks_moved, 0U);
  EXPECT_GT(worst, 0U);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(mover_test, an_allocation_moves_nothing_while_there_is_no_waste) {
  if (moves_everything()) GTEST_SKIP() << "counts what an allocation moves";
  make(16 * mib);
  for (int i = 0; i < 100000; ++i) {
    if (blocks.allocate(*h, k, 16 + 16 * (i % 5)) < 0) break;
  }
  EXPECT_EQ(blocks.asked, 0U);
}

TEST_F(mover_test, with_a_waste_target_of_one_only_the_budget_forces_moves) {
  if (moves_everything()) GTEST_SKIP() << "counts what an allocation moves";
  heap_options options;
  options.waste_target = 1;
  make(16 * mib, options);
  for (int i = 0; i < 20000; ++i) ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  thin_out(4);
  for (int i = 0; i < 1000; ++i) ASSERT_GE(blocks.allocate(*h, k, 2000), 0);
  EXPECT_EQ(blocks.asked, 0U);
  while (blocks.allocate(*h, k, 3000) >= 0) {
  }
  EXPECT_GT(blocks.blocks_moved, 0U);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(mover_test, waste_stays_near_its_target_while_sizes_shift) {
  make(32 * mib);
  std::uint64_t random = 7;
  const auto next = [&] { return (random = random * 6364136223846793005U + 1442695040888963407U) >> 33; };
  std::size_t live = 0;
  double worst = 0;
  for (std::size_t step = 0; step < 150000; ++step) {
    const std::size_t size = 16 + step / 400 + next() % 256;
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    live += size;
    while (live > 8 * mib) {
      const std::size_t victim = next() % blocks.at.size();
      if (blocks.at[victim] == nullptr) continue;
      std::uint32_t header[2];
      std::memcpy(header, blocks.at[victim], sizeof header);
      live -= header[1];
      blocks.free(*h, victim);
      if (step % 256 == 0) {
        const heap_stats s = h->stats();
        worst = std::max(worst, 1 - static_cast<double>(s.live_bytes) / static_cast<double>(s.held_bytes));
      }
    }
  }
  EXPECT_LE(worst, 0.25);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(pin_test, a_pinned_block_never_moves_whatever_its_size) {
  make(16 * mib, {0.0001, mib});
  fill_with_all_sizes(4 * mib);
  std::map<std::size_t, std::byte*> pinned;
  for (std::size_t i = 0; i < blocks.at.size(); i += 5) {
    ASSERT_TRUE(h->pin(blocks.at[i]));
    pinned[i] = blocks.at[i];
  }
  EXPECT_EQ(h->stats().pinned_blocks, pinned.size());
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (i % 5 != 0 && i % 4 != 0) blocks.free(*h, i);
  }
  h->compact();
  h->move_everything();
  fill_with_all_sizes(mib);
  for (const auto& [index, address] : pinned) ASSERT_EQ(blocks.at[index], address);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
  for (const auto& [index, address] : pinned) h->unpin(address);
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

TEST_F(pin_test, pins_count) {
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  std::byte* const address = blocks.at[0];
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(h->pin(address));
  EXPECT_EQ(h->stats().pinned_blocks, 1U);
  for (int i = 0; i < 2; ++i) {
    h->unpin(address);
    EXPECT_EQ(h->move_everything(), 0U);
    ASSERT_EQ(blocks.at[0], address);
  }
  h->unpin(address);
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
  EXPECT_EQ(h->move_everything(), 1U);
  EXPECT_NE(blocks.at[0], address);
}

TEST_F(pin_test, blocks_without_a_mover_can_be_pinned_too) {
  make(8 * mib);
  const kind still = h->add_kind({});
  void* block = h->allocate(still, 50);
  ASSERT_TRUE(h->pin(block));
  EXPECT_EQ(h->stats().pinned_blocks, 1U);
  h->unpin(block);
  h->free(block);
}

TEST_F(pin_test, many_pins_come_and_go) {
  make(32 * mib);
  for (int i = 0; i < 50000; ++i) ASSERT_GE(blocks.allocate(*h, k, 64), 0);
  const std::size_t before = pool->stats().metadata_bytes;
  for (int round = 0; round < 3; ++round) {
    for (std::byte* block : blocks.at) ASSERT_TRUE(h->pin(block));
    EXPECT_EQ(h->stats().pinned_blocks, blocks.at.size());
    EXPECT_EQ(h->move_everything(), 0U);
    for (std::byte* block : blocks.at) h->unpin(block);
  }
  h->verify();
  EXPECT_EQ(h->move_everything(), blocks.at.size());
  EXPECT_LE(pool->stats().metadata_bytes, before + 4 * mib);
}

TEST_F(pin_test, a_pin_at_the_top_does_not_strand_the_shelf) {
  make(16 * mib);
  for (int i = 0; i < 40000; ++i) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const std::size_t last = blocks.at.size() - 1;
  ASSERT_TRUE(h->pin(blocks.at[last]));
  for (std::size_t i = 0; i < last; ++i) {
    if (i % 10 != 0) blocks.free(*h, i);
  }
  h->compact();
  EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes + 3 * pool->page_bytes());
  h->unpin(blocks.at[last]);
  h->compact();
  EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes + pool->page_bytes());
  EXPECT_TRUE(blocks.all_intact());
}

// Pins stop compaction on page after page, until the last page without one is gone; then the pages that had pins go.
TEST_F(pin_test, pages_that_pins_held_can_be_emptied_in_any_order) {
  constexpr std::size_t per_page = 64;
  constexpr std::size_t pages = 5;
  const auto page_number = [](const std::byte* block) { return reinterpret_cast<std::uintptr_t>(block) / (64 * kib); };
  for (std::size_t variant = 0; variant < pages * pages; ++variant) {
    const std::size_t first = variant / pages;
    const std::size_t without_pin = variant % pages;
    make(8 * mib, {1, 8}, 64 * kib);
    for (std::size_t i = 0; i < pages * per_page; ++i) ASSERT_GE(blocks.allocate(*h, k, 1024), 0);
    std::vector<std::byte*> pinned;
    for (std::size_t page = 0; page < pages; ++page) {
      if (page != without_pin) pinned.push_back(blocks.at[page * per_page + per_page - 1]);
    }
    for (std::byte* block : pinned) ASSERT_TRUE(h->pin(block));
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (i % 8 != 0 && i % per_page != per_page - 1) blocks.free(*h, i);
    }
    h->compact();
    h->verify();
    for (std::byte* block : pinned) h->unpin(block);
    for (std::size_t turn = 0; turn < pinned.size(); ++turn) {
      const std::uintptr_t page = page_number(pinned[(first + turn) % pinned.size()]);
      for (std::size_t i = 0; i < blocks.at.size(); ++i) {
        if (blocks.at[i] != nullptr && page_number(blocks.at[i]) == page) blocks.free(*h, i);
      }
      ASSERT_TRUE(blocks.all_intact());
      h->verify();
    }
    for (std::size_t i = 0; i < 200; ++i) ASSERT_GE(blocks.allocate(*h, k, 1024), 0);
    ASSERT_TRUE(blocks.all_intact());
    h->verify();
    blocks.at.clear();
  }
}

TEST_F(pin_test, a_refused_pin_leaves_the_block_unpinned) {
  make(page_pool::budget_bytes_min);
  fill(48);
  std::vector<std::byte*> pinned;
  for (std::byte* block : blocks.at) {
    if (!h->pin(block)) break;
    pinned.push_back(block);
  }
  EXPECT_EQ(h->stats().pinned_blocks, pinned.size());
  EXPECT_LE(pool->stats().held_bytes, pool->stats().budget_bytes);
  for (std::byte* block : pinned) h->unpin(block);
  h->verify();
}

}  // namespace
}  // namespace scoot::testing
