// SPDX-License-Identifier: MIT
#include "process_memory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {
namespace {

// The file's first bytes as a string; false if there is no such file.
bool read_file(const char* path, char* buffer, std::size_t capacity) noexcept {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::size_t filled = 0;
  while (filled + 1 < capacity) {
    const ssize_t n = read(fd, buffer + filled, capacity - filled - 1);
    if (n <= 0) break;
    filled += static_cast<std::size_t>(n);
  }
  close(fd);
  buffer[filled] = '\0';
  return filled > 0;
}

// The bytes on the line "name:   123 kB"; 0 where there is no such line.
std::size_t field_bytes(const char* text, const char* name) noexcept {
  const std::size_t length = std::strlen(name);
  for (const char* line = text; line != nullptr && *line != '\0';) {
    if (std::strncmp(line, name, length) == 0 && line[length] == ':')
      return std::strtoul(line + length + 1, nullptr, 10) * 1024;
    line = std::strchr(line, '\n');
    if (line != nullptr) ++line;
  }
  return 0;
}

std::size_t status_field_bytes(pid_t process, const char* name) noexcept {
  char path[64];
  char text[8192];
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(process));
  return read_file(path, text, sizeof text) ? field_bytes(text, name) : 0;
}

}  // namespace

std::size_t held_bytes() noexcept {
  char rollup[4096];
  char status[8192];
  if (!read_file("/proc/self/smaps_rollup", rollup, sizeof rollup) ||
      !read_file("/proc/self/status", status, sizeof status)) {
    std::fputs("scoot-bench: cannot read /proc/self/smaps_rollup\n", stderr);
    std::abort();
  }
  return field_bytes(rollup, "Pss_Anon") + field_bytes(rollup, "Pss_Shmem") + field_bytes(rollup, "SwapPss") +
         field_bytes(status, "VmPTE");
}

std::size_t resident_bytes(pid_t process) noexcept { return status_field_bytes(process, "VmRSS"); }

std::size_t address_bytes(pid_t process) noexcept { return status_field_bytes(process, "VmSize"); }

std::size_t resident_bytes_peak(pid_t process) noexcept { return status_field_bytes(process, "VmHWM"); }

unsigned long long process_cpu_ns(pid_t process) noexcept {
  char path[320];
  char text[128];
  std::snprintf(path, sizeof path, "/proc/%d/task", static_cast<int>(process));
  DIR* tasks = opendir(path);
  if (tasks == nullptr) return 0;
  unsigned long long sum = 0;
  while (const dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    std::snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", static_cast<int>(process), task->d_name);
    if (read_file(path, text, sizeof text)) sum += std::strtoull(text, nullptr, 10);
  }
  closedir(tasks);
  return sum;
}

}  // namespace bench
