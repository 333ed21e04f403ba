// SPDX-License-Identifier: MIT
//
// Goal: each operation answers as memcached 1.6 does. Method: one behaviour a test, time under the test's control.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support.hpp"

namespace scoot {
namespace {

using testing::cas_of;
using testing::inside;
using testing::read;
using testing::value_of;

class cache_semantics : public ::testing::Test {
 protected:
  cache_semantics() : cache_(cache::create(testing::options_on(clock_))) {}
  ~cache_semantics() override { testing::verify(*cache_); }

  cache_status store(std::string_view key, std::string_view value, store_mode mode = store_mode::set) {
    store_options options;
    options.mode = mode;
    return cache_->store(key, value, options);
  }
  cache_status store_until(std::string_view key, std::string_view value, std::uint32_t expires_at) {
    store_options options;
    options.expires_at = expires_at;
    return cache_->store(key, value, options);
  }
  arithmetic_result add(std::string_view key, std::uint64_t delta) { return cache_->arithmetic(key, {delta, false}); }
  arithmetic_result take(std::string_view key, std::uint64_t delta) { return cache_->arithmetic(key, {delta, true}); }

  testing::fake_clock clock_;
  std::unique_ptr<cache> cache_;
};

TEST_F(cache_semantics, set_replaces_whatever_was_there) {
  EXPECT_EQ(store("k", "one"), cache_status::ok);
  EXPECT_EQ(store("k", "another, longer"), cache_status::ok);
  EXPECT_EQ(value_of(*cache_, "k"), "another, longer");
  EXPECT_EQ(cache_->stats().items, 1u);
}

TEST_F(cache_semantics, add_stores_only_what_is_absent) {
  EXPECT_EQ(store("k", "one", store_mode::add), cache_status::ok);
  EXPECT_EQ(store("k", "two", store_mode::add), cache_status::not_stored);
  EXPECT_EQ(value_of(*cache_, "k"), "one");
}

TEST_F(cache_semantics, replace_stores_only_over_what_is_there) {
  EXPECT_EQ(store("k", "one", store_mode::replace), cache_status::not_stored);
  EXPECT_EQ(store("k", "one"), cache_status::ok);
  EXPECT_EQ(store("k", "two", store_mode::replace), cache_status::ok);
  EXPECT_EQ(value_of(*cache_, "k"), "two");
}

TEST_F(cache_semantics, append_and_prepend_keep_flags_and_expiry) {
  store_options options;
  options.flags = 77;
  options.expires_at = clock_.seconds + 50;
  EXPECT_EQ(cache_->store("k", "middle", options), cache_status::ok);
  options = {};
  options.flags = 1;
  options.mode = store_mode::append;
  EXPECT_EQ(cache_->store("k", " end", options), cache_status::ok);
  options.mode = store_mode::prepend;
  EXPECT_EQ(cache_->store("k", "start ", options), cache_status::ok);
  const auto found = read(*cache_, "k");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->value, "start middle end");
  EXPECT_EQ(found->flags, 77u);
  EXPECT_EQ(found->expires_at, clock_.seconds + 50);
}

TEST_F(cache_semantics, append_to_what_is_absent_is_not_stored) {
  EXPECT_EQ(store("k", "x", store_mode::append), cache_status::not_stored);
  EXPECT_EQ(store("k", "x", store_mode::prepend), cache_status::not_stored);
}

TEST_F(cache_semantics, cas_stores_only_what_nobody_changed) {
  store_options options;
  options.mode = store_mode::compare_and_swap;
  EXPECT_EQ(cache_->store("k", "v", options), cache_status::not_found);
  (void)store("k", "one");
  options.cas = cas_of(*cache_, "k");
  EXPECT_NE(options.cas, 0u);
  EXPECT_EQ(cas_of(*cache_, "k"), options.cas);
  EXPECT_EQ(cache_->store("k", "two", options), cache_status::ok);
  EXPECT_EQ(cache_->store("k", "three", options), cache_status::exists);
  EXPECT_EQ(value_of(*cache_, "k"), "two");
  const cache_stats s = cache_->stats();
  EXPECT_EQ(s.cas_misses, 1u);
  EXPECT_EQ(s.cas_hits, 1u);
  EXPECT_EQ(s.cas_badval, 1u);
}

TEST_F(cache_semantics, every_change_of_the_value_changes_the_unique) {
  (void)store("k", "1");
  std::uint64_t last = cas_of(*cache_, "k");
  const auto changed = [&] {
    const std::uint64_t now = cas_of(*cache_, "k");
    const bool differs = now != last && now != 0;
    last = now;
    return differs;
  };
  (void)store("k", "2");
  EXPECT_TRUE(changed());
  (void)store("k", "3", store_mode::append);
  EXPECT_TRUE(changed());
  (void)add("k", 1);
  EXPECT_TRUE(changed());
  (void)add("k", 1000);
  EXPECT_TRUE(changed());
  (void)cache_->touch("k", clock_.seconds + 5);
  EXPECT_FALSE(changed());
}

TEST_F(cache_semantics, an_item_costs_no_cas_bytes_until_somebody_asks) {
  (void)store("k", "v");
  const std::size_t before = inside(*cache_).stats().heap.live_bytes;
  EXPECT_NE(cas_of(*cache_, "k"), 0u);
  EXPECT_GT(inside(*cache_).stats().heap.live_bytes, before);
}

TEST_F(cache_semantics, incr_writes_the_sum_and_grows_the_value) {
  (void)store("k", "99");
  EXPECT_EQ(add("k", 1).value, 100u);
  EXPECT_EQ(value_of(*cache_, "k"), "100");
}

TEST_F(cache_semantics, decr_pads_what_gets_shorter_and_stops_at_zero) {
  (void)store("k", "10");
  EXPECT_EQ(take("k", 1).value, 9u);
  EXPECT_EQ(value_of(*cache_, "k"), "9 ");
  EXPECT_EQ(add("k", 2).value, 11u);
  EXPECT_EQ(value_of(*cache_, "k"), "11");
  EXPECT_EQ(take("k", 100).value, 0u);
  EXPECT_EQ(value_of(*cache_, "k"), "0 ");
}

TEST_F(cache_semantics, incr_wraps_at_two_to_the_64) {
  (void)store("k", "18446744073709551615");
  const arithmetic_result r = add("k", 1);
  EXPECT_EQ(r.status, cache_status::ok);
  EXPECT_EQ(r.value, 0u);
}

TEST_F(cache_semantics, arithmetic_refuses_what_is_no_number_and_misses_what_is_absent) {
  (void)store("k", "apple");
  EXPECT_EQ(add("k", 1).status, cache_status::not_numeric);
  EXPECT_EQ(add("none", 1).status, cache_status::not_found);
  (void)store("e", "");
  EXPECT_EQ(add("e", 1).status, cache_status::not_numeric);
}

TEST_F(cache_semantics, incr_keeps_flags_and_expiry_when_the_value_grows) {
  store_options options;
  options.flags = 5;
  options.expires_at = clock_.seconds + 9;
  (void)cache_->store("k", "9", options);
  EXPECT_EQ(add("k", 1).value, 10u);
  const auto found = read(*cache_, "k");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->flags, 5u);
  EXPECT_EQ(found->expires_at, clock_.seconds + 9);
}

