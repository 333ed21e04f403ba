// SPDX-License-Identifier: MIT
//
// Goal: the policy asks for what is missing and no more, follows the needs of others, and neither thrashes nor burns
// time. Method: the pure classes, driven through made-up histories, and a closed loop with a model of a machine.
#include "pressure/targets.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "support.hpp"

namespace scoot::pressure {
namespace {

using testing::gib;
using testing::mib;
using testing::ms;
using testing::second;

target_options options_with_headroom(std::uint64_t least, std::uint64_t most) {
  target_options options;
  options.headroom_min = least;
  options.headroom_max = most;
  return options;
}

reading at(std::uint64_t now_ns, std::uint64_t available, std::uint64_t held) {
  return {now_ns, true, gib, available, 0, true, held};
}

TEST(targets, without_a_shortage_nothing_is_asked) {
  targets policy(options_with_headroom(16 * mib, 64 * mib));
  for (std::uint64_t t = 0; t < 100; ++t) {
    const decision d = policy.decide(at(t * second, 100 * mib, 50 * mib));
    EXPECT_EQ(d.deficit, 0U);
    EXPECT_EQ(d.give_back, 0U);
    EXPECT_EQ(d.target, ~std::uint64_t{0});
    EXPECT_EQ(d.headroom, 16 * mib);
  }
}

TEST(targets, half_of_the_deficit_is_asked_at_a_time_and_small_ones_at_once) {
  targets policy(options_with_headroom(16 * mib, 64 * mib));
  decision d = policy.decide(at(second, 0, 100 * mib));
  EXPECT_EQ(d.deficit, 16 * mib);
  EXPECT_EQ(d.give_back, 8 * mib);
  EXPECT_EQ(d.target, 92 * mib);
  policy.gave(8 * mib, second);
  d = policy.decide(at(second + ms, 8 * mib, 92 * mib));
  EXPECT_EQ(d.give_back, 4 * mib);
  EXPECT_EQ(d.target, 88 * mib);
  policy.gave(4 * mib, second + ms);
  d = policy.decide(at(second + 2 * ms, 15 * mib + mib / 2, 88 * mib));
  EXPECT_EQ(d.give_back, mib / 2);
}

TEST(targets, never_more_is_asked_than_is_held_above_the_least) {
  target_options options = options_with_headroom(64 * mib, 64 * mib);
  options.held_min = 10 * mib;
  targets policy(options);
  EXPECT_EQ(policy.decide(at(second, 0, 14 * mib)).deficit, 4 * mib);
  policy.gave(0, second);
  EXPECT_EQ(policy.decide(at(2 * second, 0, 10 * mib)).deficit, 0U);
  EXPECT_EQ(policy.decide(at(3 * second, 0, 0)).deficit, 0U);
}

TEST(targets, headroom_follows_the_swing_of_others_and_forgets_it) {
  target_options options = options_with_headroom(8 * mib, 256 * mib);
  targets policy(options);
  std::uint64_t now = 0;
  // Others swing by 100 MiB within each window of 10 s.
  for (int i = 0; i < 30; ++i, now += second) (void)policy.decide(at(now, 300 * mib + (i % 10) * 100 * mib / 9, 0));
  const std::uint64_t learnt = policy.headroom();
  EXPECT_GT(learnt, 90 * mib);
  EXPECT_LE(learnt, 101 * mib);
  // Each quiet window leaves a fifth: wss = (4 (max - min) + wss) / 5.
  for (int i = 0; i < 11; ++i, now += second) (void)policy.decide(at(now, 400 * mib, 0));
  for (int i = 0; i < 10; ++i, now += second) (void)policy.decide(at(now, 400 * mib, 0));
  EXPECT_LT(policy.headroom(), 40 * mib);
  for (int i = 0; i < 40; ++i, now += second) (void)policy.decide(at(now, 400 * mib, 0));
  EXPECT_EQ(policy.headroom(), 8 * mib);
}

TEST(targets, headroom_stays_within_its_bounds_and_by_default_follows_the_limit) {
  targets bounded(options_with_headroom(8 * mib, 64 * mib));
  for (std::uint64_t t = 0; t < 60; ++t) {
    const std::uint64_t headroom = bounded.decide(at(t * second, t % 2 * gib, 0)).headroom;
    EXPECT_GE(headroom, 8 * mib);
    EXPECT_LE(headroom, 64 * mib);
  }
  targets by_limit((target_options()));
  EXPECT_EQ(by_limit.decide({1, true, 1024 * mib, gib, 0, false, 0}).headroom, 32 * mib);
  EXPECT_EQ(by_limit.decide({2, true, 64 * mib, gib, 0, false, 0}).headroom, 8 * mib);
  EXPECT_EQ(by_limit.decide({3, true, 1024 * gib, gib, 0, false, 0}).headroom, 256 * mib);
  // A limit so small that even the least would be more than a quarter of it: the lower of the two bounds.
  EXPECT_LE(by_limit.decide({4, true, 16 * mib, mib, 0, false, 0}).headroom, 8 * mib);
}

TEST(targets, what_the_program_gives_and_takes_itself_is_no_need_of_others) {
  targets policy(options_with_headroom(8 * mib, 256 * mib));
  for (std::uint64_t t = 0; t < 60; ++t) {
    const std::uint64_t held = (t % 7) * 30 * mib;
    (void)policy.decide(at(t * second, 300 * mib - held, held));
  }
  EXPECT_EQ(policy.headroom(), 8 * mib);
}

TEST(targets, another_limit_is_no_need_of_others) {
  targets policy(options_with_headroom(8 * mib, 256 * mib));
  (void)policy.decide({1, true, gib, 900 * mib, 0, true, 0});
  (void)policy.decide({2, true, gib / 2, 388 * mib, 0, true, 0});
  (void)policy.decide({11 * second, true, gib / 2, 388 * mib, 0, true, 0});
  EXPECT_EQ(policy.headroom(), 8 * mib);
}

TEST(targets, a_target_grows_by_a_twentieth_a_step_after_the_cooldown_and_keeps_the_headroom) {
  targets policy(options_with_headroom(10 * mib, 10 * mib));
  (void)policy.decide(at(second, 0, 200 * mib));
  policy.gave(20 * mib, second);
  std::uint64_t target = policy.decide(at(second + 1, 100 * mib, 195 * mib)).target;
  EXPECT_EQ(target, 195 * mib);
  std::uint64_t grown_at = 0;
  for (std::uint64_t t = second; t < 30 * second; t += 100 * ms) {
    const decision d = policy.decide(at(t, 100 * mib + (195 * mib - std::min(195 * mib, target)), target));
    if (!d.grown) {
      EXPECT_EQ(d.target, target);
      continue;
    }
    EXPECT_GE(t, 11 * second) << "grew within the cool-down";
    EXPECT_GE(t - grown_at, second) << "two steps within one";
    EXPECT_LE(d.target, target + target / 20);
    grown_at = t;
    target = d.target;
  }
  EXPECT_GT(target, 280 * mib);
  // No further than what leaves the headroom.
  const decision d = policy.decide(at(60 * second, 12 * mib, target));
  EXPECT_LE(d.target, target + 2 * mib);
}

TEST(targets, a_purge_starts_the_cooldown) {
  target_options options = options_with_headroom(10 * mib, 10 * mib);
  options.held_max = 400 * mib;
  targets policy(options);
  (void)policy.decide(at(second, 0, 200 * mib));
  policy.gave(5 * mib, second);
  policy.purged(9 * second);
  EXPECT_FALSE(policy.decide(at(12 * second, 100 * mib, 195 * mib)).grown);
  EXPECT_FALSE(policy.decide(at(18 * second, 100 * mib, 195 * mib)).grown);
  EXPECT_TRUE(policy.decide(at(19 * second, 100 * mib, 195 * mib)).grown);
}

TEST(targets, a_target_never_exceeds_its_ceiling) {
  target_options options = options_with_headroom(10 * mib, 10 * mib);
  options.held_max = 100 * mib;
  targets policy(options);
  EXPECT_EQ(policy.decide(at(1, 500 * mib, 50 * mib)).target, 100 * mib);
  (void)policy.decide(at(second, 0, 90 * mib));
  policy.gave(mib, second);
  for (std::uint64_t t = 2; t < 100; ++t) EXPECT_LE(policy.decide(at(t * second, gib, 90 * mib)).target, 100 * mib);
  EXPECT_EQ(policy.decide(at(101 * second, gib, 90 * mib)).target, 100 * mib);
}

TEST(targets, growth_that_brings_pressure_back_lengthens_the_cooldown_up_to_a_bound) {
  targets policy(options_with_headroom(10 * mib, 10 * mib));
  std::uint64_t now = second;
  std::vector<std::uint64_t> cooldowns;
  for (int cycle = 0; cycle < 8; ++cycle) {
    (void)policy.decide(at(now, 0, 100 * mib));
    policy.gave(10 * mib, now);
    cooldowns.push_back(policy.cooldown_ns());
    do {
      now += 100 * ms;
    } while (!policy.decide(at(now, 50 * mib, 90 * mib)).grown);
    now += 100 * ms;
  }
  EXPECT_EQ(cooldowns[0], 10 * second);
  EXPECT_EQ(cooldowns[1], 20 * second);
  EXPECT_EQ(cooldowns[2], 40 * second);
  EXPECT_EQ(cooldowns.back(), 160 * second);
  // Pressure that comes long after the last growth is not our doing.
  now += 1000 * second;
  (void)policy.decide(at(now, 0, 100 * mib));
  EXPECT_EQ(policy.cooldown_ns(), 80 * second);
}

TEST(targets, a_program_that_gives_nothing_is_asked_less_and_less_often) {
  targets policy(options_with_headroom(64 * mib, 64 * mib));
  unsigned asked = 0;
  for (std::uint64_t now = second; now < 11 * second; now += ms) {
    const decision d = policy.decide(at(now, 0, 500 * mib));
    EXPECT_EQ(d.deficit, 64 * mib);
    EXPECT_GE(d.target, 468 * mib) << "the target fell further than what was asked for";
    if (d.give_back == 0) continue;
    ++asked;
    policy.gave(0, now);
  }
  EXPECT_GE(asked, 10U);
  EXPECT_LE(asked, 20U);
}

TEST(targets, an_alarm_with_a_number_asks_for_that_until_it_is_given_or_old) {
  targets policy(options_with_headroom(8 * mib, 8 * mib));
  policy.alarm(severity::none, 64 * mib, second);
  std::uint64_t held = 500 * mib;
  std::uint64_t given = 0;
  for (std::uint64_t now = second; now < 2 * second; now += ms) {
    const decision d = policy.decide(at(now, 600 * mib - held, held));
    if (d.give_back == 0) continue;
    policy.gave(d.give_back, now);
    held -= d.give_back;
    given += d.give_back;
  }
  EXPECT_EQ(given, 64 * mib);

  policy.alarm(severity::none, 64 * mib, 3 * second);
  (void)policy.decide(at(3 * second, 100 * mib, held));
  policy.gave(0, 3 * second);
  EXPECT_EQ(policy.decide(at(12 * second, 100 * mib, held)).deficit, 64 * mib);
  EXPECT_EQ(policy.decide(at(13 * second, 100 * mib, held)).deficit, 0U);
}

TEST(targets, alarms_without_a_number_ask_for_a_part_of_what_is_held_and_hints_for_nothing) {
  const auto asked = [](severity level) {
    targets policy(options_with_headroom(8 * mib, 8 * mib));
    policy.alarm(level, 0, second);
    return policy.decide(at(second, 100 * mib, 320 * mib)).deficit;
  };
  EXPECT_EQ(asked(severity::hint), 0U);
  EXPECT_EQ(asked(severity::some), 10 * mib);
  EXPECT_EQ(asked(severity::severe), 40 * mib);
  // Where nothing is known, a part of the headroom takes its place.
  targets blind((target_options()));
  blind.alarm(severity::some, 0, second);
  EXPECT_EQ(blind.decide({second, false, 0, 0, 0, false, 0}).deficit, 2 * mib);
}

// A closed loop: others take and give memory at random, a cache holds what its target allows and obeys notices.
TEST(targets, in_a_closed_loop_headroom_is_restored_and_memory_is_used) {
  std::mt19937_64 random(3);
  constexpr std::uint64_t total = gib;
  targets policy((target_options()));
  std::uint64_t held = 700 * mib, others = 200 * mib, target = ~std::uint64_t{0};
  std::uint64_t short_ns = 0, worst_short_ns = 0, used = 0, samples = 0;
  std::int64_t drift = 0;
  for (std::uint64_t now = second; now < 600 * second; now += 5 * ms) {
    if (random() % 200 == 0) drift = static_cast<std::int64_t>(random() % 41) - 20;  // up to 100 KiB a step
    const std::int64_t wanted = static_cast<std::int64_t>(others) + drift * 5 * 1024;
    others = static_cast<std::uint64_t>(std::clamp<std::int64_t>(wanted, 100 * mib, 600 * mib));
    held = std::min({held + mib, target, total > others ? total - others : 0});
    const std::uint64_t available = total > held + others ? total - held - others : 0;
    const decision d = policy.decide({now, true, total, available, 0, true, held});
    target = d.target;
    if (d.give_back != 0) {
      held -= d.give_back;
      policy.gave(d.give_back, now);
    }
    short_ns = available < d.headroom / 4 ? short_ns + 5 * ms : 0;
    worst_short_ns = std::max(worst_short_ns, short_ns);
    if (now > 60 * second) {
      used += held + others + d.headroom;
      ++samples;
    }
  }
  EXPECT_LT(worst_short_ns, 50 * ms);
  EXPECT_GT(used / samples, total / 2);
}

pacing::view seen(std::uint64_t now_ns, std::uint64_t available) {
  return {now_ns, true, available, 32 * mib, 20'000, 0};
}

TEST(pacing, sleeps_long_while_there_is_plenty_and_as_its_cost_allows_when_there_is_not) {
  pacing pace;
  EXPECT_EQ(pace.interval_ns(seen(0, 20 * gib)), second);
  EXPECT_EQ(pace.interval_ns(seen(1, 20 * gib)), second);
  pacing low(0.0005);
  // 20 us a reading: 0.05 % of a core allow one in 40 ms, 1 % one in 2.
  pacing costly(0.01);
  EXPECT_EQ(costly.interval_ns(seen(0, 32 * mib)), 2 * ms);
  EXPECT_EQ(low.interval_ns(seen(0, 32 * mib)), 40 * ms);
  EXPECT_EQ(low.interval_ns(seen(1, 20 * mib)), ms) << "it fell";
  pacing unknown;
  EXPECT_EQ(unknown.interval_ns({0, false, 0, 0, 20'000, 0}), second);
}

TEST(pacing, looks_again_before_what_is_left_can_be_used_up) {
  for (std::uint64_t above = mib; above < 8 * gib; above *= 2) {
    pacing pace;
    const std::uint64_t interval = pace.interval_ns({0, true, 32 * mib + above, 32 * mib, 1000, 0});
    EXPECT_LE(interval, std::max<std::uint64_t>(2 * ms, above * second / (4 * gib) + ms));
  }
}

TEST(pacing, looks_often_while_memory_is_falling_and_for_a_little_after) {
  pacing pace(0.0005);
  std::uint64_t now = 0;
  std::uint64_t available = 60 * mib;
  (void)pace.interval_ns(seen(now, available));
  for (int i = 0; i < 8; ++i) {
    now += 10 * ms;
    available -= 5 * mib;
    EXPECT_LE(pace.interval_ns(seen(now, available)), 6 * ms);
  }
  EXPECT_EQ(pace.interval_ns(seen(now + 40 * ms, available)), ms);
  EXPECT_EQ(pace.interval_ns(seen(now + 60 * ms, available)), 40 * ms);
}

TEST(pacing, a_slow_fall_is_noticed_too) {
  pacing pace(0.0005);
  std::uint64_t now = 0;
  std::uint64_t available = 46 * mib;
  std::uint64_t alerts = 0;
  for (int i = 0; i < 150; ++i) {
    const std::uint64_t interval = pace.interval_ns(seen(now, available));
    if (interval == ms) ++alerts;
    now += interval;
    available -= 100 * 1024;
  }
  EXPECT_GT(alerts, 1U);
}

}  // namespace
}  // namespace scoot::pressure
