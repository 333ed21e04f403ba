// SPDX-License-Identifier: MIT
//
// worker: a thread that serves its share of the connections.
//
// It waits in an event loop of its own (epoll or io_uring), and has one read buffer and one response buffer for all its
// connections. New connections come through a mailbox, an event descriptor and a list. Connections with more requests
// than their turn allows stand in a line that is served again after each round of events. What its connections keep
// it counts, and closes some where that is too much for all workers together (client_memory.hpp).
//
// Ownership: owns its connections; stop() ends the thread and closes them, and must come before the cache is destroyed.
// Threads: hand_over(), for_each(), wake() and stop() by any; the rest is the worker's own. Failure: a connection for
// which there is no memory is closed.
#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/connection.hpp"
#include "server/event_loop.hpp"
#include "server/server_state.hpp"

namespace scoot::server {

class worker {
 public:
  static constexpr std::size_t read_bytes_max = std::size_t{64} << 10;

  worker(server_state& state, worker_counters& counters);
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  ~worker();

  // Starts the thread. Returns an error text, empty if all went well.
  [[nodiscard]] std::string start();
  // Instead of start(), for tests that go step by step: the calling thread is the worker's, and stops it too. Each
  // call of serve_round() does what a round of the thread does, and waits for nothing.
  [[nodiscard]] std::string start_here();
  void serve_round() noexcept;
  // What it waits with, once started.
  [[nodiscard]] bool uses_uring() const noexcept { return loop_->receives(); }
  void stop() noexcept;
  void wake() const noexcept;  // settings may have changed, or memory for clients be used up

  // Gives a connected, non-blocking socket to the worker, which closes it in the end and then lowers
  // server_state::connections_now. With tls, server_state::tls makes a stream for it.
  void hand_over(int descriptor, bool tls = false) noexcept;

  // For each connection: void(const connection&), of which only the descriptor, waits_for() and active_s may be looked
  // at. They stay meanwhile.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const std::lock_guard hold(list_lock_);
    for (const auto& one : connections_) visit(*one);
  }

 private:
  struct arrival {
    int descriptor = -1;
    bool tls = false;
  };

  [[nodiscard]] std::string open();
  void run(std::promise<bool> started) noexcept;
  void round(int wait_ms) noexcept;
  void end() noexcept;
  [[nodiscard]] int wait_ms() const noexcept;
  void take_mail() noexcept;
  void adopt(const arrival& from) noexcept;
  [[nodiscard]] bool has_room_for_another() noexcept;
  void take_settings() noexcept;
  bool take_pieces() noexcept;
  void end_idle() noexcept;
  [[nodiscard]] interest wanted_in(const connection& c, connection::state s) const noexcept;
  void handle(const loop_event& event) noexcept;
  void settle(connection& c, connection::state next) noexcept;
  void forget(connection& c, std::string_view reason) noexcept;
  void drop(connection& c) noexcept;
  void give_to_watchers(connection& c) noexcept;
  void count(connection& c) noexcept;
  void count(connection& c, std::size_t bytes, std::size_t pinned) noexcept;
  void see_to_memory() noexcept;
  void make_room() noexcept;
  void let_go_of_heaviest() noexcept;
  [[nodiscard]] static bool reads(connection& c, std::uint32_t now_ms) noexcept;
  void pass_pins_on() noexcept;
  void waits_no_more(connection& c) noexcept;
  void retry_waiting() noexcept;
  void end_those_given_up() noexcept;
  void trim_memory() noexcept;
  void tell_connection(std::string_view type, int descriptor, std::string_view reason) noexcept;

  server_state& state_;
  response_buffer out_;
  std::unique_ptr<char[]> read_buffer_;
  connection_context context_;
  std::unique_ptr<event_loop> loop_;
  mutable std::mutex list_lock_;  // for others; held while connections come and go
  std::vector<std::unique_ptr<connection>> connections_;
  std::vector<connection*> ready_;  // those whose turn was over
  std::vector<connection*> turn_;   // of this round

  std::uint32_t idle_timeout_s_ = 0;  // of this round; 0: none
  std::uint32_t now_s_ = 0;           // of this round, if connections can be idle for too long
  std::uint32_t idle_looked_at_ = 0;  // when they were looked for

  // What its connections keep, as counted by client_memory.
  bool keeps_something_ = false;  // or did, and has to see to what that changed
  std::size_t kept_bytes_ = 0;
  std::size_t kept_pinned_ = 0;
  bool given_up_ = false;         // some connection is to be closed at the end of this round
  std::size_t waiting_ = 0;       // connections in state waiting
  std::uint32_t trimmed_at_ = 0;  // when memory was last trimmed
  std::size_t first_to_retry_ = 0;

  int mailbox_event_ = -1;
  std::mutex mailbox_lock_;
  std::vector<arrival> mailbox_;
  bool stopping_ = false;  // under mailbox_lock_
  bool stopped_ = false;
  bool here_ = false;  // start_here() was called, and stop() was not
  std::thread thread_;
};

}  // namespace scoot::server
