// SPDX-License-Identifier: MIT
//
// Goal: what lies between blocks that stay goes back to the OS, and comes again when it is needed. Method: pages in
// which a pin, a refusal or a kind without a mover is left, by what is held and what visit_pages tells; then the same
// at random, with every OS call failing in turn, and heap::verify after each step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "directory.hpp"
#include "opponent.hpp"
#include "os/os.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t os_page = 4096;
// Sizes that have a shelf, with pages of page_bytes_for().
constexpr std::size_t sizes[] = {16, 100, 1000, 3000, 5000, 8000};

std::size_t page_bytes_for(std::size_t size) { return size > 4 * kib ? 256 * kib : 64 * kib; }

class withdrawal_test : public heap_fixture {
 protected:
  struct sums {
    std::size_t pages = 0;
    std::size_t withdrawn = 0;
    std::size_t missing_bytes = 0;
  };

  [[nodiscard]] sums count() const {
    sums s;
    const auto add = [](void* context, const page_view& page) noexcept {
      auto& to = *static_cast<sums*>(context);
      ++to.pages;
      to.withdrawn += page.withdrawn;
      to.missing_bytes += page.missing_bytes;
    };
    for (std::uint64_t cursor = 0;;) {
      cursor = visit_pages(*h, cursor, {}, add, &s);
      if (cursor == 0) return s;
    }
  }

  // Fills 8 MiB and leaves one block of each 64 KiB, which is pinned if `pin` says so.
  void leave_survivors(std::size_t size, bool pin) {
    make(32 * mib, {1, 32 * kib}, page_bytes_for(size));
    blocks.at.clear();
    survivors.clear();
    for (std::size_t i = 0; i < 8 * mib / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    std::uintptr_t last = 0;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      const std::uintptr_t page = (reinterpret_cast<std::uintptr_t>(blocks.at[i]) + 32 * kib) / (64 * kib);
      if (page == last) continue;
      last = page;
      survivors.push_back(i);
      ASSERT_TRUE(!pin || h->pin(blocks.at[i]));
    }
    for (std::size_t i = 0, at = 0; i < blocks.at.size(); ++i) {
      if (at < survivors.size() && survivors[at] == i) {
        ++at;
      } else {
        blocks.free(*h, i);
      }
    }
    ASSERT_GT(survivors.size(), 100U);
  }

  // A survivor lies on OS pages of its own, one more than whole ones.
  [[nodiscard]] std::size_t held_by_survivors(std::size_t size) const {
    return survivors.size() * ((size + os_page - 2) / os_page + 1) * os_page + 3 * os_page;
  }

  std::vector<std::size_t> survivors;
};

TEST_F(withdrawal_test, a_pinned_block_holds_the_os_pages_it_lies_on) {
  for (std::size_t size : sizes) {
    leave_survivors(size, true);
    const std::size_t held = h->stats().held_bytes;
    const compaction done = h->compact();
    EXPECT_EQ(done.why, stop_reason::pinned);
    EXPECT_EQ(done.bytes_given_back, held - h->stats().held_bytes);
    EXPECT_LE(h->stats().held_bytes, held_by_survivors(size)) << size;
    EXPECT_GT(count().missing_bytes, 0U) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
}

TEST_F(withdrawal_test, so_does_one_whose_mover_refuses_or_that_has_none) {
  for (std::size_t size : sizes) {
    blocks.answer = [](std::uint32_t) { return verdict::keep; };
    leave_survivors(size, false);
    EXPECT_EQ(h->compact().why, stop_reason::refused);
    EXPECT_LE(h->stats().held_bytes, held_by_survivors(size)) << size;
    h->verify();
    blocks.answer = {};

    make(32 * mib, {1, 32 * kib}, page_bytes_for(size));
    const kind still = h->add_kind({"still", 8, nullptr, nullptr});
    std::vector<void*> all;
    for (std::size_t i = 0; i < 8 * mib / size; ++i) all.push_back(h->allocate(still, size));
    std::size_t left = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % (64 * kib / size) == 3) {
        ++left;
      } else {
        h->free(all[i]);
      }
    }
    const std::size_t told = h->estimate().bytes_to_gain;
    const compaction done = h->compact();
    EXPECT_LE(h->stats().held_bytes, (left + 2) * ((size + os_page - 2) / os_page + 1) * os_page) << size;
    EXPECT_NEAR(static_cast<double>(told), static_cast<double>(done.bytes_given_back), 300e3) << size;
    h->verify();
  }
}

