// SPDX-License-Identifier: MIT
//
// A worker with its real event loop and real sockets, in one thread: whoever holds both ends decides what happens
// between two rounds of the loop, so that a run is the same every time.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/worker.hpp"
#include "support.hpp"

namespace scoot::testing {

// The client's end of a connection.
class served_client {
 public:
  explicit served_client(int socket) noexcept : socket_(socket) {}
  served_client(const served_client&) = delete;
  served_client& operator=(const served_client&) = delete;
  ~served_client() { leave(); }

  // How much of it the socket takes.
  std::size_t send(std::string_view bytes) {
    const ssize_t sent = open() ? ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
    if (sent < 0 && errno != EAGAIN) refused_ = true;
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  // Adds what is there, at most so much, to `received`. False if nothing was.
  bool receive(std::size_t bytes_max = SIZE_MAX) {
    const std::size_t before = received.size();
    char some[16384];
    while (open() && !ended_ && bytes_max > 0) {
      const ssize_t got = recv(socket_, some, std::min(sizeof some, bytes_max), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) break;
      if (got <= 0) {
        ended_ = true;
        break;
      }
      received.append(some, static_cast<std::size_t>(got));
      bytes_max -= static_cast<std::size_t>(got);
    }
    return received.size() > before;
  }
  void end_sending() { shutdown(socket_, SHUT_WR); }
  // With answers not read it is a reset, to the server.
  void leave() {
    if (open()) close(socket_);
    socket_ = -1;
  }
  [[nodiscard]] bool open() const { return socket_ >= 0; }
  [[nodiscard]] bool ended() const { return ended_; }      // by the server, as receive() saw
  [[nodiscard]] bool refused() const { return refused_; }  // what was sent
  std::string received;

 private:
  int socket_;
  bool ended_ = false;
  bool refused_ = false;
};

class served_world {
 public:
  // Fails as a whole, with why_not() set, where the system has no such loop.
  explicit served_world(server::io_kind io, unsigned commands_per_turn = 1000) {
    world.options.io = io;
    world.options.watch_enabled = false;  // whose socket would go to another thread
    world.state.live.requests_per_event = commands_per_turn;
    why_not_ = serving_.start_here();
  }
  [[nodiscard]] const std::string& why_not() const { return why_not_; }

  // A connection of which the server's end takes about so many bytes that are not read; 0: as the system has it.
  [[nodiscard]] int connect(int send_buffer_bytes = 0) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    if (send_buffer_bytes > 0) {
      setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes);
    }
    world.state.connections_now.fetch_add(1);
    serving_.hand_over(ends[0]);
    return ends[1];
  }
  void serve(unsigned rounds = 1) {
    for (unsigned i = 0; i < rounds; ++i) serving_.serve_round();
  }
  // Rounds until nothing comes of them any more, with all that is answered read.
  void serve_all(served_client& to) {
    for (int idle = 0; idle < 8;) {
      const std::uint64_t before = done();
      serve();
      const bool came = to.receive();
      idle = came || done() != before ? 0 : idle + 1;
    }
  }
  // The same bytes in the pieces that they come in.
  void say(served_client& by, std::string_view bytes) {
    while (!bytes.empty() && !by.refused()) {
      bytes.remove_prefix(by.send(bytes));
      serve();
      if (!bytes.empty()) serve_all(by);
    }
  }

  session_world world;

 private:
  [[nodiscard]] std::uint64_t done() const {
    const server::worker_totals totals = world.state.totals();
    return totals.bytes_read + totals.bytes_written + totals.yields + world.state.connections_now.load();
  }

  server::worker serving_{world.state, world.state.counters.front()};
  std::string why_not_;
};

}  // namespace scoot::testing
