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

bool server_process::start(const std::vector<std::string>& argv, int core, const std::string& log,
                           const std::function<bool()>& prepare) {
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
    if (prepare && !prepare()) _exit(126);
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

bool role_process::start(const std::vector<std::string>& arguments, const std::function<bool()>& prepare) {
  program self{"/proc/self/exe", {"scoot-bench", "--child"}, {}};
  self.arguments.insert(self.arguments.end(), arguments.begin(), arguments.end());
  for (char** variable = environ; *variable != nullptr; ++variable) self.environment.emplace_back(*variable);
  return start(self, prepare);
}

bool role_process::start(const program& what, const std::function<bool()>& prepare) {
  kill_now();
  program copy = what;
  const std::vector<char*> argv_pointers = pointers(copy.arguments);
  const std::vector<char*> environment_pointers = pointers(copy.environment);
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0) return false;
  if (pipe2(from, O_CLOEXEC) != 0) {
    close(to[0]);
    close(to[1]);
    return false;
  }
  process_ = fork();
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    if (prepare && !prepare()) _exit(126);
    execve(copy.path.c_str(), argv_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  in_ = to[1];
  out_ = from[0];
  return process_ > 0;
}

bool role_process::tell(const std::string& line) noexcept {
  const std::string text = line + "\n";  // less than a pipe takes at once
  return in_ >= 0 && write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool role_process::hear(std::string& line, int timeout_ms) {
  const std::uint64_t deadline = wall_ns() + static_cast<std::uint64_t>(timeout_ms) * 1'000'000U;
  for (;;) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return true;
    }
    const std::uint64_t now = wall_ns();
    if (out_ < 0 || now >= deadline) return false;
    pollfd p{out_, POLLIN, 0};
    const int ready = poll(&p, 1, static_cast<int>((deadline - now) / 1'000'000U) + 1);
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    char bytes[4096];
    const ssize_t n = read(out_, bytes, sizeof bytes);
    if (n == 0) return false;
    if (n > 0) buffer_.append(bytes, static_cast<std::size_t>(n));
  }
}

bool role_process::running() const noexcept {
  if (process_ <= 0) return false;
  siginfo_t ended{};
  return waitid(P_PID, static_cast<id_t>(process_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0;
}

int role_process::end(std::vector<std::string>& lines, int timeout_ms) {
  if (process_ <= 0) return -1;
  close(std::exchange(in_, -1));
  const std::uint64_t deadline = wall_ns() + static_cast<std::uint64_t>(timeout_ms) * 1'000'000U;
  std::string line;
  while (wall_ns() < deadline && hear(line, timeout_ms)) lines.push_back(line);
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(process_, &status, WNOHANG)) == 0 && wall_ns() < deadline) usleep(500);
  if (ended == 0) {
    kill(process_, SIGKILL);
    waitpid(process_, &status, 0);
  }
  close(std::exchange(out_, -1));
  process_ = -1;
  return status;
}

void role_process::kill_now() noexcept {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  if (in_ >= 0) close(in_);
  if (out_ >= 0) close(out_);
  process_ = in_ = out_ = -1;
  buffer_.clear();
}

}  // namespace bench
