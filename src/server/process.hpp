// SPDX-License-Identifier: MIT
//
// process: what a daemon does to itself. Functions return an error text, empty if all went well.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace scoot::server {

// What was tried, and why the system refused (errno).
[[nodiscard]] std::string os_failure(std::string_view what);

// The path of a file that exists, from the root, since the background works in another folder.
[[nodiscard]] std::string absolute_path(const std::string& path);

struct account {
  uid_t user = 0;
  gid_t group = 0;
  std::string name;  // empty: stay who we are
};

// Makes room for that many descriptors.
[[nodiscard]] std::string raise_descriptor_limit(unsigned descriptors);
// How many a server with so many connections needs.
[[nodiscard]] unsigned descriptors_for(unsigned connections, unsigned threads) noexcept;

// Has the C library take large blocks from the system one by one, which is how what clients leave goes back at once.
void give_large_blocks_back() noexcept;

// Lets a crash leave a core file as large as may be.
[[nodiscard]] std::string allow_core_dumps();

// Looks a user up, if we are root and one is named.
[[nodiscard]] std::string find_account(const std::string& name, account& out);
[[nodiscard]] std::string become(const account& who);

// Goes to the background. In the parent it never returns: that ends with the status that the child reports, or
// status_software if the child dies first. In the child it returns, once; report() then lets the parent go.
class background {
 public:
  background() = default;
  background(const background&) = delete;
  background& operator=(const background&) = delete;
  ~background();
  [[nodiscard]] std::string enter();
  // Tells the parent to end with this status, and lets go of the terminal.
  void report(int status) noexcept;

 private:
  int to_parent_ = -1;
};

// Listening sockets that whoever started us opened for us (systemd's LISTEN_FDS protocol); none usually.
[[nodiscard]] std::vector<int> inherited_sockets();

// Tells whoever started us how we are, if that is wanted (NOTIFY_SOCKET of systemd): "READY=1", "STOPPING=1".
void notify_starter(std::string_view state) noexcept;

// Tells it that options are read again; "READY=1" follows.
void tell_starter_of_reload() noexcept;

// A file with our process id, removed when this goes.
class pid_file {
 public:
  pid_file() = default;
  pid_file(const pid_file&) = delete;
  pid_file& operator=(const pid_file&) = delete;
  ~pid_file();
  [[nodiscard]] std::string write(const std::string& path);

 private:
  std::string path_;
};

}  // namespace scoot::server
