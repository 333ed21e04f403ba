// SPDX-License-Identifier: MIT
//
// Goal: levels, sources and policy work together: notices come when they should, with the numbers they should, and no
// failure of a source or a file costs more than that source. Method: an observer driven by the test itself, with a
// clock and a file system of its own, and with every call of the OS made to fail in turn.
#include "pressure/observer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "support.hpp"

namespace scoot::pressure {
namespace {

using testing::fake_clock;
using testing::fake_now_ns;
using testing::fake_root;
using testing::gib;
using testing::mib;
using testing::ms;
using testing::second;

// A program, and the thread that drives the observer.
struct driver {
  explicit driver(const fake_root& root) {
    options.root = root.path();
    options.give_back = [](void* context, const pressure_notice& notice) noexcept {
      return static_cast<driver*>(context)->on_notice(notice);
    };
    options.held = [](void* context) noexcept { return static_cast<driver*>(context)->held; };
    options.context = this;
    options.sources &=
        ~(pressure_source_bit(pressure_source::canary) | pressure_source_bit(pressure_source::system_psi));
    around.clock = fake_clock;
    around.cpu_clock = testing::no_cpu_time;
    fake_now_ns = second;
  }

  std::size_t on_notice(const pressure_notice& notice) noexcept {
    notices.push_back(notice);
    const std::size_t given = gives ? notice.give_back_bytes : 0;
    held -= given;
    return given;
  }

  void start() { made = std::make_unique<observer>(options, around); }

  // One turn at the given time: takes what is ready by now.
  std::uint64_t turn(std::uint64_t now_ns) {
    fake_now_ns = now_ns;
    pollfd places[observer::places_max];
    const std::size_t count = made->places(std::span<pollfd, observer::places_max>(places));
    (void)os::wait({places, count}, 0);
    made->take({places, count});
    return made->step(now_ns);
  }

  pressure_source_info info(pressure_source kind) const {
    pressure_source_info infos[pressure_source_count];
    (void)made->list(infos, pressure_source_count);
    return infos[static_cast<std::size_t>(kind)];
  }

  pressure_options options;
  surroundings around;
  std::size_t held = 300 * mib;
  bool gives = true;
  std::vector<pressure_notice> notices;
  std::unique_ptr<observer> made;
};

TEST(observer, sleeps_for_a_second_while_there_is_plenty) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  driver d(root);
  d.start();
  for (std::uint64_t t = 1; t < 20; ++t) EXPECT_EQ(d.turn(t * second), second);
  EXPECT_TRUE(d.notices.empty());
}

TEST(observer, a_burst_is_met_with_notices_that_add_up_to_what_is_missing) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 900 * mib);
  driver d(root);
  d.start();
  std::uint64_t now = 2 * second;
  (void)d.turn(now);
  EXPECT_TRUE(d.notices.empty());
  // Others take 110 MiB at once: 14 MiB are left of a headroom of 32.
  const std::size_t held_before = d.held;
  for (int i = 0; i < 30; ++i) {
    root.v2_level("/a", "1073741824", "max", 1010 * mib - (held_before - d.held));
    now += d.turn(now);
  }
  ASSERT_FALSE(d.notices.empty());
  EXPECT_EQ(d.notices[0].deficit_bytes, 18 * mib);
  EXPECT_EQ(d.notices[0].give_back_bytes, 9 * mib);
  EXPECT_EQ(held_before - d.held, 18 * mib);
  EXPECT_LE(d.notices.size(), 10U);
  EXPECT_LT(now, 3 * second) << "it looked too seldom";
  EXPECT_EQ(d.made->numbers().deficit, 0U);
}

TEST(observer, offered_memory_and_file_pages_are_no_reason_to_give_back) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 1024 * mib, 500 * mib);
  driver d(root);
  d.start();
  for (std::uint64_t t = 2; t < 10; ++t) (void)d.turn(t * second);
  EXPECT_TRUE(d.notices.empty());
}

