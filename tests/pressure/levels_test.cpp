// SPDX-License-Identifier: MIT
//
// Goal: the limit that binds and what it leaves are found wherever a process may be, and follow every change; files
// that are missing, vanish or hold garbage cost accuracy and nothing else. Method: file systems of our own with the
// files of cgroup v1, v2 and their mixtures, containers among them; and the machine this runs on.
#include "pressure/levels.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <string>

#include "support.hpp"

namespace scoot::pressure {
namespace {

using testing::fake_root;
using testing::gib;
using testing::mib;
using testing::second;
using testing::v1_unlimited;

TEST(levels, without_cgroups_the_machine_is_the_limit) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), 16 * gib);
  EXPECT_EQ(levels.tightest()->available, 10 * gib);
  EXPECT_EQ(levels.tightest()->used, 6 * gib);
  EXPECT_EQ(levels.limiting_cgroup(), nullptr);
}

TEST(levels, with_nothing_to_read_nothing_is_known) {
  const fake_root root;
  memory_levels levels(root.path());
  EXPECT_FALSE(levels.find(0));
  EXPECT_EQ(levels.tightest(), nullptr);
  levels.read(second, 0);
  EXPECT_EQ(levels.tightest(), nullptr);
}

TEST(levels, of_v1_the_least_limit_over_the_ancestors_counts) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v1("/a/b/c");
  root.v1_level("/a/b/c", v1_unlimited, 300 * mib, 0);
  root.v1_level("/a/b", gib, 400 * mib, 100 * mib);
  root.v1_level("/a", 4 * gib, 3 * gib, 0);
  root.v1_level("", v1_unlimited, 6 * gib, 0);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), gib);
  EXPECT_EQ(levels.limiting_cgroup()->folder.view(), root.path_of("/sys/fs/cgroup/memory/a/b"));
  EXPECT_EQ(levels.tightest()->available, gib - 300 * mib) << "inactive file pages count as available";
  // Not the least limit, but the one that leaves least.
  root.v1_level("/a", 4 * gib, 4 * gib - 10 * mib, 0);
  levels.read(10 * second, 0);
  EXPECT_EQ(levels.tightest()->available, 10 * mib);
  EXPECT_EQ(levels.effective_limit(), gib);
}

TEST(levels, of_v2_high_and_max_both_limit) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/pod/app");
  root.v2_level("/pod/app", "max", "max", 300 * mib);
  root.v2_level("/pod", "2147483648", "1073741824", 512 * mib, 100 * mib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), gib);
  EXPECT_EQ(levels.tightest()->available, gib - 412 * mib);
  root.v2_level("/pod", "536870912", "1073741824", 512 * mib, 100 * mib);
  levels.read(10 * second, 0);
  EXPECT_EQ(levels.effective_limit(), 512 * mib);
}

TEST(levels, a_container_with_a_namespace_or_a_mount_of_its_own_finds_itself) {
  for (const auto& [path, mount_root] : {std::pair("/", "/"), std::pair("/docker/1", "/docker/1"),
                                         std::pair("/../other", "/"), std::pair("/docker/1", "/../../elsewhere")}) {
    const fake_root root;
    root.machine(16 * gib, 10 * gib);
    root.v2(path, mount_root);
    root.v2_level("", "1073741824", "max", 100 * mib);
    memory_levels levels(root.path());
    ASSERT_TRUE(levels.find(0));
    EXPECT_EQ(levels.effective_limit(), gib) << path << " " << mount_root;
  }
}

TEST(levels, a_limit_beyond_the_mount_is_known_where_v1_tells_of_it) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v1("/");
  root.v1_level("", v1_unlimited, 100 * mib, 0);
  root.write("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 268435456\ntotal_inactive_file 0\n");
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), 256 * mib);
  EXPECT_EQ(levels.tightest()->available, 156 * mib);
  root.write("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 536870912\ntotal_inactive_file 0\n");
  levels.check();
  EXPECT_EQ(levels.effective_limit(), 512 * mib) << "and its changes";
}

TEST(levels, an_unlimited_cgroup_above_the_memory_of_the_machine_is_none) {
  const fake_root root;
  root.machine(gib, gib / 2);
  root.v1("/a");
  root.v1_level("/a", 2 * gib, 100 * mib, 0);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), gib);
  EXPECT_EQ(levels.tightest()->version, cgroup_version::none);
}

TEST(levels, a_mixture_uses_the_hierarchy_that_has_the_memory_controller) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v1("/a");  // whose v2 mount has no memory files
  root.v1_level("/a", gib, 100 * mib, 0);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.limiting_cgroup()->version, cgroup_version::v1);
}

TEST(levels, limits_set_lifted_and_changed_while_running_are_followed) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "max", "max", 100 * mib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), 16 * gib);
  std::uint64_t now = 0;
  for (const auto& [text, expected] :
       {std::pair("1073741824", gib), std::pair("536870912", 512 * mib), std::pair("max", 16 * gib)}) {
    root.v2_level("/a", text, "max", 100 * mib);
    levels.read(now += 2 * second, 0);
    EXPECT_EQ(levels.effective_limit(), expected) << text;
  }
  EXPECT_FALSE(levels.stale());
}