TEST_F(cache_semantics, items_are_gone_the_second_they_expire) {
  (void)store_until("k", "v", clock_.seconds + 10);
  clock_.seconds += 9;
  EXPECT_EQ(value_of(*cache_, "k"), "v");
  clock_.seconds += 1;
  EXPECT_EQ(value_of(*cache_, "k"), "(not found)");
  EXPECT_EQ(cache_->stats().get_expired, 1u);
}

TEST_F(cache_semantics, an_expired_item_is_absent_for_every_operation) {
  const auto lapse = [&](std::string_view value) {
    (void)store_until("k", value, clock_.seconds + 1);
    clock_.seconds += 1;
  };
  lapse("v");
  EXPECT_EQ(store("k", "x", store_mode::replace), cache_status::not_stored);
  lapse("v");
  EXPECT_EQ(store("k", "x", store_mode::append), cache_status::not_stored);
  lapse("1");
  EXPECT_EQ(add("k", 1).status, cache_status::not_found);
  lapse("v");
  EXPECT_EQ(cache_->remove("k"), cache_status::not_found);
  lapse("v");
  EXPECT_EQ(cache_->touch("k", 0), cache_status::not_found);
  lapse("v");
  EXPECT_FALSE(cache_->pin("k"));
  lapse("v");
  EXPECT_EQ(store("k", "x", store_mode::add), cache_status::ok);
  EXPECT_EQ(value_of(*cache_, "k"), "x");
}

