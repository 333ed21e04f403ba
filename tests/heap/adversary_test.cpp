// SPDX-License-Identifier: MIT
//
// Goal: the space bound holds against histories made to fragment (docs/design: after compaction a shelf has no holes,
// so what is held depends on what is live, and not on what was). Method: the known adversaries, at tens of MiB, held
// bytes against live bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class adversary : public heap_fixture {
 protected:
  // After compaction: live, rounding (1/64 and 7 bytes a block are in live_bytes already), what a shelf may have
  // besides.
  void expect_dense(const char* when, double part = 1.0 / 32) {
    h->compact();
    const heap_stats s = h->stats();
    const auto bound = s.live_bytes + static_cast<std::size_t>(part * static_cast<double>(s.live_bytes)) +
                       s.shelves * 2 * 4096 + 2 * pool->page_bytes();
    EXPECT_LE(s.held_bytes, bound) << when << ": " << s.live_bytes << " live in " << s.shelves << " shelves";
    EXPECT_TRUE(blocks.all_intact()) << when;
  }

  std::uint64_t next() { return (random_ = random_ * 6364136223846793005U + 1442695040888963407U) >> 33; }

 private:
  std::uint64_t random_ = 42;
};

TEST_F(adversary, sawtooth_of_growing_and_shrinking_leaves_no_trace) {
  make(32 * mib);
  for (int tooth = 0; tooth < 6; ++tooth) {
    const std::size_t size = 50 + 331 * static_cast<std::size_t>(tooth);
    std::size_t bytes = 0;
    for (; bytes < 20 * mib; bytes += size) ASSERT_GE(blocks.allocate(*h, k, size), 0) << "tooth " << tooth;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (blocks.at[i] != nullptr && next() % 10 != 0) blocks.free(*h, i);
    }
    expect_dense("tooth");
  }
}

TEST_F(adversary, ramp_of_sizes_each_a_little_larger_than_the_holes_left_behind) {
  make(24 * mib);
  std::size_t live = 0;
  std::vector<std::size_t> order;
  std::size_t oldest = 0;
  for (std::size_t size = 16; size < 7000; size += size / 16 + 8) {
    for (std::size_t bytes = 0; bytes < 4 * mib; bytes += size) {
      while (live + size > 16 * mib) {
        std::uint32_t header[2];
        std::memcpy(header, blocks.at[oldest], sizeof header);
        live -= header[1];
        blocks.free(*h, oldest);
        oldest += 1;
        while (oldest < blocks.at.size() && blocks.at[oldest] == nullptr) ++oldest;
      }
      ASSERT_GE(blocks.allocate(*h, k, size), 0) << size;
      live += size;
    }
  }
  expect_dense("ramp");
}

TEST_F(adversary, one_survivor_in_each_os_page_does_not_hold_the_page) {
  make(40 * mib);
  for (std::size_t size : {32U, 128U, 512U}) {
    while (pool->stats().held_bytes < 32 * mib && blocks.allocate(*h, k, size) >= 0) {
    }
    thin_out(4096 / size);
    expect_dense("survivors");
    blocks.free_all(*h);
    h->compact();
  }
}

// Robson's: fill with blocks of size n, free all but those that obstruct, go on with 2n. Without moves the worst any
// allocator can be forced to hold is about 1/2 log2 of the ratio of sizes times what is live.
TEST_F(adversary, robson) {
  make(48 * mib);
  const std::size_t live_max = 16 * mib;
  std::size_t live = 0;
  const auto size_at = [&](std::size_t i) {
    std::uint32_t header[2];
    std::memcpy(header, blocks.at[i], sizeof header);
    return std::size_t{header[1]};
  };
  std::size_t held_worst = 0;
  for (std::size_t size = 16; size <= 32 * kib; size *= 2) {
    // Of each aligned stretch of `size` bytes keep one block.
    std::vector<std::pair<std::byte*, std::size_t>> by_address;
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (blocks.at[i] != nullptr) by_address.emplace_back(blocks.at[i], i);
    }
    std::sort(by_address.begin(), by_address.end());
    std::uintptr_t stretch = 0;
    for (const auto& [address, index] : by_address) {
      const std::uintptr_t of = reinterpret_cast<std::uintptr_t>(address) / (2 * size);
      if (of == stretch) {
        live -= size_at(index);
        blocks.free(*h, index);
      }
      stretch = of;
    }
    while (live + size <= live_max) {
      if (blocks.allocate(*h, k, size) < 0) break;
      live += size;
    }
    held_worst = std::max(held_worst, h->stats().held_bytes);
  }
  EXPECT_LE(held_worst, live_max * 5 / 4);
  expect_dense("robson", 1.0 / 5);  // what is left are blocks of 16 and 32 KiB in pages of 128
}

TEST_F(adversary, many_sizes_with_few_blocks_each_cost_at_most_part_of_an_os_page_a_size) {
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

TEST_F(adversary, pins_on_one_block_in_a_thousand_strand_little) {
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

TEST_F(adversary, fifo_random_and_lifo_replacement_keep_the_heap_dense_without_any_compact) {
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
    EXPECT_GE(static_cast<double>(s.live_bytes) / static_cast<double>(s.held_bytes), 0.93) << "order " << order;
    EXPECT_TRUE(blocks.all_intact());
    blocks.at.clear();
  }
}

}  // namespace
}  // namespace scoot::testing
