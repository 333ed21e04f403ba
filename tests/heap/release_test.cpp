// SPDX-License-Identifier: MIT
//
// Goal: release() gives back as many bytes as asked for at the least cost to the program: idle pages, then waste, then
// what the owner evicts; and says why where it can't. Method: heaps of blocks with a directory that is checked after
// each release; what the pool holds is compared with before.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "directory.hpp"
#include "os/os.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

class release_test : public heap_fixture {
 protected:
  void make_full(std::size_t size = 400) {
    heap_options options;
    options.waste_target = 1;
    make(32 * mib, options);
    for (std::size_t i = 0; i < 16 * mib / size; ++i) ASSERT_GE(blocks.allocate(*h, k, size), 0);
  }

  // Frees the oldest blocks, in steps of no more than 10.
  static std::size_t evict_oldest(void* self, std::size_t bytes) noexcept {
    auto& me = *static_cast<release_test*>(self);
    ++me.evictor_calls;
    std::size_t freed = 0;
    for (int i = 0; i < 10 && freed < bytes; ++me.oldest) {
      if (me.oldest == me.blocks.at.size()) break;
      if (me.blocks.at[me.oldest] == nullptr) continue;
      freed += me.h->usable_size(me.blocks.at[me.oldest]);
      me.blocks.free(*me.h, me.oldest);
      ++i;
    }
    return freed;
  }
  [[nodiscard]] release_options evicting(const effort& limit = {}) { return {&evict_oldest, this, limit}; }
  [[nodiscard]] std::size_t held() const {  // but for bookkeeping
    const page_pool_stats s = pool->stats();
    return s.held_bytes - s.metadata_bytes;
  }

  std::size_t oldest = 0;
  int evictor_calls = 0;
};

TEST_F(release_test, gives_idle_pages_back_without_moving_or_evicting) {
  make_full();
  for (std::size_t i = 0; i < blocks.at.size() / 16; ++i) blocks.free(*h, blocks.at.size() - 1 - i);
  const std::size_t idle = pool->stats().idle_bytes;
  ASSERT_GT(idle, 0U);
  const std::size_t before = held();
  const release_result r = h->release(idle, evicting());
  EXPECT_EQ(r.why, stop_reason::done);
  EXPECT_GE(r.bytes_given_back, idle);
  EXPECT_EQ(before - held(), r.bytes_given_back);
  EXPECT_EQ(r.bytes_moved, 0U);
  EXPECT_EQ(evictor_calls, 0);
}

TEST_F(release_test, compacts_before_it_evicts) {
  make_full();
  thin_out(2);
  const std::size_t before = held();
  const release_result r = h->release(4 * mib, evicting());
  EXPECT_EQ(r.why, stop_reason::done);
  EXPECT_GE(r.bytes_given_back, 4 * mib);
  EXPECT_LE(r.bytes_given_back, 4 * mib + mib / 2);
  EXPECT_EQ(before - held(), r.bytes_given_back);
  EXPECT_GT(r.bytes_moved, 0U);
  EXPECT_EQ(evictor_calls, 0);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, evicts_what_compaction_cannot_give) {
  make_full();
  const std::size_t before = held();
  const release_result r = h->release(6 * mib, evicting());
  EXPECT_EQ(r.why, stop_reason::done);
  EXPECT_GE(r.bytes_given_back, 6 * mib);
  EXPECT_LE(r.bytes_given_back, 6 * mib + 512 * kib);
  EXPECT_EQ(before - held(), r.bytes_given_back);
  EXPECT_GE(r.bytes_evicted, 6 * mib - 512 * kib);
  EXPECT_LE(r.bytes_evicted, 6 * mib + 512 * kib);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, blocks_larger_than_a_shelf_holds_are_released_as_well) {
  make_full(20000);
  const std::size_t before = held();
  const release_result r = h->release(6 * mib, evicting());
  EXPECT_EQ(r.why, stop_reason::done);
  EXPECT_GE(before - held(), 6 * mib);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, without_an_evictor_it_says_that_there_is_nothing_to_gain) {
  make_full();
  thin_out(2);
  const release_result r = h->release(15 * mib);
  EXPECT_EQ(r.why, stop_reason::nothing_to_gain);
  EXPECT_GE(r.bytes_given_back, 7 * mib);
  EXPECT_EQ(r.bytes_evicted, 0U);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, an_evictor_that_runs_dry_ends_it) {
  make_full();
  const release_result r = h->release(64 * mib, evicting());
  EXPECT_EQ(r.why, stop_reason::nothing_to_gain);
  EXPECT_EQ(h->stats().blocks, 0U);
  EXPECT_GE(r.bytes_given_back, 15 * mib);
}

TEST_F(release_test, pinned_waste_is_named_as_the_reason) {
  make_full();
  thin_out(4);
  for (std::byte* block : blocks.at) {
    if (block == nullptr) continue;
    ASSERT_TRUE(h->pin(block));
  }
  const release_result r = h->release(15 * mib);
  EXPECT_EQ(r.why, stop_reason::pinned);
  for (std::byte* block : blocks.at) {
    if (block != nullptr) h->unpin(block);
  }
}

