// SPDX-License-Identifier: MIT
//
// Goal: memory. The budget is never exceeded, eviction makes room and keeps what is used, expired and flushed bytes
// come back, a smaller budget is reached, a full cache that may not evict says so. Method: small budgets, real loads.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <list>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "support.hpp"

namespace scoot {
namespace {

using testing::options_on;
using testing::patterned;
using testing::value_of;

constexpr std::size_t mib = std::size_t{1} << 20;

std::string key_of(std::uint64_t i) { return "key:" + std::to_string(i); }

// Stores items 0, 1 and so on until one is refused; how many were not.
std::uint64_t fill(cache& c, const std::string& value) {
  std::uint64_t stored = 0;
  while (c.store(key_of(stored), value) == cache_status::ok) ++stored;
  return stored;
}

void settle(cache& c) {
  for (int i = 0; i < 100000 && c.maintain(); ++i) {
  }
}

TEST(cache_memory, never_holds_more_than_its_budget_whatever_the_sizes) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib, 4));
  testing::seeded random(5);
  std::size_t largest = 40;
  for (std::uint64_t i = 0; i < 60000; ++i) {
    if (i % 10000 == 0) largest = 40 << 2 * (i / 10000 % 6);
    const std::size_t bytes = random.below(largest);
    ASSERT_EQ(c->store(key_of(random.below(100000)), std::string(bytes, 'v')), cache_status::ok) << i;
    if (i % 64 == 0) {
      ASSERT_LE(c->stats().pool.held_bytes, 8 * mib) << i;
    }
  }
  testing::verify(*c);
  EXPECT_LE(c->stats().pool.held_bytes_peak, 8 * mib);
  EXPECT_GT(c->stats().evictions, 0u);
}

TEST(cache_memory, most_of_the_budget_is_payload_after_a_shift_of_sizes) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 16 * mib));
  std::uint64_t i = 0;
  for (const std::size_t bytes : {100u, 1000u, 300u, 4000u, 60u, 500u}) {
    for (std::size_t written = 0; written < 40 * mib; written += bytes) {
      ASSERT_EQ(c->store(key_of(i++), std::string(bytes, 'v')), cache_status::ok);
    }
    const cache_stats s = c->stats();
    const double held = static_cast<double>(s.pool.held_bytes);
    const double useful = static_cast<double>(s.heap.live_bytes);
    EXPECT_GT(useful / held, 0.95) << bytes;
    EXPECT_GT(held, 0.95 * 16 * mib) << bytes;
  }
  testing::verify(*c);
}

TEST(cache_memory, keeps_what_is_read_often_through_a_scan) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib));
  const std::string value(200, 'v');
  for (int i = 0; i < 5000; ++i) (void)c->store("hot" + std::to_string(i), value);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5000; ++i) (void)value_of(*c, "hot" + std::to_string(i));
  }
  for (int i = 0; i < 500000; ++i) (void)c->store("scan" + std::to_string(i), value);  // twenty times what fits
  int kept = 0;
  for (int i = 0; i < 5000; ++i) kept += value_of(*c, "hot" + std::to_string(i)) == value;
  EXPECT_GT(kept, 4500);
  EXPECT_GT(c->stats().evicted_unread, 400000u);
}

TEST(cache_memory, a_key_that_comes_back_soon_after_eviction_stays) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 4 * mib));
  const std::string value(200, 'v');
  std::uint64_t fresh = 0;
  const auto scan = [&](int count) {
    for (int i = 0; i < count; ++i) (void)c->store(key_of(fresh++), value);
  };
  scan(40000);
  for (int i = 0; i < 200; ++i) (void)c->store("back" + std::to_string(i), value);
  int gone = 0;
  for (int i = 0; i < 60 && gone < 150; ++i) {
    scan(500);
    gone = 0;
    store_options looks;  // a wrong unique: says whether the item is there, and is no use of it
    looks.mode = store_mode::compare_and_swap;
    looks.cas = 1;
    for (int k = 0; k < 200; ++k) gone += c->store("back" + std::to_string(k), value, looks) == cache_status::not_found;
  }
  ASSERT_GE(gone, 150);
  for (int i = 0; i < 200; ++i) (void)c->store("back" + std::to_string(i), value);  // its ghosts are known
  scan(8000);                                                                       // the small queue turns over
  int kept = 0;
  for (int i = 0; i < 200; ++i) kept += value_of(*c, "back" + std::to_string(i)) == value;
  EXPECT_GT(kept, 100);
}

