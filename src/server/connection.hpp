// SPDX-License-Identifier: MIT
//
// connection: one client's socket: reading into a session, sending what it answers, keeping what could not be done yet.
//
//     socket --recv--> worker's read buffer --session--> worker's response buffer --one send--> socket
//        `----------> or a buffer of the loop --'
//                            | part of a command                  | not taken by the client
//                            v                                    v
//                        unread bytes                          backlog        (both only while needed)
//
// An idle connection is this object and nothing else. A connection with a backlog is not read from, so a client that
// does not read its responses stops itself: it costs at most one full response buffer and one full read buffer. What
// all of them keep together is bounded by the worker, which is told by kept() (client_memory.hpp).
//
// Where the client speaks TLS, a tls_stream stands between the connection and its socket.
//
// Ownership: a worker owns its connections; a connection owns its descriptor, unread bytes and backlog. Threads: its
// worker's only. Failure: whatever goes wrong with the socket, or memory that is short, ends the connection.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "server/event_loop.hpp"
#include "server/response_buffer.hpp"
#include "server/session.hpp"
#include "server/tls.hpp"

namespace scoot::server {

// What a connection works with: its worker's.
struct connection_context {
  session_context session;
  char* read_buffer = nullptr;
  std::size_t read_bytes_max = 0;  // of read_buffer; at least 8 KiB
  unsigned commands_per_turn = 0;
};

// Bytes that were received and not used yet.
class unread_bytes {
 public:
  unread_bytes() = default;
  unread_bytes(const unread_bytes&) = delete;
  unread_bytes& operator=(const unread_bytes&) = delete;
  ~unread_bytes();

  [[nodiscard]] std::string_view view() const noexcept { return {data_ + begin_, end_ - begin_}; }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }

