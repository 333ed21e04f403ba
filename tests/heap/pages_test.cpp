// SPDX-License-Identifier: MIT
//
// Goal: a heap's pages can be visited a few at a time, what is told of them is true, and moves and pauses are counted.
// Method: random heaps, compared with the statistics, with the snapshot and with what the pool says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "directory.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot::testing {
namespace {

std::vector<page_view> pages_of(const heap& h, const page_visit& how = {}) {
  std::vector<page_view> pages;
  std::uint64_t cursor = 0;
  do {
    const std::size_t before = pages.size();
    cursor = visit_pages(
        h, cursor, how,
        [](void* to, const page_view& page) noexcept { static_cast<std::vector<page_view>*>(to)->push_back(page); },
        &pages);
    EXPECT_LE(pages.size() - before, how.pages_max);
  } while (cursor != 0);
  return pages;
}

std::vector<page_content> use_of(const page_pool& pool, std::size_t step = 7) {
  std::vector<page_content> all;
  std::vector<page_content> some(step);
  for (std::size_t told = step; told == step;) {
    told = list_page_use(pool, all.size(), some);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(told));
  }
  return all;
}

class pages_test : public heap_fixture {
 protected:
  void fill_at_random(bool with_pins = true) {
    make(16 * mib, {}, 64 * kib);
    std::mt19937_64 random(11);
    for (int i = 0; i < 4000; ++i) {
      const std::size_t size = random() % 30 == 0 ? 8 + random() % 150000 : 8 + random() % 1500;
      if (blocks.allocate(*h, k, size) < 0 || random() % 3 != 0) {
        const std::size_t victim = random() % blocks.at.size();
        if (blocks.at[victim] != nullptr && explain(*h, blocks.at[victim]).pins == 0) blocks.free(*h, victim);
      }
      if (with_pins && random() % 100 == 0 && blocks.at.back() != nullptr) {
        ASSERT_TRUE(h->pin(blocks.at.back(), "random"));
      }
    }
  }
};

TEST_F(pages_test, are_visited_once_each_and_add_up_to_the_statistics) {
  fill_at_random();
  const heap_stats s = h->stats();
  for (const std::size_t at_a_time : {1, 3, 1000}) {
    const std::vector<page_view> pages = pages_of(*h, {.pages_max = at_a_time});
    EXPECT_EQ(pages.size(), s.pages);
    std::set<std::size_t> numbers;
    std::size_t held = 0, pins = 0, shelf_pages = 0;
    for (const page_view& page : pages) {
      numbers.insert(page.number);
      held += page.resident_end - page.resident_begin;
      pins += page.pins;
      EXPECT_STREQ(page.kind_name, "directory");
      EXPECT_LE(page.live_bytes, pool->page_bytes());
      if (page.content != page_content::shelf) continue;
      ++shelf_pages;
      EXPECT_EQ(page.blocks, page.slots - page.holes);
      EXPECT_EQ(page.live_bytes, page.blocks * page.slot_bytes);
    }
    EXPECT_EQ(numbers.size(), pages.size());
    EXPECT_EQ(held, s.held_bytes);
    EXPECT_EQ(pins, s.pinned_blocks);
    EXPECT_GT(shelf_pages, 0U);
    EXPECT_LT(shelf_pages, pages.size()) << "there are large blocks and runs too";
  }
}

TEST_F(pages_test, are_drawn_as_in_the_snapshot) {
  fill_at_random();
  std::string text;
  ASSERT_TRUE(write_snapshot(
      *h,
      [](void* to, const char* bytes, std::size_t size) noexcept {
        static_cast<std::string*>(to)->append(bytes, size);
        return true;
      },
      &text));
  std::map<std::string, std::string> drawn;
  const nlohmann::json snapshot = nlohmann::json::parse(text);
  for (const auto& page : snapshot["pages"]) drawn[page["address"]] = page["fill"];
  for (const page_view& page : pages_of(*h, {.draw = true})) {
    char address[24];
    std::snprintf(address, sizeof address, "0x%llx",
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(page.address)));
    ASSERT_EQ(drawn.count(address), 1U) << address;
    EXPECT_EQ(page.fill, drawn.at(address)) << static_cast<int>(page.content);
  }
}

TEST_F(pages_test, are_found_again_by_their_cursor) {
  fill_at_random();
  for (const page_view& page : pages_of(*h, {.pages_max = 5})) {
    std::size_t found = ~std::size_t{0};
    static_cast<void>(visit_pages(
        *h, page.cursor, {.pages_max = 1},
        [](void* to, const page_view& again) noexcept { *static_cast<std::size_t*>(to) = again.number; }, &found));
    EXPECT_EQ(found, page.number);
  }
}

TEST_F(pages_test, are_no_more_after_any_cursor_that_is_out_of_date) {
  fill_at_random(false);
  std::vector<std::uint64_t> cursors;
  for (const page_view& page : pages_of(*h)) cursors.push_back(page.cursor);
  blocks.free_all(*h);
  h->compact();
  for (const std::uint64_t cursor : cursors) {
    static_cast<void>(visit_pages(
        *h, cursor, {.draw = true}, [](void*, const page_view&) noexcept {}, nullptr));
  }
}

TEST_F(pages_test, are_used_as_the_pool_says) {
  fill_at_random();
  std::vector<page_content> use = use_of(*pool);
  EXPECT_EQ(use, use_of(*pool, 4096));
  std::set<std::size_t> numbers;
  for (const page_view& page : pages_of(*h)) numbers.insert(page.number);
  for (std::size_t i = 0; i < use.size(); ++i) {
    EXPECT_EQ(use[i] == page_content::used, numbers.count(i) == 1) << i;
  }
  EXPECT_EQ(pool->stats().idle_bytes != 0, std::count(use.begin(), use.end(), page_content::idle) != 0);
  h.reset();
  pool->trim();
  use = use_of(*pool);
  EXPECT_EQ(std::count(use.begin(), use.end(), page_content::unused), static_cast<std::ptrdiff_t>(use.size()));
}

TEST_F(pages_test, count_the_blocks_that_arrive_and_depart_and_pauses_are_measured) {
  heap_options by_compact_only;
  by_compact_only.waste_target = 1;
  make(16 * mib, by_compact_only, 64 * kib);
  for (int i = 0; i < 20000; ++i) ASSERT_GE(blocks.allocate(*h, k, 200), 0);
  for (std::size_t i = 0; i < 20000; i += 2) blocks.free(*h, i);
  const auto pauses = [this] {
    const heap_stats s = h->stats();
    return std::accumulate(std::begin(s.pauses), std::end(s.pauses), std::uint64_t{0});
  };
  if (moves_everything()) return;
  EXPECT_EQ(pauses(), 0U);
  const compaction c = h->compact();
  EXPECT_GT(c.blocks_moved, 1000U);
  std::size_t arrivals = 0;
  for (const page_view& page : pages_of(*h)) arrivals += page.arrivals;
  EXPECT_EQ(arrivals, c.blocks_moved) << "they are where they went to, which stays";
  EXPECT_EQ(pauses(), 1U);
  EXPECT_GT(h->stats().pause_ns, 0U);
  h->compact();
  EXPECT_EQ(pauses(), 1U) << "what moves nothing is no pause";
}

}  // namespace
}  // namespace scoot::testing