TEST(cache_memory, what_a_key_earned_outlives_a_value_that_expires_or_is_deleted) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 4 * mib));
  const std::string value(200, 'v');
  std::uint64_t fresh = 0;
  const auto scan = [&](int count) {
    for (int i = 0; i < count; ++i) (void)c->store(key_of(fresh++), value);
  };
  enum ends { deleted, expired, unknown };
  const auto name = [](int i) { return "again" + std::to_string(i); };
  scan(40000);
  store_options until;
  until.expires_at = clock.seconds + 100;
  for (int i = 0; i < 600; ++i) {
    if (i % 3 == unknown) continue;  // these are new in the end
    ASSERT_EQ(c->store(name(i), value, until), cache_status::ok);
    EXPECT_EQ(value_of(*c, name(i)), value);
  }
  scan(40000);  // the small queue turns over: what was used is in main
  for (int i = 0; i < 600; ++i) {
    if (i % 3 == deleted) {
      EXPECT_EQ(c->remove(name(i)), cache_status::ok) << i;
    }
  }
  clock.seconds += 200;
  for (int i = 0; i < 100 && c->maintain(); ++i) {
  }
  EXPECT_EQ(c->stats().expired, 200u);
  for (int i = 0; i < 600; ++i) ASSERT_EQ(c->store(name(i), value), cache_status::ok);
  scan(40000);
  int kept[3] = {};
  for (int i = 0; i < 600; ++i) kept[i % 3] += value_of(*c, name(i)) == value;
  EXPECT_GT(kept[deleted], 150);
  EXPECT_GT(kept[expired], 150);
  EXPECT_LT(kept[unknown], 20);
  testing::verify(*c);
}

TEST(cache_memory, of_items_used_alike_the_large_ones_go_first) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib));
  const std::string small(300, 's'), large(3000, 'l');
  testing::seeded random(11);
  const auto key_at = [](std::size_t i) { return (i % 2 == 0 ? "large" : "small") + std::to_string(i); };
  const auto use = [&](std::size_t i) {
    const std::string key = key_at(i), &value = i % 2 == 0 ? large : small;
    const bool there = value_of(*c, key) == value;
    if (!there) (void)c->store(key, value);
    return there;
  };
  int hits[2] = {};
  for (int step = 0; step < 200000; ++step) {
    const std::size_t i = random.below(8000);  // of each size half, 13 MB in all
    const bool there = use(i);
    if (step >= 100000) hits[i % 2] += there;
  }
  EXPECT_GT(hits[1], hits[0] * 5 / 4);
  EXPECT_GT(hits[0], 10000);  // a fifth of their uses: they are not shut out
  testing::verify(*c);
}

TEST(cache_memory, misses_less_than_lru_with_as_many_items) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 4 * mib));
  const std::string value(100, 'v');
  testing::seeded random(3);
  std::vector<double> cumulated(200000);
  double sum = 0;
  for (std::size_t i = 0; i < cumulated.size(); ++i)
    cumulated[i] = sum += 1 / std::pow(static_cast<double>(i + 1), 0.9);
  std::list<std::uint32_t> order;  // the peer: keys, the last used first
  std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> where;
  int misses = 0, lru_misses = 0;
  std::size_t items = 1000;
  for (int i = 0; i < 600000; ++i) {
    if (i == 300000) misses = lru_misses = 0;
    const double at = static_cast<double>(random() >> 11) * 0x1p-53 * sum;
    const auto k =
        static_cast<std::uint32_t>(std::lower_bound(cumulated.begin(), cumulated.end(), at) - cumulated.begin());
    if (value_of(*c, key_of(k)) != value) {
      ++misses;
      ASSERT_EQ(c->store(key_of(k), value), cache_status::ok);
    }
    if (i % 1000 == 0) items = std::max(items, c->stats().items);
    if (const auto found = where.find(k); found != where.end()) {
      order.splice(order.begin(), order, found->second);
      continue;
    }
    ++lru_misses;
    order.push_front(k);
    where[k] = order.begin();
    if (where.size() <= items) continue;
    where.erase(order.back());
    order.pop_back();
  }
  EXPECT_LT(misses, lru_misses * 92 / 100);
  EXPECT_GT(lru_misses, 50000);
}

