// SPDX-License-Identifier: MIT
//
// Goal: what the public class promises: notices with numbers, targets that fall and grow, clean ends, an idle cost near
// nothing. Method: monitors with their own thread over a file system of ours, prodded by its files and by a FIFO.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "os/events.hpp"
#include "scoot/pressure.hpp"
#include "support.hpp"

namespace scoot {
namespace {

using testing::fake_root;
using testing::gib;
using testing::mib;

// A program that holds memory and gives back what it is asked for.
struct holder {
  std::atomic<std::size_t> held{100 * mib};
  std::atomic<std::size_t> notices{0};
  std::atomic<std::size_t> last_asked{0};
  std::atomic<std::size_t> last_deficit{0};
  std::atomic<pressure_source> last_source{pressure_source::headroom};
  std::atomic<std::size_t> grown_to{0};
  bool gives = true;

  static std::size_t give_back(void* context, const pressure_notice& notice) noexcept {
    auto& me = *static_cast<holder*>(context);
    me.last_asked = notice.give_back_bytes;
    me.last_deficit = notice.deficit_bytes;
    me.last_source = notice.source;
    ++me.notices;
    if (!me.gives) return 0;
    me.held -= notice.give_back_bytes;
    return notice.give_back_bytes;
  }
  static std::size_t held_now(void* context) noexcept { return static_cast<holder*>(context)->held; }
  static void may_grow(void* context, std::size_t target) noexcept { static_cast<holder*>(context)->grown_to = target; }

