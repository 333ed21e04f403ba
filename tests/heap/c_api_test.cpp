// SPDX-License-Identifier: MIT
//
// Goal: the C API says and does what the C++ API does, and has its own conventions right: defaults, reserved room,
// invalid kinds. Method: the functions from C++; c_api_program.c is the test that they work from C.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "directory.hpp"
#include "scoot/scoot.h"

namespace scoot::testing {
namespace {

class c_api : public ::testing::Test {
 protected:
  void SetUp() override {
    scoot_pool_options options = {};
    options.budget_bytes = 8 * mib;
    pool = scoot_pool_create(&options);
    ASSERT_NE(pool, nullptr);
    h = scoot_heap_create(pool, nullptr);
    ASSERT_NE(h, nullptr);
  }
  void TearDown() override {
    scoot_heap_destroy(h);
    scoot_pool_destroy(pool);
  }
  scoot_kind add_kind(scoot_mover move, void* context = nullptr, std::size_t alignment = 0) {
    scoot_kind_options options = {};
    options.move = move;
    options.context = context;
    options.alignment = alignment;
    return scoot_heap_add_kind(h, &options);
  }

  scoot_pool* pool = nullptr;
  scoot_heap* h = nullptr;
};

// Blocks hold the address of the pointer to them.
scoot_verdict move_owned(void* context, void* from, void* to, std::size_t size) {
  ++*static_cast<int*>(context);
  std::memcpy(to, from, size);
  void** owner = nullptr;
  std::memcpy(&owner, from, sizeof owner);
  *owner = to;
  return SCOOT_MOVED;
}

TEST_F(c_api, refuses_options_with_bits_it_does_not_know) {
  scoot_pool_options pool_options = {};
  pool_options.budget_bytes = 8 * mib;
  pool_options.reserved[4] = 1;
  EXPECT_EQ(scoot_pool_create(&pool_options), nullptr);
  scoot_heap_options heap_options = {};
  heap_options.reserved[0] = 1;
  EXPECT_EQ(scoot_heap_create(pool, &heap_options), nullptr);
  scoot_kind_options kind_options = {};
  kind_options.reserved[1] = 1;
  EXPECT_FALSE(scoot_kind_valid(scoot_heap_add_kind(h, &kind_options)));
}

TEST_F(c_api, refuses_a_pool_without_options_or_budget) {
  EXPECT_EQ(scoot_pool_create(nullptr), nullptr);
  const scoot_pool_options none = {};
  EXPECT_EQ(scoot_pool_create(&none), nullptr);
}

TEST_F(c_api, ignores_null_where_it_says_so) {
  scoot_pool_destroy(nullptr);
  scoot_heap_destroy(nullptr);
  scoot_free(h, nullptr);
  EXPECT_TRUE(scoot_kind_valid(scoot_heap_add_kind(h, nullptr)));
}

TEST_F(c_api, gives_invalid_kinds_for_bad_alignments_and_when_there_are_too_many) {
  EXPECT_FALSE(scoot_kind_valid(add_kind(move_owned, nullptr, 3)));
  EXPECT_FALSE(scoot_kind_valid(add_kind(nullptr, nullptr, 8192)));
  int added = 0;
  while (scoot_kind_valid(add_kind(move_owned))) ASSERT_LE(++added, 250);
  EXPECT_EQ(added, 250);
}

TEST_F(c_api, aligns_to_8_bytes_by_default_and_as_asked_otherwise) {
  const scoot_kind plain = scoot_heap_add_kind(h, nullptr);
  const scoot_kind aligned = add_kind(nullptr, nullptr, 512);
  for (std::size_t size = 1; size < 30000; size = size * 3 + 1) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(scoot_allocate(h, plain, size)) % 8, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(scoot_allocate(h, aligned, size)) % 512, 0U);
  }
}