TEST_F(release_test, what_movers_drop_counts) {
  make_full();
  thin_out(2);
  blocks.answer = [](std::uint32_t) { return verdict::drop; };
  const release_result r = h->release(12 * mib);
  EXPECT_EQ(r.why, stop_reason::done);
  EXPECT_GT(r.blocks_dropped, 0U);
  EXPECT_EQ(r.bytes_moved, 0U);
  blocks.answer = {};
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, the_effort_limits_moves_over_all_steps) {
  make_full();
  thin_out(2);
  const release_result r = h->release(7 * mib, evicting({.bytes_max = mib}));
  EXPECT_EQ(r.why, stop_reason::effort_spent);
  EXPECT_LE(r.bytes_moved, mib);
  EXPECT_LT(r.bytes_given_back, 7 * mib);
  const release_result in_no_time = h->release(7 * mib, evicting({.time_max = std::chrono::nanoseconds(0)}));
  EXPECT_EQ(in_no_time.why, stop_reason::effort_spent);
  EXPECT_EQ(evictor_calls, 0);
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(release_test, nothing_asked_for_is_done_at_once) {
  make_full();
  const std::size_t before = held();
  EXPECT_EQ(h->release(0, evicting()).why, stop_reason::done);
  EXPECT_EQ(held(), before);
}

// What hand_over showed.
struct shown {
  directory* blocks;
  std::vector<std::uint32_t> indices;
  std::size_t wrong = 0;
  static void take(void* self, const void* block, std::size_t size) noexcept {
    auto& me = *static_cast<shown*>(self);
    std::uint32_t header[2];
    std::memcpy(header, block, sizeof header);
    me.wrong += me.blocks->at[header[0]] != block || !me.blocks->intact(header[0]) || size < header[1];
    me.blocks->at[header[0]] = nullptr;
    me.indices.push_back(header[0]);
  }
};

TEST_F(release_test, hands_every_block_of_a_kind_over_once_and_its_memory_back_on_the_way) {
  make(64 * mib);
  const kind other = blocks.add_kind(*h);
  std::uint64_t state = 1;
  const auto random = [&state] { return state = state * 6364136223846793005U + 1442695040888963407U, state >> 33; };
  std::size_t mine = 0;
  for (std::size_t i = 0; i < 6000; ++i) {
    const std::size_t size = i % 500 == 0 ? 900 * kib : i % 50 == 0 ? 20 * kib : 8 + random() % 3000;
    ASSERT_GE(blocks.allocate(*h, i % 7 == 0 ? other : k, size), 0);
  }
  for (std::size_t i = 0; i < 6000; ++i) {
    if (random() % 3 == 0) {
      blocks.free(*h, i);
    } else {
      mine += i % 7 != 0;
    }
  }
  shown seen{&blocks, {}};
  EXPECT_EQ(h->hand_over(k, &shown::take, &seen), mine);
  EXPECT_EQ(seen.indices.size(), mine);
  EXPECT_EQ(seen.wrong, 0U);
  for (const std::uint32_t index : seen.indices) EXPECT_NE(index % 7, 0U);
  h->verify();
  EXPECT_TRUE(blocks.all_intact());
  const heap_stats left = h->stats();
  if (moves_everything()) h->compact();  // blocks of both kinds were mixed in the large space
  EXPECT_LT(held(), left.live_bytes + left.live_bytes / 2 + 2 * mib);
  EXPECT_EQ(h->hand_over(k, &shown::take, &seen), 0U);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);  // and it goes on
  h->verify();
}

// Most pages refused a compaction, which filled all holes all the same; the others have a pin.
TEST_F(release_test, hands_over_what_refused_to_move_beside_pinned_blocks) {
  make(32 * mib, {.waste_target = 1}, 64 * kib);
  const std::size_t in_page = pool->page_bytes() / 200;
  while (h->stats().pages <= 60) ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  blocks.free(*h, blocks.at.size() - 1);  // pages full to the last slot
  blocks.at.pop_back();
  std::size_t live = blocks.at.size();
  for (std::size_t i = 0; i < 50 * in_page; i += 20, --live) blocks.free(*h, i);
  blocks.answer = [in_page](std::uint32_t index) { return index < 50 * in_page ? verdict::moved : verdict::keep; };
  ASSERT_EQ(h->compact().why, stop_reason::refused);
  ASSERT_LE(h->stats().hole_bytes, std::size_t{os::page_bytes()});
  std::vector<std::byte*> pinned;
  for (std::size_t i = 0; i < 50 * in_page; ++i) {
    if (blocks.at[i] == nullptr || !h->pin(blocks.at[i])) continue;
    pinned.push_back(blocks.at[i]);
  }
  shown seen{&blocks, {}};
  EXPECT_GE(h->hand_over(k, &shown::take, &seen), live - pinned.size() - in_page);
  EXPECT_EQ(seen.wrong, 0U);
  for (std::byte* block : pinned) h->unpin(block);
  h->verify();
}

TEST_F(release_test, hands_no_pinned_block_over) {
  make(32 * mib);
  for (std::size_t i = 0; i < 2000; ++i) ASSERT_GE(blocks.allocate(*h, k, i % 400 == 0 ? 30 * kib : 200), 0);
  for (const std::size_t i : {0U, 400U, 777U}) ASSERT_TRUE(h->pin(blocks.at[i]));
  shown seen{&blocks, {}};
  const std::size_t count = h->hand_over(k, &shown::take, &seen);
  EXPECT_EQ(seen.wrong, 0U);
  EXPECT_GT(count, 1000U);
  for (const std::size_t i : {0U, 400U, 777U}) {
    ASSERT_NE(blocks.at[i], nullptr);
    EXPECT_TRUE(blocks.intact(i));
    h->unpin(blocks.at[i]);
  }
  h->verify();
  EXPECT_EQ(count + h->hand_over(k, &shown::take, &seen), 2000U);
  EXPECT_EQ(h->stats().blocks, 0U);
}

}  // namespace
}  // namespace scoot::testing
