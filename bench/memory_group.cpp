// SPDX-License-Identifier: MIT
#include "memory_group.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace bench {
namespace {

constexpr std::uint64_t charge_batch_bytes = 64 * 4096;  // the kernel's MEMCG_CHARGE_BATCH

std::uint64_t whole(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }

}  // namespace

std::string read_text(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char bytes[4096];
  for (ssize_t n = 0; (n = read(fd, bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<std::size_t>(n));
  close(fd);
  return text;
}

bool write_text(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return good;
}

std::uint64_t number_after(const std::string& text, const std::string& word) {
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool starts = at == 0 || text[at - 1] == '\n';
    if (starts && end < text.size() && std::strchr(": \t", text[end]) != nullptr) return whole(text.substr(end + 1));
  }
  return 0;
}

std::optional<group_hierarchy> group_hierarchy::find(const std::string& mount) {
  const std::string v1 = mount + "/memory";
  if (access((v1 + "/memory.limit_in_bytes").c_str(), F_OK) == 0)
    return access(v1.c_str(), W_OK) == 0 ? std::optional(group_hierarchy{v1, 1}) : std::nullopt;
  std::istringstream controllers(read_text(mount + "/cgroup.subtree_control"));
  for (std::string name; controllers >> name;)
    if (name == "memory" && access(mount.c_str(), W_OK) == 0) return group_hierarchy{mount, 2};
  return std::nullopt;
}

memory_group::memory_group(const group_hierarchy& where, const std::string& name, std::uint64_t limit_bytes, bool swap)
    : where_(where), path_(where.root + "/" + name), join_path_(path_ + "/cgroup.procs"), limit_(limit_bytes) {
  const std::string limit = std::to_string(limit_bytes);
  if (mkdir(path_.c_str(), 0755) != 0) {
    error_ = "cannot make " + path_ + ": " + std::strerror(errno);
    return;
  }
  const bool one = where_.version == 1;
  bool good = write_text(path_ + (one ? "/memory.limit_in_bytes" : "/memory.max"), limit);
  // Version 1 limits memory and swap together.
  if (!swap)
    good = good && write_text(path_ + (one ? "/memory.memsw.limit_in_bytes" : "/memory.swap.max"), one ? limit : "0");
  if (!good) error_ = "cannot set limits in " + path_ + ": " + std::strerror(errno);
}

memory_group::~memory_group() { remove_group(path_); }

bool memory_group::join() const noexcept {
  const int fd = open(join_path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, "0", 1) == 1;
  close(fd);
  return good;
}

std::string memory_group::usage_file() const {
  return path_ + (where_.version == 1 ? "/memory.usage_in_bytes" : "/memory.current");
}

std::uint64_t memory_group::usage_bytes() const { return whole(read_text(usage_file())); }

std::uint64_t memory_group::oom_kills() const {
  return number_after(read_text(path_ + (where_.version == 1 ? "/memory.oom_control" : "/memory.events")), "oom_kill");
}

std::optional<std::uint64_t> memory_group::swapped_bytes() const {
  if (where_.version != 1) return whole(read_text(path_ + "/memory.swap.current"));
  // What memory.stat has of it lags behind; these two counters are exact, and differ by what is in swap.
  const std::uint64_t before = usage_bytes();
  const std::uint64_t both = whole(read_text(path_ + "/memory.memsw.usage_in_bytes"));
  if (usage_bytes() != before || both < before) return std::nullopt;
  return both - before;
}

std::uint64_t memory_group::swapped_bytes_peak() const {
  if (where_.version != 1) return whole(read_text(path_ + "/memory.swap.peak"));
  const std::uint64_t both = whole(read_text(path_ + "/memory.memsw.max_usage_in_bytes"));
  const std::uint64_t batches = static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF)) * charge_batch_bytes;
  const std::uint64_t most = std::max(limit_, whole(read_text(path_ + "/memory.max_usage_in_bytes"))) + batches;
  return both > most ? both - most : 0;
}

bool remove_group(const std::string& path) noexcept {
  for (int i = 0; i < 500; ++i) {
    std::istringstream processes(read_text(path + "/cgroup.procs"));
    for (pid_t p = 0; processes >> p;) kill(p, SIGKILL);
    if (rmdir(path.c_str()) == 0 || errno == ENOENT) return true;
    usleep(10'000);
  }
  return false;
}

std::uint64_t swapped_out_pages() {
  const std::string text = read_text("/proc/vmstat");
  return number_after(text, "pswpout") + number_after(text, "swpout_zero");
}

std::uint64_t swapped_bytes(pid_t process) {
  return number_after(read_text("/proc/" + std::to_string(process) + "/status"), "VmSwap") * 1024;
}

}  // namespace bench
