// SPDX-License-Identifier: MIT
#include "server/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <string_view>

#include "server/options.hpp"

namespace scoot::server {

std::string os_failure(std::string_view what) {
  const int error = errno;
  std::string text(what);
  text.append(": ").append(std::strerror(error));
  return text;
}

std::string absolute_path(const std::string& path) {
  char* const absolute = realpath(path.c_str(), nullptr);
  std::string result = absolute != nullptr ? absolute : path;
  std::free(absolute);
  return result;
}

unsigned descriptors_for(unsigned connections, unsigned threads) noexcept {
  constexpr unsigned besides = 96;  // listeners, loops, mailboxes, standard streams, HTTP
  return connections + 4 * threads + besides;
}

std::string raise_descriptor_limit(unsigned descriptors) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return os_failure("cannot ask for the limit of open files");
  if (limit.rlim_cur >= descriptors) return {};
  limit.rlim_cur = descriptors;
  if (limit.rlim_max < descriptors) limit.rlim_max = descriptors;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return {};
  return os_failure("cannot have " + std::to_string(descriptors) +
                    " open files (start as root, raise ulimit -n, or ask for fewer connections with -c)");
}

void give_large_blocks_back() noexcept {
  constexpr int large_bytes = 32 << 10;
  mallopt(M_MMAP_THRESHOLD, large_bytes);
}

std::string allow_core_dumps() {
  rlimit limit{};
  if (getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max != 0) {
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_CORE, &limit) == 0) return {};
  }
  errno = EPERM;
  return os_failure("-r: cannot allow core files");
}

std::string find_account(const std::string& name, account& out) {
  if (name.empty() || geteuid() != 0) return {};
  errno = 0;
  const passwd* const found = getpwnam(name.c_str());
  if (found == nullptr) return "there is no user '" + name + "'";
  out = {found->pw_uid, found->pw_gid, name};
  return {};
}

std::string become(const account& who) {
  if (who.name.empty()) return {};
  // As memcached does: of all groups only the user's own. It also spares us what looks groups up, .6 MiB of libraries.
  const bool alone = setgroups(0, nullptr) == 0 || errno == EPERM;
  if (!alone || setgid(who.group) != 0 || setuid(who.user) != 0) {
    return os_failure("cannot become user '" + who.name + "'");
  }
  return {};
}

background::~background() {
  if (to_parent_ >= 0) close(to_parent_);
}

std::string background::enter() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return os_failure("cannot go to the background");
  const pid_t child = fork();
  if (child < 0) {
    std::string error = os_failure("cannot go to the background");
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  if (child > 0) {
    close(ends[1]);
    unsigned char status = 0;
    ssize_t got = 0;
    do {
      got = read(ends[0], &status, 1);
    } while (got < 0 && errno == EINTR);
    _exit(got == 1 ? status : status_software);
  }
  close(ends[0]);
  to_parent_ = ends[1];
  setsid();
  return {};
}

void background::report(int status) noexcept {
  if (to_parent_ < 0) return;
  const auto byte = static_cast<unsigned char>(status);
  if (status == status_ok) {
    // Only now, so that errors until here were seen. The working directory must not keep a file system busy.
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere >= 0) {
      for (const int standard : {0, 1, 2}) dup2(nowhere, standard);
      if (nowhere > 2) close(nowhere);
    }
    static_cast<void>(!chdir("/"));
  }
  static_cast<void>(!write(to_parent_, &byte, 1));
  close(to_parent_);
  to_parent_ = -1;
}

std::vector<int> inherited_sockets() {
  constexpr int first = 3;
  std::vector<int> result;
  const char* const for_whom = std::getenv("LISTEN_PID");
  const char* const count = std::getenv("LISTEN_FDS");
  if (for_whom == nullptr || count == nullptr || std::strtol(for_whom, nullptr, 10) != getpid()) return result;
  const long sockets = std::min(std::strtol(count, nullptr, 10), 1024L);
  for (int descriptor = first; descriptor < first + sockets; ++descriptor) {
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
    result.push_back(descriptor);
  }
  return result;
}

void notify_starter(std::string_view state) noexcept {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  const std::size_t bytes = std::strlen(path);
  if (bytes >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, bytes);
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
  // MAINPID, since with -d it is not the process that was started.
  char text[128];
  const int written = std::snprintf(text, sizeof text, "%.*s\nMAINPID=%ld", static_cast<int>(state.size()),
                                    state.data(), static_cast<long>(getpid()));
  static_cast<void>(sendto(descriptor, text, static_cast<std::size_t>(written), MSG_NOSIGNAL,
                           reinterpret_cast<const sockaddr*>(&address), length));
  close(descriptor);
}

void tell_starter_of_reload() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long long us = static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
  notify_starter("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(us));
}

pid_file::~pid_file() {
  if (!path_.empty()) unlink(path_.c_str());
}

std::string pid_file::write(const std::string& path) {
  if (path.empty()) return {};
  const std::string temporary = path + ".new";
  std::FILE* const file = std::fopen(temporary.c_str(), "w");
  if (file == nullptr) return os_failure("cannot write the pid file " + path);
  const bool written = std::fprintf(file, "%ld\n", static_cast<long>(getpid())) > 0;
  if (std::fclose(file) != 0 || !written || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::string error = os_failure("cannot write the pid file " + path);
    unlink(temporary.c_str());
    return error;
  }
  path_ = absolute_path(path);
  return {};
}

}  // namespace scoot::server
