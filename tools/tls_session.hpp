// SPDX-License-Identifier: MIT
//
// How to be let in by a server: TLS, and who one is. tls_session is the client's side of one TLS connection, by
// OpenSSL, over a non-blocking socket that it does not own.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

struct ssl_st;
struct ssl_ctx_st;

namespace tools {

struct access_options {
  bool tls = false;
  bool no_verify = false;  // of the certificate: who signed it, and that it is of the name or address asked for
  std::string ca_file;     // who may have signed it; empty: whom the system trusts
  std::string cert_file;   // our own certificate with its chain, and its key, for servers that ask for one
  std::string key_file;
  std::string auth_file;  // whose first line is name:password; empty: nobody asks
};

class tls_session {
 public:
  // The handshake is done until the deadline. Null, with the reason.
  [[nodiscard]] static std::unique_ptr<tls_session> create(int socket, const std::string& host,
                                                           const access_options& access,
                                                           std::chrono::steady_clock::time_point deadline,
                                                           std::string& error);
  tls_session(const tls_session&) = delete;
  tls_session& operator=(const tls_session&) = delete;
  ~tls_session();

  // As recv() and send() on a non-blocking socket.
  [[nodiscard]] ssize_t read(void* to, std::size_t bytes) noexcept;
  [[nodiscard]] ssize_t write(const void* from, std::size_t bytes) noexcept;
  // Bytes are here that the socket does not tell of.
  [[nodiscard]] bool pending() const noexcept;

 private:
  tls_session(ssl_ctx_st* context, ssl_st* ssl) noexcept : context_(context), ssl_(ssl) {}
  [[nodiscard]] ssize_t result(int returned) noexcept;

  ssl_ctx_st* context_;
  ssl_st* ssl_;
};

}  // namespace tools
