// SPDX-License-Identifier: MIT
//
// Goal: what metadata_arena.hpp promises. Method: random allocations and frees beside an oracle that fills each with
// bytes of its own; OS calls made to fail; budgets that run out.
#include "heap/metadata_arena.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "heap/budget.hpp"
#include "os/os.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

class metadata_arena_test : public ::testing::Test {
 protected:
  struct piece {
    char* at;
    std::size_t bytes;
    unsigned char fill;
  };

  bool allocate(std::size_t bytes) {
    auto* at = static_cast<char*>(arena.allocate(bytes));
    if (at == nullptr) return false;
    add({at, bytes, static_cast<unsigned char>(random())});
    return true;
  }

  void add(const piece& p) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.at) % 64, 0U);
    const auto after = taken.lower_bound(p.at);
    const bool on_next = after != taken.end() && p.at + p.bytes > after->first;
    const bool on_last = after != taken.begin() && p.at < std::prev(after)->second;
    EXPECT_FALSE(on_next || on_last) << "memory in use was handed out";
    taken[p.at] = p.at + p.bytes;
    std::memset(p.at, p.fill, p.bytes);
    pieces.push_back(p);
    bytes_used += p.bytes;
  }

  void free(std::size_t index) {
    const piece p = pieces[index];
    for (std::size_t i = 0; i < p.bytes; ++i) ASSERT_EQ(static_cast<unsigned char>(p.at[i]), p.fill);
    arena.free(p.at, p.bytes);
    taken.erase(p.at);
    bytes_used -= p.bytes;
    pieces[index] = pieces.back();
    pieces.pop_back();
  }

  void free_all() {
    while (!pieces.empty()) free(pieces.size() - 1);
  }

  void free_nine_of_ten() {
    for (std::size_t i = pieces.size(); i-- > 0;) {
      if (random() % 10 != 0) free(i);
    }
  }

  std::size_t some_size() {
    const std::size_t kind = random() % 100;
    if (kind < 80) return 1 + random() % kib;
    if (kind < 95) return 1 + random() % (8 * kib);
    return 1 + random() % (200 * kib);
  }

  budget limit{64 * mib};
  metadata_arena arena{limit, 4 * mib};
  std::vector<piece> pieces;
  std::map<char*, char*> taken;
  std::size_t bytes_used = 0;
  std::mt19937_64 random{7};
};

TEST_F(metadata_arena_test, hands_out_memory_that_nobody_else_has) {
  for (int i = 0; i < 20000; ++i) {
    if (pieces.empty() || random() % 100 < 52) {
      ASSERT_TRUE(allocate(some_size()));
    } else {
      free(random() % pieces.size());
    }
    ASSERT_EQ(limit.held(), arena.held_bytes());
    ASSERT_GE(arena.held_bytes(), bytes_used);
  }
}

TEST_F(metadata_arena_test, holds_little_more_than_a_few_os_pages_when_all_is_free) {
  for (int round = 0; round < 5; ++round) {
    while (bytes_used < 8 * mib) ASSERT_TRUE(allocate(some_size()));
    free_all();
    EXPECT_EQ(arena.free_slot_bytes(), 0U);
    // What stays for the next to come, and what is known of 4096 OS pages.
    EXPECT_LE(arena.held_bytes(), 8 * os::page_bytes() + 256 * kib);
    const std::size_t held = arena.held_bytes();
    const std::size_t trimmed = arena.trim();
    EXPECT_EQ(trimmed, held - arena.held_bytes());
    EXPECT_EQ(arena.trim(), 0U);
  }
}

TEST_F(metadata_arena_test, packs_what_is_left_when_its_users_move_it) {
  for (int i = 0; i < 4000; ++i) ASSERT_TRUE(allocate(400));
  free_nine_of_ten();
  const std::size_t spread = arena.held_bytes();
  for (int pass = 0; pass < 4; ++pass) {
    for (std::size_t i = pieces.size(); i-- > 0;) {
      const piece p = pieces[i];
      auto* to = static_cast<char*>(arena.allocate_denser(p.at, p.bytes));
      if (to == nullptr) continue;
      free(i);
      add({to, p.bytes, p.fill});
    }
  }
  EXPECT_LT(arena.held_bytes(), spread / 3);
  EXPECT_LE(arena.free_slot_bytes(), 4 * os::page_bytes());
  free_all();
}

TEST_F(metadata_arena_test, of_a_full_budget_gives_null_and_goes_on_when_there_is_room) {
  limit.set_limit(mib);
  while (allocate(some_size())) {
  }
  EXPECT_LE(limit.held(), mib);
  EXPECT_EQ(limit.held(), arena.held_bytes());
  free_nine_of_ten();
  (void)arena.trim();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(allocate(64));
}

TEST_F(metadata_arena_test, loses_nothing_when_the_os_refuses) {
  std::uint64_t refused = 0;
  for (int i = 0; i < 4000; ++i) {
    os::fail_nth_call(1 + random() % 3);
    if (pieces.empty() || random() % 100 < 52) {
      refused += allocate(some_size()) ? 0 : 1;
    } else {
      free(random() % pieces.size());
    }
    ASSERT_EQ(limit.held(), arena.held_bytes());
  }
  os::fail_nth_call(0);
  EXPECT_GT(refused, 0U);
  EXPECT_TRUE(allocate(some_size()));
  free_all();
  (void)arena.trim();
  EXPECT_LE(arena.held_bytes(), 256 * kib);
}

}  // namespace
}  // namespace scoot::testing