TEST(cache_memory, what_grows_an_item_evicts_others_and_never_the_item) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 2 * mib));
  std::uint64_t stored = 0;
  const auto store = [&] { (void)c->store(key_of(stored++), std::string(300, '7')); };
  while (c->stats().evictions < 1000) store();
  testing::seeded random(4);
  store_options append, prepend;
  append.mode = store_mode::append;
  prepend.mode = store_mode::prepend;
  read_options touch_with_cas;
  touch_with_cas.cas = true;
  touch_with_cas.touch = clock.seconds + 100;
  std::vector<std::string> keys;
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 1000; ++i) store();
    keys.clear();
    c->for_each([&](const item_view& view) { keys.emplace_back(view.key); });
    ASSERT_GT(keys.size(), 50u);
    for (int i = 0; i < 300; ++i) {
      const std::string& key = keys[random.below(keys.size())];
      const auto before = testing::read(*c, key);
      if (!before) continue;
      const std::string more(random.below(2) == 0 ? 20000 : 30, '7');
      const bool front = random.below(2) == 0;
      if (before->value.size() > 300000) {
        ASSERT_EQ(c->store(key, "1"), cache_status::ok);
        continue;
      }
      ASSERT_EQ(c->store(key, more, front ? prepend : append), cache_status::ok);
      ASSERT_EQ(value_of(*c, key), front ? more + before->value : before->value + more);
      ASSERT_TRUE(testing::read(*c, key, touch_with_cas));  // which makes the item larger, too
    }
    ASSERT_LE(c->stats().pool.held_bytes, 2 * mib);
    testing::verify(*c);
  }
  EXPECT_GT(c->stats().evictions, 5000u);
}

TEST(cache_memory, an_item_that_cannot_grow_is_left_as_it_was) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, mib));
  const std::string half = patterned(1, 600000);
  ASSERT_EQ(c->store("k", half), cache_status::ok);
  EXPECT_EQ(c->store("k", "more", {store_mode::append}), cache_status::no_memory);
  EXPECT_EQ(value_of(*c, "k"), half);
  EXPECT_EQ(c->store("k", half), cache_status::ok);  // a set may do without the older item
  EXPECT_EQ(c->store("other", half), cache_status::ok);
  EXPECT_EQ(value_of(*c, "k"), "(not found)");
  testing::verify(*c);
}

TEST(cache_memory, large_values_find_room_among_small_ones) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 16 * mib, 4));
  for (std::uint64_t i = 0; i < 150000; ++i) (void)c->store(key_of(i), std::string(100, 'v'));
  for (std::uint64_t i = 0; i < 40; ++i) {
    const std::string large = patterned(i, mib - 300);
    ASSERT_EQ(c->store("large" + std::to_string(i), large), cache_status::ok) << i;
    ASSERT_EQ(value_of(*c, "large" + std::to_string(i)), large);
    ASSERT_LE(c->stats().pool.held_bytes, 16 * mib);
  }
  for (std::uint64_t i = 0; i < 50000; ++i) {
    ASSERT_EQ(c->store(key_of(i), std::string(100, 'w')), cache_status::ok) << i;
  }
  testing::verify(*c);
}

TEST(cache_memory, without_eviction_a_full_cache_refuses_and_keeps_what_it_has) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 4 * mib);
  options.evict = false;
  const auto c = cache::create(options);
  const std::string value(500, 'v');
  const std::uint64_t stored = fill(*c, value);
  EXPECT_GT(stored, 6500u);
  EXPECT_EQ(c->store(key_of(stored), value), cache_status::no_memory);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(value_of(*c, key_of(i)), value);
  EXPECT_EQ(c->stats().evictions, 0u);
  EXPECT_EQ(c->stats().store_no_memory, 2u);
  // Room again once something goes.
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(c->remove(key_of(i)), cache_status::ok);
  for (std::uint64_t i = 0; i < 90; ++i) EXPECT_EQ(c->store(key_of(i), value), cache_status::ok) << i;
  testing::verify(*c);
}

