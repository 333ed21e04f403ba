// SPDX-License-Identifier: MIT
//
// Goal: what heap.hpp promises of kinds, allocate, free, usable_size, statistics and exhaustion. Method: each promise
// by itself, at the sizes where the heap changes its way of placing blocks (slots, large space, runs).
#include "scoot/heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "directory.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class heap_test : public heap_fixture {};

// Sizes around every boundary, for pages of 64 KiB.
std::vector<std::size_t> interesting_sizes() {
  std::vector<std::size_t> sizes = {0};
  for (std::size_t edge : {1U, 8U, 16U, 64U, 512U, 1024U, 1040U, 2048U, 4096U, 8000U, 8192U, 16384U, 32768U, 49152U,
                           65536U, 131072U, 262144U, 1048576U}) {
    for (std::size_t size : {edge - 1, std::size_t{edge}, std::size_t{edge} + 1}) sizes.push_back(size);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

class alignments : public heap_fixture, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(alignments, hold_at_every_size_and_after_every_move) {
  heap_options options;
  make(32 * mib, options, 64 * kib);
  const std::size_t alignment = GetParam();
  const kind aligned = blocks.add_kind(*h, alignment);
  ASSERT_TRUE(aligned);
  const auto check = [&](const char* when) {
    for (const std::byte* block : blocks.at) {
      if (block == nullptr) continue;
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0U) << when;
    }
  };
  for (int round = 0; round < 3; ++round) {
    for (std::size_t size : interesting_sizes())
      ASSERT_GE(blocks.allocate(*h, aligned, std::max<std::size_t>(size, 8)), 0);
  }
  check("allocated");
  h->move_everything();
  check("moved");
  thin_out(3);
  h->compact();
  check("compacted");
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

INSTANTIATE_TEST_SUITE_P(from_1_to_4096, alignments,
                         ::testing::Values(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096));

TEST_F(heap_test, refuses_alignments_that_are_no_power_of_two_or_above_4096) {
  make(4 * mib);
  for (std::size_t alignment : {0U, 3U, 24U, 4095U, 4097U, 8192U}) {
    kind_options o;
    o.alignment = alignment;
    EXPECT_FALSE(h->add_kind(o)) << alignment;
  }
}

TEST_F(heap_test, has_room_for_250_kinds_and_refuses_the_next) {
  make(64 * mib);
  std::vector<kind> kinds = {k};
  while (kinds.size() < heap::kinds_max) {
    kinds.push_back(h->add_kind({}));
    ASSERT_TRUE(kinds.back()) << kinds.size();
  }
  EXPECT_FALSE(h->add_kind({}));
  std::set<std::uint8_t> indices;
  for (kind each : kinds) {
    indices.insert(each.index);
    ASSERT_GE(blocks.allocate(*h, each, 100), 0);
  }
  EXPECT_EQ(indices.size(), kinds.size());
  h->verify();
}

TEST_F(heap_test, calls_the_mover_of_the_blocks_own_kind_with_its_own_context) {
  make(8 * mib);
  directory other;
  const kind kind_of_other = other.add_kind(*h);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_GE(blocks.allocate(*h, k, 100), 0);
    ASSERT_GE(other.allocate(*h, kind_of_other, 100), 0);
    if (i % 20 == 0) {
      ASSERT_GE(other.allocate(*h, kind_of_other, 20000 + 7 * i), 0);
      ASSERT_GE(blocks.allocate(*h, k, 20000 + 7 * i), 0);
    }
  }
  h->move_everything();
  EXPECT_GT(blocks.blocks_moved, 990U);
  EXPECT_GT(other.blocks_moved, 990U);
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_TRUE(other.all_intact());
}

TEST_F(heap_test, usable_size_is_at_least_what_was_asked_and_little_more) {
  make(32 * mib);
  for (std::size_t size : interesting_sizes()) {
    void* block = h->allocate(k, size);
    ASSERT_NE(block, nullptr) << size;
    const std::size_t usable = h->usable_size(block);
    EXPECT_GE(usable, std::max<std::size_t>(size, 1));
    EXPECT_LE(usable, size + 8 + (size > 1024 ? size / 32 : 0)) << size;
    std::memset(block, 0x5a, usable);
    h->free(block);
  }
  h->verify();
}

TEST_F(heap_test, usable_size_never_shrinks_when_blocks_move_and_grows_little) {
  make(32 * mib);
  std::vector<std::size_t> usable;
  for (std::size_t size : interesting_sizes()) {
    ASSERT_GE(blocks.allocate(*h, k, std::max<std::size_t>(size, 8)), 0);
    usable.push_back(h->usable_size(blocks.at.back()));
  }
  for (int round = 0; round < 3; ++round) {
    ASSERT_GT(h->move_everything(), 0U);
    h->compact();
    for (std::size_t i = 0; i < usable.size(); ++i) {
      EXPECT_GE(h->usable_size(blocks.at[i]), usable[i]);
      EXPECT_LE(h->usable_size(blocks.at[i]), usable[i] + usable[i] / 8 + 8);
    }
  }
}

TEST_F(heap_test, a_size_of_zero_gives_a_block_of_its_own) {
  make(4 * mib);
  void* a = h->allocate(k, 0);
  void* b = h->allocate(k, 0);
  ASSERT_TRUE(a != nullptr && b != nullptr);
  EXPECT_NE(a, b);
  EXPECT_GE(h->usable_size(a), 1U);
  h->free(a);
  h->free(b);
  EXPECT_EQ(h->stats().blocks, 0U);
}

TEST_F(heap_test, ignores_a_free_of_null) {
  make(4 * mib);
  h->free(nullptr);
  EXPECT_EQ(h->stats().blocks, 0U);
}

TEST_F(heap_test, counts_what_is_live) {
  make(16 * mib);
  std::size_t live = 0;
  for (std::size_t size : interesting_sizes()) {
    ASSERT_GE(blocks.allocate(*h, k, std::max<std::size_t>(size, 8)), 0);
    live += h->usable_size(blocks.at.back());
    EXPECT_EQ(h->stats().live_bytes, live);
    EXPECT_EQ(h->stats().blocks, blocks.at.size());
  }
  EXPECT_EQ(h->stats().allocations, blocks.at.size());
  EXPECT_EQ(h->stats().allocated_bytes, live);
  const std::size_t count = blocks.at.size();
  for (std::size_t i = 0; i < count; ++i) {
    live -= h->usable_size(blocks.at[i]);
    blocks.free(*h, i);
    EXPECT_EQ(h->stats().live_bytes, live);
    EXPECT_EQ(h->stats().blocks, count - 1 - i);
  }
  EXPECT_EQ(h->stats().allocations, count) << "a count of all there ever were";
}

TEST_F(heap_test, what_is_held_is_live_or_waste_that_it_accounts_for) {
  make(16 * mib, {}, 64 * kib);
  for (std::size_t round = 0; round < 3000; ++round) {
    if (blocks.allocate(*h, k, 8 + round * 7919 % 12000) < 0) break;
  }
  thin_out(2);
  const heap_stats s = h->stats();
  EXPECT_EQ(s.held_bytes, s.live_bytes + s.hole_bytes + s.slack_bytes);
  EXPECT_GE(s.pages * 64 * kib, s.held_bytes);
}

TEST_F(heap_test, returns_null_when_the_budget_is_full_and_recovers_after_frees) {
  make(4 * mib);
  for (std::size_t size : {16U, 512U, 8000U, 30000U, 60000U, 300000U}) {
    const std::size_t count = fill(size);
    EXPECT_GE(count * size, 3 * mib + 200 * kib) << "of " << size;
    const std::uint64_t failures = h->stats().failures;
    EXPECT_EQ(h->allocate(k, size), nullptr);
    EXPECT_EQ(h->stats().failures, failures + 1);
    blocks.free(*h, 0);
    blocks.free(*h, 1);
    EXPECT_GE(blocks.allocate(*h, k, size), 0) << "of " << size;
    EXPECT_TRUE(blocks.all_intact());
    blocks.free_all(*h);
    h->compact();
    h->verify();
  }
}

TEST_F(heap_test, a_full_heap_serves_another_size_after_frees) {
  make(4 * mib);
  fill(200);
  thin_out(2);
  std::size_t got = 0;
  for (int tries = 0; tries < 100000 && got < mib; ++tries) {
    if (blocks.allocate(*h, k, 3000) >= 0) {
      got += 3000;
    } else {
      h->compact();
      if (blocks.allocate(*h, k, 3000) < 0) break;
      got += 3000;
    }
  }
  EXPECT_GE(got, mib);
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_LE(pool->stats().held_bytes, 4 * mib);
}

TEST_F(heap_test, a_block_may_be_as_big_as_the_budget_has_room_for) {
  make(16 * mib);
  void* block = h->allocate(k, 15 * mib);
  ASSERT_NE(block, nullptr);
  std::memset(block, 0x77, h->usable_size(block));
  EXPECT_LE(pool->stats().held_bytes, 16 * mib);
  EXPECT_EQ(h->allocate(k, 15 * mib), nullptr);
  h->free(block);
  block = h->allocate(k, 15 * mib);
  EXPECT_NE(block, nullptr);
  h->free(block);
}

TEST_F(heap_test, refuses_sizes_beyond_the_budget_and_beyond_all_reason) {
  make(4 * mib);
  for (std::size_t size :
       {4 * mib + 1, ~std::size_t{0} / 2, ~std::size_t{0} / 2 + 1, ~std::size_t{0}, ~std::size_t{0} - 4095}) {
    EXPECT_EQ(h->allocate(k, size), nullptr) << size;
  }
  const kind aligned = blocks.add_kind(*h, 4096);
  EXPECT_EQ(h->allocate(aligned, ~std::size_t{0}), nullptr);
  EXPECT_GE(blocks.allocate(*h, k, 100), 0);
  h->verify();
}

TEST_F(heap_test, big_blocks_come_and_go_without_using_address_space_up) {
  make(8 * mib);
  for (int round = 0; round < 300; ++round) {
    const std::size_t size = mib + static_cast<std::size_t>(round) * 4999 % (5 * mib);
    const auto index = blocks.allocate(*h, k, size);
    ASSERT_GE(index, 0) << round;
    const auto small = blocks.allocate(*h, k, 1000);
    ASSERT_GE(small, 0) << round;
    blocks.free(*h, static_cast<std::size_t>(index));
  }
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_LE(pool->stats().address_bytes, 64 * mib);
}

TEST_F(heap_test, fresh_blocks_are_written_at_every_byte_without_touching_others) {
  make(8 * mib, {}, 64 * kib);
  std::vector<std::tuple<unsigned char*, std::size_t, unsigned char>> written;
  unsigned char fill_byte = 0;
  const kind still = h->add_kind({});
  for (int round = 0; round < 4; ++round) {
    for (std::size_t size : interesting_sizes()) {
      if (size > 200000) continue;
      auto* block = static_cast<unsigned char*>(h->allocate(still, size));
      ASSERT_NE(block, nullptr);
      const std::size_t usable = h->usable_size(block);
      std::memset(block, ++fill_byte, usable);
      written.emplace_back(block, usable, fill_byte);
    }
  }
  for (const auto& [block, size, byte] : written) {
    EXPECT_EQ(block[0], byte);
    EXPECT_EQ(std::memcmp(block, block + 1, size - 1), 0);
  }
}

TEST_F(heap_test, blocks_without_a_mover_never_move) {
  make(8 * mib, {0.0001, 64 * kib});
  const kind still = h->add_kind({"still", 8, nullptr, nullptr});
  std::vector<std::uint32_t*> fixed;
  for (std::uint32_t i = 0; i < 4000; ++i) {
    auto* block = static_cast<std::uint32_t*>(h->allocate(still, 16 + i % 900));
    ASSERT_NE(block, nullptr);
    *block = i;
    fixed.push_back(block);
    ASSERT_GE(blocks.allocate(*h, k, 16 + i % 700), 0);
  }
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    if (i % 3 != 0) h->free(std::exchange(fixed[i], nullptr));
  }
  thin_out(3);
  h->compact();
  h->move_everything();
  for (std::uint32_t i = 0; i < fixed.size(); ++i) {
    if (fixed[i] == nullptr) continue;
    ASSERT_EQ(*fixed[i], i);
  }
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(heap_test, free_moves_nothing) {
  make(8 * mib, {0.0001, mib});
  fill(150);
  const std::size_t before = blocks.asked;
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (i % 10 != 0) blocks.free(*h, i);
  }
  EXPECT_EQ(blocks.asked, before);
}

