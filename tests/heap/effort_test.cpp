// SPDX-License-Identifier: MIT
//
// Goal: work that gains nothing is not done, or not twice: a heap whose blocks are pinned, refuse or have no mover
// costs its program nothing, however often it allocates or compacts. Method: counters, not time: mover calls, blocks
// looked at (heap_stats::blocks_examined) and calls of the OS.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <random>
#include <vector>

#include "directory.hpp"
#include "os/os.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class effort_test : public heap_fixture {
 protected:
  static constexpr int often = 1000;

  // Many pages, of which a tenth of each is live, and nothing moved yet.
  void make_holey(std::size_t size = 400) {
    heap_options options;
    options.waste_target = 1;
    make(64 * mib, options);
    for (std::size_t i = 0; i < 16 * mib / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    thin_out(10);
  }

  void pin_all() {
    for (std::byte* block : blocks.at) {
      if (block == nullptr) continue;
      ASSERT_TRUE(h->pin(block));
    }
  }

  [[nodiscard]] std::uint64_t examined() const { return h->stats().blocks_examined; }
};

TEST_F(effort_test, compacting_what_is_pinned_again_and_again_looks_at_no_block) {
  make_holey();
  pin_all();
  ASSERT_EQ(h->compact().why, stop_reason::pinned);
  const std::uint64_t before = examined();
  EXPECT_GT(before, 0U);
  EXPECT_LE(before, h->stats().pages);
  const std::uint64_t calls = os::calls_made();
  for (int i = 0; i < often; ++i) ASSERT_EQ(h->compact().why, stop_reason::pinned);
  EXPECT_EQ(examined(), before);
  EXPECT_EQ(os::calls_made(), calls);
  if (!moves_everything()) {
    EXPECT_EQ(blocks.asked, 0U);
  }
}

// The same for blocks of the large space, and of both at once.
TEST_F(effort_test, so_it_is_with_large_blocks) {
  for (const bool with_small : {false, true}) {
    make_holey(20000);
    for (int i = 0; with_small && i < 20000; ++i) ASSERT_GE(blocks.allocate(*h, k, 400), 0);
    thin_out(20);
    pin_all();
    ASSERT_EQ(h->compact().why, stop_reason::pinned);
    const std::uint64_t before = examined();
    const std::uint64_t calls = os::calls_made();
    const std::size_t asked = blocks.asked;
    for (int i = 0; i < often; ++i) ASSERT_EQ(h->compact().why, stop_reason::pinned);
    EXPECT_EQ(examined(), before);
    EXPECT_EQ(os::calls_made(), calls);
    EXPECT_EQ(blocks.asked, asked);
    for (std::byte* block : blocks.at) {
      if (block != nullptr) h->unpin(block);
    }
    EXPECT_EQ(h->compact().why, stop_reason::done);
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes * 33 / 32 + 3 * pool->page_bytes());
    blocks.at.clear();
  }
}

TEST_F(effort_test, compacting_what_refuses_again_and_again_asks_about_one_block_each_time) {
  for (const std::size_t size : {400, 20000}) {
    make_holey(size);
    blocks.answer = [](std::uint32_t) { return verdict::keep; };
    ASSERT_EQ(h->compact().why, stop_reason::refused);
    blocks.asked = 0;
    std::uint64_t before = examined();
    const std::size_t pages = h->stats().pages;
    for (int i = 0; i < often; ++i) ASSERT_EQ(h->compact().why, stop_reason::refused);
    EXPECT_EQ(blocks.asked, std::size_t{often}) << size;
    EXPECT_LE(examined() - before, std::size_t{often}) << size;

    // Those that would move now are found, whichever they are, and then everything is asked.
    std::byte* const low = *std::min_element(blocks.at.begin(), blocks.at.end(), [](auto* a, auto* b) {
      return (a == nullptr ? ~std::uintptr_t{0} : reinterpret_cast<std::uintptr_t>(a)) <
             (b == nullptr ? ~std::uintptr_t{0} : reinterpret_cast<std::uintptr_t>(b));
    });
    blocks.answer = [&](std::uint32_t index) {
      return blocks.at[index] < low + 2 * pool->page_bytes() ? verdict::moved : verdict::keep;
    };
    std::size_t calls = 0;
    const std::size_t moved = blocks.blocks_moved;
    while (blocks.blocks_moved == moved && ++calls < 2 * pages) h->compact();
    EXPECT_LT(calls, 2 * pages) << size;
    blocks.answer = {};
    EXPECT_EQ(h->compact().why, stop_reason::done) << size;
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes * 33 / 32 + 3 * pool->page_bytes()) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    blocks.at.clear();
  }
}

