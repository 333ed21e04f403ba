// SPDX-License-Identifier: MIT
//
// Starting and ending other processes: measuring children that answer with lines on stdout, and servers.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace bench {

// Lines "name value" that a child printed.
using child_answer = std::map<std::string, double>;

struct child_result {
  bool ok = false;
  std::string error;  // why not
  child_answer answer;
};

// Runs this program again with --child and these arguments, the library preloaded (empty: none) and the environment
// otherwise bare, so that no tuning variable changes an allocator. Waits; kills the child after timeout_s.
child_result run_self(const std::vector<std::string>& arguments, const std::string& preload, unsigned timeout_s);

// A server process, which is killed (SIGKILL) and waited for when this goes.
class server_process {
 public:
  server_process() = default;
  server_process(server_process&& other) noexcept;
  server_process& operator=(server_process&& other) noexcept;
  ~server_process() { kill_now(); }

  // Starts argv[0] (found along PATH) on core `core` (-1: any), with stdout and stderr to `log` (a path). False if it
  // cannot be started; a program that cannot be executed ends at once, see running(). `prepare`, if any, runs in the
  // new process before the program; where it returns false the process ends at once too.
  bool start(const std::vector<std::string>& argv, int core, const std::string& log,
             const std::function<bool()>& prepare = {});

  // False once the process has ended.
  bool running() noexcept;

  void kill_now() noexcept;

  // SIGTERM, then SIGKILL after 3 s. True if it ended by itself with status 0.
  bool stop() noexcept;

  [[nodiscard]] pid_t id() const noexcept { return process_; }

 private:
  pid_t process_ = -1;
};

// A program to run, and all of what it is given.
struct program {
  std::string path;
  std::vector<std::string> arguments;    // the first is its name
  std::vector<std::string> environment;  // NAME=VALUE
};

// This program again with --child, or another program, in a conversation of lines. Killed and waited for when this
// goes.
class role_process {
 public:
  role_process() = default;
  role_process(const role_process&) = delete;
  role_process& operator=(const role_process&) = delete;
  ~role_process() { kill_now(); }

  // `prepare` as for server_process.
  bool start(const std::vector<std::string>& arguments, const std::function<bool()>& prepare = {});
  bool start(const program& what, const std::function<bool()>& prepare = {});

  // Sends a line; false if nobody reads it.
  bool tell(const std::string& line) noexcept;

  // The next line it sends, without its end, within `timeout_ms`. False if there is none.
  bool hear(std::string& line, int timeout_ms);

  // False once the process has ended, of which end() still tells the status.
  [[nodiscard]] bool running() const noexcept;

  // Closes its input, which asks it to end, and waits: its status as of waitpid, and what lines it still sent. Kills it
  // after `timeout_ms`. -1 if it never ran.
  int end(std::vector<std::string>& lines, int timeout_ms);

  void kill_now() noexcept;

  [[nodiscard]] pid_t id() const noexcept { return process_; }

 private:
  pid_t process_ = -1;
  int in_ = -1;   // what it reads
  int out_ = -1;  // what it writes
  std::string buffer_;
};

}  // namespace bench
