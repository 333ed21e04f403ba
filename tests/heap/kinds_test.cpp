// SPDX-License-Identifier: MIT
//
// Goal: kinds come and go, cost what is said, and are found by their blocks, as blocks are by the addresses in them;
// blocks grow, shrink and begin as zeros. Method: blocks of every sort, small, of the large space and runs; adding and
// removing far more often than there is room for.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include "base/check.hpp"
#include "directory.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t sizes_of_every_sort[] = {1, 8, 100, 1000, 5000, 20000, 60000, 200000};

class kinds_test : public heap_fixture {
 protected:
  void SetUp() override { make(16 * mib); }
};

TEST_F(kinds_test, a_kind_costs_an_os_page_and_little_more) {
  const std::size_t held = pool->held_bytes();
  std::vector<kind> added;
  for (int i = 0; i < 100; ++i) {
    added.push_back(h->add_kind({"one of many"}));
    ASSERT_TRUE(added.back());
  }
  EXPECT_LE(pool->held_bytes() - held, 100 * 4096 + 5 * 4096U);
  for (const kind each : added) EXPECT_TRUE(h->remove_kind(each));
  pool->trim();
  h->compact();
  EXPECT_LE(pool->held_bytes(), held + 64 * kib);
}

TEST_F(kinds_test, kinds_without_blocks_can_be_removed_and_others_cannot) {
  const std::size_t before = kind_count(*h);
  for (int round = 0; round < 100; ++round) {
    for (std::size_t size : sizes_of_every_sort) {
      const kind added = h->add_kind({"short-lived"});
      ASSERT_TRUE(added) << "for there is room for 250 only";
      void* block = h->allocate(added, size);
      ASSERT_NE(block, nullptr);
      EXPECT_FALSE(h->remove_kind(added));
      EXPECT_EQ(stats_of(*h, added).blocks, 1U);
      h->free(block);
      EXPECT_TRUE(h->remove_kind(added));
      EXPECT_EQ(stats_of(*h, added).shelves, 0U);
    }
    h->verify();
  }
  EXPECT_EQ(kind_count(*h), before);
  EXPECT_TRUE(h->remove_kind({}));
}

TEST_F(kinds_test, a_gap_among_kinds_is_used_again_and_hurts_nobody) {
  const kind a = h->add_kind({"a"});
  const kind b = h->add_kind({"b", 64});
  std::vector<void*> of_b;
  for (int i = 0; i < 1000; ++i) of_b.push_back(h->allocate(b, 40));
  EXPECT_TRUE(h->remove_kind(a));
  EXPECT_STREQ(stats_of(*h, a).name, "");
  EXPECT_EQ(stats_of(*h, b).blocks, 1000U);
  for (std::size_t i = 0; i < of_b.size(); i += 2) h->free(of_b[i]);
  h->compact();
  h->move_everything();
  (void)h->estimate();
  const auto count = [](void* bytes, const char*, std::size_t n) noexcept {
    *static_cast<std::size_t*>(bytes) += n;
    return true;
  };
  std::size_t written = 0;
  EXPECT_TRUE(write_snapshot(*h, count, &written));
  EXPECT_GT(written, 0U);
  h->verify();
  const kind c = h->add_kind({"c"});
  EXPECT_EQ(c.index, a.index);
  EXPECT_STREQ(stats_of(*h, c).name, "c");
  EXPECT_EQ(stats_of(*h, c).blocks, 0U);
}

TEST_F(kinds_test, equal_shared_kinds_are_one_and_go_when_all_are_removed) {
  const kind_options options = {"shared", 16, nullptr, nullptr, true};
  const kind a = h->add_kind(options);
  EXPECT_EQ(h->add_kind(options).index, a.index);
  kind_options other = options;
  other.alignment = 32;
  EXPECT_NE(h->add_kind(other).index, a.index);
  other = options;
  other.shared = false;
  EXPECT_NE(h->add_kind(other).index, a.index);
  void* block = h->allocate(a, 10);
  EXPECT_TRUE(h->remove_kind(a));
  EXPECT_FALSE(h->remove_kind(a)) << "the last one, and there is a block";
  h->free(block);
  EXPECT_TRUE(h->remove_kind(a));
}

