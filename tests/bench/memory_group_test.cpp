// SPDX-License-Identifier: MIT
//
// Goal: groups of both versions of cgroups are made, limited and read alike, and what the machine lacks is said.
// Method: folders that look like the kernel's, since a machine has one version; the machine's own, where it lets us,
// with processes in it.
#include "memory_group.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace {

namespace fs = std::filesystem;

class memory_group : public testing::Test {
 protected:
  memory_group() {
    std::string name = (fs::temp_directory_path() / "scoot-group-XXXXXX").string();
    mount_ = mkdtemp(name.data());
  }
  ~memory_group() override { fs::remove_all(mount_); }

  void put(const std::string& path, const std::string& text) {
    fs::create_directories((fs::path(mount_) / path).parent_path());
    std::ofstream(fs::path(mount_) / path) << text;
  }

  std::string mount_;
};

TEST_F(memory_group, finds_version_1_by_its_controller) {
  EXPECT_FALSE(bench::group_hierarchy::find(mount_));
  put("memory/memory.limit_in_bytes", "9223372036854771712\n");
  const auto found = bench::group_hierarchy::find(mount_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, 1);
  EXPECT_EQ(found->root, mount_ + "/memory");
}

TEST_F(memory_group, finds_version_2_only_where_memory_is_controlled) {
  put("cgroup.subtree_control", "cpu io pids\n");
  EXPECT_FALSE(bench::group_hierarchy::find(mount_));
  put("cgroup.subtree_control", "cpu io memory pids\n");
  const auto found = bench::group_hierarchy::find(mount_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, 2);
  EXPECT_EQ(found->root, mount_);
}

TEST_F(memory_group, says_why_it_cannot_be_made) {
  const bench::memory_group nowhere({mount_ + "/missing", 1}, "group", 1 << 20, true);
  EXPECT_FALSE(nowhere.there());
  EXPECT_NE(nowhere.error().find("cannot make"), std::string::npos) << nowhere.error();
  const bench::memory_group bare({mount_, 1}, "group", 1 << 20, true);  // a folder that the kernel puts no files into
  EXPECT_FALSE(bare.there());
  EXPECT_NE(bare.error().find("cannot set limits"), std::string::npos) << bare.error();
}

TEST_F(memory_group, reads_the_figures_of_version_2) {
  bench::memory_group group({mount_, 2}, "group", 1 << 20, true);
  put("group/memory.current", "4096\n");
  put("group/memory.swap.current", "8192\n");
  put("group/memory.swap.peak", "12288\n");
  put("group/memory.events", "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n");
  EXPECT_EQ(group.usage_bytes(), 4096u);
  EXPECT_EQ(group.swapped_bytes(), 8192u);
  EXPECT_EQ(group.swapped_bytes_peak(), 12288u);
  EXPECT_EQ(group.oom_kills(), 2u);
  fs::remove_all(mount_ + "/group");  // the kernel's files would not keep a group from being removed
}

TEST_F(memory_group, reads_the_figures_of_version_1) {
  bench::memory_group group({mount_, 1}, "group", 1 << 20, true);
  put("group/memory.usage_in_bytes", "500000\n");
  put("group/memory.memsw.usage_in_bytes", "508192\n");
  put("group/memory.max_usage_in_bytes", "1048576\n");
  const std::uint64_t batches = static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF)) * 64 * 4096;
  put("group/memory.memsw.max_usage_in_bytes", std::to_string(1048576 + batches) + "\n");
  put("group/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
  EXPECT_EQ(group.usage_bytes(), 500000u);
  EXPECT_EQ(group.swapped_bytes(), 8192u);
  EXPECT_EQ(group.swapped_bytes_peak(), 0u) << "no more than charges under way explain";
  put("group/memory.memsw.max_usage_in_bytes", std::to_string(1048576 + batches + 4096) + "\n");
  EXPECT_EQ(group.swapped_bytes_peak(), 4096u);
  EXPECT_EQ(group.oom_kills(), 4u);
  put("group/memory.memsw.usage_in_bytes", "400000\n");
  EXPECT_FALSE(group.swapped_bytes()) << "usage changed between two readings";
  fs::remove_all(mount_ + "/group");
}

TEST(number_after, takes_whole_words_at_the_start_of_a_line) {
  const std::string text = "oom 3\nnot_oom_kill 9\noom_kill 2\nVmSwap:\t     16 kB\n";
  EXPECT_EQ(bench::number_after(text, "oom_kill"), 2u);
  EXPECT_EQ(bench::number_after(text, "oom"), 3u);
  EXPECT_EQ(bench::number_after(text, "VmSwap"), 16u);
  EXPECT_EQ(bench::number_after(text, "kill"), 0u);
}

// On the machine itself.
class memory_group_of_the_kernel : public testing::Test {
 protected:
  void SetUp() override {
    where_ = bench::group_hierarchy::find();
    if (!where_ || geteuid() != 0) GTEST_SKIP() << "this process may not make memory cgroups";
    bench::memory_group probe(*where_, name() + "-probe", 64 << 20, false);
    if (!probe.there()) GTEST_SKIP() << probe.error();
  }
  static std::string name() { return "scoot-test-" + std::to_string(getpid()); }

  // A process in the group that touches `bytes` and, if it lives, waits.
  static pid_t put_process(const bench::memory_group& group, std::size_t bytes) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (!group.join()) _exit(1);
      void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      std::memset(p, 1, bytes);
      if (write(ready[1], "r", 1) == 1) pause();
      _exit(2);
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_GE(read(ready[0], &byte, 1), 0);  // nothing if it was killed
    close(ready[0]);
    return child;
  }

  std::optional<bench::group_hierarchy> where_;
};

TEST_F(memory_group_of_the_kernel, counts_what_is_used_and_takes_its_processes_with_it) {
  pid_t child = 0;
  {
    bench::memory_group group(*where_, name(), 64 << 20, false);
    ASSERT_TRUE(group.there()) << group.error();
    child = put_process(group, 16 << 20);
    EXPECT_GE(group.usage_bytes(), 16u << 20);
    EXPECT_LT(group.usage_bytes(), 32u << 20);
    EXPECT_EQ(group.swapped_bytes_peak(), 0u);
    EXPECT_EQ(group.oom_kills(), 0u);
  }
  EXPECT_FALSE(fs::exists(where_->root + "/" + name()));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(memory_group_of_the_kernel, counts_whom_the_kernel_kills) {
  bench::memory_group group(*where_, name(), 32 << 20, false);
  ASSERT_TRUE(group.there()) << group.error();
  const pid_t child = put_process(group, 64 << 20);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(group.oom_kills(), 1u);
}

}  // namespace