TEST_F(cache_semantics, touch_puts_expiry_off_and_brings_it_forward) {
  (void)store("k", "v");
  EXPECT_EQ(cache_->touch("k", clock_.seconds + 100), cache_status::ok);
  EXPECT_EQ(cache_->touch("k", clock_.seconds + 10), cache_status::ok);
  clock_.seconds += 9;
  EXPECT_EQ(cache_->touch("k", clock_.seconds + 20), cache_status::ok);
  clock_.seconds += 15;
  while (cache_->maintain()) {
  }
  EXPECT_EQ(value_of(*cache_, "k"), "v");
  EXPECT_EQ(cache_->touch("k", expires_never), cache_status::ok);
  clock_.seconds += 1000;
  while (cache_->maintain()) {
  }
  EXPECT_EQ(value_of(*cache_, "k"), "v");
  EXPECT_EQ(cache_->touch("none", 0), cache_status::not_found);
}

TEST_F(cache_semantics, a_read_can_touch) {
  (void)store("k", "v");
  read_options options;
  options.touch = clock_.seconds + 3;
  const auto found = read(*cache_, "k", options);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->expires_at, clock_.seconds + 3);
  clock_.seconds += 3;
  EXPECT_EQ(value_of(*cache_, "k"), "(not found)");
}

TEST_F(cache_semantics, flush_takes_all_that_was_stored_before_and_nothing_after) {
  for (int i = 0; i < 1000; ++i) (void)store("k" + std::to_string(i), "v");
  cache_->flush();
  EXPECT_EQ(cache_->stats().items, 0u);
  EXPECT_EQ(value_of(*cache_, "k1"), "(not found)");
  EXPECT_EQ(cache_->stats().get_flushed, 1u);
  (void)store("k1", "new");
  (void)store("k5", "new", store_mode::add);
  while (cache_->maintain()) {
  }
  EXPECT_EQ(value_of(*cache_, "k1"), "new");
  EXPECT_EQ(value_of(*cache_, "k5"), "new");
  EXPECT_EQ(cache_->stats().items, 2u);
}

TEST_F(cache_semantics, many_flushes_in_a_row_lose_nothing_stored_after) {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 200; ++i) (void)store("k" + std::to_string(i), std::to_string(round));
    cache_->flush();
    (void)store("kept", std::to_string(round));
    EXPECT_EQ(value_of(*cache_, "kept"), std::to_string(round));
    EXPECT_EQ(value_of(*cache_, "k7"), "(not found)");
    EXPECT_EQ(cache_->stats().items, 1u);
  }
}

TEST_F(cache_semantics, a_flush_to_come_takes_effect_when_its_time_has_come) {
  (void)store("k", "v");
  cache_->flush(clock_.seconds + 5);
  clock_.seconds += 4;
  EXPECT_EQ(value_of(*cache_, "k"), "v");
  (void)store("late", "v");
  clock_.seconds += 1;
  EXPECT_EQ(value_of(*cache_, "k"), "(not found)");
  EXPECT_EQ(value_of(*cache_, "late"), "(not found)");
  (void)store("k", "new");
  EXPECT_EQ(value_of(*cache_, "k"), "new");
}

TEST_F(cache_semantics, a_set_that_is_too_large_removes_the_older_item) {
  (void)store("k", "v");
  const std::string large(std::size_t{2} << 20, 'x');
  EXPECT_EQ(store("k", large, store_mode::add), cache_status::too_large);
  EXPECT_EQ(value_of(*cache_, "k"), "v");
  EXPECT_EQ(store("k", large), cache_status::too_large);
  EXPECT_EQ(value_of(*cache_, "k"), "(not found)");
}

TEST_F(cache_semantics, append_beyond_the_limit_is_too_large_and_changes_nothing) {
  const std::string large(600000, 'x');
  (void)store("k", large);
  EXPECT_EQ(store("k", large, store_mode::append), cache_status::too_large);
  EXPECT_EQ(value_of(*cache_, "k"), large);
}