TEST(observer, a_cut_limit_is_a_deficit) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "max", "max", 400 * mib);
  driver d(root);
  d.start();
  (void)d.turn(2 * second);
  root.v2_level("/a", "402653184", "max", 400 * mib);
  (void)d.turn(4 * second);
  ASSERT_EQ(d.notices.size(), 1U);
  EXPECT_EQ(d.notices[0].deficit_bytes, 400 * mib - 384 * mib + 12 * mib);
}

TEST(observer, events_of_a_v2_cgroup_are_taken_by_how_grave_they_are) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 500 * mib);
  const std::string events = "/sys/fs/cgroup/a/memory.events";
  root.write(events, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
  driver d(root);
  d.start();
  ASSERT_EQ(d.info(pressure_source::cgroup_events).state, pressure_source_state::watching);
  (void)d.turn(2 * second);
  EXPECT_EQ(d.info(pressure_source::cgroup_events).alarms, 0U);

  root.write(events, "low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n");
  (void)d.turn(3 * second);
  EXPECT_EQ(d.info(pressure_source::cgroup_events).alarms, 1U);
  EXPECT_TRUE(d.notices.empty()) << "to reach the limit is a hint";

  root.write(events, "low 0\nhigh 1\nmax 3\noom 0\noom_kill 0\n");
  (void)d.turn(4 * second);
  ASSERT_EQ(d.notices.size(), 1U);
  EXPECT_EQ(d.notices[0].source, pressure_source::cgroup_events);
  EXPECT_EQ(d.notices[0].deficit_bytes, 300 * mib / 32);
  for (std::uint64_t t = 1; t < 10; ++t) (void)d.turn(4 * second + t * ms);
  ASSERT_GT(d.notices.size(), 2U);
  EXPECT_EQ(d.notices.back().source, pressure_source::cgroup_events) << "the rest of what it asked for";

  d.notices.clear();
  const std::size_t held = d.held;
  root.write(events, "low 0\nhigh 1\nmax 3\noom 1\noom_kill 0\n");
  (void)d.turn(5 * second);
  ASSERT_EQ(d.notices.size(), 1U);
  EXPECT_EQ(d.notices[0].deficit_bytes, held / 8);
}

TEST(observer, garbage_in_events_loses_the_source_and_it_is_found_again) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 500 * mib);
  const std::string events = "/sys/fs/cgroup/a/memory.events";
  root.write(events, "low 0\nhigh 0\nmax 0\noom 0\n");
  driver d(root);
  d.start();
  root.write(events, "\x01\x02 garbage");
  (void)d.turn(second + ms);
  EXPECT_EQ(d.info(pressure_source::cgroup_events).state, pressure_source_state::lost);
  root.write(events, "low 0\nhigh 0\nmax 0\noom 0\n");
  (void)d.turn(3 * second);
  EXPECT_EQ(d.info(pressure_source::cgroup_events).state, pressure_source_state::watching);
}

TEST(observer, a_cgroup_that_is_removed_is_left_for_the_one_the_process_is_in_then) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 500 * mib);
  root.write("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 0\nmax 0\noom 0\n");
  driver d(root);
  d.start();
  (void)d.turn(2 * second);
  EXPECT_EQ(d.made->numbers().limit, gib);
  for (const char* name : {"memory.max", "memory.high", "memory.current", "memory.stat", "memory.events"}) {
    root.write(std::string("/sys/fs/cgroup/a/") + name, "");
  }
  root.remove("/sys/fs/cgroup/a");
  root.v2("/b");
  root.v2_level("/b", "536870912", "max", 100 * mib);
  root.write("/sys/fs/cgroup/b/memory.events", "low 0\nhigh 0\nmax 0\noom 0\n");
  for (int i = 0; i < 4; ++i) (void)d.turn(4 * second + i * second);
  EXPECT_EQ(d.made->numbers().limit, 512 * mib);
  const pressure_source_info info = d.info(pressure_source::cgroup_events);
  EXPECT_EQ(info.state, pressure_source_state::watching);
  EXPECT_EQ(info.where, root.path_of("/sys/fs/cgroup/b/memory.events"));
}

