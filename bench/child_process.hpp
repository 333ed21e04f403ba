// SPDX-License-Identifier: MIT
//
// Starting and ending other processes: measuring children that answer with lines on stdout, and servers.
#pragma once

#include <sys/types.h>

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
  // cannot be started; a program that cannot be executed ends at once, see running().
  bool start(const std::vector<std::string>& argv, int core, const std::string& log);

  // False once the process has ended.
  bool running() noexcept;

  void kill_now() noexcept;

  // SIGTERM, then SIGKILL after 3 s. True if it ended by itself with status 0.
  bool stop() noexcept;

  [[nodiscard]] pid_t id() const noexcept { return process_; }

 private:
  pid_t process_ = -1;
};

}  // namespace bench
