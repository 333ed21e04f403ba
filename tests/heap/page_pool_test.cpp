// SPDX-License-Identifier: MIT
//
// Goal: what page_pool.hpp promises of options, budget, trim and statistics. Method: a heap as the pool's customer, and
// the pool's own numbers.
#include "scoot/page_pool.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "directory.hpp"
#include "os/os.hpp"
#include "scoot/heap.hpp"

namespace scoot::testing {
namespace {

class page_pool_test : public heap_fixture {};

TEST(page_pool, refuses_options_out_of_range) {
  EXPECT_EQ(page_pool::create({}), nullptr);
  EXPECT_EQ(page_pool::create({page_pool::budget_bytes_min - 1, 0, 0}), nullptr);
  EXPECT_EQ(page_pool::create({4 * mib, 32 * kib, 0}), nullptr);
  EXPECT_EQ(page_pool::create({4 * mib, 2 * mib, 0}), nullptr);
  EXPECT_EQ(page_pool::create({4 * mib, 100 * kib, 0}), nullptr);
}

constexpr std::size_t huge = ~std::size_t{0} / 2 + 2;  // above the largest budget whatever the size of an address

TEST(page_pool, refuses_address_space_that_cannot_be_had) { EXPECT_EQ(page_pool::create({huge, 0, huge}), nullptr); }

TEST(page_pool, takes_every_page_size_in_range) {
  for (std::size_t page = 64 * kib; page <= mib; page *= 2) {
    const auto pool = page_pool::create({8 * mib, page, 0});
    ASSERT_NE(pool, nullptr) << page;
    EXPECT_EQ(pool->page_bytes(), page);
    EXPECT_EQ(pool->stats().page_bytes, page);
    const auto h = heap::create(*pool);
    ASSERT_NE(h, nullptr) << page;
    directory blocks;
    const kind k = blocks.add_kind(*h);
    for (std::size_t size : {8U, 100U, 5000U, 40000U, 200000U}) ASSERT_GE(blocks.allocate(*h, k, size), 0) << page;
    h->verify();
    EXPECT_TRUE(blocks.all_intact());
  }
}

TEST(page_pool, chooses_a_page_size_from_the_budget) {
  const auto small = page_pool::create({page_pool::budget_bytes_min, 0, 0});
  const auto big = page_pool::create({std::size_t{1} << 30, 0, 0});
  ASSERT_TRUE(small != nullptr && big != nullptr);
  EXPECT_EQ(small->page_bytes(), 64 * kib);
  EXPECT_GT(big->page_bytes(), small->page_bytes());
  EXPECT_LE(big->page_bytes(), mib);
}

TEST(page_pool, holds_next_to_nothing_when_new) {
  for (std::size_t budget : {mib, 4 * mib, 64 * mib, 256 * mib, 1024 * mib}) {
    const auto pool = page_pool::create({budget, 0, 0});
    ASSERT_NE(pool, nullptr);
    const page_pool_stats s = pool->stats();
    EXPECT_EQ(s.budget_bytes, budget);
    EXPECT_EQ(s.pages, 0U);
    EXPECT_EQ(s.held_bytes, s.metadata_bytes);
    EXPECT_LE(s.held_bytes, 16 * kib + budget / 10000);
    EXPECT_GE(s.address_bytes, budget);
  }
}

TEST(page_pool, gigabytes_of_budget_cost_no_memory_until_used) {
  const auto pool = page_pool::create({sizeof(std::size_t) > 4 ? 65536 * mib : 1024 * mib, 0, 0});
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  EXPECT_LE(pool->stats().held_bytes, mib);
}

TEST_F(page_pool_test, every_byte_held_is_within_the_budget_at_every_step_of_filling) {
  make(2 * mib);
  for (std::size_t size : {24U, 700U, 6000U, 20000U, 100000U}) {
    while (blocks.allocate(*h, k, size) >= 0) {
      const page_pool_stats s = pool->stats();
      ASSERT_LE(s.held_bytes, s.budget_bytes);
    }
    const page_pool_stats s = pool->stats();
    EXPECT_LE(s.held_bytes_peak, s.budget_bytes);
    const heap_stats hs = h->stats();
    EXPECT_LE(hs.held_bytes + s.metadata_bytes + s.idle_bytes, s.held_bytes);
    EXPECT_LE(hs.metadata_bytes, s.metadata_bytes);
    EXPECT_GE(hs.live_bytes, s.budget_bytes * 9 / 10) << "filled with " << size;
    blocks.free_all(*h);
    h->compact();
  }
}

TEST_F(page_pool_test, peak_is_the_most_ever_held) {
  make(4 * mib);
  fill(512);
  const std::size_t full = pool->stats().held_bytes;
  blocks.free_all(*h);
  h->compact();
  pool->trim();
  EXPECT_LT(pool->stats().held_bytes, full / 4);
  EXPECT_GE(pool->stats().held_bytes_peak, full);
}

TEST_F(page_pool_test, trim_gives_all_idle_memory_back_to_the_os) {
  make(16 * mib, {}, 256 * kib);
  fill(1000);
  blocks.free_all(*h);
  const std::size_t before = pool->stats().held_bytes;
  const std::size_t idle = pool->stats().idle_bytes;
  EXPECT_EQ(pool->trim(), idle);
  const page_pool_stats after = pool->stats();
  EXPECT_EQ(after.idle_bytes, 0U);
  EXPECT_EQ(after.held_bytes, before - idle);
}

TEST_F(page_pool_test, trim_keeps_what_it_is_asked_to_keep) {
  make(64 * mib, {}, 64 * kib);
  fill(1000);
  blocks.free_all(*h);
  const std::size_t idle = pool->stats().idle_bytes;
  ASSERT_GT(idle, 0U);
  const std::size_t keep = idle / 2;
  const std::size_t given = pool->trim(keep);
  EXPECT_LE(pool->stats().idle_bytes, keep);
  EXPECT_EQ(pool->stats().idle_bytes, idle - given);
  EXPECT_EQ(pool->trim(keep), 0U);
}

TEST_F(page_pool_test, freed_memory_does_not_stay_idle_for_long) {
  make(64 * mib);
  fill(300);
  blocks.free_all(*h);
  h->compact();
  EXPECT_LE(pool->stats().idle_bytes, 4 * mib);
}

TEST_F(page_pool_test, a_raised_budget_lets_allocation_go_on) {
  make(2 * mib);
  fill(400);
  ASSERT_TRUE(pool->set_budget(6 * mib));
  const std::size_t more = fill(400);
  EXPECT_GE(more * 400, 3 * mib + mib / 2);
  EXPECT_LE(pool->stats().held_bytes, 6 * mib);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(page_pool_test, a_budget_raised_beyond_the_address_space_gets_more_of_it) {
  pool = page_pool::create({2 * mib, 0, 4 * mib});
  ASSERT_NE(pool, nullptr);
  h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  k = blocks.add_kind(*h);
  ASSERT_TRUE(pool->set_budget(32 * mib));
  EXPECT_GE(pool->stats().address_bytes, 32 * mib);
  EXPECT_GE(fill(5000) * 5000, 28 * mib);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(page_pool_test, a_cut_budget_refuses_allocations_until_enough_was_freed_and_compacted) {
  make(8 * mib);
  fill(400);
  ASSERT_TRUE(pool->set_budget(2 * mib));
  EXPECT_EQ(pool->stats().budget_bytes, 2 * mib);
  EXPECT_GT(pool->stats().held_bytes, 2 * mib);
  EXPECT_EQ(h->allocate(k, 5000), nullptr);
  EXPECT_TRUE(blocks.all_intact());
  thin_out(8);
  h->compact();
  EXPECT_LE(pool->stats().held_bytes, 2 * mib);
  EXPECT_GE(blocks.allocate(*h, k, 5000), 0);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(page_pool_test, a_cut_budget_frees_idle_pages_by_itself) {
  make(32 * mib, {}, 1024 * kib);
  fill(1000);
  blocks.free_all(*h);
  const page_pool_stats before = pool->stats();
  ASSERT_GT(before.idle_bytes, 0U);
  ASSERT_TRUE(pool->set_budget(page_pool::budget_bytes_min));
  const page_pool_stats after = pool->stats();
  EXPECT_TRUE(after.held_bytes <= after.budget_bytes || after.idle_bytes == 0);
}

TEST_F(page_pool_test, refuses_budgets_out_of_range_and_changes_nothing) {
  make(4 * mib);
  EXPECT_FALSE(pool->set_budget(0));
  EXPECT_FALSE(pool->set_budget(page_pool::budget_bytes_min - 1));
  EXPECT_FALSE(pool->set_budget(~std::size_t{0} - 1));
  EXPECT_EQ(pool->stats().budget_bytes, 4 * mib);
  EXPECT_GE(blocks.allocate(*h, k, 100), 0);
}

TEST_F(page_pool_test, a_page_one_heap_gave_back_serves_another) {
  make(4 * mib);
  fill(500);
  blocks.free_all(*h);
  h->compact();
  const auto other = heap::create(*pool);
  ASSERT_NE(other, nullptr);
  directory others;
  const kind kind_of_other = others.add_kind(*other);
  std::size_t bytes = 0;
  while (others.allocate(*other, kind_of_other, 900) >= 0) bytes += 900;
  EXPECT_GE(bytes, 3 * mib + mib / 2);
  EXPECT_TRUE(others.all_intact());
  EXPECT_LE(pool->stats().held_bytes, 4 * mib);
}

TEST_F(page_pool_test, a_destroyed_heap_leaves_nothing_held_but_the_pools_own_metadata) {
  make(8 * mib);
  const std::size_t pool_alone = page_pool::create({8 * mib, 0, 0})->stats().held_bytes;
  fill(123);
  h.reset();
  pool->trim();
  const page_pool_stats s = pool->stats();
  EXPECT_EQ(s.pages, 0U);
  EXPECT_EQ(s.idle_bytes, 0U);
  EXPECT_LE(s.held_bytes, pool_alone + 64 * kib);
}

TEST_F(page_pool_test, heaps_made_and_destroyed_for_ever_do_not_use_the_budget_up) {
  pool = page_pool::create({2 * mib, 0, 0});
  std::size_t held_first = 0;
  for (int round = 0; round < 200; ++round) {
    h = heap::create(*pool);
    ASSERT_NE(h, nullptr) << round;
    k = blocks.add_kind(*h);
    for (std::size_t size = 8; size < 9000; size += 300) ASSERT_GE(blocks.allocate(*h, k, size), 0) << round;
    h.reset();
    blocks.at.clear();
    pool->trim();
    if (round == 0) held_first = pool->stats().held_bytes;
  }
  EXPECT_LE(pool->stats().held_bytes, held_first + 4 * kib);
}

// In a child: what is locked from then on stays locked in this process otherwise.
TEST(page_pool, where_all_memory_is_locked_holds_what_is_touched_and_gives_it_back) {
  if (address_sanitized || thread_sanitized) GTEST_SKIP() << "sanitizers do nothing when memory is locked";
  enum answer : int { kept, not_permitted, no_pool, resident_untouched, not_given_back, still_resident };
  const auto resident = [](const void* address, std::size_t bytes) {
    std::vector<unsigned char> there(bytes / os::page_bytes());
    if (mincore(const_cast<void*>(address), bytes, there.data()) != 0) return ~std::size_t{0};
    return static_cast<std::size_t>(std::count_if(there.begin(), there.end(), [](unsigned char b) { return b & 1; }));
  };
  const auto child = [&]() -> answer {
    if (mlockall(MCL_FUTURE) != 0) return not_permitted;
    const auto pool = page_pool::create({8 * mib, 64 * kib, 0});
    if (pool == nullptr) return no_pool;
    const auto h = heap::create(*pool);
    const kind k = h->add_kind({});
    std::vector<void*> blocks;
    for (int i = 0; i < 1000; ++i) blocks.push_back(h->allocate(k, 1000));
    char* const first = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(blocks[0]) / (64 * kib) * (64 * kib));
    if (resident(first, 4 * mib) * os::page_bytes() > pool->held_bytes()) return resident_untouched;
    const std::size_t before = pool->held_bytes();
    for (void* block : blocks) h->free(block);
    h->compact();
    if (pool->held_bytes() + 500 * kib > before) return not_given_back;
    return resident(first, 4 * mib) * os::page_bytes() > pool->held_bytes() ? still_resident : kept;
  };
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) _exit(child());
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == not_permitted || WEXITSTATUS(status) == no_pool)
    GTEST_SKIP() << "locking is not permitted";
  EXPECT_EQ(WEXITSTATUS(status), kept);
}

}  // namespace
}  // namespace scoot::testing
