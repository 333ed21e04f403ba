// SPDX-License-Identifier: MIT
//
// Goal: who asks the cache for memory gets it: waste first, then items, and not by way of the cold tier; under pressure
// what may be held falls with the monitor's target and grows back to the budget, never beyond. Method: full caches;
// notices by a FIFO, in a root without any other source, so that the machine's own memory has no say.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t kib = std::size_t{1} << 10;

class memory_policy : public ::testing::Test {
 protected:
  memory_policy() {
    char name[] = "/tmp/scoot-policy-XXXXXX";
    folder = mkdtemp(name);
    fifo = folder + "/fifo";
  }
  ~memory_policy() override {
    c.reset();
    unlink(fifo.c_str());
    rmdir(folder.c_str());
  }

  void make(std::size_t budget_bytes, bool follows, std::size_t purgeable_bytes = 0) {
    cache_options options = options_on(clock, budget_bytes, 2);
    options.purgeable_bytes = purgeable_bytes;
    options.purgeable_keep_refused = true;
    options.follow_pressure = follows;
    options.pressure.sources = pressure_source_bit(pressure_source::fifo);
    options.pressure.fifo = fifo.c_str();
    options.pressure.root = folder.c_str();
    options.pressure.cooldown_ms = 100;
    options.pressure.step_ms = 20;
    c = cache::create(options);
    ASSERT_NE(c, nullptr);
  }
  void fill(std::size_t bytes) {
    for (std::size_t i = 0; i < bytes / kib; ++i) {
      ASSERT_EQ(c->store("key" + std::to_string(stored++), std::string(kib, 'v')), cache_status::ok);
    }
  }
  void notify(std::size_t bytes) {
    const int to = open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(to, 0);
    const std::string line = std::to_string(bytes) + "\n";
    EXPECT_EQ(write(to, line.data(), line.size()), static_cast<ssize_t>(line.size()));
    close(to);
  }
  // Waits up to ten seconds, with maintenance.
  template <class Condition>
  bool comes_true(Condition&& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      (void)c->maintain();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  [[nodiscard]] std::size_t held() { return c->stats().pool.held_bytes; }

  fake_clock clock;
  std::string folder, fifo;
  std::unique_ptr<cache> c;
  std::size_t stored = 0;
};

TEST_F(memory_policy, release_gives_back_what_was_asked_for_and_little_more) {
  make(16 * mib, false, 32 * mib);
  fill(24 * mib);
  const std::size_t before = held();
  const std::uint64_t demotions = c->stats().cold.demotions;
  const std::size_t given = c->release(4 * mib);
  EXPECT_GE(given, 4 * mib);
  EXPECT_LE(given, 4 * mib + mib / 2);
  EXPECT_LE(held(), before - 4 * mib);
  EXPECT_EQ(c->stats().cold.demotions, demotions);
  EXPECT_GT(c->stats().evictions, 3000U);
  verify(*c);
}

TEST_F(memory_policy, release_compacts_before_it_evicts) {
  make(16 * mib, false);
  fill(12 * mib);
  for (std::size_t i = 0; i < stored; i += 2) ASSERT_EQ(c->remove("key" + std::to_string(i)), cache_status::ok);
  EXPECT_GE(c->release(4 * mib), 4 * mib);
  EXPECT_EQ(c->stats().evictions, 0U);
  for (std::size_t i = 1; i < stored; i += 2) ASSERT_EQ(value_of(*c, "key" + std::to_string(i)), std::string(kib, 'v'));
}

TEST_F(memory_policy, release_of_more_than_there_is_ends) {
  make(4 * mib, false);
  fill(6 * mib);
  EXPECT_GT(c->release(100 * mib), 3 * mib);
  EXPECT_LT(c->stats().items, 10U);
  fill(2 * mib);
  verify(*c);
}

TEST_F(memory_policy, a_notice_lowers_what_is_held_and_it_grows_back_to_the_budget) {
  make(16 * mib, true);
  fill(20 * mib);
  const std::size_t before = held();
  notify(6 * mib);
  // A notice asks for half of the deficit first, and nothing here tells the monitor what is still missing.
  ASSERT_TRUE(comes_true([&] { return held() <= before - 5 * mib / 2; }));
  const cache_stats s = c->stats();
  EXPECT_TRUE(s.follows_pressure);
  EXPECT_GE(s.pressure.notices, 1U);
  EXPECT_EQ(s.budget_bytes, 16 * mib);
  EXPECT_LT(s.target_bytes, 16 * mib);
  ASSERT_TRUE(comes_true([&] { return c->stats().target_bytes == 16 * mib; }));
  fill(16 * mib);
  EXPECT_GT(held(), 15 * mib);
  EXPECT_LE(held(), 16 * mib);
  verify(*c);
}

TEST_F(memory_policy, a_smaller_budget_holds_under_pressure_too) {
  make(16 * mib, true);
  fill(20 * mib);
  notify(2 * mib);
  ASSERT_TRUE(comes_true([&] { return c->stats().target_bytes < 16 * mib; }));
  ASSERT_TRUE(c->set_budget(8 * mib));
  ASSERT_TRUE(comes_true([&] { return held() <= 8 * mib && c->stats().target_bytes == 8 * mib; }));
  EXPECT_EQ(c->stats().budget_bytes, 8 * mib);
  ASSERT_TRUE(c->set_budget(16 * mib));
  ASSERT_TRUE(comes_true([&] { return c->stats().target_bytes == 16 * mib; }));
}

TEST_F(memory_policy, the_cold_tier_takes_nothing_while_memory_is_given_back) {
  make(8 * mib, true, 32 * mib);
  fill(10 * mib);
  ASSERT_GT(c->stats().cold.demotions, 100U);
  const std::size_t before = held();
  notify(2 * mib);
  ASSERT_TRUE(comes_true([&] { return held() <= before - mib; }));
  const std::uint64_t demotions = c->stats().cold.demotions;
  fill(mib);
  EXPECT_EQ(c->stats().cold.demotions, demotions);
  ASSERT_TRUE(comes_true([&] {
    fill(64 * kib);
    return c->stats().cold.demotions > demotions;
  }));
}

}  // namespace
}  // namespace scoot::testing
