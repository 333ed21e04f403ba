// SPDX-License-Identifier: MIT
//
// Goal: a refusal of the OS, whichever it is, costs a null or false result and nothing else. Method: a scenario through
// every part of pool and heap, run again and again with the Nth call of the OS failing, until none fails.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "directory.hpp"
#include "heap_model.hpp"
#include "os/os.hpp"

namespace scoot::testing {
namespace {

// Ends injection however the scope is left.
struct injection {
  explicit injection(std::uint64_t n) { os::fail_nth_call(n); }
  injection(const injection&) = delete;
  injection& operator=(const injection&) = delete;
  ~injection() { os::fail_nth_call(0); }
};

model_options options_of_scenario(bool scarce_address) {
  model_options options;
  options.pool_options = {6 * mib, 64 * kib, 8 * mib};
  options.heap.waste_target = 0.002;
  options.live_bytes_max = 5 * mib;
  options.verify_every = 32;
  if (scarce_address) {
    options.scarce_address = true;
    options.pool_options.address_bytes = options.pool_options.budget_bytes / 4 * 5;
    options.size_max = 3 * mib;
    options.kinds = {{8, true, 0, 0}, {64, true, 1, 1}};
  }
  return options;
}

// Through shelves, large space, runs, growth of address space, cuts and compaction. The failure, empty if none.
std::string run_scenario(const std::array<operation, 120>& operations, bool scarce_address) {
  heap_model m(options_of_scenario(scarce_address));
  if (m.get_heap() == nullptr || !m.failure().empty()) return "";  // refused as a whole: nothing to check but leaks
  m.expect_os_failures();
  for (const operation& o : operations) {
    if (!m.apply(o)) return to_string(o) + ": " + m.failure();
  }
  if (!m.free_all()) return "at the end: " + m.failure();
  return "";
}

std::array<operation, 120> scenario() {
  std::array<operation, 120> all{};
  std::mt19937_64 random(5);
  for (std::size_t i = 0; i < all.size(); ++i) {
    static constexpr op_code codes[] = {op_code::allocate_many, op_code::allocate,        op_code::free,
                                        op_code::allocate_many, op_code::compact_bounded, op_code::pin,
                                        op_code::allocate,      op_code::free_many,       op_code::set_budget,
                                        op_code::trim,          op_code::move_everything, op_code::unpin,
                                        op_code::compact,       op_code::release,         op_code::free_many,
                                        op_code::compact};
    all[i].code = codes[i % std::size(codes)];
    all[i].a = static_cast<std::uint32_t>(random());
    all[i].b = static_cast<std::uint32_t>(random());
    if (all[i].code == op_code::set_budget) all[i].a %= 12 * mib;
    if (all[i].code == op_code::free_many) all[i].b = all[i].b % 200;
  }
  return all;
}

// With scarce address space, making room for runs calls the OS too.
class os_failure_anywhere : public ::testing::TestWithParam<bool> {};

TEST_P(os_failure_anywhere, breaks_nothing) {
  const auto operations = scenario();
  std::uint64_t n = 1;
  for (;; n += thread_sanitized ? (GetParam() ? 29 : 7) : 1) {
    const std::uint64_t before = os::calls_made();
    {
      const injection failing(n);
      const std::string failure = run_scenario(operations, GetParam());
      ASSERT_EQ(failure, "") << "with call " << n << " of the OS failing";
    }
    if (os::calls_made() - before < n) break;  // the scenario no longer gets as far
    ASSERT_LT(n, 20000U);
  }
  EXPECT_GT(n, 10U) << "the scenario calls the OS too seldom to test anything";
}

INSTANTIATE_TEST_SUITE_P(address_space, os_failure_anywhere, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "scarce" : "plenty"; });

TEST(os_failure, a_pool_that_cannot_be_made_is_null_and_the_next_one_is_made) {
  for (std::uint64_t n = 1;; ++n) {
    ASSERT_LT(n, 100U);
    const std::uint64_t before = os::calls_made();
    std::unique_ptr<page_pool> pool;
    {
      const injection failing(n);
      pool = page_pool::create({4 * mib, 0, 0});
    }
    if (os::calls_made() - before < n) {
      EXPECT_NE(pool, nullptr);
      EXPECT_GT(n, 1U);
      break;
    }
    ASSERT_NE(page_pool::create({4 * mib, 0, 0}), nullptr);
  }
}

TEST(os_failure, an_allocation_refused_by_the_os_can_be_tried_again) {
  for (std::size_t size : {100U, 5000U, 20000U, 300000U}) {
    const auto pool = page_pool::create({32 * mib, 0, 0});
    ASSERT_NE(pool, nullptr);
    const auto h = heap::create(*pool);
    ASSERT_NE(h, nullptr);
    directory blocks;
    const kind k = blocks.add_kind(*h);
    for (int i = 0; i < 30; ++i) {
      {
        const injection failing(1);
        (void)blocks.allocate(*h, k, size);
      }
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
}

// Pins need metadata, by and by more than the arena reserved at first.
TEST(os_failure, a_pin_refused_by_the_os_can_be_tried_again) {
  const auto pool = page_pool::create({64 * mib, 0, 0});
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  directory blocks;
  const kind k = blocks.add_kind(*h);
  for (int i = 0; i < 300'000; ++i) ASSERT_GE(blocks.allocate(*h, k, 16), 0);
  int refused = 0;
  for (std::byte* block : blocks.at) {
    bool pinned = false;
    for (std::uint64_t n = 1; !pinned; ++n) {
      ASSERT_LT(n, 10U);
      const injection failing(n);
      pinned = h->pin(block);
      if (!pinned) ++refused;
    }
  }
  EXPECT_GE(refused, 3);
  EXPECT_EQ(h->stats().pinned_blocks, blocks.at.size());
  EXPECT_EQ(h->compact().bytes_moved, 0U);
  h->verify();
  for (std::byte* block : blocks.at) h->unpin(block);
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
  EXPECT_TRUE(blocks.all_intact());
}

// Compaction that the OS does not let give anything back gains nothing, loses nothing, and succeeds when it is let.
TEST(os_failure, compaction_whose_memory_is_not_taken_back_can_be_repeated) {
  for (std::uint64_t n = 1; n < 40; ++n) {
    const auto pool = page_pool::create({32 * mib, 64 * kib, 0});
    ASSERT_NE(pool, nullptr);
    const auto h = heap::create(*pool, {1, 32 * kib});
    ASSERT_NE(h, nullptr);
    directory blocks;
    const kind k = blocks.add_kind(*h);
    for (std::size_t size : {40U, 900U, 3000U, 12000U, 100000U}) {
      for (std::size_t bytes = 0; bytes < mib; bytes += size) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (i % 4 != 0) blocks.free(*h, i);
    }
    {
      const injection failing(n);
      h->compact();
    }
    h->verify();
    ASSERT_TRUE(blocks.all_intact()) << n;
    h->compact();
    h->verify();
    EXPECT_EQ(pool->stats().idle_bytes, 0U) << n;
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes * 5 / 4 + 8 * 64 * kib) << n;
  }
}

// What a heap holds that was made, and has shrunk, before the OS fails.
struct shrunk_heap {
  shrunk_heap() : pool(page_pool::create({48 * mib, 64 * kib, 0})), h(heap::create(*pool, {1, 32 * kib})) {
    k = blocks.add_kind(*h);
  }
  [[nodiscard]] std::size_t stretches() const {
    std::set<std::uintptr_t> all;
    for (const std::byte* block : blocks.at) {
      if (block != nullptr) all.insert(reinterpret_cast<std::uintptr_t>(block) / (2 * mib));
    }
    return all.size();
  }
  // Frees all but a few of the blocks, of which some are pinned.
  void thin_out(unsigned keep, unsigned pin) {
    std::mt19937 random(3);
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (random() % keep != 0) {
        blocks.free(*h, i);
      } else if (pin != 0 && random() % pin == 0 && h->pin(blocks.at[i])) {
        pinned.push_back(blocks.at[i]);
      }
    }
  }
  void unpin() {
    for (std::byte* block : pinned) h->unpin(block);
    pinned.clear();
  }

  directory blocks;
  std::unique_ptr<page_pool> pool;
  std::unique_ptr<heap> h;
  kind k;
  std::vector<std::byte*> pinned;
};

// Compacts one such heap after another, with a later call failing each time, until none fails. In ordinary runs some
// calls are left out.
template <class Make, class Compact, class Check>
void fail_each_call(const Make& make, const Compact& compact, const Check& check) {
  std::uint64_t calls = 1;
  std::uint64_t n = 0;
  while (n < calls) {
    n += long_form() ? 1 : address_sanitized || moves_everything() ? 23 : 5;
    shrunk_heap of;
    make(of);
    calls = os::calls_made();
    {
      const injection failing(n);
      compact(of);
    }
    calls = os::calls_made() - calls;
    of.h->verify();
    ASSERT_TRUE(of.blocks.all_intact()) << "with call " << n << " of " << calls << " failing";
    of.h->compact();
    of.h->verify();
    ASSERT_TRUE(of.blocks.all_intact()) << "with call " << n << " of " << calls << " failing";
    EXPECT_EQ(of.pool->stats().idle_bytes, 0U);
    check(of, n <= calls);
    ASSERT_FALSE(::testing::Test::HasFailure()) << "with call " << n << " of " << calls << " failing";
  }
  EXPECT_GT(n, 20U) << "the compactions call the OS too seldom to test anything";
}

// Shelves' pages, the large space's and runs.
TEST(os_failure, what_a_heap_that_shrank_holds_is_gathered_in_few_stretches_all_the_same) {
  fail_each_call(
      [](shrunk_heap& of) {
        std::size_t size = 40;
        for (int i = 0; of.h->stats().held_bytes < 16 * mib; ++i, size = 40 + size * 7 % 9001) {
          const std::size_t large = i % 20 == 19 ? 20000 : i % 20 == 9 ? 70000 : 0;
          ASSERT_GE(of.blocks.allocate(*of.h, of.k, large != 0 ? large : size), 0);
        }
        of.thin_out(24, 0);
        ASSERT_GT(of.stretches(), 8U);
      },
      [](shrunk_heap& of) { of.h->compact(); },
      [](shrunk_heap& of, bool failed) { EXPECT_LE(of.stretches(), failed ? 7U : 5U); });
}

// Of which each holds little, and lacks the OS pages between.
TEST(os_failure, pages_that_pins_left_are_joined_all_the_same) {
  for (const std::size_t size : {200U, 2100U, 20000U}) {
    fail_each_call(
        [size](shrunk_heap& of) {
          for (std::size_t i = 0; i < 6 * mib / size; ++i) ASSERT_GE(of.blocks.allocate(*of.h, of.k, size), 0);
          of.thin_out(static_cast<unsigned>(40 * kib / size), 1);
          of.h->compact();
          of.unpin();
        },
        [](shrunk_heap& of) { of.h->compact(); },
        [](shrunk_heap& of, bool) {
          const heap_stats s = of.h->stats();
          EXPECT_LE(s.held_bytes, s.live_bytes * 33 / 32 + 3 * 64 * kib);
        });
    ASSERT_FALSE(::testing::Test::HasFailure()) << size;
  }
}

// As on kernels before 5.18 where all memory is locked. Every call ends, and what could not be given back serves again.
TEST(os_failure, a_heap_whose_memory_is_never_taken_back_serves_on) {
  for (const std::size_t move_bytes : {std::size_t{8}, 32 * kib}) {
    const auto pool = page_pool::create({8 * mib, 64 * kib, 0});
    ASSERT_NE(pool, nullptr);
    const auto h = heap::create(*pool, {0.001, move_bytes});
    ASSERT_NE(h, nullptr);
    directory blocks;
    const kind k = blocks.add_kind(*h);
    std::mt19937 random(11);
    std::vector<std::byte*> pinned;
    os::refuse_give_back(true);
    for (int round = 0; round < 60; ++round) {
      for (int n = 0; n < 300; ++n) {
        static constexpr std::size_t sizes[] = {49, 200, 1000, 4096, 4096, 9000, 20000, 90000};
        if (blocks.allocate(*h, k, sizes[random() % std::size(sizes)]) < 0) break;
      }
      for (std::byte* block : pinned) h->unpin(block);
      pinned.clear();
      for (std::size_t i = 0; i < blocks.at.size(); ++i) {
        if (blocks.at[i] == nullptr) continue;
        if (random() % 3 != 0) {
          blocks.free(*h, i);
        } else if (random() % 8 == 0 && h->pin(blocks.at[i])) {
          pinned.push_back(blocks.at[i]);
        }
      }
      if (round % 8 == 7) h->compact();
      h->verify();
    }
    os::refuse_give_back(false);
    ASSERT_TRUE(blocks.all_intact());
    for (std::byte* block : pinned) h->unpin(block);
    h->compact();
    h->verify();
    ASSERT_TRUE(blocks.all_intact());
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes * 5 / 4 + 20 * 64 * kib);
    EXPECT_EQ(pool->stats().idle_bytes, 0U);
  }
}

TEST(os_failure, memory_that_the_os_does_not_take_back_stays_accounted_for) {
  const auto pool = page_pool::create({32 * mib, 0, 0});
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool);
  ASSERT_NE(h, nullptr);
  directory blocks;
  const kind k = blocks.add_kind(*h);
  while (blocks.allocate(*h, k, 4000) >= 0) {
  }
  blocks.free_all(*h);
  const page_pool_stats before = pool->stats();
  {
    const injection failing(1);
    const std::size_t given = pool->trim();
    const page_pool_stats after = pool->stats();
    EXPECT_EQ(after.held_bytes, before.held_bytes - given);
    EXPECT_EQ(after.idle_bytes, before.idle_bytes - given);
  }
  pool->trim();
  EXPECT_EQ(pool->stats().idle_bytes, 0U);
}

}  // namespace
}  // namespace scoot::testing
