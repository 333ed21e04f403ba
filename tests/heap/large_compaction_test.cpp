// SPDX-License-Identifier: MIT
//
// Goal: compaction leaves the large space dense, whatever lies in it: holes that no block fits are closed or given
// back, a block that stays holds the OS pages it lies on, and work that is vain is not done twice. Method: heaps whose
// holes are known, by what they hold, what visit_pages tells and how often movers are asked.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "directory.hpp"
#include "os/os.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t large_sizes[] = {9000, 20 * kib, 50 * kib, 150 * kib};

class large_compaction_test : public heap_fixture {
 protected:
  static constexpr std::size_t page = 512 * kib;

  void fill_large(std::size_t size, std::size_t bytes, const heap_options& options = {1, 32 * kib}) {
    blocks.at.clear();
    blocks.answer = {};
    make(64 * mib, options, page);
    for (std::size_t i = 0; i < bytes / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  }
  // Frees all but every n-th block, of the order of addresses.
  std::vector<std::size_t> leave_every(std::size_t n) {
    std::vector<std::size_t> order(blocks.at.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) { return blocks.at[a] < blocks.at[b]; });
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i % n == n / 2) {
        left.push_back(order[i]);
      } else {
        blocks.free(*h, order[i]);
      }
    }
    return left;
  }
  [[nodiscard]] static std::size_t held_by(std::size_t count, std::size_t size) {
    const std::size_t os_page = os::page_bytes();
    return count * ((size + os_page - 2) / os_page + 1) * os_page;
  }
  [[nodiscard]] std::size_t missing() const {
    std::size_t sum = 0;
    const auto add = [](void* to, const page_view& view) noexcept {
      *static_cast<std::size_t*>(to) += view.missing_bytes;
    };
    for (std::uint64_t cursor = 0;;) {
      cursor = visit_pages(*h, cursor, {}, add, &sum);
      if (cursor == 0) return sum;
    }
  }
};

TEST_F(large_compaction_test, a_pinned_block_holds_the_os_pages_it_lies_on) {
  for (const std::size_t size : large_sizes) {
    fill_large(size, 32 * mib);
    const std::vector<std::size_t> left = leave_every(4);
    for (const std::size_t i : left) ASSERT_TRUE(h->pin(blocks.at[i]));
    const std::size_t held = pool->held_bytes();
    const std::size_t told = h->estimate().bytes_to_gain;
    const compaction done = h->compact();
    EXPECT_EQ(done.why, stop_reason::pinned);
    EXPECT_EQ(done.bytes_moved, 0U);
    EXPECT_NEAR(done.bytes_given_back, held - pool->held_bytes(), 64 * kib) << size;  // metadata apart
    EXPECT_LE(h->stats().held_bytes, held_by(left.size(), size)) << size;
    EXPECT_GE(done.bytes_given_back + 2 * page, told) << size;
    EXPECT_LE(done.bytes_given_back, told + told / 5 + 2 * page) << size;
    EXPECT_GT(missing(), 0U);
    h->verify();
    EXPECT_TRUE(blocks.all_intact());
    for (const std::size_t i : left) h->unpin(blocks.at[i]);
    h->compact();
    EXPECT_LE(h->stats().held_bytes, h->stats().live_bytes + h->stats().live_bytes / 20 + page) << size;
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
}

TEST_F(large_compaction_test, so_does_one_whose_mover_refuses_or_that_has_none) {
  for (const std::size_t size : large_sizes) {
    fill_large(size, 32 * mib);
    const std::size_t count = leave_every(4).size();
    blocks.answer = [](std::uint32_t) { return verdict::keep; };
    EXPECT_EQ(h->compact().why, stop_reason::refused);
    EXPECT_LE(h->stats().held_bytes, held_by(count, size)) << size;
    h->verify();

    make(64 * mib, {1, 32 * kib}, page);
    const kind still = h->add_kind({"still", 8, nullptr, nullptr});
    std::vector<void*> all;
    for (std::size_t i = 0; i < 32 * mib / size; ++i) all.push_back(h->allocate(still, size));
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % 4 != 2) h->free(all[i]);
    }
    EXPECT_EQ(h->compact().why, stop_reason::pinned);
    EXPECT_LE(h->stats().held_bytes, held_by(all.size() / 4 + 1, size)) << size;
    h->verify();
  }
}

