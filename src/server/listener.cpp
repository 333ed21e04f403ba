// SPDX-License-Identifier: MIT
#include "server/listener.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "server/process.hpp"

namespace scoot::server {
namespace {

constexpr std::string_view too_many = "ERROR Too many open connections\r\n";

bool is_loopback(const sockaddr* address) noexcept {
  if (address->sa_family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

std::string name_of(int socket, const std::string& host) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  char port[16] = "?";
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) == 0) {
    getnameinfo(reinterpret_cast<sockaddr*>(&address), bytes, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
  }
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

}  // namespace

namespace {

template <std::size_t bytes>
void copy_text(char (&to)[bytes], std::string_view text) noexcept {
  to[text.copy(to, bytes - 1)] = '\0';
}

peer_name read_name(const sockaddr_storage& address, socklen_t bytes) noexcept {
  peer_name who;
  who.family = address.ss_family;
  who.local = address.ss_family == AF_UNIX;
  if (who.local) {
    const auto& unix_address = reinterpret_cast<const sockaddr_un&>(address);
    static_assert(sizeof who.host >= sizeof unix_address.sun_path);
    if (bytes > offsetof(sockaddr_un, sun_path)) copy_text(who.host, unix_address.sun_path);
    return who;
  }
  char host[NI_MAXHOST], port[16];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), bytes, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
    copy_text(who.host, host);
    who.port = std::atoi(port);
  }
  return who;
}

}  // namespace

peer_name name_of_peer(int descriptor) noexcept {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return {};
  peer_name who = read_name(address, bytes);
  if (who.local) copy_text(who.host, "unix");
  return who;
}

peer_name name_of_socket(int descriptor) noexcept {
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return {};
  return read_name(address, bytes);
}

std::vector<int> listener::sockets() const {
  std::vector<int> all;
  for (const door& one : doors_) all.push_back(one.socket);
  return all;
}

listener::~listener() {
  for (const door& one : doors_) close(one.socket);
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
}

std::string listener::open(const server_options& options, const std::vector<int>& inherited) {
  for (const int descriptor : inherited) {
    if (std::string error = take_inherited(descriptor, options.tls.enabled); !error.empty()) return error;
  }
  if (!inherited.empty()) return {};
  for (const listen_address& address : options.listen) {
    if (std::string error = open_address(address, options.backlog); !error.empty()) return error;
  }
  return options.unix_socket.empty() ? std::string{} : open_unix(options);
}

std::string listener::open_address(const listen_address& address, int backlog) {
  const std::string name = address.host + " port " + address.port;
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const char* const host = address.host == "*" ? nullptr : address.host.c_str();
  if (const int error = getaddrinfo(host, address.port.c_str(), &hints, &found); error != 0) {
    return "cannot listen on " + name + ": " + gai_strerror(error);
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> release(found, freeaddrinfo);
  std::string first_error;
  bool any = false;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int descriptor = socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol);
    if (descriptor < 0) {
      if (first_error.empty()) first_error = os_failure("cannot listen on " + name);
      continue;
    }
    const int on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Accepted sockets inherit these.
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (one->ai_family == AF_INET6) setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(descriptor, one->ai_addr, one->ai_addrlen) != 0 || ::listen(descriptor, backlog) != 0) {
      if (first_error.empty()) first_error = os_failure("cannot listen on " + name);
      close(descriptor);
      continue;
    }
    any = true;
    loopback_only_ = loopback_only_ && is_loopback(one->ai_addr);
    doors_.push_back({descriptor, address.tls, event_loop::none});
    names_.push_back(name_of(descriptor, address.host));
  }
  return any ? std::string{} : first_error;
}

// A socket that whoever started us listens on already.
std::string listener::take_inherited(int descriptor, bool tls) {
  const std::string name = "inherited socket " + std::to_string(descriptor);
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  int listens = 0;
  socklen_t listens_bytes = sizeof listens;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) != 0) {
    return os_failure("cannot use " + name);
  }
  if (listens == 0) return "cannot use " + name + ": it does not listen";
  const bool local = address.ss_family == AF_UNIX;
  doors_.push_back({descriptor, tls && !local, event_loop::none});
  names_.push_back(name);
  if (local) return {};
  const int on = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  loopback_only_ = loopback_only_ && is_loopback(reinterpret_cast<const sockaddr*>(&address));
  return {};
}

