// SPDX-License-Identifier: MIT
//
// A file system root of our own, with a /proc and a /sys/fs/cgroup as tests want them, and a clock.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "pressure/observer.hpp"

namespace scoot::testing {

inline constexpr std::uint64_t kib = std::uint64_t{1} << 10;
inline constexpr std::uint64_t mib = std::uint64_t{1} << 20;
inline constexpr std::uint64_t gib = std::uint64_t{1} << 30;
inline constexpr std::uint64_t ms = 1'000'000;
inline constexpr std::uint64_t second = 1000 * ms;

class fake_root {
 public:
  fake_root() {
    // Many small files: in memory, where there is a place for that.
    const bool shm = access("/dev/shm", W_OK) == 0;
    std::string name =
        (shm ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "scoot-pressure-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) abort();
    folder_ = name;
  }
  fake_root(const fake_root&) = delete;
  fake_root& operator=(const fake_root&) = delete;
  ~fake_root() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] const char* path() const { return folder_.c_str(); }
  [[nodiscard]] std::string path_of(const std::string& name) const { return folder_ + name; }

  // Writes a file in place, as the kernel changes its own: who holds it open sees it.
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = path_of(name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::trunc) << text;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(path_of(name)); }

  void machine(std::uint64_t total, std::uint64_t available) const {
    write("/proc/meminfo", "MemTotal:       " + std::to_string(total / 1024) +
                               " kB\nMemFree:  1 kB\nMemAvailable:   " + std::to_string(available / 1024) + " kB\n");
  }

  // The process is in the cgroup v1 `path`, of a memory hierarchy mounted at its top.
  void v1(const std::string& path) const {
    write("/proc/self/cgroup", "5:cpu:/elsewhere\n4:memory:" + path + "\n0::/\n");
    write("/proc/self/mountinfo",
          "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
          "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
          "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
          "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  }
  void v1_level(const std::string& path, std::uint64_t limit, std::uint64_t usage, std::uint64_t inactive_file) const {
    const std::string folder = "/sys/fs/cgroup/memory" + path;
    write(folder + "/memory.limit_in_bytes", std::to_string(limit) + "\n");
    write(folder + "/memory.usage_in_bytes", std::to_string(usage) + "\n");
    write(folder + "/memory.stat",
          "cache 1\ninactive_file 0\ntotal_inactive_file " + std::to_string(inactive_file) + "\ntotal_active_file 0\n");
  }

  void v2(const std::string& path, const std::string& mount_root = "/") const {
    write("/proc/self/cgroup", "0::" + path + "\n");
    write("/proc/self/mountinfo", "35 31 0:32 " + mount_root + " /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n");
  }
  void v2_level(const std::string& path, const std::string& max, const std::string& high, std::uint64_t current,
                std::uint64_t inactive_file = 0) const {
    const std::string folder = "/sys/fs/cgroup" + path;
    write(folder + "/memory.max", max + "\n");
    write(folder + "/memory.high", high + "\n");
    write(folder + "/memory.current", std::to_string(current) + "\n");
    write(folder + "/memory.stat", "anon 1\ninactive_file " + std::to_string(inactive_file) + "\nactive_file 0\n");
  }

 private:
  std::string folder_;
};

// Time as the test says; each test sets it first.
inline std::uint64_t fake_now_ns = 0;
inline std::uint64_t fake_clock() noexcept { return fake_now_ns; }
inline std::uint64_t no_cpu_time() noexcept { return 0; }

inline constexpr std::uint64_t v1_unlimited = 9223372036854771712U;

}  // namespace scoot::testing