TEST(observer, sources_without_a_number_count_even_where_nothing_can_be_read) {
  const fake_root root;
  const std::string fifo = root.path_of("/fifo");
  driver d(root);
  d.options.fifo = fifo.c_str();
  d.start();
  EXPECT_EQ(d.info(pressure_source::headroom).state, pressure_source_state::absent);
  EXPECT_EQ(d.turn(2 * second), second);
  const os::descriptor writer(open(fifo.c_str(), O_WRONLY | O_NONBLOCK));
  ASSERT_EQ(os::write_all(writer, "\n"), 0);
  (void)d.turn(3 * second);
  ASSERT_EQ(d.notices.size(), 1U);
  EXPECT_EQ(d.notices[0].source, pressure_source::fifo);
  EXPECT_EQ(d.notices[0].deficit_bytes, 300 * mib / 32);
}

TEST(observer, a_program_that_gives_nothing_costs_no_more_readings_in_the_long_run) {
  const fake_root root;
  root.machine(gib, 10 * mib);
  driver d(root);
  d.gives = false;
  d.start();
  std::uint64_t now = 2 * second;
  int turns = 0;
  for (; now < 22 * second; ++turns) now += d.turn(now);
  EXPECT_LT(turns, 60);
  EXPECT_GE(d.notices.size(), 15U);
}

TEST(observer, sources_that_were_not_asked_for_are_off) {
  const fake_root root;
  root.machine(gib, 10 * mib);
  driver d(root);
  d.options.sources = pressure_source_bit(pressure_source::program);
  d.start();
  (void)d.turn(2 * second);
  EXPECT_TRUE(d.notices.empty()) << "headroom is not read";
  EXPECT_EQ(d.info(pressure_source::headroom).state, pressure_source_state::off);
  d.made->numbers().shortage_pending = 1 + mib;
  (void)d.turn(3 * second);
  ASSERT_EQ(d.notices.size(), 1U);
  EXPECT_EQ(d.notices[0].source, pressure_source::program);
  EXPECT_EQ(d.notices[0].give_back_bytes, mib);
}

// Whatever is refused at the start or later, once, there is an observer, it works with what it has, says what is
// missing, and a shortage is met.
class observer_failure : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(cgroup, observer_failure, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "v2" : "v1"; });

TEST_P(observer_failure, any_call_that_is_refused_is_done_without) {
  for (const int error : {EMFILE, EIO}) {
    std::uint64_t n = 1;
    for (;; ++n) {
      ASSERT_LT(n, 500U);
      const fake_root root;
      const auto use = [&](std::uint64_t bytes) {
        GetParam() ? root.v2_level("/a", "1073741824", "max", bytes) : root.v1_level("/a", gib, bytes, 0);
      };
      root.machine(16 * gib, 10 * gib);
      GetParam() ? root.v2("/a") : root.v1("/a");
      use(900 * mib);
      if (GetParam()) root.write("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 0\nmax 0\noom 0\n");
      const std::string fifo = root.path_of("/fifo");
      driver d(root);
      d.options.fifo = fifo.c_str();
      d.options.sources |=
          pressure_source_bit(pressure_source::canary) | pressure_source_bit(pressure_source::system_psi);
      const std::uint64_t before = os::event_calls_made();
      os::fail_nth_event_call(n, error);
      d.start();
      for (std::uint64_t t = 2; t < 6; ++t) (void)d.turn(t * second);
      EXPECT_TRUE(d.notices.empty()) << n;
      const std::size_t held_before = d.held;
      std::uint64_t now = 6 * second;
      for (int i = 0; i < 40; ++i) {
        use(1010 * mib - (held_before - d.held));
        now += d.turn(now);
      }
      const bool reached = os::event_calls_made() - before >= n;
      os::fail_nth_event_call(0, 0);
      EXPECT_GE(held_before - d.held, 18 * mib) << "call " << n << " failed with " << error;
      if (!reached) break;
      EXPECT_EQ(d.info(pressure_source::headroom).state, pressure_source_state::watching) << n;
      EXPECT_EQ(d.info(pressure_source::program).state, pressure_source_state::watching);
    }
    EXPECT_GT(n, 50U);
  }
}

}  // namespace
}  // namespace scoot::pressure