// Until nothing at all can be had, and then asks of every item what makes it larger: it is there, and so it is
// answered.
TEST(cache_memory, a_full_cache_without_eviction_answers_uniques_and_touches_of_what_it_has) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 4 * mib, 2);
  options.evict = false;
  const auto c = cache::create(options);
  const std::string value(60, 'v');
  const std::uint64_t stored = fill(*c, value);
  ASSERT_GT(stored, 20000u);
  std::set<std::uint64_t> uniques;
  for (std::uint64_t i = 0; i < stored; ++i) uniques.insert(testing::cas_of(*c, key_of(i)));
  EXPECT_EQ(uniques.size(), stored) << "each its own";
  EXPECT_EQ(uniques.count(0), 0u);
  EXPECT_LT(*uniques.rbegin(), std::uint64_t{1} << 53);
  std::uint64_t touched = 0;
  for (std::uint64_t i = 0; i < stored; ++i) {
    const cache_status status = c->touch(key_of(i), clock.seconds + 100);
    touched += status == cache_status::ok;
    ASSERT_NE(status, cache_status::not_found);
    read_options gat;
    gat.touch = clock.seconds + 200;
    const cache_status again = c->get(
        key_of(i), [](const item_view&) {}, gat);
    ASSERT_EQ(again, status);
  }
  EXPECT_GT(touched, 1000u) << "some memory is left to them";
  EXPECT_LT(touched, stored) << "the test has not come to the end of it";
  EXPECT_EQ(c->touch("none", clock.seconds + 100), cache_status::not_found);
  EXPECT_LE(c->stats().pool.held_bytes, 4 * mib);
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_EQ(value_of(*c, key_of(i)), value);
  testing::verify(*c);
}

// Whose value lengths leave room in their blocks or do not, with an expiry or without one.
TEST(cache_memory, a_full_cache_without_eviction_changes_every_expiry_for_which_it_has_room) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 4 * mib, 2);
  options.evict = false;
  const auto c = cache::create(options);
  const auto value_of_item = [](std::uint64_t i) { return testing::patterned(i, 60 + i % 8); };
  const auto expires = [](std::uint64_t i) { return i % 16 >= 8; };
  std::uint64_t stored = 0;
  store_options expiring;
  expiring.expires_at = clock.seconds + 1000;
  while (c->store(key_of(stored), value_of_item(stored), expires(stored) ? expiring : store_options{}) ==
         cache_status::ok) {
    ++stored;
  }
  std::uint64_t others = 0, touched = 0;
  for (std::uint64_t i = 0; i < stored; ++i) {
    const bool earlier = i % 32 < 16;
    const cache_status status = c->touch(key_of(i), clock.seconds + (earlier ? 100 : 2000));
    if (expires(i)) {
      ASSERT_EQ(status, cache_status::ok) << i;
    } else {
      ++others;
      touched += status == cache_status::ok;
      ASSERT_NE(status, cache_status::not_found);
    }
    ASSERT_EQ(value_of(*c, key_of(i)), value_of_item(i));
  }
  std::printf("of %llu items without an expiry %llu got one\n", static_cast<unsigned long long>(others),
              static_cast<unsigned long long>(touched));
  EXPECT_GT(touched, others / 4);
  EXPECT_LE(c->stats().pool.held_bytes, 4 * mib);
  testing::verify(*c);
  clock.seconds += 101;
  for (std::uint64_t i = 0; i < stored; ++i) {
    if (!expires(i)) continue;
    ASSERT_EQ(value_of(*c, key_of(i)), i % 32 < 16 ? "(not found)" : value_of_item(i)) << i;
  }
  clock.seconds += 2000;
  for (int i = 0; i < 2000; ++i) (void)c->maintain();
  EXPECT_EQ(c->stats().items, others - touched);
  testing::verify(*c);
}

