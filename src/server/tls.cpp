// SPDX-License-Identifier: MIT
#include "server/tls.hpp"

#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <new>
#include <utility>

#include "server/server_state.hpp"

namespace scoot::server {
namespace {

// OpenSSL's functions under their own names, as pointers: the library is loaded when TLS is first asked for, since its
// pages would be 1.8 MiB of resident memory of every server. These hide the functions themselves from what is below,
// from the header's macros too.
#define SCOOT_OPENSSL_FUNCTIONS(OF)      \
  OF(ERR_clear_error)                    \
  OF(ERR_error_string_n)                 \
  OF(ERR_get_error)                      \
  OF(OPENSSL_sk_pop_free)                \
  OF(SSL_CTX_check_private_key)          \
  OF(SSL_CTX_ctrl)                       \
  OF(SSL_CTX_free)                       \
  OF(SSL_CTX_load_verify_locations)      \
  OF(SSL_CTX_new)                        \
  OF(SSL_CTX_sess_set_new_cb)            \
  OF(SSL_CTX_set_cipher_list)            \
  OF(SSL_CTX_set_client_CA_list)         \
  OF(SSL_CTX_set_options)                \
  OF(SSL_CTX_set_session_id_context)     \
  OF(SSL_CTX_set_verify)                 \
  OF(SSL_CTX_use_PrivateKey_file)        \
  OF(SSL_CTX_use_certificate_chain_file) \
  OF(SSL_free)                           \
  OF(SSL_get_error)                      \
  OF(SSL_in_init)                        \
  OF(SSL_load_client_CA_file)            \
  OF(SSL_new)                            \
  OF(SSL_pending)                        \
  OF(SSL_read)                           \
  OF(SSL_set_accept_state)               \
  OF(SSL_set_fd)                         \
  OF(SSL_shutdown)                       \
  OF(SSL_want)                           \
  OF(SSL_write)                          \
  OF(TLS_server_method)                  \
  OF(X509_NAME_free)

#define SCOOT_DECLARE(NAME) decltype(&::NAME) NAME = nullptr;
SCOOT_OPENSSL_FUNCTIONS(SCOOT_DECLARE)
#undef SCOOT_DECLARE

// Loads OpenSSL once and for all. An error text if it is not there.
std::string load_openssl() {
  static std::mutex one_at_a_time;
  static bool loaded = false;
  const std::lock_guard hold(one_at_a_time);
  if (loaded) return {};
  const std::string name = "libssl.so." + std::to_string(OPENSSL_SHLIB_VERSION);
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::string("OpenSSL cannot be loaded: ") + dlerror();
#define SCOOT_FIND(NAME)                                          \
  NAME = reinterpret_cast<decltype(NAME)>(dlsym(library, #NAME)); \
  if (NAME == nullptr) return std::string("OpenSSL has no ") + #NAME;
  SCOOT_OPENSSL_FUNCTIONS(SCOOT_FIND)
#undef SCOOT_FIND
  loaded = true;
  return {};
}

using context_pointer = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;

std::string failure(const std::string& what) {
  char reason[256] = "unknown error";
  if (const unsigned long error = ERR_get_error(); error != 0) ERR_error_string_n(error, reason, sizeof reason);
  ERR_clear_error();
  return what + ": " + reason;
}

int version_of(unsigned minor) noexcept {
  constexpr int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
  return versions[std::min(minor, 3U)];
}

int verify_mode_of(unsigned mode) noexcept {
  constexpr int modes[] = {SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT | SSL_VERIFY_CLIENT_ONCE};
  return modes[std::min(mode, 3U)];
}

std::atomic<std::uint64_t> sessions_made{0};  // that can be resumed, by all contexts

void set_habits(SSL_CTX* context, const tls_options& options) {
  // A write that was cut short goes on from another copy of the same bytes, and no buffer outlives its use.
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_min_proto_version(context, version_of(options.version_min));
  SSL_CTX_set_verify(context, verify_mode_of(options.verify_mode), nullptr);
  constexpr unsigned char name[] = "scootd";
  SSL_CTX_set_session_id_context(context, name, sizeof name - 1);
  SSL_CTX_sess_set_new_cb(context, [](SSL*, SSL_SESSION*) {
    sessions_made.fetch_add(1, std::memory_order_relaxed);
    return 0;  // it is not kept by us
  });
  SSL_CTX_set_session_cache_mode(context, options.session_cache ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
}

}  // namespace

tls_stream::~tls_stream() {
  ERR_clear_error();
  if (!failed_ && SSL_in_init(ssl_) == 0) SSL_shutdown(ssl_);
  ERR_clear_error();
  SSL_free(ssl_);
}

ssize_t tls_stream::read(void* to, std::size_t bytes) noexcept {
  ERR_clear_error();
  const int returned = SSL_read(ssl_, to, static_cast<int>(std::min<std::size_t>(bytes, INT_MAX)));
  read_wants_write_ = returned <= 0 && SSL_want_write(ssl_);
  return result(returned);
}

ssize_t tls_stream::write(const void* from, std::size_t bytes) noexcept {
  ERR_clear_error();
  const int returned = SSL_write(ssl_, from, static_cast<int>(std::min<std::size_t>(bytes, INT_MAX)));
  return result(returned);
}

ssize_t tls_stream::result(int returned) noexcept {
  if (returned > 0) return returned;
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_READ:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      failed_ = true;
      errno = ECONNRESET;
      return -1;
  }
}

// Without read-ahead no more than a record is taken from the socket, so what is not decrypted yet is part of a record,
// and the socket tells of the rest.
bool tls_stream::pending() const noexcept { return SSL_pending(ssl_) > 0; }
bool tls_stream::in_handshake() const noexcept { return SSL_in_init(ssl_) != 0; }

tls_context::tls_context() = default;

tls_context::~tls_context() {
  if (current_ != nullptr) SSL_CTX_free(current_);
}

std::string tls_context::load(const tls_options& options) {
  if (std::string error = load_openssl(); !error.empty()) return error;
  ERR_clear_error();
  context_pointer made(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (made == nullptr) return failure("TLS");
  set_habits(made.get(), options);
  if (SSL_CTX_use_certificate_chain_file(made.get(), options.chain_cert.c_str()) != 1) {
    return failure("ssl_chain_cert " + options.chain_cert);
  }
  const int form = options.key_is_der ? SSL_FILETYPE_ASN1 : SSL_FILETYPE_PEM;
  if (SSL_CTX_use_PrivateKey_file(made.get(), options.key.c_str(), form) != 1) {
    return failure("ssl_key " + options.key);
  }
  if (SSL_CTX_check_private_key(made.get()) != 1) return failure("ssl_key is not that of ssl_chain_cert");
  if (!options.ciphers.empty() && SSL_CTX_set_cipher_list(made.get(), options.ciphers.c_str()) != 1) {
    return failure("ssl_ciphers " + options.ciphers);
  }
  if (!options.ca_cert.empty()) {
    STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(options.ca_cert.c_str());
    if (names == nullptr || SSL_CTX_load_verify_locations(made.get(), options.ca_cert.c_str(), nullptr) != 1) {
      if (names != nullptr) sk_X509_NAME_pop_free(names, X509_NAME_free);
      return failure("ssl_ca_cert " + options.ca_cert);
    }
    SSL_CTX_set_client_CA_list(made.get(), names);  // which takes it over
  }
  SSL_CTX* before = made.release();
  {
    const std::lock_guard hold(lock_);
    std::swap(current_, before);
    loaded_ = std::chrono::steady_clock::now();
  }
  SSL_CTX_free(before);  // streams that use it keep it
  return {};
}

std::unique_ptr<tls_stream> tls_context::accept(int descriptor) const noexcept {
  ERR_clear_error();
  SSL* ssl = nullptr;
  {
    const std::lock_guard hold(lock_);
    ssl = SSL_new(current_);
  }
  if (ssl == nullptr) return nullptr;
  std::unique_ptr<tls_stream> stream(new (std::nothrow) tls_stream(ssl));
  if (stream == nullptr) {
    SSL_free(ssl);
    return nullptr;
  }
  if (SSL_set_fd(ssl, descriptor) != 1) return nullptr;
  SSL_set_accept_state(ssl);
  return stream;
}

bool server_state::refresh_certificates() noexcept {
  if (tls == nullptr) return false;
  const std::string error = tls->load(tls_settings());
  if (error.empty()) {
    spdlog::info("certificate and key are read again");
  } else {
    spdlog::error("certificate and key stay as they were: {}", error);
  }
  return error.empty();
}

std::uint64_t tls_context::new_sessions() noexcept { return sessions_made.load(std::memory_order_relaxed); }

unsigned tls_context::seconds_since_load() const noexcept {
  const std::lock_guard hold(lock_);
  const auto passed = std::chrono::steady_clock::now() - loaded_;
  return static_cast<unsigned>(std::chrono::duration_cast<std::chrono::seconds>(passed).count());
}

}  // namespace scoot::server
