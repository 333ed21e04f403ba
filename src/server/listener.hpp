// SPDX-License-Identifier: MIT
//
// listener: the sockets that clients connect to, and accepting them.
//
// When descriptors run out it stops accepting for a moment instead of spinning on connections that it cannot take.
// Ownership: owns its sockets and the unix socket's file, which it removes. Threads: one, but for the counters.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "server/event_loop.hpp"
#include "server/server_state.hpp"

namespace scoot::server {

// Who is at the other end of a connected socket, or at this one.
struct peer_name {
  char host[108] = "";  // numeric, or a path; "unix" for the peer of a unix socket; empty if it is gone
  [[nodiscard]] std::string_view host_text() const noexcept { return host; }
  int port = 0;
  bool local = false;  // a unix socket
  int family = 0;
};
[[nodiscard]] peer_name name_of_peer(int descriptor) noexcept;
[[nodiscard]] peer_name name_of_socket(int descriptor) noexcept;

class listener {
 public:
  static constexpr int retry_ms = 100;

  listener() = default;
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;
  ~listener();

  // Opens all that the options ask for, or takes these sockets instead if there are any. Returns an error text, empty
  // if all went well.
  [[nodiscard]] std::string open(const server_options& options, const std::vector<int>& inherited = {});
  // Where it listens, in words: "127.0.0.1:11211", ...
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  // True if none but this machine can connect.
  [[nodiscard]] bool loopback_only() const noexcept { return loopback_only_; }

  [[nodiscard]] std::vector<int> sockets() const;
  [[nodiscard]] bool watch(event_loop& loop) noexcept;  // with this object as the tag

  // Accepts what waits, and gives each socket to take(int, bool tls), up to the limit of connections.
  template <class Take>
  void accept(event_loop& loop, server_state& state, Take&& take) noexcept {
    for (const door& one : doors_) {
      for (int descriptor = accept_one(loop, state, one.socket); descriptor >= 0;
           descriptor = accept_one(loop, state, one.socket)) {
        take(descriptor, one.tls);
      }
    }
  }
  [[nodiscard]] bool paused() const noexcept { return paused_; }
  // Accepts again if it is time to.
  void retry(event_loop& loop, server_state& state) noexcept;

 private:
  struct door {
    int socket = -1;
    bool tls = false;
    event_loop::watch watch = event_loop::none;
  };

  std::string open_address(const listen_address& address, int backlog);
  std::string take_inherited(int descriptor, bool tls);
  std::string open_unix(const server_options& options);
  int accept_one(event_loop& loop, server_state& state, int socket) noexcept;
  void pause(event_loop& loop, server_state& state) noexcept;
  [[nodiscard]] bool is_time_to_warn() noexcept;

  std::vector<door> doors_;
  std::vector<std::string> names_;
  std::string unix_path_;
  bool loopback_only_ = true;
  bool paused_ = false;
  std::chrono::steady_clock::time_point paused_since_;
  std::chrono::steady_clock::time_point warned_;  // never yet, if it is the epoch
};

}  // namespace scoot::server