TEST_F(effort_test, one_unpin_or_one_free_is_enough_to_look_again) {
  make_holey();
  pin_all();
  ASSERT_EQ(h->compact().why, stop_reason::pinned);
  std::uint64_t before = examined();
  h->unpin(blocks.at[0]);
  h->compact();
  EXPECT_GT(examined(), before);
  before = examined();
  blocks.free(*h, 0);
  h->compact();
  EXPECT_GT(examined(), before);
  for (std::size_t i = 1; i < blocks.at.size(); ++i) {
    if (blocks.at[i] != nullptr) h->unpin(blocks.at[i]);
  }
  EXPECT_EQ(h->compact().why, stop_reason::done);
  EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes + 3 * pool->page_bytes());
}

TEST_F(effort_test, compacting_blocks_without_a_mover_looks_at_no_block_twice) {
  make(32 * mib);
  const kind still = h->add_kind({});
  std::vector<void*> fixed;
  for (int i = 0; i < 20000; ++i) fixed.push_back(h->allocate(still, 500));
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    if (i % 10 != 0) h->free(fixed[i]);
  }
  ASSERT_EQ(h->compact().why, stop_reason::pinned);
  const std::uint64_t before = examined();
  const std::uint64_t calls = os::calls_made();
  for (int i = 0; i < often; ++i) ASSERT_EQ(h->compact().why, stop_reason::pinned);
  EXPECT_EQ(examined(), before);
  EXPECT_EQ(os::calls_made(), calls);
}

TEST_F(effort_test, a_compaction_asks_a_mover_that_refuses_once_a_page) {
  make_holey();
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  for (int i = 0; i < 10; ++i) {
    blocks.asked = 0;
    const std::uint64_t before = examined();
    ASSERT_EQ(h->compact().why, stop_reason::refused);
    EXPECT_LE(blocks.asked, h->stats().pages);
    EXPECT_LE(examined() - before, h->stats().pages);
  }
}

// A heap far over its waste target and full up to its budget, whose program goes on with another size.
TEST_F(effort_test, allocations_ask_a_mover_that_refuses_only_once_until_something_changes) {
  make(24 * mib);
  for (std::size_t i = 0; i < 16 * mib / 400; ++i) ASSERT_GE(blocks.allocate(*h, k, 400), 0);
  thin_out(10);
  blocks.answer = [](std::uint32_t) { return verdict::keep; };
  const std::size_t pages = h->stats().pages;
  std::size_t got = 0;
  for (int i = 0; i < 40000; ++i) got += blocks.allocate(*h, k, 250) >= 0 ? 1 : 0;
  EXPECT_GT(got, 1000U);
  EXPECT_LT(got, 40000U) << "the budget must have been reached";
  if (!moves_everything()) {
    EXPECT_LE(blocks.asked, 2 * pages);
  }
  EXPECT_LE(examined(), 2 * pages + got / 100);
  EXPECT_TRUE(blocks.all_intact());
}