TEST_F(large_compaction_test, what_was_given_back_serves_blocks_again_and_is_charged_again) {
  for (const std::size_t size : large_sizes) {
    fill_large(size, 32 * mib);
    for (const std::size_t i : leave_every(4)) ASSERT_TRUE(h->pin(blocks.at[i]));
    h->compact();
    const heap_stats before = h->stats();
    for (std::size_t i = 0; i < before.blocks; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
    const heap_stats after = h->stats();
    EXPECT_LE(after.pages, before.pages + 1) << size;
    EXPECT_GE(after.held_bytes, after.live_bytes);
    EXPECT_GT(after.held_bytes, before.held_bytes);
    h->verify();
    EXPECT_TRUE(blocks.all_intact());
    for (std::byte* block : blocks.at) {
      if (block != nullptr && explain(*h, block).pins != 0) h->unpin(block);
    }
    blocks.free_all(*h);
    h->verify();
    EXPECT_EQ(missing(), 0U);
  }
}

// The heap has to grow while it is over its target, and no block can be moved.
TEST_F(large_compaction_test, an_allocation_gives_back_what_lies_between_pinned_blocks) {
  fill_large(20 * kib, 32 * mib, {});
  for (const std::size_t i : leave_every(4)) ASSERT_TRUE(h->pin(blocks.at[i]));
  const std::size_t live = h->stats().live_bytes;
  for (std::size_t bytes = 0; bytes < 20 * mib; bytes += 100 * kib) ASSERT_GE(blocks.allocate(*h, k, 100 * kib), 0);
  EXPECT_LE(h->stats().held_bytes, live * 3 / 2 + 22 * mib);
  h->verify();
}

// Blocks one after the other, with holes between them that are a little too short for any.
TEST_F(large_compaction_test, closes_holes_that_no_block_fits) {
  for (const std::size_t size : {9000U, 12000U}) {
    make(64 * mib, {1, 32 * kib}, page);
    blocks.at.clear();
    for (std::size_t i = 0; i < 2 * (16 * mib / size); ++i) {
      ASSERT_GE(blocks.allocate(*h, k, i % 2 == 0 ? size : size - 600), 0);
    }
    for (std::size_t i = 1; i < blocks.at.size(); i += 2) blocks.free(*h, i);
    const std::size_t live = h->stats().live_bytes;
    ASSERT_GE(h->stats().held_bytes, live * 19 / 10);
    const std::size_t moved = blocks.bytes_moved;
    const compaction done = h->compact();
    EXPECT_EQ(done.why, stop_reason::done);
    EXPECT_LE(h->stats().held_bytes, live + live / 32 + (live / (page - size) + 3) * os::page_bytes()) << size;
    if (!moves_everything()) {
      EXPECT_LE(blocks.bytes_moved - moved, 3 * live);
    }
    h->verify();
    EXPECT_TRUE(blocks.all_intact());
    EXPECT_LE(h->compact().bytes_moved, page) << "the page filled last may go to holes of others";
    EXPECT_EQ(h->compact().bytes_moved, 0U);
  }
}

TEST_F(large_compaction_test, does_so_under_a_budget_without_room_for_another_page) {
  make(64 * mib, {1, 32 * kib}, page);
  for (std::size_t i = 0; i < 2 * (16 * mib / 9000); ++i) {
    ASSERT_GE(blocks.allocate(*h, k, i % 2 == 0 ? 9000 : 8400), 0);
  }
  for (std::size_t i = 1; i < blocks.at.size(); i += 2) blocks.free(*h, i);
  pool->trim();
  ASSERT_TRUE(pool->set_budget(pool->held_bytes() + 64 * kib));
  const std::size_t live = h->stats().live_bytes;
  h->compact();
  EXPECT_LE(h->stats().held_bytes, live + live / 16 + page);
  EXPECT_TRUE(blocks.all_intact());
  h->verify();
}

}  // namespace
}  // namespace scoot::testing
