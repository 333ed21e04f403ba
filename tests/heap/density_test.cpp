// SPDX-License-Identifier: MIT
//
// Goal: what the space bounds say of things that adversary_test.cpp leaves out: pins, many sizes, metadata, ordinary
// replacement. Method: histories whose outcome is known, held bytes against live bytes.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "directory.hpp"
#include "opponent.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class density_test : public heap_fixture {
 protected:
  [[nodiscard]] std::map<std::size_t, std::size_t> usable_sizes() const {
    std::map<std::size_t, std::size_t> sizes;
    for (const std::byte* block : blocks.at) {
      if (block != nullptr) ++sizes[h->usable_size(block)];
    }
    return sizes;
  }

  void expect_dense(const char* when) {
    h->compact();
    EXPECT_LE(h->stats().held_bytes, space_bound(usable_sizes(), pool->page_bytes())) << when;
    EXPECT_TRUE(blocks.all_intact()) << when;
    h->verify();
  }

  std::uint64_t next() { return (random_ = random_ * 6364136223846793005U + 1442695040888963407U) >> 33; }

 private:
  std::uint64_t random_ = 42;
};

TEST_F(density_test, many_sizes_with_few_blocks_each_cost_at_most_part_of_an_os_page_a_size) {
  make(16 * mib);
  std::size_t sizes = 0;
  for (std::size_t size = 8; size <= 8192; size += std::max<std::size_t>(8, size / 64)) {
    for (int i = 0; i < 3; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    ++sizes;
  }
  const heap_stats s = h->stats();
  EXPECT_LE(s.held_bytes, s.live_bytes + sizes * 2 * 4096);
  EXPECT_LE(pool->stats().metadata_bytes, mib);
}

// Each 2 MiB of address space with a page in it cost an OS page more, the kernel's page table.
TEST_F(density_test, what_is_left_of_a_heap_that_shrank_lies_close_together) {
  make(80 * mib);
  const std::size_t span = 2 * mib;
  for (std::size_t size = 40; h->stats().held_bytes < 64 * mib; size = 40 + size * 7 % 9001) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
  }
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (next() % 10 != 0) blocks.free(*h, i);
  }
  h->compact();
  std::map<std::uintptr_t, std::size_t> spans;
  for (const std::byte* block : blocks.at) {
    if (block != nullptr) ++spans[reinterpret_cast<std::uintptr_t>(block) / span];
  }
  const std::size_t needed = h->stats().pages * pool->page_bytes() / span + 1;
  EXPECT_LE(spans.size(), 2 * needed + 1) << "of " << 64 * mib / span;
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
  int again = 0;
  while (h->compact().bytes_moved != 0) ASSERT_LT(++again, 4) << "and it stays there";
}

