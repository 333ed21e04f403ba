// SPDX-License-Identifier: MIT
//
// Goal: a pool needs little more address space than its budget where there is no more, keeps few mappings, and gives
// back what it took. Method: a child process with a limit on its address space (a death test, so that the limit ends
// with it), heaps made to fragment, and the kernel's own account of the process.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

std::size_t mapped_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t os_pages = 0;
  statm >> os_pages;
  return os_pages * 4096;
}

bool limit_address_space_to(std::size_t bytes_more) {
  rlimit limit{};
  limit.rlim_cur = limit.rlim_max = mapped_bytes() + bytes_more;
  return mapped_bytes() != 0 && setrlimit(RLIMIT_AS, &limit) == 0;
}

// Ends the child: 0 if the condition held throughout.
[[noreturn]] void leave(const char* failure) {
  if (failure != nullptr) std::fprintf(stderr, "%s\n", failure);
  std::_Exit(failure != nullptr ? 1 : 0);
}

constexpr std::size_t budget = 32 * mib;

[[noreturn]] void fill_under_a_limit() {
  if (!limit_address_space_to(budget + 24 * mib)) leave("no limit");
  const auto pool = page_pool::create({budget, 64 * kib, 0});
  if (pool == nullptr) leave("no pool");
  const auto h = heap::create(*pool);
  if (h == nullptr) leave("no heap");
  directory blocks;
  const kind k = blocks.add_kind(*h);
  std::size_t bytes = 0;
  while (blocks.allocate(*h, k, 1000) >= 0) bytes += 1000;
  if (bytes < budget * 9 / 10) leave("filled too little");
  if (!blocks.all_intact()) leave("bytes changed");
  leave(nullptr);
}

TEST(address_space_death_test, limited_to_little_more_than_the_budget_serves_the_whole_budget) {
  if (address_sanitized || thread_sanitized) GTEST_SKIP() << "sanitizers need address space of their own";
  EXPECT_EXIT(fill_under_a_limit(), ::testing::ExitedWithCode(0), "");
}

// Frees at random until `keep` of 256 blocks are left.
void thin_out(heap& h, directory& blocks, std::mt19937& random, unsigned keep) {
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (blocks.at[i] != nullptr && random() % 256 >= keep) blocks.free(h, i);
  }
}

// Fills a heap with one size after the other, each into what the one before left: small and large, ever fragmented.
[[noreturn]] void shift_sizes_under_a_limit() {
  constexpr std::size_t bytes = 64 * mib;
  directory blocks;
  blocks.at.reserve(2'000'000);
  std::mt19937 random(3);
  if (!limit_address_space_to(bytes + bytes / 4)) leave("no limit");
  const auto pool = page_pool::create({bytes, 0, 0});
  if (pool == nullptr) leave("no pool");
  const auto h = heap::create(*pool);
  if (h == nullptr) leave("no heap");
  const kind k = blocks.add_kind(*h);
  for (const std::size_t size : {300U, 64U, 1000U, 5000U, 200U, 7500U, 700U, 3000U, 120U}) {
    bool full = false;
    while (!full) {
      const std::size_t mean = size - size / 16 + random() % (size / 8);
      if (blocks.at.size() == blocks.at.capacity()) leave("table too small");
      if (blocks.allocate(*h, k, mean) >= 0) continue;
      h->compact();
      full = blocks.allocate(*h, k, mean) < 0;
    }
    if (h->stats().live_bytes < bytes / 100 * 90) {
      std::fprintf(stderr, "size %zu: %zu live, %zu held\n", size, h->stats().live_bytes, pool->stats().held_bytes);
      leave("the budget was not used");
    }
    if (!blocks.all_intact()) leave("bytes changed");
    thin_out(*h, blocks, random, 100);
  }
  h->verify();
  leave(nullptr);
}

TEST(address_space_death_test, limited_to_five_quarters_of_the_budget_serves_one_size_after_the_other) {
  if (address_sanitized || thread_sanitized) GTEST_SKIP() << "sanitizers need address space of their own";
  EXPECT_EXIT(shift_sizes_under_a_limit(), ::testing::ExitedWithCode(0), "");
}