TEST_F(kinds_test, moves_of_a_kind_that_is_gone_are_forgotten) {
  if (SCOOT_CHECK_LEVEL == 0) GTEST_SKIP() << "moves are remembered in checked builds only";
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const void* before = blocks.at[0];
  ASSERT_EQ(h->move_everything(), 1U);
  EXPECT_NE(explain(*h, before).compaction, 0U);
  blocks.free(*h, 0);
  ASSERT_TRUE(h->remove_kind(k));
  EXPECT_EQ(explain(*h, before).compaction, 0U);
}

TEST_F(kinds_test, blocks_tell_their_kind_and_addresses_their_block) {
  const std::unique_ptr<heap> other = heap::create(*pool);
  const kind theirs = other->add_kind({"theirs"});
  const kind second = h->add_kind({"second"});
  for (std::size_t size : sizes_of_every_sort) {
    auto* block = static_cast<std::byte*>(h->allocate(second, size));
    auto* foreign = static_cast<std::byte*>(other->allocate(theirs, size));
    ASSERT_TRUE(block != nullptr && foreign != nullptr);
    const std::size_t usable = h->usable_size(block);
    EXPECT_EQ(h->kind_of(block).index, second.index);
    for (std::size_t offset : {std::size_t{0}, usable / 2, usable - 1}) {
      EXPECT_EQ(h->block_of(block + offset), block);
      EXPECT_EQ(h->block_of(foreign + offset), nullptr);
    }
    h->free(block);
    EXPECT_EQ(h->block_of(block), nullptr);
  }
  EXPECT_FALSE(h->kind_of(nullptr));
  EXPECT_EQ(h->block_of(nullptr), nullptr);
  EXPECT_EQ(h->block_of(&second), nullptr);
}

TEST_F(kinds_test, zeroed_blocks_are_zero_where_others_were) {
  const kind plain = h->add_kind({"plain"});
  for (std::size_t size : sizes_of_every_sort) {
    void* dirty = h->allocate(plain, size);
    ASSERT_NE(dirty, nullptr);
    std::memset(dirty, 0x5a, size);
    h->free(dirty);
    const auto* block = static_cast<const unsigned char*>(h->allocate_zeroed(plain, size));
    ASSERT_NE(block, nullptr);
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], 0U) << i << " of " << size;
  }
  EXPECT_EQ(h->allocate_zeroed(plain, 17 * mib), nullptr);
}

// Others move meanwhile, and so would the block itself.
TEST_F(kinds_test, a_block_grows_and_shrinks_with_what_it_holds) {
  std::mt19937_64 random(5);
  for (std::size_t size : {100U, 4000U, 20000U, 100000U}) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  const kind plain = h->add_kind({"plain"});
  unsigned char* block = nullptr;
  std::size_t filled = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::size_t size = std::size_t{1} << random() % 19 | random() % 64;
    auto* const now = static_cast<unsigned char*>(h->reallocate(plain, block, size));
    ASSERT_NE(now, nullptr);
    const std::size_t usable = h->usable_size(now);
    ASSERT_GE(usable, size);
    ASSERT_LE(usable, 2 * size + size / 8 + 4096);
    block = now;
    for (std::size_t n = 0; n < std::min(filled, size); ++n) ASSERT_EQ(block[n], static_cast<unsigned char>(n * 7));
    for (std::size_t n = 0; n < usable; ++n) block[n] = static_cast<unsigned char>(n * 7);
    filled = usable;
    EXPECT_EQ(h->reallocate(plain, block, usable), block) << "it fits";
    if (i % 50 == 0) h->move_everything();
  }
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
  h->free(block);
}

TEST_F(kinds_test, a_block_that_cannot_grow_stays_as_it_is) {
  const kind plain = h->add_kind({"plain"});
  auto* block = static_cast<char*>(h->allocate(plain, 1000));
  std::strcpy(block, "kept");
  EXPECT_EQ(h->reallocate(plain, block, 17 * mib), nullptr);
  EXPECT_STREQ(block, "kept");
  ASSERT_TRUE(h->pin(block, "reader"));
  EXPECT_EQ(h->reallocate(plain, block, 5000), nullptr);
  EXPECT_EQ(h->reallocate(plain, block, 10), block) << "smaller ones are no reason to fail";
  h->unpin(block, "reader");
  auto* const grown = static_cast<char*>(h->reallocate(plain, block, 5000));
  ASSERT_NE(grown, nullptr);
  EXPECT_STREQ(grown, "kept");
  EXPECT_EQ(h->stats().blocks, 1U);
}

}  // namespace
}  // namespace scoot::testing
