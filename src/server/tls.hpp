// SPDX-License-Identifier: MIT
//
// TLS by OpenSSL: what a server needs to accept it (tls_context), and one connection's side of it (tls_stream).
//
//     socket <--records--> tls_stream <--bytes--> connection
//
// A stream does no more than recv() and send() would: it never blocks, and keeps no more than a record in either
// direction. The handshake is part of the first reads.
//
// OpenSSL is loaded by the first context that is, so a server without TLS does not have it in its memory.
//
// Ownership: a context is shared by all streams that it made, and can be loaded anew at any time: streams go on with
// what they began with, later ones take the new certificate. Threads: a context's functions by any, a stream by one at
// a time. Failure: error texts, and -1 with errno as of recv() and send().
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "server/options.hpp"

struct ssl_st;
struct ssl_ctx_st;

namespace scoot::server {

class tls_stream {
 public:
  static constexpr std::size_t record_bytes = std::size_t{16} << 10;  // a write of more is several records

  explicit tls_stream(ssl_st* ssl) noexcept : ssl_(ssl) {}
  tls_stream(const tls_stream&) = delete;
  tls_stream& operator=(const tls_stream&) = delete;
  ~tls_stream();  // tells the client that nothing more comes

  // As recv() and send() on a non-blocking socket.
  [[nodiscard]] ssize_t read(void* to, std::size_t bytes) noexcept;
  [[nodiscard]] ssize_t write(const void* from, std::size_t bytes) noexcept;

  // After read() said EAGAIN: true if it waits for the socket to be writable.
  [[nodiscard]] bool read_wants_write() const noexcept { return read_wants_write_; }
  // Bytes were received that read() would give, though the socket may not be readable.
  [[nodiscard]] bool pending() const noexcept;
  // The handshake is not complete (yet).
  [[nodiscard]] bool in_handshake() const noexcept;

 private:
  ssize_t result(int returned) noexcept;

  ssl_st* ssl_;
  bool read_wants_write_ = false;
  bool failed_ = false;
};

class tls_context {
 public:
  tls_context();
  ~tls_context();

  // Reads certificate and key and replaces what it had; keeps that if there is an error, and returns what it is.
  [[nodiscard]] std::string load(const tls_options& options);
  // Null if there is no memory.
  [[nodiscard]] std::unique_ptr<tls_stream> accept(int descriptor) const noexcept;
  [[nodiscard]] unsigned seconds_since_load() const noexcept;
  // Those that clients may resume, ever, of all contexts; with tls_options::session_cache only.
  [[nodiscard]] static std::uint64_t new_sessions() noexcept;

 private:
  mutable std::mutex lock_;
  ssl_ctx_st* current_ = nullptr;
  std::chrono::steady_clock::time_point loaded_;
};

}  // namespace scoot::server