TEST_F(withdrawal_test, allocations_take_what_was_withdrawn_before_new_pages) {
  if (moves_everything()) GTEST_SKIP() << "needs blocks to be where they were allocated";
  for (std::size_t size : sizes) {
    leave_survivors(size, true);
    h->compact();
    const sums before = count();
    const std::size_t held = h->stats().held_bytes;
    std::size_t bytes = 0;
    while (count().withdrawn != 0) {
      for (int i = 0; i < 100; ++i, bytes += h->usable_size(blocks.at.back())) {
        ASSERT_GE(blocks.allocate(*h, k, size), 0);
      }
      ASSERT_LE(h->stats().held_bytes, held + bytes + 128 * kib);
      if (bytes > 9 * mib) break;
    }
    EXPECT_EQ(count().withdrawn, 0U);
    EXPECT_LE(count().pages, before.pages + 2) << size;
    EXPECT_GE(bytes + 128 * kib, before.missing_bytes) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
}

TEST_F(withdrawal_test, once_the_pins_are_gone_pages_are_emptied_as_ever) {
  for (std::size_t size : sizes) {
    leave_survivors(size, true);
    h->compact();
    ASSERT_GT(count().withdrawn, 0U);
    for (std::size_t i : survivors) h->unpin(blocks.at[i]);
    h->compact();
    std::map<std::size_t, std::size_t> usable;
    for (std::size_t i : survivors) ++usable[h->usable_size(blocks.at[i])];
    EXPECT_LE(h->stats().held_bytes, space_bound(usable, pool->page_bytes()) + 2 * os_page) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    blocks.free_all(*h);
    h->compact();
    EXPECT_EQ(count().withdrawn, 0U);
    EXPECT_EQ(h->stats().held_bytes, 0U);
  }
}

// The first page of a shelf does not begin with a slot, and stays when it is empty.
TEST_F(withdrawal_test, the_last_page_of_a_shelf_is_used_anew_from_its_first_slot) {
  for (std::size_t size = 136; size <= 4096; size += size / 8) {
    make(8 * mib, {1, 8}, 64 * kib);
    const std::size_t slots = 60 * kib / size;
    for (std::size_t i = 0; i < slots; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    std::byte* const pinned[] = {blocks.at.front(), blocks.at.back()};
    for (std::byte* block : pinned) ASSERT_TRUE(h->pin(block));
    for (std::size_t i = 0; i < slots; ++i) {
      if (blocks.at[i] != pinned[0] && blocks.at[i] != pinned[1]) blocks.free(*h, i);
    }
    const std::size_t held = h->stats().held_bytes;
    h->compact();
    EXPECT_LT(h->stats().held_bytes, held / 2) << size;
    for (std::byte* block : pinned) h->unpin(block);
    blocks.free_all(*h);
    h->move_everything();
    h->verify();
    for (std::size_t i = 0; i < 3 * slots; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    h->verify();
    EXPECT_TRUE(blocks.all_intact()) << size;
    blocks.free_all(*h);
  }
}

// Far behind pages that have none, and with little to gain but what lies behind the last block of each page.
TEST_F(withdrawal_test, what_pins_left_in_many_pages_is_joined_at_once) {
  for (std::size_t size : {200U, 1000U, 2100U}) {
    make(64 * mib, {1, 32 * kib}, 64 * kib);
    for (std::size_t i = 0; i < 16 * mib / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    // In three of four pages one block is left, in the others two that are apart.
    std::map<std::uintptr_t, std::vector<std::size_t>> pages;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      pages[reinterpret_cast<std::uintptr_t>(blocks.at[i]) / (64 * kib)].push_back(i);
    }
    std::vector<std::byte*> pinned;
    for (const auto& [page, inside] : pages) {
      for (std::size_t n = 0; n < inside.size(); ++n) {
        std::byte* block = blocks.at[inside[n]];
        const bool stays = n == 0 || (page % 4 == 0 && n + 1 == inside.size());
        if (stays) {
          ASSERT_TRUE(h->pin(block));
          pinned.push_back(block);
        } else {
          blocks.free(*h, inside[n]);
        }
      }
    }
    h->compact();
    EXPECT_GT(count().withdrawn, 0U) << size;
    for (std::byte* block : pinned) h->unpin(block);
    h->compact();
    std::map<std::size_t, std::size_t> usable;
    for (const std::byte* block : blocks.at) {
      if (block != nullptr) ++usable[h->usable_size(block)];
    }
    EXPECT_LE(h->stats().held_bytes, space_bound(usable, pool->page_bytes())) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
    blocks.free_all(*h);
  }
}

TEST_F(withdrawal_test, a_full_budget_gets_room_beside_pins) {
  make(8 * mib, {}, 64 * kib);
  for (std::size_t i = 0; i < 7 * mib / 200; ++i) ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  thin_out(300);
  for (std::size_t i = 0; i < blocks.at.size(); i += 300) ASSERT_TRUE(h->pin(blocks.at[i]));
  std::size_t got = 0;
  while (blocks.allocate(*h, k, 3000) >= 0) got += 3000;
  EXPECT_GT(got, 7 * mib);
  EXPECT_LE(pool->stats().held_bytes, 8 * mib);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

TEST_F(withdrawal_test, compaction_within_an_effort_goes_on_where_it_stopped) {
  leave_survivors(100, true);
  std::size_t given = 0;
  std::size_t calls = 0;
  for (stop_reason why = stop_reason::effort_spent; why == stop_reason::effort_spent; ++calls) {
    ASSERT_LT(calls, 10000U);
    effort little;
    little.bytes_max = 8 * kib;
    const compaction done = h->compact(little);
    given += done.bytes_given_back;
    why = done.why;
    EXPECT_LE(done.bytes_moved, 8 * kib);
  }
  EXPECT_GT(calls, 10U);
  EXPECT_GT(given, 6 * mib);
  EXPECT_LE(h->stats().held_bytes, held_by_survivors(100));
}

// Stretches come and go between pins that come and go.
void run_at_random(std::uint64_t seed, unsigned steps, bool may_fail, std::size_t& withdrawn_max) {
  std::mt19937_64 random(seed);
  const std::size_t size = sizes[random() % std::size(sizes)];
  const auto pool = page_pool::create({6 * mib, page_bytes_for(size), 0});
  if (pool == nullptr && may_fail) return;
  ASSERT_NE(pool, nullptr);
  const auto h = heap::create(*pool, {0.01, 32 * kib});
  if (h == nullptr && may_fail) return;
  ASSERT_NE(h, nullptr);
  directory blocks;
  const kind k = blocks.add_kind(*h);
  if (!k && may_fail) return;
  ASSERT_TRUE(k);
  std::vector<std::uint32_t> pins;
  const auto withdrawn = [&] {
    std::size_t sum = 0;
    const auto add = [](void* to, const page_view& page) noexcept { *static_cast<std::size_t*>(to) += page.withdrawn; };
    for (std::uint64_t cursor = 0;;) {
      cursor = visit_pages(*h, cursor, {}, add, &sum);
      if (cursor == 0) return sum;
    }
  };
  for (unsigned step = 0; step < steps; ++step) {
    switch (random() % 8) {
      case 0:
      case 1:
        for (std::size_t bytes = random() % mib; bytes > 2 * size; bytes -= size) {
          if (blocks.allocate(*h, k, size + random() % (size / 8)) < 0) break;
        }
        break;
      case 2:
      case 3: {
        std::size_t n = random() % (mib / size + 1);
        for (std::size_t i = blocks.at.empty() ? 0 : random() % blocks.at.size(); i < blocks.at.size() && n != 0; ++i) {
          if (blocks.at[i] == nullptr || (pins.size() > i && pins[i] != 0)) continue;
          blocks.free(*h, i);
          --n;
        }
        break;
      }
      case 4:
        pins.resize(blocks.at.size());
        for (std::size_t n = 0; n < 8 && !blocks.at.empty(); ++n) {
          const std::size_t i = random() % blocks.at.size();
          if (blocks.at[i] == nullptr || !h->pin(blocks.at[i])) continue;
          ++pins[i];
        }
        break;
      case 5:
        for (std::size_t i = random() % (pins.size() + 1), n = 0; i < pins.size() && n < 6; ++i) {
          if (pins[i] == 0) continue;
          h->unpin(blocks.at[i]);
          --pins[i];
          ++n;
        }
        break;
      case 6:
        h->compact({random() % 2 == 0 ? std::size_t{16} * kib : ~std::size_t{0}});
        break;
      default:
        if (random() % 4 == 0) h->move_everything();
        break;
    }
    if (step % 4 == 0 || !may_fail) h->verify();
    withdrawn_max = std::max(withdrawn_max, withdrawn());
    ASSERT_LE(pool->stats().held_bytes, 6 * mib);
  }
  ASSERT_TRUE(blocks.all_intact());
  for (std::size_t i = 0; i < pins.size(); ++i) {
    for (; pins[i] != 0; --pins[i]) h->unpin(blocks.at[i]);
  }
  blocks.free_all(*h);
  h->compact();
  h->verify();
  ASSERT_EQ(h->stats().live_bytes, 0U);
}

TEST(withdrawal, keeps_every_block_at_random) {
  std::size_t withdrawn_max = 0;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    run_at_random(seed, 150, false, withdrawn_max);
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
  }
  EXPECT_GT(withdrawn_max, 100U);
}

TEST(withdrawal, keeps_every_block_whichever_call_of_the_os_fails) {
  for (std::uint64_t seed : {2, 5}) {
    for (std::uint64_t n = 1;; n += n / 6 + 1) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", call " << n);
      const std::uint64_t before = os::calls_made();
      std::size_t withdrawn_max = 0;
      os::fail_nth_call(n);
      run_at_random(seed, 80, true, withdrawn_max);
      os::fail_nth_call(0);
      ASSERT_FALSE(::testing::Test::HasFatalFailure());
      if (os::calls_made() - before < n) break;
    }
  }
}

}  // namespace
}  // namespace scoot::testing
