// SPDX-License-Identifier: MIT
//
// Goal: behind the filter of system calls the daemon's work goes on and the rest fails with an error that is told, not
// by being killed. Method: a child process puts the filter on and tries calls; it says by its status which step went
// wrong.
#include "server/sandbox.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

namespace scoot::server {
namespace {

constexpr int refused_here = 77;  // the system allows no filters

// The status of a child that runs `steps` behind the filter; a step that fails returns its number.
template <class Steps>
int behind_filter(seccomp_mode mode, io_kind io, Steps&& steps) {
  const pid_t child = fork();
  if (child == 0) {
    server_options options;
    options.seccomp = mode;
    options.io = io;
    if (const std::string error = filter_system_calls(options); !error.empty()) _exit(refused_here);
    _exit(steps());
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool fails_with_eperm(long result) { return result == -1 && errno == EPERM; }

TEST(sandbox, fails_calls_that_are_not_needed_with_eperm) {
  const int status = behind_filter(seccomp_mode::on, io_kind::epoll, [] {
    char name[] = "/bin/true";
    char* const arguments[] = {name, nullptr};
    if (!fails_with_eperm(execve(name, arguments, nullptr))) return 1;
    if (!fails_with_eperm(fork())) return 2;
    if (!fails_with_eperm(socket(AF_NETLINK, SOCK_RAW, 0))) return 3;
    if (!fails_with_eperm(chmod("/tmp", 0777))) return 4;
    if (!fails_with_eperm(syscall(SYS_setuid, 0))) return 5;
    if (!fails_with_eperm(syscall(SYS_ptrace, 0, 0, 0, 0))) return 6;
    if (!fails_with_eperm(syscall(SYS_io_uring_setup, 1, nullptr))) return 7;
    if (!fails_with_eperm(prctl(PR_SET_SECUREBITS, 0))) return 8;
    return 0;
  });
  if (status == refused_here) GTEST_SKIP() << "no filters of system calls here";
  EXPECT_EQ(status, 0);
}

TEST(sandbox, lets_the_work_of_a_server_pass) {
  const int status = behind_filter(seccomp_mode::on, io_kind::automatic, [] {
    int done = 0;
    std::thread([&done] { done = 1; }).join();
    if (done != 1) return 1;
    const int door = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (door < 0 || bind(door, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(door, 1) != 0) {
      return 2;
    }
    if (open("/proc/meminfo", O_RDONLY) < 0) return 3;
    void* const memory = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, 1 << 20, MADV_DONTNEED) != 0) return 4;
    char name[] = "/tmp/scoot-sandbox-XXXXXX";
    close(mkstemp(name));
    unlink(name);
    if (mkfifo(name, 0600) != 0 || unlink(name) != 0) return 6;
    if (!fails_with_eperm(mknod(name, S_IFCHR | 0600, 0))) return 7;
    if (syscall(SYS_io_uring_setup, 0, nullptr) == -1 && errno == EPERM)
      return 5;  // wrong otherwise, but not forbidden
    return 0;
  });
  if (status == refused_here) GTEST_SKIP() << "no filters of system calls here";
  EXPECT_EQ(status, 0);
}

TEST(sandbox, only_logs_when_told_so) {
  const int status = behind_filter(seccomp_mode::log, io_kind::automatic, [] {
    const pid_t child = fork();
    if (child == 0) _exit(5);
    int inner = 0;
    return waitpid(child, &inner, 0) == child && WEXITSTATUS(inner) == 5 ? 0 : 1;
  });
  if (status == refused_here) GTEST_SKIP() << "no filters of system calls here";
  EXPECT_EQ(status, 0);
}

TEST(sandbox, is_off_unless_asked_for) {
  const int status = behind_filter(seccomp_mode::off, io_kind::automatic, [] { return prctl(PR_GET_SECCOMP); });
  EXPECT_EQ(status, prctl(PR_GET_SECCOMP));
}

}  // namespace
}  // namespace scoot::server
