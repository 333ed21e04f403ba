// SPDX-License-Identifier: MIT
//
// Goal: many threads may do anything at once. Method: each thread writes values that name their key and check
// themselves, and reads others'; eviction, expiry, flushes, budget changes and scans go on meanwhile. For
// ThreadSanitizer above all.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "os/purge.hpp"
#include "scoot/cache.hpp"
#include "support.hpp"

namespace scoot {
namespace {

// "<key>|<number>|" and then the number's last digit as often as the number says.
std::string value_for(const std::string& key, unsigned number) {
  return key + "|" + std::to_string(number) + "|" + std::string(number, static_cast<char>('0' + number % 10));
}

bool is_value_for(std::string_view key, std::string_view value) {
  if (value.substr(0, key.size()) != key || value.size() <= key.size()) return false;
  const std::string number(value.substr(key.size() + 1, 7));
  return value == value_for(std::string(key), static_cast<unsigned>(std::atoi(number.c_str())));
}

// Four threads do so many operations on 4000 keys each, while `control` does what it likes 300 times a second. Both
// counts are of what must not happen.
struct outcome {
  int wrong = 0, refused = 0;
};

template <class Control>
outcome mix(cache& items, int operations, const Control& control) {
  cache* const c = &items;
  std::atomic<int> wrong{0}, refused{0};
  std::atomic<bool> stop{false};
  const auto work = [&](unsigned seed) {
    std::uint32_t state = seed * 7919 + 1;
    const auto random = [&](unsigned below) {
      state = state * 1664525 + 1013904223;
      return (state >> 8) % below;
    };
    std::vector<pinned_item> pins;
    for (int i = 0; i < operations; ++i) {
      const std::string key = "key" + std::to_string(random(4000));
      const auto check = [&](const item_view& view) { wrong += !is_value_for(key, view.value); };
      switch (random(8)) {
        case 0:
        case 1:
        case 2: {
          store_options how;
          if (random(4) == 0) how.expires_at = c->now() + 1;
          refused +=
              c->store(key, value_for(key, random(20) == 0 ? random(60000) : random(900)), how) != cache_status::ok;
          break;
        }
        case 3:
          (void)c->remove(key);
          break;
        case 4: {
          pinned_item pinned = c->pin(key);
          if (!pinned) break;
          check(pinned.view());
          pins.push_back(std::move(pinned));
          if (pins.size() > 4) {
            const item_view& oldest = pins.front().view();
            wrong += !is_value_for(std::string(oldest.key), oldest.value);
            pins.erase(pins.begin());
          }
          break;
        }
        case 5: {
          const std::string other = "key" + std::to_string(random(4000));
          const std::string_view keys[] = {key, other, key, other};
          c->get_many(keys, [&](std::size_t k, const item_view& view) { wrong += !is_value_for(keys[k], view.value); });
          break;
        }
        case 6: {
          read_options how;
          how.cas = true;
          (void)c->get(key, check, how);
          break;
        }
        default:
          (void)c->get(key, check);
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(work, i);
  std::thread controller([&] {
    for (int i = 0; !stop; ++i) {
      control(i);
      c->for_each([&](const item_view& view) { wrong += !is_value_for(view.key, view.value); });
      (void)c->stats();
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  for (std::thread& t : threads) t.join();
  stop = true;
  controller.join();
  return {wrong, refused};
}

TEST(cache_threads, read_only_whole_values_of_the_key_they_asked_for) {
  cache_options options;
  // Twenty pins can hold a page of 64 KiB each: the least budget leaves room for a store beside them.
  options.budget_bytes = std::size_t{6} << 20;
  options.shards = 2;
  const auto c = cache::create(options);
  ASSERT_NE(c, nullptr);
  const outcome o = mix(*c, 15000, [&](int i) {
    (void)c->set_budget((i % 2 == 0 ? std::size_t{5} : std::size_t{6}) << 20);
    if (i % 7 == 0) c->flush();
    if (i % 3 == 0) (void)c->release(std::size_t{1} << 20);
  });
  EXPECT_EQ(o.wrong, 0);
  EXPECT_EQ(o.refused, 0);
}

// The cold tier besides, a part of which the kernel takes now and then while others read it.
TEST(cache_threads, read_only_whole_values_of_two_tiers_too) {
  cache_options options;
  options.budget_bytes = std::size_t{4} << 20;
  options.shards = 2;
  options.purgeable_bytes = std::size_t{8} << 20;
  options.purgeable_keep_refused = true;
  const auto c = cache::create(options);
  ASSERT_NE(c, nullptr);
  const bool purges = purgeable::support() == purge_support::seen;
  const outcome o = mix(*c, 6000, [&](int i) {
    if (i % 100 == 99) c->flush();
    if (!purges || i % 5 != 0) return;
    purgeable& region = testing::inside(*c).nth(static_cast<unsigned>(i) / 5 % 2).cold()->region();
    const purgeable_stats s = region.stats();
    for (std::uint32_t chunk = 0; chunk < s.chunks_max; chunk += 2) {
      if (region.state(chunk).state == chunk_state::offered) (void)os::reclaim(region.data(chunk), s.chunk_bytes);
    }
  });
  EXPECT_EQ(o.wrong, 0);
  EXPECT_EQ(o.refused, 0);
  EXPECT_GT(c->stats().cold.hits, 100U);
  testing::verify(*c);
}

TEST(cache_threads, increments_are_never_lost) {
  cache_options options;
  options.shards = 1;
  const auto c = cache::create(options);
  (void)c->store("n", "0");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5000; ++k) (void)c->arithmetic("n", {});
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(c->arithmetic("n", {0, false}).value, 20000u);
}

TEST(cache_threads, only_one_compare_and_swap_wins) {
  const auto c = cache::create({});
  (void)c->store("k", "0");
  std::atomic<int> wins{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int done = 0; done < 1000;) {
        store_options how;
        how.mode = store_mode::compare_and_swap;
        int value = 0;
        read_options with_cas;
        with_cas.cas = true;
        (void)c->get(
            "k",
            [&](const item_view& view) {
              value = std::atoi(std::string(view.value).c_str());
              how.cas = view.cas;
            },
            with_cas);
        if (c->store("k", std::to_string(value + 1), how) == cache_status::ok) ++wins, ++done;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  std::string last;
  (void)c->get("k", [&](const item_view& view) { last = view.value; });
  EXPECT_EQ(last, "4000");
  EXPECT_EQ(wins, 4000);
}

TEST(cache_threads, let_its_pages_be_looked_at_meanwhile) {
  cache_options options;
  options.budget_bytes = std::size_t{6} << 20;
  options.shards = 2;
  const auto c = cache::create(options);
  ASSERT_NE(c, nullptr);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> stored{0};
  std::thread other([&] {
    for (unsigned i = 0; !stop; stored = ++i) {
      const std::string key = "key" + std::to_string(i % 5000);
      c->store(key, std::string(i % 7 == 0 ? 12000 : 40 + i / 5000 * 130 % 3000, 'v'));
      if (i % 20000 == 0) c->flush();
    }
  });
  std::size_t wrong = 0, seen = 0;
  std::vector<page_content> use(1000);
  while (stored < 50000 || seen <= 1000) {
    std::uint64_t cursor = 0;
    do {
      cursor = c->visit_pages(cursor,
                              [&](unsigned shard, const page_view& page) {
                                ++seen;
                                wrong += shard > 1 || page.live_bytes > std::size_t{1} << 20 ||
                                         page.resident_end < page.resident_begin ||
                                         std::string_view(page.kind_name).substr(0, 5) != "cache" || page.fill[31] == 0;
                              },
                              {.pages_max = 16, .draw = true});
    } while (cursor != 0);
    wrong += c->list_page_use(0, use) == 0;
  }
  stop = true;
  other.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace scoot
