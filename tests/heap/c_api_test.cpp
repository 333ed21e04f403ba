// SPDX-License-Identifier: MIT
//
// Goal: the C API says and does what the C++ API does, and has its own conventions right: defaults, reserved room,
// invalid kinds. Method: the functions from C++; c_api_program.c is the test that they work from C.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
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
  scoot_effort effort = {};
  effort.reserved[1] = 1;
  EXPECT_EQ(scoot_compact(h, &effort).why, SCOOT_BAD_OPTIONS);
  scoot_release_options release = {};
  release.reserved[3] = 1;
  EXPECT_EQ(scoot_release(h, 1, &release).why, SCOOT_BAD_OPTIONS);
  release.reserved[3] = 0;
  EXPECT_EQ(scoot_release(h, 1, &release).why, SCOOT_NOTHING_TO_GAIN);
  release.limit.reserved[0] = 1;
  EXPECT_EQ(scoot_release(h, 1, &release).why, SCOOT_BAD_OPTIONS);
}

// More of them than fit in any room of ours, in the order that diagnosis.hpp lists them.
TEST_F(c_api, lists_all_pins_and_their_holders) {
  int moves = 0;
  const scoot_kind k = add_kind(move_owned, &moves);
  std::vector<void*> owners(1000);
  for (void*& owner : owners) {
    owner = scoot_allocate(h, k, 500);
    ASSERT_NE(owner, nullptr);
    void** back = &owner;
    std::memcpy(owner, &back, sizeof back);
  }
  static const char* const names[] = {"one", "two", "three"};
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (i % 3 == 0) {
      ASSERT_TRUE(scoot_pin_as(h, owners[i], names[i % 9 / 3]));
    } else {
      scoot_free(h, owners[i]);
    }
  }
  std::vector<scoot_pin_info> pins(400);
  ASSERT_EQ(scoot_list_pins(h, pins.data(), pins.size()), 334U);
  std::set<const void*> seen;
  for (std::size_t i = 0; i < 334; ++i) {
    EXPECT_TRUE(seen.insert(pins[i].block).second);
    EXPECT_EQ(pins[i].pins, 1U);
    EXPECT_EQ(pins[i].kind.index, k.index);
    EXPECT_GE(pins[i].bytes, 500U);
    EXPECT_EQ(std::strlen(pins[i].holder), pins[i].holder[1] == 'h' ? 5U : 3U);
    EXPECT_TRUE(i == 0 || pins[i - 1].stranded_bytes >= pins[i].stranded_bytes);
  }
  ASSERT_EQ(scoot_list_pins(h, pins.data(), 1), 334U);
  EXPECT_EQ(scoot_list_pins(h, nullptr, 0), 334U);
  scoot_pin_holder lines[3];
  ASSERT_EQ(scoot_list_pin_holders(h, lines, 3), 3U);
  EXPECT_EQ(lines[0].blocks + lines[1].blocks + lines[2].blocks, 334U);
  ASSERT_EQ(scoot_list_pin_holders(h, lines, 2), 2U);
  EXPECT_STREQ(lines[1].holder, "...");
  for (std::size_t i = 0; i < owners.size(); i += 3) scoot_unpin_as(h, owners[i], names[i % 9 / 3]);
  EXPECT_EQ(scoot_list_pins(h, nullptr, 0), 0U);
}

TEST_F(c_api, pages_are_told_of_a_few_at_a_time) {
  const scoot_kind k = scoot_heap_add_kind(h, nullptr);
  for (int i = 0; i < 2000; ++i) ASSERT_NE(scoot_allocate(h, k, 1000), nullptr);
  ASSERT_NE(scoot_allocate(h, k, 300000), nullptr);
  struct seen {
    std::size_t pages = 0, live_bytes = 0, shelf = 0, resident = 0;
  } all;
  const auto visit = [](void* context, const scoot_page_view* page) {
    auto& to = *static_cast<seen*>(context);
    ++to.pages;
    to.live_bytes += page->live_bytes;
    to.shelf += page->content == SCOOT_PAGE_SHELF ? 1 : 0;
    to.resident += page->resident_end - page->resident_begin - page->missing_bytes;
    EXPECT_EQ(std::strlen(page->fill), 32U);
  };
  scoot_page_visit how = {};
  how.pages_max = 3;
  how.draw = true;
  std::uint64_t cursor = 0;
  int calls = 0;
  do {
    cursor = scoot_visit_pages(h, cursor, &how, visit, &all);
    ASSERT_LT(++calls, 1000);
  } while (cursor != 0);
  const scoot_stats s = scoot_heap_stats(h);
  EXPECT_EQ(all.pages, s.pages);
  EXPECT_EQ(all.live_bytes, s.live_bytes);
  EXPECT_EQ(all.resident, scoot_heap_held_bytes(h));
  EXPECT_GT(all.shelf, 1U);
  EXPECT_GT(calls, 2);
  how.reserved[0] = 1;
  EXPECT_EQ(scoot_visit_pages(h, 0, &how, visit, &all), 0U);
  EXPECT_EQ(all.pages, s.pages) << "nothing more";

  std::vector<std::uint8_t> use(100000);
  use.resize(scoot_list_page_use(pool, 0, use.data(), use.size()));
  EXPECT_EQ(static_cast<std::size_t>(std::count(use.begin(), use.end(), SCOOT_PAGE_USED)), s.pages);
  EXPECT_EQ(scoot_list_page_use(pool, 3, use.data(), use.size()), use.size() - 3);
}

TEST_F(c_api, snapshots_keep_their_limits) {
  const scoot_kind k = scoot_heap_add_kind(h, nullptr);
  for (int i = 0; i < 2000; ++i) ASSERT_NE(scoot_allocate(h, k, 1000), nullptr);
  const auto add = [](void* context, const char*, std::size_t size) {
    *static_cast<std::size_t*>(context) += size;
    return true;
  };
  std::size_t all = 0;
  std::size_t few = 0;
  scoot_snapshot_options options = {};
  ASSERT_TRUE(scoot_write_snapshot(h, add, &all, &options));
  options.pages_max = 1;
  ASSERT_TRUE(scoot_write_snapshot(h, add, &few, &options));
  EXPECT_LT(few, all);
  options.reserved[1] = 1;
  EXPECT_FALSE(scoot_write_snapshot(h, add, &few, &options));
}

TEST_F(c_api, a_kind_goes_with_its_mover) {
  int moves = 0;
  for (int i = 0; i < 1000; ++i) {
    const scoot_kind k = add_kind(move_owned, &moves);
    ASSERT_TRUE(scoot_kind_valid(k));
    void* block = scoot_allocate(h, k, 100);
    EXPECT_FALSE(scoot_heap_remove_kind(h, k));
    scoot_free(h, block);
    EXPECT_TRUE(scoot_heap_remove_kind(h, k));
  }
  EXPECT_TRUE(scoot_heap_remove_kind(h, scoot_kind{0xff}));
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