TEST_F(heap_test, an_empty_heap_holds_little_more_than_its_metadata) {
  make(64 * mib);
  fill(1000);
  fill(20);
  blocks.free_all(*h);
  h->compact();
  pool->trim();
  EXPECT_EQ(h->stats().live_bytes, 0U);
  EXPECT_LE(h->stats().held_bytes, 64 * kib);
  EXPECT_LE(pool->stats().held_bytes, 64 * mib / 50);
}

TEST_F(heap_test, destruction_frees_everything_and_calls_no_mover) {
  make(8 * mib);
  fill(700);
  blocks.asked = 0;
  h.reset();
  EXPECT_EQ(blocks.asked, 0U);
  EXPECT_EQ(pool->stats().pages, 0U);
}

TEST_F(heap_test, knows_its_pool) {
  make(4 * mib);
  EXPECT_EQ(&h->pool(), pool.get());
}

TEST_F(heap_test, is_refused_when_the_budget_has_no_room_for_it) {
  make(page_pool::budget_bytes_min);
  fill(500);
  fill(8);
  std::vector<std::unique_ptr<heap>> more;
  while (auto next = heap::create(*pool)) {
    more.push_back(std::move(next));
    ASSERT_LT(more.size(), 1000U);
  }
  EXPECT_LE(pool->stats().held_bytes, page_pool::budget_bytes_min);
  EXPECT_TRUE(blocks.all_intact());
}

}  // namespace
}  // namespace scoot::testing
