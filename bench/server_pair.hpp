// SPDX-License-Identifier: MIT
//
// The servers under comparison: how each is found and started, alike but for the program.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "child_process.hpp"
#include "load_client.hpp"

namespace bench {

struct server_setup {
  std::string program;
  std::string name;  // "scootd", "memcached"
  unsigned threads = 1;
  std::size_t memory_mib = 256;
  bool unix_socket = false;
  int core = -1;                  // to pin it to; -1: none
  std::vector<std::string> more;  // options
  std::string folder;             // for its socket and its log
  std::function<bool()> prepare;  // run in the new process before the program; false: it does not start
};

// A running server with the address it serves. Killed when this goes.
struct server {
  server_process process;
  endpoint address;
};

// Starts the server on a free port of 127.0.0.1, or on a socket in the folder, and waits until it serves. False, with
// the reason, if it does not.
bool start_server(const server_setup& setup, server& started, std::string& error);

// A folder for sockets and logs, removed when this goes.
class scratch_folder {
 public:
  scratch_folder();
  ~scratch_folder();
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

// scootd as it was built beside this program; empty if it is not there.
std::string scootd_beside_this();

// The cores for the server and the client, of those this process may run on; -1 and -1 if there is but one.
struct core_pair {
  int server = -1;
  int client = -1;
};
core_pair choose_cores();
void pin_this_thread(int core);

}  // namespace bench