// There is room for the empty item, and none for a name under its new expiry.
TEST(cache_memory, a_full_cache_without_eviction_empties_items_that_are_to_expire_sooner) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 2 * mib);
  options.evict = false;
  const auto c = cache::create(options);
  store_options expiring;
  expiring.expires_at = clock.seconds + 4000;
  std::uint64_t stored = 0;
  while (c->store(key_of(1000 + stored), "12", expiring) == cache_status::ok) ++stored;
  ASSERT_GT(stored, 10000u);
  // Until no list of a second takes another name.
  for (std::uint64_t i = 0; i < stored; ++i) {
    ASSERT_EQ(c->touch(key_of(1000 + i), clock.seconds + 3999 - static_cast<std::uint32_t>(i % 3900)),
              cache_status::ok);
  }
  ASSERT_EQ(c->remove(key_of(1000)), cache_status::ok);
  remove_options empty;
  empty.drop_value = true;
  std::uint64_t emptied = 0;
  for (std::uint32_t second = 1; second < 64; ++second) {
    empty.expires_at = clock.seconds + second;
    emptied += c->remove(key_of(1000 + second), empty) == cache_status::ok;
  }
  EXPECT_GT(emptied, 0u);
  clock.seconds += 64;
  for (std::uint64_t i = 1; i < 64; ++i) {
    const std::string found = value_of(*c, key_of(1000 + i));
    EXPECT_TRUE(found == "(not found)" || found == "12") << i;
    emptied -= found == "(not found)";
  }
  EXPECT_EQ(emptied, 0u);
  testing::verify(*c);
}

TEST(cache_memory, a_unique_without_memory_for_it_is_good_for_one_change) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 2 * mib);
  options.evict = false;
  const auto c = cache::create(options);
  const std::uint64_t stored = fill(*c, "12345678");
  const std::string key = key_of(stored / 2);
  // What is left for the items that are there is used up.
  for (std::uint64_t i = 0; i < stored; ++i) (void)c->touch(key_of(i), i < stored / 3 ? clock.seconds + 9 : 0);
  const std::uint64_t unique = testing::cas_of(*c, key);
  ASSERT_GE(unique, std::uint64_t{1} << 52) << "there was memory for a field";
  EXPECT_EQ(testing::cas_of(*c, key), unique);
  const std::string outdated = key_of(stored / 2 + 2);
  const std::uint64_t before = testing::cas_of(*c, outdated);
  for (std::uint64_t i = 0; i < 8000; ++i) (void)c->remove(key_of(i));  // a store wants room for names at least
  remove_options invalidate;
  invalidate.keep_stale = true;
  EXPECT_EQ(c->remove(outdated, invalidate), cache_status::ok);
  store_options late{store_mode::compare_and_swap};
  late.cas = before;
  EXPECT_EQ(c->store(outdated, "abcdefgh", late), cache_status::exists);
  store_options swap{store_mode::compare_and_swap};
  swap.cas = unique + 1;
  EXPECT_EQ(c->store(key, "abcdefgh", swap), cache_status::exists);
  swap.cas = unique;
  EXPECT_EQ(c->store(key, "abcdefgh", swap), cache_status::ok);
  EXPECT_EQ(c->store(key, "ijklmnop", swap), cache_status::exists);
  EXPECT_EQ(value_of(*c, key), "abcdefgh");
  EXPECT_NE(testing::cas_of(*c, key), unique);
  // The same of a deletion, and of a number.
  remove_options gone;
  gone.cas = unique;
  EXPECT_EQ(c->remove(key, gone), cache_status::exists);
  gone.cas = testing::cas_of(*c, key);
  EXPECT_EQ(c->remove(key, gone), cache_status::ok);
  const std::string number = key_of(stored / 2 + 1);
  arithmetic_options sum;
  sum.report = sum.give_cas = true;
  sum.cas = testing::cas_of(*c, number);
  const arithmetic_result result = c->arithmetic(number, sum);
  EXPECT_EQ(result.status, cache_status::ok);
  EXPECT_EQ(result.cas, testing::cas_of(*c, number));
  EXPECT_NE(result.cas, sum.cas);
}