TEST_F(cache_semantics, keys_have_1_to_250_bytes_of_any_value) {
  const std::string longest(250, '\0'), too_long(251, 'k');
  EXPECT_EQ(store(longest, "v"), cache_status::ok);
  EXPECT_EQ(value_of(*cache_, longest), "v");
  EXPECT_EQ(store(too_long, "v"), cache_status::too_large);
  EXPECT_EQ(store("", "v"), cache_status::too_large);
  EXPECT_EQ(value_of(*cache_, too_long), "(not found)");
  EXPECT_EQ(value_of(*cache_, ""), "(not found)");
}

TEST_F(cache_semantics, a_pin_keeps_the_bytes_whatever_happens_to_the_item) {
  const std::string value = testing::patterned(1, 100000);
  for (int fate = 0; fate < 6; ++fate) {
    store_options options;
    options.expires_at = clock_.seconds + 100;
    (void)cache_->store("k", value, options);
    pinned_item pinned = cache_->pin("k");
    ASSERT_TRUE(pinned);
    const char* const address = pinned.view().value.data();
    switch (fate) {
      case 0:
        (void)store("k", "other");
        break;
      case 1:
        (void)store("k", std::string(value.size(), 'x'));
        break;
      case 2:
        EXPECT_EQ(cache_->remove("k"), cache_status::ok);
        break;
      case 3:
        clock_.seconds += 200;
        while (cache_->maintain()) {
        }
        break;
      case 4:
        cache_->flush();
        while (cache_->maintain()) {
        }
        break;
      default:
        (void)store("k", "tail", store_mode::append);
    }
    for (int i = 0; i < 50; ++i) (void)store("other" + std::to_string(i), testing::patterned(i, 20000));
    testing::move_everything(*cache_);
    EXPECT_EQ(pinned.view().value.data(), address);
    EXPECT_EQ(pinned.view().value, value) << fate;
    EXPECT_EQ(cache_->stats().pinned_items, 1u);
    pinned.reset();
    EXPECT_EQ(cache_->stats().pinned_items, 0u);
    testing::verify(*cache_);
  }
}

TEST_F(cache_semantics, arithmetic_does_not_write_to_a_pinned_value) {
  (void)store("n", "41");
  const pinned_item pinned = cache_->pin("n");
  EXPECT_EQ(add("n", 1).value, 42u);
  EXPECT_EQ(pinned.view().value, "41");
  EXPECT_EQ(value_of(*cache_, "n"), "42");
}

TEST_F(cache_semantics, many_pins_on_one_item_each_count) {
  (void)store("k", "value");
  std::vector<pinned_item> pins;
  for (int i = 0; i < 40; ++i) pins.push_back(cache_->pin("k"));
  for (int i = 0; i < 40; ++i)
    (void)store("p" + std::to_string(i), "x"), pins.push_back(cache_->pin("p" + std::to_string(i)));
  EXPECT_EQ(cache_->stats().pinned_items, 41u);
  (void)cache_->remove("k");
  while (pins.size() > 1) pins.erase(pins.begin() + 1);
  EXPECT_EQ(pins[0].view().value, "value");
  pins.clear();
  EXPECT_EQ(cache_->stats().pinned_items, 0u);
}

TEST_F(cache_semantics, a_read_pins_what_is_large_enough) {
  (void)store("small", std::string(99, 's'));
  (void)store("large", std::string(100, 'l'));
  pinned_item pinned;
  read_options options;
  options.pinned = &pinned;
  options.pin_bytes_min = 100;
  bool held_during_visit = true;
  const auto visit = [&](const item_view&) { held_during_visit = static_cast<bool>(pinned); };
  EXPECT_EQ(cache_->get("small", visit, options), cache_status::ok);
  EXPECT_FALSE(held_during_visit);
  EXPECT_EQ(cache_->get("large", visit, options), cache_status::ok);
  EXPECT_TRUE(held_during_visit);
  EXPECT_EQ(pinned.view().value, std::string(100, 'l'));
}