std::string listener::open_unix(const server_options& options) {
  const std::string& path = options.unix_socket;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return "cannot listen on " + path + ": the path is too long";
  std::memcpy(address.sun_path, path.c_str(), path.size());
  // A socket that a dead server left is in the way; anything else stays.
  struct stat existing {};
  if (lstat(path.c_str(), &existing) == 0 && S_ISSOCK(existing.st_mode)) unlink(path.c_str());
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return os_failure("cannot listen on " + path);
  const mode_t mask = umask(static_cast<mode_t>(~options.unix_mask & 0777U));
  const int bound = bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  umask(mask);
  errno = bind_error;
  if (bound != 0 || ::listen(descriptor, options.backlog) != 0) {
    std::string error = os_failure("cannot listen on " + path);
    close(descriptor);
    return error;
  }
  unix_path_ = absolute_path(path);
  doors_.push_back({descriptor, false, event_loop::none});
  names_.push_back(path);
  return {};
}

bool listener::watch(event_loop& loop) noexcept {
  for (door& one : doors_) {
    if (one.watch != event_loop::none) continue;
    one.watch = loop.add(one.socket, this, interest::read);
    if (one.watch == event_loop::none) return false;
  }
  return true;
}

namespace {

constexpr int lost_in_turn_max = 16;

// What accept says of a connection that was lost before it was taken, and not of the socket: see accept(2).
bool is_of_one_connection(int error) noexcept {
  return error == EPROTO || error == ENETDOWN || error == ENETUNREACH || error == EHOSTDOWN || error == EHOSTUNREACH ||
         error == ENONET;
}

}  // namespace

// The next connection, or -1 when there is none to be had now.
int listener::accept_one(event_loop& loop, server_state& state, int socket) noexcept {
  const auto at_limit = [&state] {
    return state.connections_now.load(std::memory_order_relaxed) >= state.live.connections_max;
  };
  for (int lost = 0;;) {
    if (!state.live.reject_at_limit && at_limit()) {
      pause(loop, state);
      return -1;
    }
    const int descriptor = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (is_of_one_connection(errno) && ++lost < lost_in_turn_max) continue;
      // Whatever else it is, EMFILE and its like usually, asking again at once would only fail again.
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        const int error = errno;
        if (is_time_to_warn()) {
          spdlog::warn("connections have to wait: {}; told once a minute at most", std::strerror(error));
        }
        pause(loop, state);
      }
      return -1;
    }
    if (!at_limit()) {
      state.connections_now.fetch_add(1, std::memory_order_relaxed);
      state.connections_total.fetch_add(1, std::memory_order_relaxed);
      spdlog::trace("<{} new connection", descriptor);
      return descriptor;
    }
    state.connections_rejected.fetch_add(1, std::memory_order_relaxed);
    const unsigned limit = state.live.connections_max.load(std::memory_order_relaxed);
    if (is_time_to_warn()) {
      spdlog::warn("connections are turned away: {} are open (-c); told once a minute at most", limit);
    } else {
      spdlog::debug("a connection is turned away: {} are open", limit);
    }
    static_cast<void>(send(descriptor, too_many.data(), too_many.size(), MSG_NOSIGNAL));
    close(descriptor);
  }
}

bool listener::is_time_to_warn() noexcept {
  const auto now = std::chrono::steady_clock::now();
  if (warned_ != std::chrono::steady_clock::time_point{} && now - warned_ < std::chrono::minutes(1)) return false;
  warned_ = now;
  return true;
}

void listener::pause(event_loop& loop, server_state& state) noexcept {
  if (paused_) return;
  spdlog::debug("no room for a connection: accepting pauses for {} ms", retry_ms);
  paused_ = true;
  paused_since_ = std::chrono::steady_clock::now();
  state.accepting.store(false, std::memory_order_relaxed);
  state.accept_pauses.fetch_add(1, std::memory_order_relaxed);
  // Not only asked for nothing, since epoll would still tell of a socket that is broken.
  for (door& one : doors_) {
    if (one.watch != event_loop::none) loop.let_go(std::exchange(one.watch, event_loop::none));
  }
}

void listener::retry(event_loop& loop, server_state& state) noexcept {
  const auto passed = std::chrono::steady_clock::now() - paused_since_;
  if (!paused_ || passed < std::chrono::milliseconds(retry_ms)) return;
  if (!state.live.reject_at_limit &&
      state.connections_now.load(std::memory_order_relaxed) >= state.live.connections_max) {
    return;
  }
  paused_ = !watch(loop);
  if (paused_) return;
  state.accepting.store(true, std::memory_order_relaxed);
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(passed).count();
  state.accept_paused_us.fetch_add(static_cast<std::uint64_t>(us), std::memory_order_relaxed);
}

}  // namespace scoot::server