// Shelves of few blocks of many sizes rise and fall by more than a small target: what is lowered rises again.
TEST_F(effort_test, what_is_soon_wanted_again_is_not_given_back_in_vain) {
  if (moves_everything()) GTEST_SKIP() << "counts what allocations alone move";
  heap_options options;
  options.waste_target = 1.0 / 128;
  make(64 * mib, options);
  std::mt19937 random(1);
  const auto size = [&] { return 1024 + random() % 7000; };
  constexpr std::size_t count = 2048;
  while (blocks.at.size() < count) ASSERT_GE(blocks.allocate(*h, k, size()), 0);
  for (std::size_t i = 0; i < 40000; ++i) {
    if (i == 20000) blocks.blocks_moved = 0;
    const std::size_t replaced = random() % count;
    blocks.free(*h, replaced);
    ASSERT_GE(blocks.allocate(*h, k, size()), 0);
    blocks.rename(count, replaced);
    blocks.at.pop_back();
  }
  EXPECT_LT(blocks.blocks_moved, 1000U);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(effort_test, allocations_in_a_heap_of_pinned_blocks_look_at_each_page_once) {
  make(24 * mib);
  for (std::size_t i = 0; i < 16 * mib / 400; ++i) ASSERT_GE(blocks.allocate(*h, k, 400), 0);
  thin_out(10);
  pin_all();
  const std::size_t pages = h->stats().pages;
  for (int i = 0; i < 40000; ++i) (void)blocks.allocate(*h, k, 250);
  if (!moves_everything()) {
    EXPECT_EQ(blocks.asked, 0U);
  }
  EXPECT_LE(examined(), 2 * pages);
}

// Processor time of this thread.
std::chrono::nanoseconds processor_time() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

// One block in each page is left of a heap of many: each move gives back a page, which takes longer than the move. An
// effort that left that out would take several times what is allowed here, every time; a machine that does something
// else meanwhile, on the account of this thread, does not every time.
TEST_F(effort_test, an_effort_in_time_covers_what_moves_nothing_too) {
  if (moves_everything()) GTEST_SKIP() << "the blocks are no longer where they were allocated";
  constexpr std::size_t bytes = address_sanitized ? 64 * mib : 384 * mib;
  constexpr std::chrono::milliseconds allowed(10);
  heap_options options;
  options.waste_target = 1;
  effort little;
  little.time_max = std::chrono::milliseconds(1);
  std::chrono::nanoseconds longest = allowed;
  for (int attempt = 0; attempt < 4 && longest >= allowed; ++attempt) {
    make(2 * bytes, options, mib);
    const kind quick = h->add_kind({"quick", 8,
                                    [](void*, void* from, void* to, std::size_t n) noexcept {
                                      std::memcpy(to, from, n < 64 ? n : 64);
                                      return verdict::moved;
                                    },
                                    nullptr});
    std::vector<void*> all;
    for (std::size_t i = 0; i < bytes / 8000; ++i) all.push_back(h->allocate(quick, 8000));
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % 131 != 0) h->free(all[i]);
    }
    longest = std::chrono::nanoseconds{0};
    int calls = 0;
    for (stop_reason why = stop_reason::effort_spent; why == stop_reason::effort_spent; ++calls) {
      ASSERT_LT(calls, 2000);
      const std::chrono::nanoseconds begin = processor_time();
      why = h->compact(little).why;
      longest = std::max(longest, processor_time() - begin);
    }
    EXPECT_GT(calls, address_sanitized ? 2 : 4);
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes + 2 * mib);
    h->verify();
  }
  EXPECT_LT(longest, allowed) << "in each of four attempts";
}

TEST_F(effort_test, free_pin_unpin_and_changes_of_the_budget_look_at_no_block) {
  make_holey();
  const std::uint64_t before = examined();
  pin_all();
  ASSERT_TRUE(pool->set_budget(8 * mib));
  ASSERT_TRUE(pool->set_budget(80 * mib));
  pool->trim();
  (void)h->estimate();
  for (std::byte* block : blocks.at) {
    if (block != nullptr) h->unpin(block);
  }
  blocks.free_all(*h);
  EXPECT_EQ(examined(), before);
  if (!moves_everything()) {
    EXPECT_EQ(blocks.asked, 0U);
  }
}

}  // namespace
}  // namespace scoot::testing