TEST_F(cache_semantics, what_is_reserved_is_seen_only_once_committed) {
  for (const store_mode mode : {store_mode::set, store_mode::add, store_mode::replace, store_mode::append}) {
    if (mode == store_mode::replace || mode == store_mode::append) (void)store("k", "old");
    store_options options;
    options.mode = mode;
    options.flags = 9;
    cache_status status{};
    pending_item pending = cache_->reserve("k", 50000, options, status);
    ASSERT_TRUE(pending);
    testing::move_everything(*cache_);
    EXPECT_EQ(value_of(*cache_, "k").size(), mode == store_mode::replace || mode == store_mode::append ? 3u : 11u);
    std::memset(pending.value(), 'p', pending.value_bytes());
    EXPECT_EQ(cache_->commit(std::move(pending), options), cache_status::ok);
    EXPECT_EQ(value_of(*cache_, "k"), (mode == store_mode::append ? "old" : "") + std::string(50000, 'p'));
    (void)cache_->remove("k");
  }
  EXPECT_EQ(cache_->stats().items, 0u);
}

TEST_F(cache_semantics, what_is_reserved_and_not_committed_leaves_no_trace) {
  const std::size_t blocks = cache_->stats().heap.blocks;
  cache_status status{};
  {
    const pending_item pending = cache_->reserve("k", 1000, {}, status);
    ASSERT_TRUE(pending);
    EXPECT_EQ(cache_->stats().heap.blocks, blocks + 1);
  }
  EXPECT_EQ(cache_->stats().heap.blocks, blocks);
  EXPECT_FALSE(cache_->reserve("k", std::size_t{2} << 20, {}, status));
  EXPECT_EQ(status, cache_status::too_large);
}

TEST_F(cache_semantics, a_commit_whose_condition_fails_gives_its_memory_back) {
  for (int i = 0; i < 5; ++i) (void)store("k", "old");  // until all that a store sets aside is there
  store_options options;
  options.mode = store_mode::add;
  cache_status status{};
  pending_item pending = cache_->reserve("k", 1000, options, status);
  ASSERT_TRUE(pending);
  const std::size_t blocks = cache_->stats().heap.blocks;
  EXPECT_EQ(cache_->commit(std::move(pending), options), cache_status::not_stored);
  EXPECT_EQ(cache_->stats().heap.blocks, blocks - 1);
  EXPECT_EQ(value_of(*cache_, "k"), "old");
}

TEST_F(cache_semantics, get_many_visits_what_is_there_in_the_order_of_the_keys) {
  std::vector<std::string> keys;
  for (int i = 0; i < 500; ++i) keys.push_back("key" + std::to_string(i * 7 % 500));
  for (int i = 0; i < 500; i += 2) (void)store("key" + std::to_string(i), std::to_string(i));
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  std::vector<std::size_t> visited, expected;
  cache_->get_many(views, [&](std::size_t i, const item_view& view) {
    EXPECT_EQ("key" + std::string(view.value), keys[i]);
    EXPECT_EQ(view.key, keys[i]);
    visited.push_back(i);
  });
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (std::stoi(keys[i].substr(3)) % 2 == 0) expected.push_back(i);
  }
  EXPECT_EQ(visited, expected);
  EXPECT_EQ(cache_->stats().gets, 500u);
  EXPECT_EQ(cache_->stats().get_hits, 250u);
}

TEST_F(cache_semantics, for_each_visits_every_live_item_once) {
  for (int i = 0; i < 5000; ++i) (void)store_until("k" + std::to_string(i), "v", i % 2 == 0 ? 0 : clock_.seconds + 1);
  clock_.seconds += 1;
  std::vector<int> seen(5000);
  cache_->for_each([&](const item_view& view) { ++seen[std::stoi(std::string(view.key.substr(1)))]; });
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(seen[i], i % 2 == 0 ? 1 : 0) << i;
}

TEST_F(cache_semantics, reset_forgets_events_and_keeps_state) {
  (void)store("k", "v");
  (void)value_of(*cache_, "k");
  cache_->reset_stats();
  const cache_stats s = cache_->stats();
  EXPECT_EQ(s.gets, 0u);
  EXPECT_EQ(s.sets, 0u);
  EXPECT_EQ(s.items, 1u);
}

}  // namespace
}  // namespace scoot