  [[nodiscard]] pressure_options options(const char* root) noexcept {
    pressure_options result;
    result.give_back = give_back;
    result.held = held_now;
    result.may_grow = may_grow;
    result.context = this;
    result.root = root;
    result.realtime_priority = 0;
    return result;
  }
};

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

TEST(pressure_monitor, asks_until_nothing_is_missing_when_the_limit_nears) {
  const fake_root root;
  root.machine(gib, 500 * mib);
  holder program;
  const auto monitor = pressure_monitor::create(program.options(root.path()));
  ASSERT_NE(monitor, nullptr);
  ASSERT_TRUE(monitor->read_now());
  EXPECT_EQ(program.notices, 0U);
  EXPECT_EQ(monitor->deficit_bytes(), 0U);
  EXPECT_EQ(monitor->target_bytes(), ~std::size_t{0});
  EXPECT_EQ(monitor->stats().available_bytes, 500 * mib);

  root.machine(gib, 12 * mib);  // headroom is 32 MiB
  ASSERT_TRUE(eventually([&] { return program.notices >= 1; }));
  EXPECT_GE(program.last_deficit, 1U);
  root.machine(gib, 500 * mib);
  ASSERT_TRUE(eventually([&] { return monitor->deficit_bytes() == 0; }));
  const pressure_stats s = monitor->stats();
  EXPECT_LE(monitor->target_bytes(), 90 * mib);
  EXPECT_EQ(s.given_bytes, 100 * mib - program.held);
  EXPECT_EQ(s.notices, program.notices);
}

TEST(pressure_monitor, a_line_in_the_fifo_asks_for_so_many_bytes) {
  const fake_root root;
  root.machine(gib, 500 * mib);
  const std::string fifo = root.path_of("/fifo");
  holder program;
  pressure_options options = program.options(root.path());
  options.fifo = fifo.c_str();
  const auto monitor = pressure_monitor::create(options);
  ASSERT_NE(monitor, nullptr);
  const int writer = open(fifo.c_str(), O_WRONLY | O_NONBLOCK);
  ASSERT_GE(writer, 0);
  ASSERT_EQ(write(writer, "20971520\n", 9), 9);
  ASSERT_TRUE(eventually([&] { return program.held == 80 * mib; }));
  EXPECT_TRUE(eventually([&] { return monitor->deficit_bytes() == 0; }));
  EXPECT_EQ(program.held, 80 * mib);
  EXPECT_EQ(monitor->target_bytes(), 80 * mib);

  program.notices = 0;
  ASSERT_EQ(write(writer, "some\n", 5), 5);
  ASSERT_TRUE(eventually([&] { return program.notices >= 1; }));
  EXPECT_EQ(program.last_source, pressure_source::fifo);
  close(writer);
}

TEST(pressure_monitor, a_reported_shortage_is_answered_with_a_notice) {
  const fake_root root;
  root.machine(gib, 500 * mib);
  holder program;
  const auto monitor = pressure_monitor::create(program.options(root.path()));
  ASSERT_NE(monitor, nullptr);
  monitor->report_shortage(1000);
  ASSERT_TRUE(eventually([&] { return program.notices >= 1; }));
  EXPECT_EQ(program.last_source, pressure_source::program);
  EXPECT_TRUE(eventually([&] { return program.held == 100 * mib - 1000; }));
  program.notices = 0;
  monitor->report_shortage(0);
  ASSERT_TRUE(eventually([&] { return program.notices >= 1; }));
  monitor->report_purged(4096);
  ASSERT_TRUE(monitor->read_now());
  EXPECT_EQ(monitor->stats().purged_bytes, 4096U);
}

TEST(pressure_monitor, tells_the_program_when_it_may_grow_again) {
  const fake_root root;
  root.machine(gib, 10 * mib);
  holder program;
  pressure_options options = program.options(root.path());
  options.cooldown_ms = 50;
  options.step_ms = 10;
  options.window_ms = 100;
  const auto monitor = pressure_monitor::create(options);
  ASSERT_NE(monitor, nullptr);
  ASSERT_TRUE(eventually([&] { return program.notices >= 1; }));
  root.machine(gib, 500 * mib);
  ASSERT_TRUE(eventually([&] { return program.grown_to != 0; }));
  EXPECT_GT(monitor->stats().growths, 0U);
}

TEST(pressure_monitor, lists_what_it_watches_and_why_it_does_not_watch_the_rest) {
  const fake_root root;
  root.machine(gib, 500 * mib);
  pressure_options options;
  options.root = root.path();
  options.sources &= ~pressure_source_bit(pressure_source::canary);
  const auto monitor = pressure_monitor::create(options);
  ASSERT_NE(monitor, nullptr);
  std::vector<pressure_source_info> infos(20);
  ASSERT_EQ(monitor->list_sources(infos.data(), infos.size()), pressure_source_count);
  EXPECT_EQ(infos[0].source, pressure_source::headroom);
  EXPECT_EQ(infos[0].state, pressure_source_state::watching);
  EXPECT_EQ(infos[0].where, root.path_of("/proc/meminfo"));
  EXPECT_EQ(infos[std::size_t(pressure_source::cgroup_events)].state, pressure_source_state::absent);
  EXPECT_EQ(infos[std::size_t(pressure_source::canary)].state, pressure_source_state::off);
  EXPECT_EQ(monitor->list_sources(nullptr, 0), pressure_source_count);
}

TEST(pressure_monitor, refuses_options_that_contradict_each_other) {
  pressure_options options;
  options.window_ms = 0;
  EXPECT_EQ(pressure_monitor::create(options), nullptr);
  options = {};
  options.held_bytes_min = 2;
  options.held_bytes_max = 1;
  EXPECT_EQ(pressure_monitor::create(options), nullptr);
  options = {};
  options.headroom_bytes_min = 2;
  options.headroom_bytes_max = 1;
  EXPECT_EQ(pressure_monitor::create(options), nullptr);
}

TEST(pressure_monitor, starts_without_anything_to_watch_and_ends_at_once) {
  for (int round = 0; round < 20; ++round) {
    const fake_root root;
    pressure_options options;
    options.root = root.path();
    const auto monitor = pressure_monitor::create(options);
    ASSERT_NE(monitor, nullptr);
    EXPECT_EQ(monitor->deficit_bytes(), 0U);
  }
}

// Each of the first calls of the OS fails, in whichever thread: there is a monitor, or none; and if there is one, it
// hears of what comes then.
TEST(pressure_monitor, whatever_call_is_refused_hears_what_comes_then) {
  int none = 0;
  for (std::uint64_t n = 1; n <= 60; ++n) {
    const fake_root root;
    root.machine(gib, 500 * mib);
    const std::string fifo = root.path_of("/fifo");
    holder program;
    pressure_options options = program.options(root.path());
    options.fifo = fifo.c_str();
    options.realtime_priority = 1;
    options.sources &= ~pressure_source_bit(pressure_source::system_psi);
    os::fail_nth_event_call(n, EIO);
    const auto monitor = pressure_monitor::create(options);
    if (monitor == nullptr) {
      os::fail_nth_event_call(0, 0);
      ++none;
      continue;
    }
    EXPECT_TRUE(monitor->read_now(10'000)) << n;
    EXPECT_TRUE(monitor->read_now(10'000)) << n;
    os::fail_nth_event_call(0, 0);
    monitor->report_shortage(1000);
    EXPECT_TRUE(eventually([&] { return program.held <= 100 * mib - 1000; })) << n;
  }
  EXPECT_EQ(none, 1) << "only without an event to wake it by";
}

TEST(pressure_monitor, answers_many_threads_at_once) {
  const fake_root root;
  root.machine(gib, 20 * mib);
  holder program;
  const auto monitor = pressure_monitor::create(program.options(root.path()));
  ASSERT_NE(monitor, nullptr);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(monitor->read_now(10'000));
        monitor->report_purged(1);
        (void)monitor->stats();
        pressure_source_info info;
        (void)monitor->list_sources(&info, 1);
      }
    });
  }
  for (std::thread& each : threads) each.join();
  ASSERT_TRUE(monitor->read_now());
  EXPECT_EQ(monitor->stats().purged_bytes, 200U);
}

// The real machine, with all there is to watch: below 0.1 % of a core while nothing happens. Readings under the
// sanitizers cost several times as much.
TEST(pressure_monitor, costs_next_to_nothing_while_nothing_happens) {
  pressure_options options;
  const auto monitor = pressure_monitor::create(options);
  ASSERT_NE(monitor, nullptr);
  ASSERT_TRUE(monitor->read_now());
  const std::uint64_t before = monitor->stats().cpu_ns;
  std::this_thread::sleep_for(std::chrono::seconds(2));
  ASSERT_TRUE(monitor->read_now());
  const double part = static_cast<double>(monitor->stats().cpu_ns - before) / 2e9;
  RecordProperty("idle_percent", std::to_string(part * 100));
  EXPECT_LT(part, 0.005);
}

}  // namespace
}  // namespace scoot