TEST(cache_memory, what_is_there_is_answered_where_everything_is_pinned) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 2 * mib));
  std::vector<pinned_item> pins;
  std::uint64_t stored = 0;
  for (; c->store(key_of(stored), std::string(3000, 'v')) == cache_status::ok; ++stored) {
    pins.push_back(c->pin(key_of(stored)));
  }
  ASSERT_GT(stored, 400u);
  pins.erase(pins.begin());  // which was evicted, so that there is room for one
  // Until it fills its block, so that it gets nothing more there.
  std::size_t bytes = 2990;
  do {
    ASSERT_EQ(c->store("k", std::string(++bytes, 'v')), cache_status::ok);
  } while (bytes < 3100 && c->touch("k", clock.seconds + 10) == cache_status::ok);
  EXPECT_EQ(c->touch("k", clock.seconds + 10), cache_status::no_memory);
  EXPECT_EQ(c->touch("none", clock.seconds + 10), cache_status::not_found);
  EXPECT_GE(testing::cas_of(*c, "k"), std::uint64_t{1} << 52);
  meta_read meta;
  meta.idle = true;
  meta.recache = clock.seconds + 10;
  read_options look;
  look.meta = &meta;
  EXPECT_EQ(c->get(
                "k", [](const item_view& item) { EXPECT_FALSE(item.wins); }, look),
            cache_status::ok);
  pins.clear();
}

TEST(cache_memory, a_plain_set_without_memory_removes_the_older_item) {
  testing::fake_clock clock;
  cache_options options = options_on(clock, 2 * mib);
  options.evict = false;
  const auto c = cache::create(options);
  (void)c->store("k", "v");
  (void)fill(*c, std::string(1000, 'v'));
  const std::string large(400000, 'x');
  EXPECT_EQ(c->store("k", large, {store_mode::replace}), cache_status::no_memory);
  EXPECT_EQ(value_of(*c, "k"), "v");
  EXPECT_EQ(c->store("k", large), cache_status::no_memory);
  EXPECT_EQ(value_of(*c, "k"), "(not found)");
}

TEST(cache_memory, expired_bytes_come_back_within_two_seconds_without_traffic) {
  const std::vector<std::uint32_t> ttls = {1, 5, 30, 63, 66, 130, 600, 3600, 4100, 86400, 2592000, 40000000};
  testing::fake_clock clock;
  const std::uint32_t start = clock.seconds;
  const auto c = cache::create(options_on(clock, 32 * mib));
  const std::size_t live_bytes = c->stats().heap.live_bytes;
  testing::seeded random(9);
  store_options options;
  std::uint64_t count = 0;
  for (const std::uint32_t ttl : ttls) {
    options.expires_at = start + ttl;
    for (int i = 0; i < 500; ++i) ASSERT_EQ(c->store(key_of(count++), "value", options), cache_status::ok);
  }
  std::size_t left = count;
  std::uint32_t passed = 0;
  for (const std::uint32_t ttl : ttls) {
    while (passed < ttl - 1) {  // in uneven steps, as maintenance comes
      passed = std::min<std::uint32_t>(ttl - 1, passed + 1 + static_cast<std::uint32_t>(random.below(ttl / 3 + 1)));
      clock.seconds = start + passed;
      settle(*c);
    }
    ASSERT_EQ(c->stats().items, left) << ttl;
    clock.seconds = start + (passed = ttl + 1);
    settle(*c);
    left -= 500;
    ASSERT_EQ(c->stats().items, left) << ttl;
    testing::verify(*c);
  }
  EXPECT_EQ(c->stats().expired, count);
  EXPECT_LT(c->stats().heap.live_bytes, live_bytes + 20000);
}

TEST(cache_memory, locks_that_come_and_go_do_not_pile_up) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib));
  store_options options;
  options.mode = store_mode::add;
  std::size_t bytes = 0;
  for (int i = 0; i < 300000; ++i) {
    options.expires_at = clock.seconds + 3600;
    const std::string key = "lock" + std::to_string(i % 100);
    ASSERT_EQ(c->store(key, "1", options), cache_status::ok);
    ASSERT_EQ(c->remove(key), cache_status::ok);
    if (i == 10000) bytes = c->stats().index_bytes;
  }
  EXPECT_LE(c->stats().index_bytes, bytes + 4096);
  testing::verify(*c);
}

TEST(cache_memory, flushed_bytes_come_back_in_steps) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 16 * mib, 2));
  for (std::uint64_t i = 0; i < 50000; ++i) (void)c->store(key_of(i), std::string(100, 'v'));
  c->flush();
  settle(*c);
  const cache_stats s = c->stats();
  EXPECT_EQ(s.items, 0u);
  EXPECT_EQ(s.item_bytes, 0u);
  EXPECT_LT(s.heap.live_bytes, 200000u);
  EXPECT_LT(s.pool.held_bytes, 2 * mib);  // and are the system's again
  testing::verify(*c);
}