TEST(levels, a_level_with_much_left_is_not_read_again_at_once) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  levels.read(1, 32 * mib);
  root.machine(16 * gib, 40 * mib);
  levels.read(2, 32 * mib);
  EXPECT_EQ(levels.tightest()->available, 10 * gib);
  levels.read(second + 1, 32 * mib);
  EXPECT_EQ(levels.tightest()->available, 40 * mib);
  root.machine(16 * gib, 36 * mib);
  levels.read(second + 10'000'000, 32 * mib);
  EXPECT_EQ(levels.tightest()->available, 36 * mib);
}

TEST(levels, a_cgroup_that_vanishes_leaves_the_last_values_and_another_place_is_found) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 1000 * mib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  // As the files of a removed cgroup read: empty.
  for (const char* name : {"memory.max", "memory.current", "memory.stat", "memory.high"}) {
    root.write(std::string("/sys/fs/cgroup/a/") + name, "");
  }
  levels.read(second, 0);
  EXPECT_TRUE(levels.stale());
  root.remove("/sys/fs/cgroup/a");
  root.v2("/b");
  root.v2_level("/b", "536870912", "max", 100 * mib);
  ASSERT_TRUE(levels.find(2 * second));
  EXPECT_FALSE(levels.stale());
  EXPECT_EQ(levels.effective_limit(), 512 * mib);
}

TEST(levels, being_moved_to_another_cgroup_is_noticed) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a");
  root.v2_level("/a", "1073741824", "max", 100 * mib);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  levels.check();
  EXPECT_FALSE(levels.stale());
  root.v2("/b");
  levels.check();
  EXPECT_TRUE(levels.stale());
}

TEST(levels, no_more_ancestors_than_fit_are_looked_at) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  std::string path;
  for (int depth = 0; depth < 40; ++depth) {
    path += "/d";
    root.v2_level(path, depth == 30 ? "1073741824" : "max", "max", 100 * mib);
  }
  root.v2(path);
  memory_levels levels(root.path());
  ASSERT_TRUE(levels.find(0));
  EXPECT_EQ(levels.effective_limit(), gib);
}

// Garbage in any file: values may be missed, but nothing impossible comes out.
TEST(levels, garbage_in_any_file_is_survived) {
  std::mt19937_64 random(5);
  const char* files[] = {"/proc/meminfo",
                         "/proc/self/cgroup",
                         "/proc/self/mountinfo",
                         "/sys/fs/cgroup/a/memory.max",
                         "/sys/fs/cgroup/a/memory.high",
                         "/sys/fs/cgroup/a/memory.current",
                         "/sys/fs/cgroup/a/memory.stat"};
  for (int round = 0; round < 300; ++round) {
    const fake_root root;
    root.machine(16 * gib, 10 * gib);
    root.v2("/a");
    root.v2_level("/a", "1073741824", "max", 100 * mib);
    memory_levels levels(root.path());
    ASSERT_TRUE(levels.find(0));
    std::string garbage(random() % 6000, ' ');
    for (char& c : garbage) c = random() % 4 == 0 ? '\n' : static_cast<char>(random());
    root.write(files[round % std::size(files)], garbage);
    levels.read(second, mib);
    levels.check();
    (void)levels.find(2 * second);
    levels.read(3 * second, mib);
    if (const level* l = levels.tightest(); l != nullptr) {
      EXPECT_LE(l->available, l->limit);
    }
    root.remove(files[round % std::size(files)]);
    (void)levels.find(4 * second);
  }
}

TEST(levels, any_file_that_cannot_be_opened_or_read_is_done_without) {
  const fake_root root;
  root.machine(16 * gib, 10 * gib);
  root.v2("/a/b");
  root.v2_level("/a/b", "1073741824", "max", 100 * mib);
  root.v2_level("/a", "2147483648", "max", 100 * mib);
  std::uint64_t n = 1;
  for (;; ++n) {
    ASSERT_LT(n, 100U);
    const std::uint64_t before = os::event_calls_made();
    os::fail_nth_event_call(n, n % 2 == 0 ? EMFILE : EIO);
    memory_levels levels(root.path());
    (void)levels.find(0);
    levels.read(second, 0);
    os::fail_nth_event_call(0, 0);
    if (os::event_calls_made() - before < n) break;
    if (const level* l = levels.tightest(); l != nullptr) {
      EXPECT_LE(l->available, l->limit);
    }
    // And with all files there again, all is found.
    ASSERT_TRUE(levels.find(2 * second));
    EXPECT_EQ(levels.effective_limit(), gib);
  }
  EXPECT_GT(n, 8U);
}

TEST(levels, this_machine_has_memory) {
  const memory_room room = measure_memory_room();
  EXPECT_GT(room.limit_bytes, 64 * mib);
  EXPECT_LE(room.available_bytes, room.limit_bytes);
}

}  // namespace
}  // namespace scoot::pressure