TEST(address_space, is_a_handful_of_mappings_however_fragmented) {
  const std::size_t before = mappings();
  if (before == 0) GTEST_SKIP() << "no /proc/self/maps";
  const auto pool = page_pool::create({48 * mib, 64 * kib, 64 * mib});
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  directory blocks;
  const kind k = blocks.add_kind(*h);
  std::mt19937 random(5);
  std::size_t most = 0;
  for (int round = 0; round < 40; ++round) {
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (blocks.at[i] != nullptr && random() % 2 == 0) blocks.free(*h, i);
    }
    for (std::size_t bytes = 0; bytes < 24 * mib;) {
      const std::size_t size = 8 + random() % (std::size_t{16} << random() % 16);  // up to eight pages
      if (blocks.allocate(*h, k, size) < 0) break;
      bytes += size;
    }
    h->compact();
    if (round % 8 == 7) {
      ASSERT_TRUE(pool->set_budget(48 * mib + static_cast<std::size_t>(round) * mib));
    }
    most = std::max(most, mappings());
  }
  // Two for each region of pages and its page_infos, two for the metadata, and what the test's own vectors take.
  EXPECT_LE(most, before + 40);
  EXPECT_TRUE(blocks.all_intact());
}

// A quarter more address space than the budget, for the whole process; what is in use, in pieces of every sort.
[[noreturn]] void ask_for_half_the_budget_under_a_limit() {
  constexpr std::size_t large_budget = 256 * mib;
  rlimit limit{};
  limit.rlim_cur = limit.rlim_max = large_budget / 4 * 5;
  if (setrlimit(RLIMIT_AS, &limit) != 0) leave("no limit");
  const auto pool = page_pool::create({large_budget, 0, 0});
  if (pool == nullptr) leave("no pool");
  const auto h = heap::create(*pool);
  if (h == nullptr) leave("no heap");
  directory blocks;
  const kind k = blocks.add_kind(*h);
  constexpr std::size_t sizes[] = {300, 1000, 5000, 20 * kib, 90 * kib, 400 * kib, mib + 5};
  std::size_t refused = 0;
  for (std::size_t i = 0; refused < std::size(sizes); ++i) {
    refused = blocks.allocate(*h, k, sizes[i % std::size(sizes)]) < 0 ? refused + 1 : 0;
  }
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (i * 0x9e3779b97f4a7c15U >> 60 < 10) blocks.free(*h, i);
  }
  blocks.bytes_moved = 0;
  if (blocks.allocate(*h, k, large_budget / 2) < 0) {
    if (h->compact().why == stop_reason::effort_spent) leave("compact without a limit has one");
    if (blocks.allocate(*h, k, large_budget / 2) < 0) leave("half the budget refused");
  }
  for (int i = 0; i < 64; ++i) {
    const page_pool_stats s = pool->stats();
    const std::size_t size = mib + static_cast<std::size_t>(i) * 100 * kib;
    if (s.budget_bytes - s.held_bytes + s.idle_bytes < size + mib) break;
    if (blocks.allocate(*h, k, size) < 0) leave("a smaller run refused");
  }
  if (blocks.bytes_moved == 0) leave("nothing had to move: no test of anything");
  if (!blocks.all_intact()) leave("bytes changed");
  h->verify();
  leave(nullptr);
}

TEST(address_space_death_test, a_quarter_more_than_the_budget_serves_half_of_it_in_one_block) {
  if (address_sanitized || thread_sanitized) GTEST_SKIP() << "sanitizers need address space of their own";
  EXPECT_EXIT(ask_for_half_the_budget_under_a_limit(), ::testing::ExitedWithCode(0), "");
}

TEST(address_space, is_all_given_back_with_the_pool) {
  (void)mapped_bytes();
  const std::size_t before = mapped_bytes();
  for (int round = 0; round < 50; ++round) {
    const auto pool = page_pool::create({64 * mib, 0, 0});
    ASSERT_NE(pool, nullptr);
    const auto h = heap::create(*pool);
    ASSERT_NE(h, nullptr);
    ASSERT_TRUE(pool->set_budget(300 * mib));
    ASSERT_NE(h->allocate(h->add_kind({}), 3 * mib), nullptr);
  }
  EXPECT_LE(mapped_bytes(), before + 32 * mib);
}

}  // namespace
}  // namespace scoot::testing