  // Replaces everything. False if there is no memory.
  [[nodiscard]] bool assign(std::string_view bytes) noexcept;
  // Room for at least `bytes` behind what is there; null if there is no memory. grew() tells of what was put there.
  [[nodiscard]] char* room(std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t room_bytes() const noexcept { return capacity_ - end_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  void grew(std::size_t bytes) noexcept { end_ += bytes; }
  // Takes bytes off the front; gives the memory back when none are left.
  void drop(std::size_t bytes) noexcept;
  void release() noexcept;

 private:
  char* data_ = nullptr;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t capacity_ = 0;
};

class connection {
 public:
  enum class state : unsigned char {
    reading,   // wait until it is readable
    writing,   // wait until it is writable
    ready,     // has more to do with what it has: let others have their turn, then come back
    waiting,   // the same, but there is nothing to do before fewer values are pinned; its answers may be parked
    watching,  // its socket goes to server_state::watching
    closed,    // to be deleted
  };

  // Takes over the descriptor, which is non-blocking, and speaks through the stream if there is one.
  explicit connection(int descriptor, std::unique_ptr<tls_stream> stream = nullptr) noexcept
      : descriptor_(descriptor), session_(descriptor), stream_(std::move(stream)) {}
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  // What arrives must be read by it, and not by the loop.
  [[nodiscard]] bool reads_itself() const noexcept { return stream_ != nullptr || large_turns_ > 0; }
  // The client has not got as far as to speak.
  [[nodiscard]] bool in_handshake() const noexcept { return stream_ != nullptr && stream_->in_handshake(); }

  // The descriptor is readable. Each of these returns what to wait for next.
  state on_readable(const connection_context& with) noexcept;
  // The descriptor is writable, and the last state was writing.
  state on_writable(const connection_context& with) noexcept;
  // Its turn came again, and the last state was ready or waiting.
  state on_turn(const connection_context& with) noexcept;
  // Bytes that the event loop has received. While the last state is not reading they are kept, and the state stays.
  state on_received(const connection_context& with, std::string_view bytes) noexcept;
  // After watching: the socket and its stream are somebody else's, and what the client asked to be told.
  struct parts {
    int descriptor = -1;
    std::unique_ptr<tls_stream> stream;
    unsigned topics = 0;
  };
  [[nodiscard]] parts release() noexcept {
    return {std::exchange(descriptor_, -1), std::move(stream_), session_.watch_topics()};
  }
  // How it ended: "normal" or "error", as memcached says it, or "no_memory".
  [[nodiscard]] const char* end_reason() const noexcept { return broken_ ? "no_memory" : failed_ ? "error" : "normal"; }

  // True if it may keep something. Then kept() says what, its memory in bytes, of which backlog are answers, and values
  // pinned in the cache.
  struct keeps {
    std::size_t bytes = 0;
    std::size_t backlog_bytes = 0;
    std::size_t pinned_bytes = 0;
    // Since this was last asked: a command was finished or a batch of answers taken; any bytes came or went.
    bool progressed = false;
    bool moved = false;
  };
  [[nodiscard]] bool keeps_something() const noexcept { return keeps_; }
  [[nodiscard]] keeps kept() noexcept;
  // Gives back the pins of what it did not take. When it takes more it waits for pins, and goes on if the values are
  // there still: if not, or if there is no memory, it is closed.
  void park() noexcept;
  // Lets go of all it keeps. The connection is to be closed, which is also what it says from then on.
  void give_up() noexcept;
  // Answers that were sent and not taken by the client's side yet, in bytes: the kernel has them.
  [[nodiscard]] std::uint32_t untaken_bytes() const noexcept;
  [[nodiscard]] bool gave_up() const noexcept { return broken_; }

  // Nothing more will be received: it ends once all that came is answered.
  state on_ended() noexcept;

  // For its worker: what it waits for, where it is in the worker's list, and its watch in the event loop. Others may
  // read what is atomic, under the lock of the worker's list.
  std::atomic<state> waiting_for{state::reading};
  [[nodiscard]] state waits_for() const noexcept { return waiting_for.load(std::memory_order_relaxed); }
  std::uint32_t watch = 0;
  std::uint32_t index = 0;
  interest watched_for = interest::none;   // what the event loop was asked for
  std::atomic<std::uint32_t> active_s{0};  // when something last happened
  std::uint32_t progressed_ms = 0;         // when it last finished something, while it keeps anything
  std::uint32_t moved_ms = 0;              // when bytes of it last came or went
  std::uint32_t took_ms = 0;               // when it was last seen to take answers that were kept for it
  std::uint32_t untaken = 0;               // untaken_bytes() then
  std::size_t counted_bytes = 0;           // of it in client_memory
  std::size_t counted_pinned = 0;

 private:
  enum class sent : unsigned char { all, blocked, failed };

  state read_on(const connection_context& with, bool& filled) noexcept;
  void expect_large_values() noexcept;
  ssize_t receive(const iovec* to, int count) noexcept;
  [[nodiscard]] state after_no_bytes(ssize_t received) const noexcept;
  [[nodiscard]] state settled(state next) noexcept;
  state serve(const connection_context& with, std::string_view input, bool own_input) noexcept;
  state serve_line(const connection_context& with, std::size_t came) noexcept;
  state serve_all(const connection_context& with, std::string_view input, bool own_input) noexcept;
  state receive_value(const connection_context& with) noexcept;
  struct kept_of {
    bool own_input = false;
    bool was_used = false;  // something before what is kept was
  };
  state keep_unread(std::string_view rest, kept_of of, state next) noexcept;
  sent send(const connection_context& with, response_buffer& out) noexcept;
  ssize_t send_encrypted(const iovec* vectors, std::size_t count) noexcept;
  sent flush(const connection_context& with) noexcept;

  int descriptor_;
  bool closing_ = false;          // close once the backlog is sent
  bool ended_ = false;            // nothing more will be received: close once all input is used up
  bool more_to_read_ = false;     // the stream has bytes that the socket does not tell of
  bool broken_ = false;           // input or answers are lost: close at the next chance
  bool line_unfinished_ = false;  // unread_ is more than a little, and the beginning of a line
  bool keeps_ = false;            // unread_ or backlog_ may hold something
  bool progressed_ = false;       // see keeps
  bool moved_ = false;
  mutable bool failed_ = false;   // the socket did
  std::uint8_t large_turns_ = 0;  // so often large values are still expected, after the last one
  session session_;
  unread_bytes unread_;
  std::unique_ptr<response_buffer> backlog_;
  std::unique_ptr<tls_stream> stream_;
};

}  // namespace scoot::server
