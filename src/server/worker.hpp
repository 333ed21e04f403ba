// SPDX-License-Identifier: MIT
//
// worker: a thread that serves its share of the connections.
//
// It waits in an event loop of its own (epoll or io_uring), and has one read buffer and one response buffer for all its
// connections. New connections come through a mailbox, an event descriptor and a list. Connections with more requests
// than their turn allows stand in a line that is served again after each round of events.
//
// Ownership: owns its connections; stop() ends the thread and closes them, and must come before the cache is destroyed.
// Threads: hand_over(), for_each() and stop() by any; the rest is the worker's own.
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
  ~worker() { stop(); }

  // Starts the thread. Returns an error text, empty if all went well.
  [[nodiscard]] std::string start();
  // What it waits with, once started.
  [[nodiscard]] bool uses_uring() const noexcept { return loop_->receives(); }
  void stop() noexcept;
  void wake() noexcept;  // settings may have changed

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

  void run(std::promise<bool> started) noexcept;
  void take_mail() noexcept;
  void adopt(const arrival& from) noexcept;
  void take_settings() noexcept;
  void end_idle() noexcept;
  [[nodiscard]] interest wanted_in(const connection& c, connection::state s) const noexcept;
  void handle(const loop_event& event) noexcept;
  void settle(connection& c, connection::state next) noexcept;
  void forget(connection& c, std::string_view reason) noexcept;
  void drop(connection& c) noexcept;
  void give_to_watchers(connection& c) noexcept;
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

  int mailbox_event_ = -1;
  std::mutex mailbox_lock_;
  std::vector<arrival> mailbox_;
  bool stopping_ = false;  // under mailbox_lock_
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace scoot::server