TEST_F(c_api, hands_each_mover_its_own_context) {
  int moves[2] = {};
  void* owners[2] = {};
  for (int i = 0; i < 2; ++i) {
    const scoot_kind k = add_kind(move_owned, &moves[i]);
    ASSERT_TRUE(scoot_kind_valid(k));
    owners[i] = scoot_allocate(h, k, 64);
    ASSERT_NE(owners[i], nullptr);
    void** back = &owners[i];
    std::memcpy(owners[i], &back, sizeof back);
  }
  EXPECT_EQ(scoot_move_everything(h), 2U);
  EXPECT_EQ(moves[0], 1);
  EXPECT_EQ(moves[1], 1);
  for (void*& owner : owners) EXPECT_EQ(std::memcmp(owner, std::vector<void**>{&owner}.data(), sizeof(void*)), 0);
}

TEST_F(c_api, returns_null_when_the_budget_is_full) {
  const scoot_kind k = scoot_heap_add_kind(h, nullptr);
  EXPECT_EQ(scoot_allocate(h, k, 9 * mib), nullptr);
  EXPECT_EQ(scoot_heap_stats(h).failures, 1U);
}

TEST_F(c_api, counts_pins) {
  int moves = 0;
  const scoot_kind k = add_kind(move_owned, &moves);
  void* owner = scoot_allocate(h, k, 100);
  void** back = &owner;
  std::memcpy(owner, &back, sizeof back);
  ASSERT_TRUE(scoot_pin(h, owner));
  EXPECT_EQ(scoot_heap_stats(h).pinned_blocks, 1U);
  EXPECT_EQ(scoot_move_everything(h), 0U);
  scoot_unpin(h, owner);
  EXPECT_EQ(scoot_move_everything(h), 1U);
}

TEST_F(c_api, an_effort_of_zeros_has_no_limit) {
  if (moves_everything()) GTEST_SKIP() << "counts what compact alone moves";
  int moves = 0;
  const scoot_kind k = add_kind(move_owned, &moves);
  std::vector<void*> owners(20000);
  for (void*& owner : owners) {
    owner = scoot_allocate(h, k, 100);
    ASSERT_NE(owner, nullptr);
    void** back = &owner;
    std::memcpy(owner, &back, sizeof back);
  }
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (i % 4 != 0) scoot_free(h, owners[i]);
  }
  const scoot_effort none = {};
  const scoot_compaction done = scoot_compact(h, &none);
  EXPECT_EQ(done.why, SCOOT_DONE);
  EXPECT_EQ(done.blocks_moved, static_cast<std::size_t>(moves));
  EXPECT_GT(done.blocks_moved, 1000U);
  EXPECT_EQ(scoot_compact(h, nullptr).why, SCOOT_NOTHING_TO_GAIN);
  scoot_effort time_only = {};
  time_only.time_max_ns = 1;
  EXPECT_EQ(scoot_compact(h, &time_only).blocks_moved, 0U);
}

TEST_F(c_api, statistics_are_those_of_the_pool_and_heap) {
  const scoot_kind k = scoot_heap_add_kind(h, nullptr);
  std::size_t live = 0;
  for (int i = 0; i < 100; ++i) live += scoot_usable_size(h, scoot_allocate(h, k, 1000));
  const scoot_stats s = scoot_heap_stats(h);
  EXPECT_EQ(s.blocks, 100U);
  EXPECT_EQ(s.live_bytes, live);
  EXPECT_EQ(s.allocated_bytes, live);
  EXPECT_EQ(s.shelves, 1U);
  const scoot_pool_usage u = scoot_pool_stats(pool);
  EXPECT_EQ(u.budget_bytes, 8 * mib);
  EXPECT_EQ(u.held_bytes, s.held_bytes + u.metadata_bytes + u.idle_bytes);
  EXPECT_EQ(u.page_bytes * s.pages, u.page_bytes * u.pages);
  EXPECT_GE(u.address_bytes, u.budget_bytes);
}

}  // namespace
}  // namespace scoot::testing
