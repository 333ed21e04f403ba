// SPDX-License-Identifier: MIT
//
// Goal: explain says of any address what it is, and in checked builds where a stale pointer's block went. Method: every
// sort of address there is, made on purpose; a seeded random heap, asked about every address of it.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/check.hpp"
#include "directory.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t sizes_of_all_places[] = {8, 100, 5000, 20000, 40000, 200000};  // slots, large space, runs

class explain_test : public heap_fixture {
 protected:
  [[nodiscard]] explanation of(const void* address) const { return explain(*h, address); }
  [[nodiscard]] std::string text(const void* address) const { return of(address).text; }
};

std::string hex(const void* address) {
  char room[32];
  std::snprintf(room, sizeof room, "%p", address);
  return room;
}

TEST_F(explain_test, a_live_block_is_named_with_its_kind_and_size) {
  make(8 * mib);
  for (std::size_t size : sizes_of_all_places) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    const std::byte* block = blocks.at.back();
    const explanation e = of(block);
    EXPECT_EQ(e.what, place::live) << size;
    EXPECT_EQ(e.block, block);
    EXPECT_EQ(e.bytes, h->usable_size(block));
    EXPECT_EQ(e.offset, 0U);
    EXPECT_EQ(e.of.index, k.index);
    EXPECT_STREQ(e.kind_name, "directory");
    EXPECT_EQ(e.pins, 0U);
    EXPECT_NE(text(block).find("a live block of " + std::to_string(e.bytes) + " bytes, kind 'directory'"),
              std::string::npos)
        << e.text;
  }
}

TEST_F(explain_test, an_interior_pointer_is_told_from_the_start_of_its_block) {
  make(8 * mib);
  for (std::size_t size : sizes_of_all_places) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    const std::byte* block = blocks.at.back();
    for (std::size_t offset : {std::size_t{1}, size / 2, h->usable_size(block) - 1}) {
      const explanation e = of(block + offset);
      EXPECT_EQ(e.what, place::live) << size;
      EXPECT_EQ(e.block, block);
      EXPECT_EQ(e.offset, offset);
      EXPECT_NE(std::string(e.text).find(std::to_string(offset) + " bytes into a live block"), std::string::npos)
          << e.text;
    }
  }
}

TEST_F(explain_test, pins_are_named_with_who_pinned_first) {
  make(8 * mib);
  for (std::size_t size : sizes_of_all_places) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    std::byte* block = blocks.at.back();
    ASSERT_TRUE(h->pin(block, "a cursor"));
    ASSERT_TRUE(h->pin(block, "a writer"));
    const explanation e = of(block + 3);
    EXPECT_EQ(e.pins, 2U);
    EXPECT_STREQ(e.pin_holder, "a cursor");
    EXPECT_NE(std::string(e.text).find("pinned 2 times, longest by 'a cursor'"), std::string::npos) << e.text;
    h->unpin(block);
    h->unpin(block);
    EXPECT_EQ(of(block).pins, 0U);
    ASSERT_TRUE(h->pin(block, "a writer"));
    EXPECT_STREQ(of(block).pin_holder, "a writer");
    h->unpin(block);
  }
}

TEST_F(explain_test, freed_memory_is_parked_first_and_a_hole_later) {
  make(8 * mib);
  for (int i = 0; i < 1000; ++i) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const std::vector<std::byte*> at = blocks.at;
  for (std::size_t i = 0; i < 500; ++i) blocks.free(*h, i);
  const explanation last = of(at[499]);
  EXPECT_EQ(last.what, place::parked);
  EXPECT_EQ(last.block, at[499]);
  EXPECT_STREQ(last.kind_name, "directory");
  EXPECT_EQ(of(at[0]).what, place::hole);
  EXPECT_NE(text(at[0] + 10).find("in a hole"), std::string::npos);
}

TEST_F(explain_test, freed_large_blocks_leave_a_hole_and_freed_runs_a_page_of_nobody) {
  make(16 * mib);
  for (std::size_t size : {20000U, 20000U, 20000U, 400000U}) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  const std::vector<std::byte*> at = blocks.at;
  blocks.free(*h, 1);
  blocks.free(*h, 3);
  EXPECT_EQ(of(at[1]).what, place::hole);
  EXPECT_EQ(of(at[3]).what, place::idle);
  EXPECT_NE(text(at[3]).find("no heap uses"), std::string::npos);
}