// An allocation moves only so many tiny blocks, fewer than would make up for what it grows the heap by.
TEST_F(density_test, what_one_allocation_may_not_move_the_next_ones_do) {
  make(64 * mib, {.waste_target = 1.0 / 128});
  for (std::size_t i = 0; i < mib; ++i) ASSERT_GE(blocks.allocate(*h, k, 16), 0);
  for (std::size_t i = 0; i < blocks.at.size(); i += 4) blocks.free(*h, i);
  const std::size_t live_max = h->stats().live_bytes + 4 * mib;
  for (std::size_t i = 0; i < 4 * mib / 32; ++i) ASSERT_GE(blocks.allocate(*h, k, 32), 0);
  EXPECT_LE(h->stats().held_bytes, live_max + live_max / 40);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(density_test, pins_on_one_block_in_a_thousand_strand_little) {
  make(64 * mib);
  for (std::size_t i = 0; i < 200000; ++i) ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  std::vector<std::size_t> pinned;
  for (std::size_t i = 500; i < blocks.at.size(); i += 1000) {
    ASSERT_TRUE(h->pin(blocks.at[i]));
    pinned.push_back(i);
  }
  for (std::size_t i = 0; i < blocks.at.size(); ++i) {
    if (i % 10 != 0) {
      if (i % 1000 == 500) continue;
      blocks.free(*h, i);
    }
  }
  h->compact();
  const heap_stats s = h->stats();
  // A pinned block holds the page it is on, no more; what is free on those pages serves new blocks.
  EXPECT_LE(s.held_bytes, s.live_bytes * 33 / 32 + (pinned.size() + 2) * pool->page_bytes());
  EXPECT_TRUE(blocks.all_intact());
  const std::size_t held = s.held_bytes;
  for (std::size_t bytes = 0; bytes + s.live_bytes + mib < held; bytes += 200)
    ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  EXPECT_LE(h->stats().held_bytes, held + pool->page_bytes());
  for (std::size_t index : pinned) h->unpin(blocks.at[index]);
  expect_dense("unpinned");
}

// Pins spread over all pages leave pages with a little of each used; once they are gone, so must be their trace.
TEST_F(density_test, pins_that_are_gone_leave_no_trace) {
  for (std::size_t size : {16U, 200U, 2100U, 5000U}) {
    make(64 * mib);
    while (h->stats().held_bytes < 32 * mib && blocks.allocate(*h, k, size) >= 0) {
    }
    std::uintptr_t last = 0;
    std::vector<std::size_t> pinned;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(blocks.at[i]) / pool->page_bytes();
      if (page == last && i % 97 != 0) continue;
      if (page != last) {
        ASSERT_TRUE(h->pin(blocks.at[i]));
        pinned.push_back(i);
      }
      last = page;
    }
    std::size_t at = 0;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (at < pinned.size() && pinned[at] == i) {
        ++at;
      } else {
        blocks.free(*h, i);
      }
    }
    h->compact();
    for (std::size_t i : pinned) h->unpin(blocks.at[i]);
    expect_dense("unpinned");
    blocks.free_all(*h);
  }
}

// Each size in turn fills the heap, from few slots a page to many.
TEST_F(density_test, metadata_of_every_size_in_turn_stays_a_small_part_of_the_budget) {
  make(16 * mib);
  for (std::size_t size = 4 * kib; size >= 16; size = size * 3 / 4) {
    while (blocks.allocate(*h, k, size) >= 0) {
    }
    EXPECT_GE(h->stats().live_bytes, 16 * mib * 93 / 100) << size;
    blocks.free_all(*h);
    h->compact();
  }
  EXPECT_LE(pool->stats().metadata_bytes, 16 * mib / 100 + 16 * mib / 1024);  // and the history of moves
}

TEST_F(density_test, fifo_random_and_lifo_replacement_keep_the_heap_dense_without_any_compact) {
  for (int order = 0; order < 3; ++order) {
    make(32 * mib);
    std::vector<std::size_t> live;
    std::size_t bytes = 0;
    std::size_t first = 0;
    for (int step = 0; step < 120000; ++step) {
      const std::size_t size = 16 + next() % 600;
      while (bytes + size > 12 * mib) {
        std::size_t at = first;
        if (order == 1) at = first + next() % (live.size() - first);
        if (order == 2) at = live.size() - 1;
        std::swap(live[at], order == 2 ? live.back() : live[first]);
        const std::size_t index = order == 2 ? live.back() : live[first];
        std::uint32_t header[2];
        std::memcpy(header, blocks.at[index], sizeof header);
        bytes -= header[1];
        blocks.free(*h, index);
        if (order == 2) {
          live.pop_back();
        } else {
          ++first;
        }
      }
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
      live.push_back(blocks.at.size() - 1);
      bytes += size;
    }
    const heap_stats s = h->stats();
    EXPECT_GE(static_cast<double>(s.live_bytes) / static_cast<double>(s.held_bytes), 0.91) << "order " << order;
    EXPECT_TRUE(blocks.all_intact());
    blocks.at.clear();
  }
}

}  // namespace
}  // namespace scoot::testing
