// SPDX-License-Identifier: MIT
#include "child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "clock.hpp"

namespace bench {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

child_answer parse_answer(const std::string& text) {
  child_answer answer;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const std::size_t space = line.find(' ');
    if (space != std::string::npos) answer[line.substr(0, space)] = std::strtod(line.c_str() + space + 1, nullptr);
    at = end + 1;
  }
  return answer;
}

// Reads until the other end is closed. False if that takes too long.
bool read_all(int fd, unsigned timeout_s, std::string& text) {
  const std::uint64_t deadline = wall_ns() + timeout_s * 1'000'000'000ULL;
  char buffer[4096];
  for (;;) {
    const std::uint64_t now = wall_ns();
    if (now >= deadline) return false;
    pollfd p{fd, POLLIN, 0};
    const int ready = poll(&p, 1, static_cast<int>((deadline - now) / 1'000'000U) + 1);
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n == 0) return true;
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) return false;
  }
}

std::string describe_status(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return std::string("signal ") + strsignal(WTERMSIG(status));
  return "status " + std::to_string(status);
}

}  // namespace

child_result run_self(const std::vector<std::string>& arguments, const std::string& preload, unsigned timeout_s) {
  child_result result;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    result.error = "no pipe";
    return result;
  }
  std::vector<std::string> argv = {"scoot-bench", "--child"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  if (!preload.empty()) environment.push_back("LD_PRELOAD=" + preload);
  const std::vector<char*> argv_pointers = pointers(argv);
  const std::vector<char*> environment_pointers = pointers(environment);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    execve("/proc/self/exe", argv_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  const bool complete = child > 0 && read_all(ends[0], timeout_s, text);
  close(ends[0]);
  if (child < 0) {
    result.error = "cannot fork";
    return result;
  }
  if (!complete) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.answer = parse_answer(text);
  result.ok = complete && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!result.ok)
    result.error = complete ? describe_status(status) : "no end within " + std::to_string(timeout_s) + " s";
  return result;
}

server_process::server_process(server_process&& other) noexcept : process_(std::exchange(other.process_, -1)) {}

server_process& server_process::operator=(server_process&& other) noexcept {
  if (this != &other) {
    kill_now();
    process_ = std::exchange(other.process_, -1);
  }
  return *this;
}

bool server_process::start(const std::vector<std::string>& argv, int core, const std::string& log) {
  kill_now();
  std::vector<std::string> copy = argv;
  const std::vector<char*> argv_pointers = pointers(copy);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (core >= 0) {
      cpu_set_t set;
      CPU_ZERO(&set);
      CPU_SET(static_cast<unsigned>(core), &set);
      sched_setaffinity(0, sizeof set, &set);
    }
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out >= 0) {
      dup2(out, STDOUT_FILENO);
      dup2(out, STDERR_FILENO);
    }
    execvp(argv_pointers[0], argv_pointers.data());
    _exit(127);
  }
  process_ = child;
  return child > 0;
}

bool server_process::running() noexcept {
  if (process_ <= 0) return false;
  int status = 0;
  if (waitpid(process_, &status, WNOHANG) == 0) return true;
  process_ = -1;
  return false;
}

void server_process::kill_now() noexcept {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

bool server_process::stop() noexcept {
  if (process_ <= 0) return false;
  kill(process_, SIGTERM);
  const std::uint64_t deadline = wall_ns() + 3'000'000'000ULL;
  int status = 0;
  bool ended = false;
  while (!(ended = waitpid(process_, &status, WNOHANG) != 0) && wall_ns() < deadline) usleep(2000);
  if (!ended) {
    kill(process_, SIGKILL);
    waitpid(process_, &status, 0);
  }
  process_ = -1;
  return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace bench
