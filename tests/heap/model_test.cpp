// SPDX-License-Identifier: MIT
//
// Goal: no sequence of operations breaks what the headers promise. Method: seeded random operations on a heap_model,
// which checks everything after each; moves are forced all the time by a tiny waste target and by compact and
// move_everything between the others. properties_test.cpp adds sequences that shrink.
//
// SCOOT_TEST_SEEDS=n runs n seeds of each profile instead of three, or thirty in the long form; SCOOT_TEST_SEED=n only
// seed n.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "directory.hpp"
#include "heap_model.hpp"

namespace scoot::testing {
namespace {

// How often each operation comes, in the order of op_code.
using weights = std::array<unsigned, static_cast<std::size_t>(op_code::last) + 1>;

struct profile {
  const char* name;
  model_options options;
  weights often;
  unsigned sizes;       // bits of op b from which size_of draws: which of its 16 ranges may come
  unsigned operations;  // in a normal run
};

constexpr unsigned tiny = 0x000f, small = 0x00f0, shelf = 0x0300, edge = 0x0400, large = 0x1800, half_page = 0x2000,
                   run = 0x4000, any = 0x8000;

std::vector<profile> profiles() {
  //                     alloc free pin unpin comp bound every budget trim frmany almany realloc
  const weights mixed = {40, 25, 4, 4, 3, 6, 3, 2, 2, 2, 3, 6};
  const weights moving = {40, 30, 2, 2, 10, 0, 20, 0, 0, 1, 2, 6};
  const weights budgets = {40, 20, 2, 2, 4, 6, 1, 12, 6, 4, 8, 6};
  std::vector<profile> all;

  profile p{"everything", {}, mixed, 0xffff, 2500};
  p.options.heap.waste_target = 0.001;
  all.push_back(p);

  p = {"small_blocks", {}, moving, tiny | small | shelf, 2000};
  p.options.heap.waste_target = 0.0001;
  p.options.live_bytes_max = 300 * kib;
  all.push_back(p);

  p = {"large_space", {}, moving, edge | large | half_page, 1500};
  p.options.heap.waste_target = 0.0001;
  p.options.heap.move_bytes_max = 128 * kib;
  all.push_back(p);

  p = {"runs", {}, mixed, tiny | half_page | run | any, 1500};
  p.options.pool_options = {8 * mib, 64 * kib, 0};
  p.options.live_bytes_max = 6 * mib;
  p.options.size_max = 4 * mib;
  p.options.verify_every = 8;
  all.push_back(p);

  p = {"runs_in_scarce_address_space", {}, {60, 25, 2, 4, 1, 3, 1, 0, 1, 1, 0}, edge | large | half_page | run, 2500};
  p.options.pool_options = {4 * mib, 64 * kib, 4 * mib + 512 * kib};
  p.options.scarce_address = true;
  p.options.kinds = {{8, true, 0, 0}, {64, true, 0, 0}, {8, true, 1, 1}};
  p.options.live_bytes_max = 4 * mib;
  p.options.verify_every = 4;
  all.push_back(p);

  p = {"changing_budgets", {}, budgets, 0xffff, 2000};
  p.options.pool_options = {3 * mib, 0, 0};
  p.options.live_bytes_max = 8 * mib;
  p.options.verify_every = 4;
  all.push_back(p);

  p = {"full_heap", {}, {60, 25, 2, 2, 1, 4, 1, 0, 1, 1, 10}, tiny | small | shelf | edge | large, 3000};
  p.options.pool_options = {page_pool::budget_bytes_min, 0, 0};
  p.options.live_bytes_max = 4 * mib;
  p.options.verify_every = 4;
  all.push_back(p);

  p = {"big_pages_and_no_waste_target", {}, mixed, 0xffff, 1500};
  p.options.pool_options = {16 * mib, mib, 0};
  p.options.heap.waste_target = 1;
  p.options.live_bytes_max = 10 * mib;
  p.options.size_max = 6 * mib;
  p.options.verify_every = 8;
  all.push_back(p);

  p = {"one_movable_kind", {}, {40, 28, 0, 0, 6, 8, 6, 2, 2, 2, 4}, 0xffff, 2000};
  p.options.kinds = {{8, true, 0, 0}};
  p.options.heap.waste_target = 0.002;
  all.push_back(p);

  //                            alloc free pin unpin comp bound every budget trim frmany almany
  p = {"between_pins", {}, {10, 5, 12, 3, 8, 8, 2, 1, 1, 5, 12}, tiny | small | shelf, 2000};
  p.options.pool_options = {6 * mib, 64 * kib, 0};
  p.options.heap.waste_target = 0.01;
  p.options.live_bytes_max = 3 * mib;
  p.options.verify_every = 4;
  all.push_back(p);

  p = {"movers_that_mostly_refuse", {}, mixed, tiny | small | shelf | large, 2000};
  p.options.kinds = {{8, true, 80, 0}, {8, true, 100, 0}, {32, true, 50, 20}, {8, true, 0, 50}};
  p.options.heap.waste_target = 0.001;
  all.push_back(p);
  for (profile& each : all) {
    for (const op_code also : {op_code::release, op_code::hand_over, op_code::estimate, op_code::add_kind}) {
      each.often[static_cast<std::size_t>(also)] = 1;
    }
  }
  return all;
}

std::vector<std::uint64_t> seeds() {
  if (const char* one = std::getenv("SCOOT_TEST_SEED")) return {std::strtoull(one, nullptr, 10)};
  std::size_t count = long_form()        ? 30
                      : thread_sanitized ? 1
                                         : 3;  // one thread is not what that sanitizer is for, and it is slow
  if (const char* wanted = std::getenv("SCOOT_TEST_SEEDS")) count = std::strtoull(wanted, nullptr, 10);
  std::vector<std::uint64_t> all(count);
  std::iota(all.begin(), all.end(), 1);
  return all;
}

operation draw(std::mt19937_64& random, const profile& p) {
  operation o;
  unsigned dice = static_cast<unsigned>(random() % std::accumulate(p.often.begin(), p.often.end(), 0U));
  std::size_t code = 0;
  while (dice >= p.often[code]) dice -= p.often[code++];
  o.code = static_cast<op_code>(code);
  o.a = static_cast<std::uint32_t>(random());
  do {
    o.b = static_cast<std::uint32_t>(random());
  } while ((p.sizes >> o.b % 16 & 1U) == 0);
  return o;
}

class model : public ::testing::TestWithParam<std::size_t> {};

TEST_P(model, keeps_every_promise_under_random_operations) {
  const profile p = profiles()[GetParam()];
  for (std::uint64_t seed : seeds()) {
    model_options options = p.options;
    options.seed = seed;
    heap_model m(options);
    std::mt19937_64 random(seed * 1000003 + GetParam());
    for (unsigned i = 0; i < p.operations / (thread_sanitized ? 4 : 1); ++i) {
      const operation o = draw(random, p);
      ASSERT_TRUE(m.apply(o)) << "seed " << seed << ", " << to_string(o) << ": " << m.failure();
    }
    const bool freed = m.free_all();
    ASSERT_TRUE(freed) << "seed " << seed << ", at the end: " << m.failure();
    EXPECT_GT(m.blocks_moved(), 0U) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(profiles, model, ::testing::Range<std::size_t>(0, profiles().size()),
                         [](const auto& each) { return profiles()[each.param].name; });

// Resident memory of this process in bytes, as the kernel counts it.
std::size_t resident_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    std::size_t kilobytes = 0;
    if (word == "Rss:" && rollup >> kilobytes) return kilobytes * kib;
  }
  return 0;
}

TEST(resident_memory, stays_within_the_budget_whatever_the_heap_does) {
  if (address_sanitized || thread_sanitized) GTEST_SKIP() << "sanitizers hold memory of their own";
  if (resident_bytes() == 0) GTEST_SKIP() << "no /proc/self/smaps_rollup";
  constexpr std::size_t budget = 48 * mib;
  constexpr std::size_t slop = mib;  // what the C library and the kernel's readahead do meanwhile
  directory blocks;
  blocks.at.reserve(4'000'000);
  blocks.at.resize(4'000'000);  // touched before the baseline
  blocks.at.clear();
  std::vector<std::uint32_t> live;
  live.resize(4'000'000);
  live.clear();
  std::mt19937_64 random(11);
  (void)resident_bytes();
  const std::size_t before = resident_bytes();

  const auto pool = page_pool::create({budget, 0, 0});
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  const kind k = blocks.add_kind(*h);
  for (std::size_t mean : {64U, 1024U, 200U, 20000U, 3000U}) {
    for (int step = 0; step < 40; ++step) {
      std::size_t budget_now = budget;
      if (step % 10 == 9) {
        budget_now = budget / 2;
        ASSERT_TRUE(pool->set_budget(budget_now));
        for (std::size_t i = live.size(); i-- > live.size() / 3;) blocks.free(*h, live[i]);
        live.resize(live.size() / 3);
        h->compact();
      }
      for (std::size_t bytes = 0; bytes < 4 * mib;) {
        const std::size_t size = 8 + random() % (2 * mean);
        bytes += size;
        while (blocks.at.size() < 3'900'000) {
          const auto index = blocks.allocate(*h, k, size);
          if (index >= 0) {
            live.push_back(static_cast<std::uint32_t>(index));
            break;
          }
          if (live.empty()) break;
          for (int n = 0; n < 8 && !live.empty(); ++n) {
            const std::size_t victim = random() % live.size();
            blocks.free(*h, live[victim]);
            live[victim] = live.back();
            live.pop_back();
          }
        }
      }
      const std::size_t resident = resident_bytes() - before;
      ASSERT_LE(resident, budget_now + slop) << "mean " << mean << ", step " << step;
      ASSERT_LE(resident, pool->stats().held_bytes + slop) << "mean " << mean << ", step " << step;
      if (budget_now != budget) {
        ASSERT_TRUE(pool->set_budget(budget));
      }
    }
  }
  EXPECT_TRUE(blocks.all_intact());
}

}  // namespace
}  // namespace scoot::testing
