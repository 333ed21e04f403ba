// SPDX-License-Identifier: MIT
//
// Goal: a handle gives its object or, once that is gone, null, for ever; and the table is no larger than it need be.
// Method: seeded random operations against a map, everything moved at every step; generations that start near their
// end.
#include "scoot/handle.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support.hpp"

namespace scoot::testing {
namespace {

class handle_test : public typed_fixture {};
using table = handle_table<counted>;

static_assert(sizeof(handle<counted>) == 8 && std::is_trivially_copyable_v<handle<counted>>);

TEST_F(handle_test, a_handle_finds_its_object_until_it_is_destroyed) {
  table t(*things);
  const handle<counted> h1 = t.make(5U);
  const handle<counted> copy = h1;
  ASSERT_TRUE(h1);
  EXPECT_EQ(h->move_everything(), 2U);  // the object and the chunk
  EXPECT_EQ(t.get(copy)->number(), 5U);
  EXPECT_TRUE(t.destroy(h1));
  EXPECT_EQ(t.get(copy), nullptr);
  EXPECT_FALSE(t.destroy(copy));
  EXPECT_EQ(t.get({}), nullptr);
  EXPECT_EQ(t.get({12345, 1}), nullptr);
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(handle_test, owners_go_in_and_out) {
  table t(*things);
  owner<counted> o = make<counted>(*things, 9U);
  const handle<counted> h1 = t.insert(std::move(o));
  EXPECT_FALSE(o);
  h->move_everything();
  o = t.take(h1);
  EXPECT_EQ(t.get(h1), nullptr);
  h->move_everything();
  EXPECT_EQ(o->number(), 9U);
  EXPECT_FALSE(t.insert(owner<counted>()));
  EXPECT_FALSE(t.take(h1));
}

struct holding {
  counted number;
  owner<holding> inner;
  explicit holding(std::uint64_t n) noexcept : number(n) {}
};

TEST_F(handle_test, an_owner_that_goes_in_may_lie_in_a_block_of_the_same_heap) {
  make_restless_heap();
  {
    handle_table<holding> t(*things, {std::numeric_limits<std::uint32_t>::max() - 1});  // each slot serves once
    for (std::size_t i = 0; i < t.chunk_slots; ++i) ASSERT_TRUE(t.destroy(t.make(0U)));
    owner<holding> outer = make<holding>(*things, 1U);
    owner<holding> made = make<holding>(*things, 2U);
    outer->inner = std::move(made);
    const holding* before = outer.get();
    const handle<holding> h1 = t.insert(std::move(outer->inner));  // makes a chunk, before which all blocks move
    ASSERT_TRUE(h1);
    EXPECT_NE(outer.get(), before);
    EXPECT_FALSE(outer->inner);
    EXPECT_EQ(t.get(h1)->number.number(), 2U);
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(handle_test, an_owner_in_a_block_keeps_what_it_has_when_there_is_no_memory) {
  make_heap(2 * mib);
  handle_table<holding> t(*things);
  owner<holding> outer = make<holding>(*things, 1U);
  outer->inner = make<holding>(*things, 2U);
  ASSERT_TRUE(outer->inner);
  const ballast full(*h, 4096);
  EXPECT_FALSE(t.insert(std::move(outer->inner)));
  ASSERT_TRUE(outer->inner);
  EXPECT_EQ(outer->inner->number.number(), 2U);
}

struct has_table {
  counted number;
  handle_table<has_table> inner;
  explicit has_table(typed_heap& home, std::uint64_t n) noexcept : number(n), inner(home) {}
};

TEST_F(handle_test, a_table_may_be_replaced_by_one_in_an_object_of_its_own) {
  {
    handle_table<has_table> t(*things);
    const handle<has_table> outer = t.make(*things, 1U);
    handle_table<has_table> second(*things);
    const handle<has_table> inner = second.make(*things, 2U);
    ASSERT_TRUE(outer && inner);
    t.get(outer)->inner = std::move(second);
    t = std::move(t.get(outer)->inner);
    ASSERT_NE(t.get(inner), nullptr);
    EXPECT_EQ(t.get(inner)->number.number(), 2U);
    EXPECT_EQ(t.size(), 1U);
    EXPECT_EQ(counted::alive, 1);
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(handle_test, a_pinned_object_stays) {
  table t(*things);
  const handle<counted> h1 = t.make(1U);
  const counted* address = t.get(h1);
  const pin_guard guard = t.pin(h1);
  ASSERT_TRUE(guard);
  h->move_everything();
  EXPECT_EQ(t.get(h1), address);
  EXPECT_FALSE(t.pin({}));
}

TEST_F(handle_test, random_operations_agree_with_a_map) {
  std::mt19937_64 random(seed());
  std::unordered_map<handle<counted>, std::uint64_t> live;
  std::vector<handle<counted>> dead;
  {
    table t(*things);
    for (int phase = 0; phase < 6; ++phase) {
      const unsigned making = phase % 2 == 0 ? 70 : 30;  // of 100
      for (int i = 0; i < 600; ++i) {
        if (random() % 100 < making || live.empty()) {
          const std::uint64_t number = random();
          const handle<counted> made = t.make(number);
          ASSERT_TRUE(made);
          ASSERT_TRUE(live.emplace(made, number).second) << "a handle was given out twice";
        } else {
          const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
          ASSERT_TRUE(t.destroy(victim->first));
          dead.push_back(victim->first);
          live.erase(victim);
        }
        h->move_everything();
        ASSERT_EQ(t.size(), live.size());
        if (i % 20 != 0) continue;
        for (const auto& [known, number] : live) ASSERT_EQ(t.get(known)->number(), number);
        for (const handle<counted>& stale : dead) ASSERT_EQ(t.get(stale), nullptr);
      }
    }
    table other = std::move(t);
    h->move_everything();
    for (const auto& [known, number] : live) ASSERT_EQ(other.get(known)->number(), number);
    other.clear();
    EXPECT_EQ(other.size(), 0U);
    EXPECT_EQ(other.chunks(), 0U);
    for (const auto& [known, number] : live) ASSERT_EQ(other.get(known), nullptr);
    const handle<counted> late = other.make(1U);
    EXPECT_FALSE(live.contains(late));
    EXPECT_TRUE(other.destroy(late));
  }
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(handle_test, the_table_is_compact_when_full_and_gives_chunks_back) {
  handle_table<std::uint64_t> t(*things);
  std::vector<handle<std::uint64_t>> all;
  for (std::uint64_t i = 0; i < 64'000; ++i) all.push_back(t.make(i));
  EXPECT_EQ(t.chunks(), 1000U);
  const std::size_t objects = all.size() * 16;
  EXPECT_LT(h->stats().live_bytes - objects, all.size() * 13);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i >= 6400) {
      EXPECT_TRUE(t.destroy(all[i]));
    }
  }
  EXPECT_LE(t.chunks(), 101U);
  h->compact();
  EXPECT_LT(h->stats().held_bytes, 6400 * 16 + 102 * 64 * 13 + 1024 * 16 + 64 * kib);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::uint64_t* number = t.get(all[i]);
    ASSERT_EQ(number != nullptr, i < 6400);
    if (number != nullptr) {
      ASSERT_EQ(*number, i);
    }
  }
}

TEST_F(handle_test, new_objects_go_to_the_lowest_chunk_with_a_free_slot) {
  handle_table<int> t(*things);
  std::vector<handle<int>> all;
  for (int i = 0; i < 640; ++i) all.push_back(t.make(i));
  for (std::size_t i = 640; i-- > 0;) {
    ASSERT_TRUE(t.destroy(all[i]));
    const handle<int> made = t.make(7);
    ASSERT_EQ(made.index / table::chunk_slots, i / table::chunk_slots);
  }
  EXPECT_EQ(t.chunks(), 10U);
}

TEST_F(handle_test, one_object_made_and_destroyed_again_and_again_keeps_its_chunk) {
  table t(*things);
  ASSERT_TRUE(t.destroy(t.make(1U)));
  const std::uint64_t before = h->stats().allocations;
  std::unordered_set<handle<counted>> seen;
  for (unsigned i = 0; i < 1000; ++i) {
    const handle<counted> made = t.make(i);
    EXPECT_TRUE(seen.insert(made).second);
    EXPECT_TRUE(t.destroy(made));
  }
  EXPECT_EQ(h->stats().allocations - before, 1000U);
  EXPECT_EQ(t.chunks(), 1U);
}

TEST_F(handle_test, slots_whose_generations_have_run_out_are_never_used_again) {
  handle_table_options options;
  options.first_generation = std::numeric_limits<std::uint32_t>::max() - 3;
  table t(*things, options);
  std::unordered_set<handle<counted>> seen;
  for (int round = 0; round < 20; ++round) {
    std::vector<handle<counted>> batch;
    for (unsigned i = 0; i < 150; ++i) {
      batch.push_back(t.make(i));
      ASSERT_TRUE(batch.back());
      ASSERT_TRUE(seen.insert(batch.back()).second) << "a handle came back";
    }
    h->move_everything();
    for (const handle<counted>& made : batch) ASSERT_TRUE(t.destroy(made));
  }
  for (const handle<counted>& stale : seen) EXPECT_EQ(t.get(stale), nullptr);
  EXPECT_LE(t.chunks(), 2U);
}

TEST_F(handle_test, an_object_may_destroy_others_of_its_table) {
  struct chained {
    handle_table<chained>* home;
    handle<chained> next;
    counted c;
    chained(handle_table<chained>& t, handle<chained> n) noexcept : home(&t), next(n) {}
    chained(chained&& other) noexcept : home(std::exchange(other.home, nullptr)), next(other.next) {}
    ~chained() {
      if (home != nullptr) home->destroy(next);
    }
  };
  handle_table<chained> t(*things);
  handle<chained> head;
  for (int i = 0; i < 200; ++i) head = t.make(t, head);
  h->move_everything();
  EXPECT_EQ(t.size(), 200U);
  EXPECT_TRUE(t.destroy(head));
  EXPECT_EQ(t.size(), 0U);
  for (int i = 0; i < 200; ++i) head = t.make(t, head);
  t.clear();
  EXPECT_EQ(t.size(), 0U);
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(handle_test, a_full_heap_gives_null_handles) {
  make_heap(1 * mib);
  table t(*things);
  const handle<counted> first = t.make(42U);
  {
    const ballast full(*h, 1024);
    owner<counted> o = make<counted>(*things, 1U);
    std::size_t more = 0;
    while (t.make(1U)) ++more;
    EXPECT_LT(more, 1000U);
    if (o) {
      EXPECT_EQ(o->number(), 1U);
    }
    EXPECT_EQ(t.get(first)->number(), 42U);
  }
  EXPECT_TRUE(t.make(2U));
}

}  // namespace
}  // namespace scoot::testing