TEST_F(explain_test, what_lies_above_the_top_is_fresh) {
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  EXPECT_EQ(of(blocks.at[0] + 40 * 104).what, place::fresh);
}

TEST_F(explain_test, what_a_page_is_too_small_for_is_a_gap) {
  make(8 * mib, {}, 64 * kib);
  for (int i = 0; i < 100; ++i) ASSERT_GE(blocks.allocate(*h, k, 4000), 0);
  const auto page = reinterpret_cast<std::uintptr_t>(blocks.at[50]) / (64 * kib) * (64 * kib);
  EXPECT_EQ(of(reinterpret_cast<const std::byte*>(page) + 64 * kib - 8).what, place::gap);
  ASSERT_GE(blocks.allocate(*h, k, 70000), 0);
  EXPECT_EQ(of(blocks.at.back() + h->usable_size(blocks.at.back()) + 100).what, place::gap);
}

TEST_F(explain_test, foreign_addresses_and_those_of_other_heaps_are_told_apart) {
  make(8 * mib);
  const auto other = heap::create(*pool);
  ASSERT_NE(other, nullptr);
  int local = 0;
  EXPECT_EQ(of(&local).what, place::foreign);
  EXPECT_EQ(of(nullptr).what, place::foreign);
  for (std::size_t size : sizes_of_all_places) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    EXPECT_EQ(explain(*other, blocks.at.back()).what, place::other_heap) << size;
  }
  // Pages that no heap has yet, up to the end of the address space.
  EXPECT_EQ(of(blocks.at[0] + 8 * mib).what, place::idle);
}

// Every address of every page of a small heap, whatever it holds.
TEST_F(explain_test, every_live_byte_is_explained_and_no_other_is_called_live) {
  make(4 * mib, {1, 32 * kib}, 64 * kib);
  std::mt19937_64 random(11);
  for (int i = 0; i < 3000; ++i) {
    const std::size_t size = random() % 50 == 0 ? 8 + random() % 60000 : 8 + random() % 600;
    if (blocks.allocate(*h, k, size) < 0 || random() % 2 == 0) {
      const std::size_t victim = random() % blocks.at.size();
      if (blocks.at[victim] != nullptr) blocks.free(*h, victim);
    }
  }
  std::map<const std::byte*, std::size_t> live;
  const std::byte* low = nullptr;
  const std::byte* high = nullptr;
  for (const std::byte* block : blocks.at) {
    if (block == nullptr) continue;
    live[block] = h->usable_size(block);
    if (low == nullptr || block < low) low = block;
    if (high == nullptr || block > high) high = block;
  }
  ASSERT_GT(live.size(), 500U);
  for (const std::byte* at = low; at < high + 1000; at += 4) {
    const explanation e = explain(*h, at);
    auto holder = live.upper_bound(at);
    const bool inside = holder != live.begin() && at < (--holder)->first + holder->second;
    ASSERT_EQ(e.what == place::live, inside) << e.text;
    if (!inside) continue;
    ASSERT_EQ(e.block, holder->first) << e.text;
  }
}

#if SCOOT_CHECK_LEVEL >= 1

TEST_F(explain_test, a_stale_pointer_is_said_to_have_moved_from_where_to_where) {
  make(8 * mib);
  for (std::size_t size : sizes_of_all_places) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  const std::vector<std::byte*> before = blocks.at;
  ASSERT_EQ(h->move_everything(), before.size());
  const std::vector<std::byte*> between = blocks.at;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const explanation e = of(before[i] + 4);
    EXPECT_EQ(e.moved_to, between[i] + 4) << e.text;
    EXPECT_EQ(e.now_at, between[i] + 4);
    EXPECT_NE(e.compaction, 0U);
    EXPECT_NE(std::string(e.text).find("moved from " + hex(before[i] + 4) + " to " + hex(between[i] + 4) +
                                       " in compaction " + std::to_string(e.compaction) + " by kind 'directory'"),
              std::string::npos)
        << e.text;
  }
}

