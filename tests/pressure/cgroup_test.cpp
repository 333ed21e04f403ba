// SPDX-License-Identifier: MIT
//
// Goal: in a real memory cgroup, limits are found and followed, the kernel's alarms arrive, and a program that heeds
// its notices is not killed where it would be otherwise. Method: children of the test in cgroups of their own; needs
// root and a memory controller, v1 or v2, and is skipped elsewhere. Nothing is swapped out or killed outside of the
// cgroups.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "os/purge.hpp"
#include "pressure/observer.hpp"
#include "scoot/pressure.hpp"
#include "support.hpp"

namespace scoot::pressure {
namespace {

using testing::fake_clock;
using testing::fake_now_ns;
using testing::mib;
using testing::second;

bool write_file(const std::string& path, const std::string& text) {
  const os::opened got = os::open_file(path.c_str(), os::access::write);
  return got.file && os::write_all(got.file, text) == 0;
}

std::uint64_t read_number(const std::string& path) {
  std::uint64_t value = 0;
  std::ifstream(path) >> value;
  return value;
}

// A memory cgroup of the test's own, removed at the end.
class memory_cgroup {
 public:
  explicit memory_cgroup(const std::string& name) {
    for (const bool v1 : {true, false}) {
      folder_ = std::string(v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup") + "/scoot-test-" +
                std::to_string(getpid()) + name;
      if (mkdir(folder_.c_str(), 0755) != 0) continue;
      limit_file_ = folder_ + (v1 ? "/memory.limit_in_bytes" : "/memory.max");
      usage_file_ = folder_ + (v1 ? "/memory.usage_in_bytes" : "/memory.current");
      v1_ = v1;
      if (access(limit_file_.c_str(), W_OK) == 0) return;
      rmdir(folder_.c_str());
    }
    folder_.clear();
  }
  memory_cgroup(const memory_cgroup&) = delete;
  memory_cgroup& operator=(const memory_cgroup&) = delete;
  ~memory_cgroup() {
    for (int i = 0; !folder_.empty() && i < 500 && rmdir(folder_.c_str()) != 0 && errno == EBUSY; ++i) usleep(10'000);
  }

  [[nodiscard]] explicit operator bool() const { return !folder_.empty(); }
  [[nodiscard]] bool v1() const { return v1_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] bool set_limit(std::uint64_t bytes) const { return write_file(limit_file_, std::to_string(bytes)); }
  [[nodiscard]] bool enter() const { return write_file(folder_ + "/cgroup.procs", std::to_string(getpid())); }
  [[nodiscard]] std::uint64_t usage() const { return read_number(usage_file_); }

 private:
  std::string folder_, limit_file_, usage_file_;
  bool v1_ = true;
};

// Runs the body in a child; its status, 0 if the body returned an empty text.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    const std::string failure = body();
    if (!failure.empty()) fprintf(stderr, "%s\n", failure.c_str());
    _exit(failure.empty() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

// Not watched by the thread sanitizer, whose own memory for it would count towards the cgroup's limit.
[[gnu::no_sanitize("thread")]] void touch(char* memory, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 4096) memory[i] = 1;
}

char* take_mib() {
  void* got = mmap(nullptr, mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  touch(static_cast<char*>(got), mib);
  return static_cast<char*>(got);
}

// A cache of whole MiB that gives back what it is asked for.
struct chunk_cache {
  std::mutex lock;
  std::vector<char*> chunks;
  std::atomic<std::size_t> held{0};
  std::atomic<std::size_t> notices{0};

  void fill(std::size_t count) {
    while (chunks.size() < count) chunks.push_back(take_mib());
    held = count * mib;
  }
  static std::size_t give_back(void* context, const pressure_notice& notice) noexcept {
    auto& me = *static_cast<chunk_cache*>(context);
    const std::lock_guard guard(me.lock);
    std::size_t given = 0;
    while (!me.chunks.empty() && given < notice.give_back_bytes) {
      munmap(me.chunks.back(), mib);
      me.chunks.pop_back();
      given += mib;
    }
    me.held -= given;
    ++me.notices;
    return given;
  }
  static std::size_t held_now(void* context) noexcept { return static_cast<chunk_cache*>(context)->held; }
};

TEST(memory_cgroup, the_limit_is_found_and_followed_while_it_changes) {
  const memory_cgroup group("-limit");
  if (!group || !group.set_limit(128 * mib)) GTEST_SKIP() << "no memory cgroup can be made here";
  const int status = in_child([&]() -> std::string {
    if (!group.enter()) return "cannot enter the cgroup";
    if (measure_memory_room().limit_bytes != 128 * mib) return "not the limit of the cgroup";
    memory_levels levels("");
    if (!levels.find(0)) return "nothing found";
    if (levels.tightest()->folder.view() != group.folder()) return "another cgroup was found";
    if (!group.set_limit(64 * mib)) return "cannot change the limit";
    levels.read(second, 0);
    if (levels.effective_limit() != 64 * mib) return "the changed limit was not seen";
    return "";
  });
  EXPECT_EQ(status, 0);
}

TEST(memory_cgroup, alarms_of_the_kernel_arrive_and_a_removed_cgroup_is_left) {
  const memory_cgroup first("-first");
  const memory_cgroup other("-second");
  if (!first || !other || !first.set_limit(64 * mib) || !other.set_limit(96 * mib)) {
    GTEST_SKIP() << "no memory cgroup can be made here";
  }
  const int status = in_child([&]() -> std::string {
    if (!first.enter()) return "cannot enter the cgroup";
    pressure_options options;
    surroundings around;
    around.clock = fake_clock;
    fake_now_ns = second;
    observer watching(options, around);
    const auto info = [&](pressure_source kind) {
      pressure_source_info infos[pressure_source_count];
      (void)watching.list(infos, pressure_source_count);
      return infos[static_cast<std::size_t>(kind)];
    };
    const auto turn = [&](std::uint64_t seconds) {
      fake_now_ns = seconds * second;
      pollfd places[observer::places_max];
      const std::size_t count = watching.places(std::span<pollfd, observer::places_max>(places));
      (void)os::wait({places, count}, 0);
      watching.take({places, count});
      (void)watching.step(fake_now_ns);
    };
    turn(2);
    const auto kind = first.v1() ? pressure_source::cgroup_threshold : pressure_source::cgroup_events;
    if (info(kind).state != pressure_source_state::watching) return "the kernel's alarms are not watched";
    if (first.v1() && info(pressure_source::cgroup_level).state != pressure_source_state::watching) {
      return "levels are not watched";
    }
    // Up to the limit: v1 raises the threshold on the way, v2 counts in memory.events.
    std::vector<char*> taken;
    while (first.usage() < 60 * mib) taken.push_back(take_mib());
    if (!first.v1()) {
      const int file = open("/proc/self/exe", O_RDONLY);  // file pages, so that the limit is reached without a kill
      std::vector<char> page(mib);
      for (int i = 0; i < 32; ++i) (void)!pread(file, page.data(), page.size(), 0);
      close(file);
    }
    turn(3);
    if (first.v1() && info(kind).alarms == 0) return "usage passed the threshold without an alarm";
    if (watching.numbers().available > 8 * mib) return "what is left was not read";
    for (char* each : taken) munmap(each, mib);

    if (!other.enter()) return "cannot enter the other cgroup";
    if (rmdir(first.folder().c_str()) != 0) return "cannot remove the first cgroup";
    for (std::uint64_t t = 20; t < 26; ++t) turn(t);
    if (watching.numbers().limit != 96 * mib) return "the cgroup that the process was moved to was not found";
    if (info(kind).state != pressure_source_state::watching) return "its alarms are not watched";
    return "";
  });
  EXPECT_EQ(status, 0);
}

// The burst waits where the limit would kill, so that a busy machine cannot make this fail; what is tested is that the
// cache makes room, time and again, for 96 MiB in a cgroup of 80 of which it holds 56.
TEST(memory_cgroup, a_program_that_heeds_its_notices_lives_through_a_burst) {
  const memory_cgroup group("-burst");
  if (!group || !group.set_limit(80 * mib)) GTEST_SKIP() << "no memory cgroup can be made here";
  const int status = in_child([&]() -> std::string {
    if (!group.enter()) return "cannot enter the cgroup";
    chunk_cache cache;
    cache.fill(56);
    pressure_options options;
    options.give_back = chunk_cache::give_back;
    options.held = chunk_cache::held_now;
    options.context = &cache;
    const auto monitor = pressure_monitor::create(options);
    if (monitor == nullptr) return "no monitor";
    std::vector<char*> burst;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (burst.size() < 60) {
      if (group.usage() < 78 * mib) {
        burst.push_back(take_mib());
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (std::chrono::steady_clock::now() > end) return "the cache did not make room";
    }
    const pressure_stats s = monitor->stats();
    if (cache.notices == 0 || s.given_bytes < 30 * mib) return "no notices";
    if (s.target_bytes > cache.held + mib) return "the target does not follow";
    return "";
  });
  EXPECT_EQ(status, 0) << "killed or failed";
}

// Goes on on any other processor that the process may use, if there is one.
void leave_this_processor() {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) return;
  CPU_CLR(static_cast<unsigned>(sched_getcpu()), &all);
  (void)sched_setaffinity(0, sizeof all, &all);
}

TEST(memory_cgroup, the_canary_is_gone_when_offered_memory_is_purged) {
  const memory_cgroup group("-canary");
  if (!group || !group.set_limit(64 * mib)) GTEST_SKIP() << "no memory cgroup can be made here";
  if (make_canary().made == nullptr) GTEST_SKIP() << "offers are refused here";
  const int status = in_child([&]() -> std::string {
    if (!group.enter()) return "cannot enter the cgroup";
    made_source canary = make_canary();
    if (canary.made == nullptr) return "no canary";
    leave_this_processor();  // on which the kernel's batch of what was offered last may lie
    // Purgeable memory until the limit is reached: the kernel must purge, the oldest first.
    const std::size_t bytes = 48 * mib;
    for (int round = 0; round < 4; ++round) {
      char* pages = os::reserve(bytes, os::page_bytes());
      if (pages == nullptr || !os::make_usable(pages, bytes)) return "no memory";
      touch(pages, bytes);
      if (!os::offer(pages, bytes)) return "offers are refused";
    }
    const alarm a = canary.made->take(0);
    if (!a.purged || a.level != severity::hint) return "the canary is still there";
    if (canary.made->take(0).purged) return "it died twice";
    return "";
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace scoot::pressure
