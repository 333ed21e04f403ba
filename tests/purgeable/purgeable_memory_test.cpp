// SPDX-License-Identifier: MIT
//
// Goal: when memory is short, the kernel takes what was offered, nothing else suffers, and what is pinned stays; pins
// and reads do without the kernel. Method: a child in a memory cgroup with a limit fills it with offered chunks and
// then needs the memory itself, with no reclaim asked for. Without the rights to make a cgroup the test is skipped.
// Another child forbids itself all calls of the system and then pins and reads.
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t limit_bytes = 64 * mib;
constexpr std::size_t offered_bytes = 48 * mib;
constexpr std::size_t needed_bytes = 40 * mib;  // more than fits beside it
constexpr std::size_t chunk_bytes = 64 * kib;

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// A memory cgroup of version 2 or 1 for one child, gone with this object.
class memory_cgroup {
 public:
  explicit memory_cgroup(std::size_t limit) {
    for (const auto& [root, limit_file] : {std::pair<std::string, std::string>{"/sys/fs/cgroup", "memory.max"},
                                           {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}}) {
      const std::string path = root + "/scoot_test_" + std::to_string(getpid());
      if (mkdir(path.c_str(), 0755) != 0) continue;
      const std::string file = path + "/" + limit_file;
      if (access(file.c_str(), W_OK) == 0 && write_file(file, std::to_string(limit))) {
        path_ = path;
        return;
      }
      rmdir(path.c_str());
    }
  }
  memory_cgroup(const memory_cgroup&) = delete;
  memory_cgroup& operator=(const memory_cgroup&) = delete;
  ~memory_cgroup() {
    if (!path_.empty()) rmdir(path_.c_str());
  }
  [[nodiscard]] bool made() const { return !path_.empty(); }
  [[nodiscard]] bool join() const { return write_file(path_ + "/cgroup.procs", std::to_string(getpid())); }

 private:
  std::string path_;
};

// In the child. 0, or which step went wrong.
int need_more_than_there_is(purgeable* region) {
  if (region == nullptr) return 1;
  constexpr std::uint32_t pinned_every = 16;
  for (std::uint32_t i = 0; i < offered_bytes / chunk_bytes; ++i) {
    const std::uint32_t chunk = region->allocate();
    if (chunk != i) return 2;
    fill(region->data(chunk), chunk_bytes, chunk);
    if (region->offer(chunk, chunk_bytes) != offer_status::offered) return 3;
    if (i % pinned_every == 0 && region->pin(chunk, 0, chunk_bytes) != presence::present) return 4;
  }
  std::vector<char> needed(needed_bytes, 'n');
  if (needed[needed_bytes / 2] != 'n') return 5;

  std::array<lost_range, 64> lost{};
  std::size_t lost_bytes = 0;
  for (bool complete = false; !complete;) {
    const sweep_result result = region->sweep(lost, offered_bytes);
    for (std::size_t i = 0; i < result.ranges; ++i) {
      if (lost[i].chunk % pinned_every == 0) return 6;
      lost_bytes += lost[i].bytes;
    }
    complete = result.complete;
  }
  const purgeable_stats stats = region->stats();
  std::printf("%zu KiB needed beyond the limit, %zu KiB purged, %zu KiB offered left\n",
              (needed_bytes + offered_bytes - limit_bytes) / kib, lost_bytes / kib, stats.resident_offered_bytes / kib);
  std::fflush(stdout);
  if (lost_bytes < needed_bytes + offered_bytes - limit_bytes || lost_bytes != stats.purged_bytes) return 7;
  std::array<char, chunk_bytes> copy{};
  for (std::uint32_t chunk = 0; chunk < offered_bytes / chunk_bytes; ++chunk) {
    const presence answer = region->read_if_present(chunk, 0, chunk_bytes, copy.data());
    if (answer == presence::present && !intact(copy.data(), 0, chunk_bytes, chunk)) return 8;
    if (chunk % pinned_every != 0) continue;
    if (answer != presence::present) return 9;
    region->unpin(chunk);
  }
  return 0;
}

TEST_F(purgeable_test, when_memory_is_short_what_was_offered_goes_and_nothing_else) {
  if (sanitized) GTEST_SKIP() << "sanitizers need memory of their own";
  const memory_cgroup group(limit_bytes);
  if (!group.made()) GTEST_SKIP() << "no memory cgroup can be made here";
  std::fflush(stdout);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!group.join()) std::_Exit(100);
    const auto region = make_region(chunk_bytes, offered_bytes / chunk_bytes);
    std::_Exit(need_more_than_there_is(region.get()));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == 100) GTEST_SKIP() << "the memory cgroup cannot be joined";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// In the child: returns only if nothing forbids it to.
void access_without_system_calls(purgeable& region, std::uint32_t kept, std::uint32_t offered) {
  char copy[100];
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return;
  long status = 0;  // from here on every call but read, write and this thread's exit kills
  for (int i = 0; i < 100'000; ++i) {
    const std::size_t offset = static_cast<std::size_t>(i) * 328 % (chunk_bytes - sizeof copy);
    for (const std::uint32_t chunk : {kept, offered}) {
      if (region.pin(chunk, offset, sizeof copy) != presence::present) status = 1;
      region.unpin(chunk);
      if (region.read_if_present(chunk, offset, sizeof copy, copy) != presence::present) status = 2;
    }
  }
  syscall(SYS_exit, status);
}

TEST_F(purgeable_test, pins_and_reads_make_no_system_call) {
  if (sanitized) GTEST_SKIP() << "sanitizers make calls of their own";
  std::fflush(stdout);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto region = make_region(chunk_bytes, 2);
    const std::uint32_t kept = region->allocate();
    const std::uint32_t offered = region->allocate();
    fill(region->data(kept), chunk_bytes, kept);
    fill(region->data(offered), chunk_bytes, offered);
    if (region->offer(offered, chunk_bytes) != offer_status::offered) std::_Exit(3);
    access_without_system_calls(*region, kept, offered);
    std::_Exit(100);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status) << ": it made a call";
  if (WEXITSTATUS(status) == 100) GTEST_SKIP() << "calls of the system cannot be forbidden here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace scoot::testing
