// SPDX-License-Identifier: MIT
#include "tools/address.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

namespace tools {
namespace {

bool is_port(std::string_view text) {
  unsigned number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failed == std::errc{} && end == text.data() + text.size() && number >= 1 && number <= 65535;
}

using clock = std::chrono::steady_clock;

// Waits until one of `events` is there; false after the deadline.
bool wait_for(int fd, short events, clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
    pollfd p{fd, events, 0};
    const int n = poll(&p, 1, left > 0 ? static_cast<int>(left) : 0);
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

// The socket, connected; or -1 with errno.
int connect_one(const sockaddr* to, socklen_t length, int family, clock::time_point deadline) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  int failure = 0;
  if (::connect(fd, to, length) != 0) {
    failure = errno;
    if (failure == EINPROGRESS) {
      socklen_t size = sizeof failure;
      if (!wait_for(fd, POLLOUT, deadline)) {
        failure = ETIMEDOUT;
      } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0) {
        failure = errno;
      }
    }
  }
  if (failure == 0) {
    const int on = 1;
    if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }
  ::close(fd);
  errno = failure;
  return -1;
}

}  // namespace

std::string address::text() const {
  if (!path.empty()) return path;
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

bool parse_address(std::string_view text, std::uint16_t default_port, address& out, std::string& error) {
  out = {};
  const std::string given(text);
  if (text.find('/') != std::string_view::npos) {
    out.path = given;
    if (given.size() + 1 > sizeof(sockaddr_un::sun_path)) error = given + ": too long for the path of a socket";
    return given.size() + 1 <= sizeof(sockaddr_un::sun_path);
  }
  out.port = std::to_string(default_port);
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return error = given + ": lacks a ]", false;
    out.host = text.substr(1, close - 1);
    has_port = close + 1 < text.size();
    if (has_port && text[close + 1] != ':') return error = given + ": is no address", false;
    if (has_port) port = text.substr(close + 2);
  } else if (const std::size_t colon = text.find(':'); colon == std::string_view::npos && is_port(text)) {
    out.host = "127.0.0.1";
    has_port = true;
    port = text;
  } else if (colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    out.host = text.substr(0, colon);
    has_port = true;
    port = text.substr(colon + 1);
  } else {
    out.host = text;
  }
  if (out.host.empty()) return error = "'" + given + "' is no address: HOST, HOST:PORT or the path of a socket", false;
  if (has_port && !is_port(port)) return error = given + ": the port is no number from 1 to 65535", false;
  if (has_port) out.port = port;
  return true;
}

connection::~connection() { close(); }

connection::connection(connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)), tls_(std::move(other.tls_)) {}

connection& connection::operator=(connection&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    tls_ = std::move(other.tls_);
  }
  return *this;
}

void connection::close() noexcept {
  tls_.reset();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool connection::open(const address& to, const access_options& access, std::chrono::milliseconds timeout,
                      std::string& error) {
  close();
  const auto deadline = clock::now() + timeout;
  if (!reach(to, deadline, error)) return false;
  if (access.tls) {
    tls_ = tls_session::create(fd_, to.host, access, deadline, error);
    if (tls_ == nullptr) return close(), error = to.text() + ": " + error, false;
  }
  if (access.auth_file.empty() || log_in(access.auth_file, timeout, error)) return true;
  close();
  return false;
}

// As memcached does it over text: a set whose value is name and password.
bool connection::log_in(const std::string& file, std::chrono::milliseconds timeout, std::string& error) {
  std::ifstream from(file);
  std::string line;
  if (!from || !std::getline(from, line)) return error = file + ": cannot be read, or is empty", false;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  const std::size_t colon = line.find(':');
  if (colon == 0 || colon == std::string::npos) return error = file + ": its first line is not name:password", false;
  line[colon] = ' ';
  std::string answer;
  if (!send("set auth 0 0 " + std::to_string(line.size()) + "\r\n" + line + "\r\n", timeout, error)) return false;
  while (answer.find('\n') == std::string::npos) {
    if (!receive(answer, timeout, error)) return false;
  }
  if (answer == "STORED\r\n") return true;
  error = "the server does not take the name and password of " + file;
  return false;
}

ssize_t connection::write_some(const void* from, std::size_t bytes) noexcept {
  return tls_ == nullptr ? ::send(fd_, from, bytes, MSG_NOSIGNAL) : tls_->write(from, bytes);
}

ssize_t connection::read_some(void* to, std::size_t bytes) noexcept {
  return tls_ == nullptr ? recv(fd_, to, bytes, 0) : tls_->read(to, bytes);
}

bool connection::reach(const address& to, clock::time_point deadline, std::string& error) {
  if (!to.path.empty()) {
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    if (to.path.size() + 1 > sizeof local.sun_path) return error = to.path + ": too long", false;
    std::memcpy(local.sun_path, to.path.c_str(), to.path.size() + 1);
    fd_ = connect_one(reinterpret_cast<const sockaddr*>(&local), sizeof local, AF_UNIX, deadline);
    if (fd_ < 0) error = to.text() + ": " + std::strerror(errno);
    return fd_ >= 0;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &found); failed != 0) {
    return error = to.text() + ": " + gai_strerror(failed), false;
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, &freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr && fd_ < 0; one = one->ai_next) {
    fd_ = connect_one(one->ai_addr, one->ai_addrlen, one->ai_family, deadline);
  }
  if (fd_ < 0) error = to.text() + ": " + std::strerror(errno);
  return fd_ >= 0;
}

bool connection::send(std::string_view bytes, std::chrono::milliseconds timeout, std::string& error) {
  const auto deadline = clock::now() + timeout;
  while (!bytes.empty()) {
    const ssize_t n = write_some(bytes.data(), bytes.size());
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      if (!wait_for(fd_, POLLOUT, deadline)) return error = "the server reads nothing", false;
    } else if (errno != EINTR) {
      return error = std::string("send: ") + std::strerror(errno), false;
    }
  }
  return true;
}

bool connection::receive(std::string& out, std::chrono::milliseconds timeout, std::string& error) {
  const auto deadline = clock::now() + timeout;
  char buffer[16384];
  for (;;) {
    const ssize_t n = read_some(buffer, sizeof buffer);
    if (n > 0) return out.append(buffer, static_cast<std::size_t>(n)), true;
    if (n == 0) return error = "the server closed the connection", false;
    if (errno == EAGAIN) {
      if (!wait_for(fd_, POLLIN, deadline)) return error = "the server does not answer", false;
    } else if (errno != EINTR) {
      return error = std::string("receive: ") + std::strerror(errno), false;
    }
  }
}

}  // namespace tools