TEST(cache_memory, half_the_budget_is_reached_while_stores_go_on) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 32 * mib, 4));
  std::uint64_t i = 0;
  testing::seeded random(2);
  const auto store = [&] { return c->store(key_of(i++), std::string(20 + random.below(400), 'v')); };
  while (c->stats().evictions == 0) (void)store();
  ASSERT_TRUE(c->set_budget(16 * mib));
  int steps = 0;
  for (; c->stats().pool.held_bytes > 16 * mib && steps < 100000; ++steps) {
    ASSERT_EQ(store(), cache_status::ok);
    if (steps % 10 == 0) (void)c->maintain();
  }
  EXPECT_LE(c->stats().pool.held_bytes, 16 * mib);
  EXPECT_LT(steps, 2000);
  EXPECT_EQ(c->stats().pool.budget_bytes, 16 * mib);
  EXPECT_GT(c->stats().item_bytes, 10 * mib);  // no more went than had to
  testing::verify(*c);
  ASSERT_TRUE(c->set_budget(32 * mib));
  for (int n = 0; n < 200000; ++n) ASSERT_EQ(store(), cache_status::ok);
  EXPECT_GT(c->stats().item_bytes, 22 * mib);  // and it grows again
}

TEST(cache_memory, a_budget_below_the_least_is_refused) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 32 * mib, 16));
  EXPECT_FALSE(c->set_budget(mib));
  EXPECT_EQ(c->stats().budget_bytes, 32 * mib);
  EXPECT_EQ(cache::create(options_on(clock, 1000)), nullptr);
  EXPECT_EQ(cache::create(options_on(clock, 8 * mib, 3)), nullptr);
}

TEST(cache_memory, one_shard_gets_room_that_others_hold) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib, 4));
  const auto shard_of = [&](const std::string& key) {
    return testing::inside(*c).shard_number(testing::inside(*c).hashed(key).hash);
  };
  std::uint64_t i = 0;
  // Three shards fill all there is; then the fourth wants its part.
  for (int n = 0; n < 60000; ++i) {
    if (shard_of(key_of(i)) != 3) (void)c->store(key_of(i), std::string(200, 'v')), ++n;
  }
  for (int n = 0; n < 20000; ++i) {
    if (shard_of(key_of(i)) != 3) continue;
    ASSERT_EQ(c->store(key_of(i), std::string(200, 'w')), cache_status::ok);
    ++n;
  }
  EXPECT_GT(testing::inside(*c).nth(3).held_bytes(), mib);
  testing::verify(*c);
}

TEST(cache_memory, pinned_items_do_not_keep_others_from_being_stored) {
  testing::fake_clock clock;
  const auto c = cache::create(options_on(clock, 8 * mib));
  std::vector<pinned_item> pins;
  std::vector<std::string> values;
  for (std::uint64_t i = 0; i < 60; ++i) {
    values.push_back(patterned(i, 20000 + i));
    ASSERT_EQ(c->store("pinned" + std::to_string(i), values.back()), cache_status::ok);
    pins.push_back(c->pin("pinned" + std::to_string(i)));
    ASSERT_TRUE(pins.back());
  }
  for (std::uint64_t i = 0; i < 100000; ++i) {
    ASSERT_EQ(c->store(key_of(i), std::string(i % 3000, 'v')), cache_status::ok) << i;
  }
  for (std::size_t i = 0; i < pins.size(); ++i) ASSERT_EQ(pins[i].view().value, values[i]);
  pins.clear();
  testing::verify(*c);
}

TEST(cache_memory, the_maintenance_thread_expires_items_by_itself) {
  cache_options options;
  options.budget_bytes = 8 * mib;
  const auto c = cache::create(options);
  store_options expiring;
  expiring.expires_at = c->now() + 1;
  for (std::uint64_t i = 0; i < 1000; ++i) (void)c->store(key_of(i), "v", expiring);
  const auto start = std::chrono::steady_clock::now();
  while (c->stats().items != 0 && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(c->stats().items, 0u);
  EXPECT_EQ(c->stats().expired, 1000u);
}

}  // namespace
}  // namespace scoot
