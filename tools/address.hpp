// SPDX-License-Identifier: MIT
//
// Where a server is, as people write it, and a connection to it.
//
//     11211   HOST   HOST:PORT   [IPV6]:PORT   /path/of/a/unix/socket
//
// Sockets are non-blocking; waiting is done here, with a limit. Threads: any, each object in one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

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

  // Tries all addresses that the host has. False, with the reason.
  [[nodiscard]] bool open(const address& to, std::chrono::milliseconds timeout, std::string& error);
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int fd() const noexcept { return fd_; }

  // Sends all of it. False, with the reason, if that fails or takes longer.
  [[nodiscard]] bool send(std::string_view bytes, std::chrono::milliseconds timeout, std::string& error);

  // Waits for bytes and appends what there is. False, with the reason, at the end of the connection, too.
  [[nodiscard]] bool receive(std::string& out, std::chrono::milliseconds timeout, std::string& error);

 private:
  int fd_ = -1;
};

}  // namespace tools
