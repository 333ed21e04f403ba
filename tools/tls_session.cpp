// SPDX-License-Identifier: MIT
#include "tools/tls_session.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <utility>

namespace tools {
namespace {

std::string failure(const std::string& what) {
  char reason[256] = "unknown error";
  if (const unsigned long error = ERR_get_error(); error != 0) ERR_error_string_n(error, reason, sizeof reason);
  ERR_clear_error();
  return what + ": " + reason;
}

// Writing to a connection that is gone must not end the program, and writing to a closed pipe still must.
class without_sigpipe {
 public:
  without_sigpipe() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~without_sigpipe() {
    const int error = errno;
    const timespec now{};
    while (sigtimedwait(&pipe_, nullptr, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  without_sigpipe(const without_sigpipe&) = delete;
  without_sigpipe& operator=(const without_sigpipe&) = delete;

 private:
  sigset_t pipe_, before_;
};

bool set_up(SSL_CTX* context, const access_options& access, std::string& error) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_verify(context, access.no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (!access.ca_file.empty()) {
    if (SSL_CTX_load_verify_locations(context, access.ca_file.c_str(), nullptr) != 1) {
      return error = failure("--cafile " + access.ca_file), false;
    }
  } else if (!access.no_verify) {
    SSL_CTX_set_default_verify_paths(context);
  }
  if (access.cert_file.empty()) return true;
  if (SSL_CTX_use_certificate_chain_file(context, access.cert_file.c_str()) != 1) {
    return error = failure("--cert " + access.cert_file), false;
  }
  const std::string& key = access.key_file.empty() ? access.cert_file : access.key_file;
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return error = failure("--key " + key), false;
  }
  if (SSL_CTX_check_private_key(context) != 1) return error = failure("--key is not that of --cert"), false;
  return true;
}

// Whose certificate it must be. A unix socket has no name that one could have.
bool expect_host(SSL* ssl, const std::string& host) {
  if (host.empty()) return true;
  unsigned char binary[16];
  const bool is_address =
      inet_pton(AF_INET, host.c_str(), binary) == 1 || inet_pton(AF_INET6, host.c_str(), binary) == 1;
  if (is_address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  return SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 && SSL_set1_host(ssl, host.c_str()) == 1;
}

}  // namespace

std::unique_ptr<tls_session> tls_session::create(int socket, const std::string& host, const access_options& access,
                                                 std::chrono::steady_clock::time_point deadline, std::string& error) {
  using std::chrono::milliseconds;
  const without_sigpipe quiet;
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr) return error = failure("TLS"), nullptr;
  std::unique_ptr<tls_session> session(new tls_session(context, nullptr));
  if (!set_up(context, access, error)) return nullptr;
  SSL* const ssl = session->ssl_ = SSL_new(context);
  if (ssl == nullptr || SSL_set_fd(ssl, socket) != 1 || (!access.no_verify && !expect_host(ssl, host))) {
    return error = failure("TLS"), nullptr;
  }
  for (;;) {
    ERR_clear_error();
    const int done = SSL_connect(ssl);
    if (done == 1) return session;
    const int why = SSL_get_error(ssl, done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
      const long verdict = SSL_get_verify_result(ssl);
      error = verdict == X509_V_OK ? failure("no TLS with the server")
                                   : std::string("the server's certificate: ") + X509_verify_cert_error_string(verdict);
      return nullptr;
    }
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd wanted{socket, static_cast<short>(why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    if (left <= 0 || (poll(&wanted, 1, static_cast<int>(left)) <= 0 && errno != EINTR)) {
      return error = "the server does not answer to TLS", nullptr;
    }
  }
}

tls_session::~tls_session() {
  const without_sigpipe quiet;
  if (ssl_ != nullptr && SSL_is_init_finished(ssl_) == 1) SSL_shutdown(ssl_);
  ERR_clear_error();
  SSL_free(ssl_);
  SSL_CTX_free(context_);
}

ssize_t tls_session::result(int returned) noexcept {
  if (returned > 0) return returned;
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      errno = ECONNRESET;
      return -1;
  }
}

ssize_t tls_session::read(void* to, std::size_t bytes) noexcept {
  const without_sigpipe quiet;
  ERR_clear_error();
  return result(SSL_read(ssl_, to, static_cast<int>(std::min<std::size_t>(bytes, INT_MAX))));
}

ssize_t tls_session::write(const void* from, std::size_t bytes) noexcept {
  const without_sigpipe quiet;
  ERR_clear_error();
  return result(SSL_write(ssl_, from, static_cast<int>(std::min<std::size_t>(bytes, INT_MAX))));
}

bool tls_session::pending() const noexcept { return SSL_pending(ssl_) > 0; }

}  // namespace tools
