// SPDX-License-Identifier: MIT
#include "pressure_machine.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {
namespace {

constexpr const char* lock_path = "/run/scoot-bench-pressure.lock";

// The names in a folder that begin with `prefix`.
std::vector<std::string> names_in(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> names;
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) return names;
  while (const dirent* e = readdir(entries))
    if (std::strncmp(e->d_name, prefix.c_str(), prefix.size()) == 0) names.emplace_back(e->d_name);
  closedir(entries);
  return names;
}

std::uint64_t device_bytes(const std::string& device) {
  return std::strtoull(read_text("/sys/block/" + device + "/disksize").c_str(), nullptr, 10);
}

void give_swap_back(const std::string& device) noexcept {
  swapoff(("/dev/" + device).c_str());
  // The device may be looked at by others (udev) for a moment.
  for (int i = 0; i < 100 && device_bytes(device) != 0; ++i) {
    if (!write_text("/sys/block/" + device + "/reset", "1")) usleep(20'000);
  }
}

void remove_groups(const group_hierarchy& groups, const std::string& prefix) {
  for (const std::string& name : names_in(groups.root, prefix)) remove_group(groups.root + "/" + name);
}

std::string active_algorithm(const std::string& device) {
  const std::string all = read_text("/sys/block/" + device + "/comp_algorithm");
  const std::size_t from = all.find('['), to = all.find(']');
  return from == std::string::npos || to == std::string::npos ? "?" : all.substr(from + 1, to - from - 1);
}

}  // namespace

bool pressure_machine::lock(std::string& why_not) {
  lock_ = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) {
    why_not = std::string("cannot open ") + lock_path + ": " + std::strerror(errno);
    return false;
  }
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    why_not = "another run has the machine's swap";
    return false;
  }
  const std::string left_over = read_text(lock_path);
  if (!left_over.empty()) give_swap_back(left_over);
  return ftruncate(lock_, 0) == 0;
}

bool pressure_machine::find_device(std::string& why_not) {
  for (const std::string& name : names_in("/sys/block", "zram")) {
    if (device_bytes(name) != 0 || access(("/dev/" + name).c_str(), W_OK) != 0) continue;
    device_ = name;
    return write(lock_, name.data(), name.size()) == static_cast<ssize_t>(name.size());
  }
  why_not = "there is no unused zram device";
  return false;
}

bool pressure_machine::start_guardian(std::string& why_not) {
  int alive[2], done[2];
  if (pipe2(alive, O_CLOEXEC) != 0 || pipe2(done, O_CLOEXEC) != 0) {
    why_not = "no pipe";
    return false;
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    if (fork() != 0) _exit(0);  // so that nobody who looks for our children finds it
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) signal(s, SIG_IGN);
    close(alive[1]);
    close(done[0]);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
      close(fd);  // who reads those need not wait for us
    char byte = 0;
    while (read(alive[0], &byte, 1) < 0 && errno == EINTR) {
    }
    remove_groups(groups_, group_prefix_);
    if (!device_.empty()) {
      give_swap_back(device_);
      if (ftruncate(lock_, 0) != 0) _exit(1);
    }
    _exit(0);
  }
  close(alive[0]);
  close(done[1]);
  alive_ = alive[1];
  done_ = done[0];
  waitpid(child, nullptr, 0);
  if (child < 0) why_not = "cannot fork";
  return child > 0;
}

bool pressure_machine::start_swap(std::uint64_t bytes, std::string& why_not) {
  const std::string path = "/dev/" + device_;
  if (!write_text("/sys/block/" + device_ + "/disksize", std::to_string(bytes))) {
    why_not = "cannot size " + device_ + ": " + std::strerror(errno);
    return false;
  }
  const std::string make = "PATH=$PATH:/sbin:/usr/sbin mkswap " + path + " >/dev/null 2>&1";
  if (std::system(make.c_str()) != 0) {
    why_not = "mkswap fails on " + path;
    return false;
  }
  // Before all other swap, so that it is what the trials use.
  if (swapon(path.c_str(), SWAP_FLAG_PREFER | 32767) != 0) {
    why_not = "cannot swap on " + path + ": " + std::strerror(errno);
    return false;
  }
  return true;
}

std::unique_ptr<pressure_machine> pressure_machine::take(std::uint64_t swap_bytes, std::string& why_not) {
  if (geteuid() != 0) {
    why_not = "needs root, for a memory cgroup";
    return nullptr;
  }
  const auto groups = group_hierarchy::find();
  if (!groups) {
    why_not = "there is no memory cgroup controller that would let us make groups";
    return nullptr;
  }
  std::unique_ptr<pressure_machine> machine(new pressure_machine);
  machine->groups_ = *groups;
  machine->group_prefix_ = "scoot-bench-" + std::to_string(getpid()) + "-";
  machine->swap_ = swap_bytes != 0;
  if (machine->swap_ && (!machine->lock(why_not) || !machine->find_device(why_not))) return nullptr;
  if (!machine->start_guardian(why_not)) return nullptr;
  if (machine->swap_ && !machine->start_swap(swap_bytes, why_not)) return nullptr;
  {
    const auto first = machine->make_group(64U << 20);
    if (!first->there()) {
      why_not = first->error();
      return nullptr;
    }
  }
  machine->description_ = "cgroup v" + std::to_string(groups->version);
  if (machine->swap_) {
    machine->description_ += ", " + machine->device_ + " of " + std::to_string(swap_bytes >> 20) + " MiB (" +
                             active_algorithm(machine->device_) + ")";
  } else {
    machine->description_ += ", no swap";
  }
  return machine;
}

pressure_machine::~pressure_machine() {
  if (alive_ >= 0) {
    close(alive_);
    char byte = 0;
    while (read(done_, &byte, 1) < 0 && errno == EINTR) {
    }
    close(done_);
  }
  if (lock_ >= 0) close(lock_);
}

std::unique_ptr<memory_group> pressure_machine::make_group(std::uint64_t limit_bytes) {
  return std::make_unique<memory_group>(groups_, group_prefix_ + std::to_string(groups_made_++), limit_bytes, swap_);
}

}  // namespace bench
