// SPDX-License-Identifier: MIT
//
// Goal: std::pmr containers live in a heap, at fixed addresses and under its pool's budget. Method: std::pmr containers
// beside owners in one heap, with everything moved; exhaustion by a small budget.
#include "scoot/pmr.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/check.hpp"
#include "scoot/diagnosis.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

class pmr_test : public typed_fixture {};

TEST_F(pmr_test, containers_of_the_standard_library_stay_where_they_are_while_owners_move) {
  fixed_resource fixed(*h);
  const owner<int> first = make<int>(*things, 1);
  const std::size_t blocks = h->stats().blocks;
  {
    std::pmr::unordered_map<int, std::pmr::string> names(&fixed);
    std::vector<owner<int>> owners;
    std::vector<const std::pmr::string*> addresses;
    for (int i = 0; i < 500; ++i) {
      addresses.push_back(&names.try_emplace(i, std::string(static_cast<std::size_t>(i), 'n')).first->second);
      owners.push_back(make<int>(*things, i));
    }
    EXPECT_EQ(h->move_everything(), 501U);
    for (int i = 0; i < 500; ++i) {
      EXPECT_EQ(&names.at(i), addresses[static_cast<std::size_t>(i)]);
      EXPECT_EQ(names.at(i).size(), static_cast<std::size_t>(i));
      EXPECT_EQ(*owners[static_cast<std::size_t>(i)], i);
    }
    EXPECT_GT(h->stats().live_bytes, 500U * 499 / 2);
  }
  EXPECT_EQ(h->stats().blocks, blocks);
}

TEST_F(pmr_test, resources_share_their_kinds_and_the_last_one_takes_them_along) {
  const std::size_t before = kind_count(*h);
  for (int i = 0; i < 1000; ++i) {
    fixed_resource one_request(*h);
    std::pmr::vector<int> numbers({1, 2, 3}, &one_request);
    one_request.deallocate(one_request.allocate(100, 64), 100, 64);
  }
  EXPECT_EQ(kind_count(*h), before);
  std::vector<std::unique_ptr<fixed_resource>> many;
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    many.push_back(std::make_unique<fixed_resource>(*h));
    blocks.push_back(many.back()->try_allocate(10));
    ASSERT_NE(blocks.back(), nullptr);
  }
  EXPECT_EQ(kind_count(*h), before + 1);
  for (std::size_t i = 0; i < many.size(); ++i) {
    many[i]->deallocate(blocks[i], 10);
    many[i].reset();
  }
  EXPECT_EQ(kind_count(*h), before);
}

TEST_F(pmr_test, blocks_are_aligned_as_asked) {
  fixed_resource fixed(*h);
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    for (const std::size_t bytes : {1U, 24U, 100U, 5000U, 100'000U}) {
      void* block = fixed.allocate(bytes, alignment);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0U);
      EXPECT_GE(h->usable_size(block), bytes);
      fixed.deallocate(block, bytes, alignment);
    }
  }
  EXPECT_THROW((void)fixed.allocate(1, 8192), std::bad_alloc);
  EXPECT_EQ(fixed.try_allocate(1, 8192), nullptr);
}

TEST_F(pmr_test, an_exhausted_budget_throws_what_the_standard_says) {
  make_heap(mib);
  fixed_resource fixed(*h);
  {
    std::pmr::vector<std::pmr::string> texts(&fixed);
    EXPECT_THROW(
        {
          for (;;) texts.emplace_back(std::size_t{1000}, 'x');
        },
        std::bad_alloc);
    EXPECT_GT(texts.size(), 500U);
    EXPECT_LE(pool->stats().held_bytes, mib);
    EXPECT_EQ(fixed.try_allocate(mib), nullptr);
    EXPECT_EQ(texts.back().size(), 1000U);
  }
  EXPECT_EQ(h->stats().blocks, 0U);
}

TEST_F(pmr_test, a_resource_equals_itself_only) {
  fixed_resource a(*h);
  fixed_resource b(*h);
  EXPECT_TRUE(a == a);
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(a == *std::pmr::new_delete_resource());
}

#if SCOOT_CHECK_LEVEL >= 1
TEST_F(pmr_test, an_alignment_that_is_no_power_of_two_aborts) {
  fixed_resource fixed(*h);
  EXPECT_DEATH((void)fixed.try_allocate(8, 24), "scoot: .*24 is no alignment");
}
#endif

}  // namespace
}  // namespace scoot::testing
