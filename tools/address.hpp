// SPDX-License-Identifier: MIT
//
// Where a server is, as people write it, and a connection to it.
//
//     11211   HOST   HOST:PORT   [IPV6]:PORT   /path/of/a/unix/socket
//
// TLS and a name with its password, if the server wants them, are part of opening a connection (tls_session.hpp).
// Sockets are non-blocking; waiting is done here, with a limit. Threads: any, each object in one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "tools/tls_session.hpp"

namespace tools {

struct address {
  std::string host;
  std::string port;
  std::string path;  // of a unix socket; then host and port are empty

  [[nodiscard]] std::string text() const;
};

// False, with the reason in `error`, if the text is no address.
[[nodiscard]] bool parse_address(std::string_view text, std::uint16_t default_port, address& out, std::string& error);

// An open socket; closes it.
class connection {
 public:
  connection() = default;
  ~connection();
  connection(connection&& other) noexcept;
  connection& operator=(connection&& other) noexcept;
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  // Tries all addresses that the host has, and does what `access` says. False, with the reason.
  [[nodiscard]] bool open(const address& to, const access_options& access, std::chrono::milliseconds timeout,
                          std::string& error);
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int fd() const noexcept { return fd_; }

  // As send() and recv(), without waiting: -1 with EAGAIN. What is pending is read without poll() telling of it.
  [[nodiscard]] ssize_t write_some(const void* from, std::size_t bytes) noexcept;
  [[nodiscard]] ssize_t read_some(void* to, std::size_t bytes) noexcept;
  [[nodiscard]] bool pending() const noexcept { return tls_ != nullptr && tls_->pending(); }

  // Sends all of it. False, with the reason, if that fails or takes longer.
  [[nodiscard]] bool send(std::string_view bytes, std::chrono::milliseconds timeout, std::string& error);

  // Waits for bytes and appends what there is. False, with the reason, at the end of the connection, too.
  [[nodiscard]] bool receive(std::string& out, std::chrono::milliseconds timeout, std::string& error);

 private:
  bool reach(const address& to, std::chrono::steady_clock::time_point deadline, std::string& error);
  bool log_in(const std::string& file, std::chrono::milliseconds timeout, std::string& error);

  int fd_ = -1;
  std::unique_ptr<tls_session> tls_;  // null: none
};

}  // namespace tools
