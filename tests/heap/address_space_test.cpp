// SPDX-License-Identifier: MIT
//
// Goal: a pool needs little more address space than its budget where there is no more, and gives back what it took.
// Method: a child process with a limit on its address space (a death test, so that the limit ends with it).
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

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