TEST_F(explain_test, the_latest_of_several_moves_is_told_and_where_the_block_is_now) {
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 20000), 0);
  std::vector<std::byte*> places = {blocks.at[0]};
  std::vector<std::uint32_t> numbers;
  for (int i = 0; i < 5; ++i) {
    ASSERT_GE(blocks.allocate(*h, k, 10000 + 1000 * i), 0);  // so that it never comes back to an old place
    ASSERT_NE(h->move_everything(), 0U);
    places.push_back(blocks.at[0]);
    numbers.push_back(of(places[static_cast<std::size_t>(i)]).compaction);
  }
  for (std::size_t i = 0; i + 1 < places.size(); ++i) {
    const explanation e = of(places[i]);
    if (e.moved_to != places[i + 1]) continue;  // another block was here since
    EXPECT_EQ(e.now_at, places.back()) << e.text;
  }
  EXPECT_EQ(of(places[4]).now_at, places[5]);
  for (std::size_t i = 1; i < numbers.size(); ++i) EXPECT_GE(numbers[i], numbers[i - 1]);
}

TEST_F(explain_test, a_dropped_block_is_said_to_be_dropped) {
  make(8 * mib);
  for (std::size_t size : sizes_of_all_places) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  const std::vector<std::byte*> before = blocks.at;
  blocks.answer = [](std::uint32_t) { return verdict::drop; };
  h->move_everything();
  for (const std::byte* block : before) {
    const explanation e = of(block);
    EXPECT_NE(e.compaction, 0U);
    EXPECT_EQ(e.moved_to, nullptr);
    EXPECT_NE(std::string(e.text).find("dropped in compaction"), std::string::npos) << e.text;
  }
}

TEST_F(explain_test, an_address_in_use_again_is_live_and_its_former_block_is_remembered) {
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const std::byte* first = blocks.at[0];
  ASSERT_EQ(h->move_everything(), 1U);
  while (blocks.at.back() != first) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  if (moves_everything()) GTEST_SKIP() << "the block may have moved meanwhile";
  const explanation e = of(first);
  EXPECT_EQ(e.what, place::live);
  EXPECT_EQ(e.moved_to, blocks.at[0]);
  EXPECT_NE(std::string(e.text).find("a block that was here before"), std::string::npos) << e.text;
}

TEST_F(explain_test, what_is_remembered_is_bounded_and_within_the_budget) {
  make(4 * mib);
  const std::size_t before = pool->stats().metadata_bytes;
  fill(48);
  blocks.free(*h, 0);
  std::byte* first = blocks.at[1];
  h->move_everything();
  const std::byte* moved = blocks.at[1];
  ASSERT_NE(first, moved);
  for (int i = 0; i < 3; ++i) h->move_everything();
  EXPECT_EQ(of(first).compaction == 0 || of(first).moved_to != moved, true) << "a ring of 4 KiB forgets";
  EXPECT_LE(pool->stats().held_bytes, 4 * mib);
  EXPECT_LE(pool->stats().metadata_bytes, before + 256 * kib);
  EXPECT_NE(of(blocks.at.back()).what, place::foreign);
}

TEST_F(explain_test, a_heap_without_room_for_a_history_does_without) {
  make(page_pool::budget_bytes_min);
  fill(32);
  blocks.free(*h, 7);
  const heap_stats s = h->stats();
  EXPECT_GT(h->move_everything(), s.blocks / 2);
  EXPECT_LE(pool->stats().held_bytes, page_pool::budget_bytes_min);
  EXPECT_TRUE(blocks.all_intact());
  EXPECT_EQ(of(blocks.at[8]).what, place::live);
}

#else

TEST_F(explain_test, builds_without_checks_remember_no_moves) {
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  const std::byte* before = blocks.at[0];
  ASSERT_EQ(h->move_everything(), 1U);
  EXPECT_EQ(of(before).compaction, 0U);
}

#endif

}  // namespace
}  // namespace scoot::testing
