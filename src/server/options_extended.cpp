// SPDX-License-Identifier: MIT
//
// memcached's extended options (-o). Those that tune a mechanism that is not here, and that no client can tell, are
// accepted and do nothing; those that promise what is not here are refused. docs/options.md lists them.
#include <algorithm>
#include <iterator>

#include "server/option_values.hpp"

namespace scoot::server {
namespace {

// Of slab classes, LRU segments, their maintenance, the hash table, and memory for what is done without here.
constexpr std::string_view without_effect[] = {
    "hashpower",
    "no_hashexpand",
    "hash_algorithm",
    "slab_reassign",
    "no_slab_reassign",
    "slab_automove",
    "no_slab_automove",
    "slab_automove_ratio",
    "slab_automove_window",
    "slab_chunk_max",
    "no_chunked_items",
    "tail_repair_time",
    "lru_crawler",
    "no_lru_crawler",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "lru_maintainer",
    "no_lru_maintainer",
    "hot_lru_pct",
    "warm_lru_pct",
    "hot_max_factor",
    "warm_max_factor",
    "temporary_ttl",
    "worker_logbuf_size",
    "resp_obj_mem_limit",
    "read_buf_mem_limit",
    "track_sizes",
    "no_inline_ascii_resp",
    "inline_ascii_resp",
    "modern",
    "no_modern",
    "no_drop_privileges",
    "relaxed_privileges",
    "ssl_wbuf_size",
    "slab_automove_freeratio",
    "slab_sizes",
};

// Those with an effect: a default or what is to be put there, and what it is.
struct effect {
  std::string_view name;
  std::string_view value;
  std::string_view what;
};

constexpr effect effects[] = {
    {"idle_timeout", "0", "close connections of which nothing was heard for so many seconds (0: none)"},
    {"maxconns_fast", "true", "connections beyond conn-limit are told so and closed"},
    {"no_maxconns_fast", "false", "connections beyond conn-limit wait until others end"},
    {"watcher_logbuf_size", "256", "KiB of lines kept for a client that watches, twice"},
    {"ssl_chain_cert", "PATH", "TLS: the certificate, with those that sign it"},
    {"ssl_key", "PATH", "TLS: its key"},
    {"ssl_keyformat", "PEM", "TLS: of the key; PEM or DER"},
    {"ssl_ca_cert", "PATH", "TLS: whose clients' certificates are believed"},
    {"ssl_verify_mode", "0", "TLS: 0: clients need no certificate, 1: one is asked for, 2 and 3: one is required"},
    {"ssl_ciphers", "LIST", "TLS: ciphers in OpenSSL's words, for TLS 1.2 and older"},
    {"ssl_min_version", "2", "TLS: the oldest version, 0 to 3 for TLS 1.0 to 1.3"},
    {"ssl_session_cache", "false", "TLS: sessions can be resumed from the server's memory"},
};

struct refusal {
  std::string_view name;
  std::string_view reason;
};

constexpr refusal refusals[] = {
    {"ssl_kernel_tls", "TLS is done by OpenSSL, not by the kernel"},
    {"proxy_config", "there is no proxy"},
    {"proxy_arg", "there is no proxy"},
    {"proxy_uring", "there is no proxy"},
    {"sock_cookie_id", "sockets get no cookie that a packet filter could go by"},
    {"meta_response_old", "meta commands answer as memcached's have since 1.6.10"},
};

unsigned version_minor(const std::string& value) {
  constexpr std::string_view words[] = {"tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"};
  const auto* const word = std::find(std::begin(words), std::end(words), value);
  if (word != std::end(words)) return static_cast<unsigned>(word - std::begin(words));
  return static_cast<unsigned>(number(value, "-o ssl_min_version", 0, 3));
}

bool parse_tls(std::string_view name, const std::string& value, tls_options& tls) {
  if (name == "ssl_chain_cert") {
    tls.chain_cert = value;
  } else if (name == "ssl_key") {
    tls.key = value;
  } else if (name == "ssl_ca_cert") {
    tls.ca_cert = value;
  } else if (name == "ssl_ciphers") {
    tls.ciphers = value;
  } else if (name == "ssl_verify_mode") {
    tls.verify_mode = static_cast<unsigned>(number(value, "-o ssl_verify_mode", 0, 3));
  } else if (name == "ssl_min_version") {
    tls.version_min = version_minor(value);
  } else if (name == "ssl_session_cache") {
    tls.session_cache = true;
  } else if (name == "ssl_keyformat") {
    if (value == "ENGINE") refuse("-o ssl_keyformat: keys are read from files, PEM or DER, not from OpenSSL's engines");
    if (value != "PEM" && value != "DER") refuse("-o ssl_keyformat: '", value, "' is neither PEM nor DER");
    tls.key_is_der = value == "DER";
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool is_extended(std::string_view name) noexcept {
  const auto same = [name](const effect& one) { return one.name == name; };
  return std::any_of(std::begin(effects), std::end(effects), same);
}

std::string extended_example() {
  std::string out = "\n# ---- options of -o ----\n";
  for (const effect& one : effects) {
    out.append("\n# ").append(one.what).append("\n#").append(one.name).append(" = ").append(one.value).append("\n");
  }
  return out;
}

void parse_extended(std::string_view name, const std::string& value, server_options& options) {
  constexpr std::string_view paths[] = {"ssl_chain_cert", "ssl_key", "ssl_ca_cert", "ssl_ciphers"};
  const bool needs_value = std::find(std::begin(paths), std::end(paths), name) != std::end(paths);
  if (needs_value && value.empty()) refuse("-o ", std::string(name), " needs a value");
  if (parse_tls(name, value, options.tls)) return;
  if (name == "idle_timeout") {
    options.idle_timeout_s = static_cast<unsigned>(number(value, "-o idle_timeout", 0, 1'000'000'000));
  } else if (name == "watcher_logbuf_size") {
    options.watcher_buffer_bytes = std::size_t{1} << 10;
    options.watcher_buffer_bytes *= static_cast<std::size_t>(number(value, "-o watcher_logbuf_size", 4, 4096));
  } else if (name == "maxconns_fast") {
    options.reject_at_limit = true;
  } else if (name == "drop_privileges") {  // memcached's filter of system calls
    options.seccomp = seccomp_mode::on;
  } else if (name == "no_maxconns_fast") {
    options.reject_at_limit = false;
  } else if (name.substr(0, 4) == "ext_") {
    refuse("-o ", std::string(name), ": there is no external storage");
  } else if (std::find(std::begin(without_effect), std::end(without_effect), name) == std::end(without_effect)) {
    for (const refusal& r : refusals) {
      if (r.name == name) refuse("-o ", std::string(name), ": ", std::string(r.reason));
    }
    refuse("-o ", std::string(name), ": there is no such option");
  }
}

void parse_extended(std::string_view list, server_options& options) {
  each_extended(list,
                [&options](std::string_view name, const std::string& value) { parse_extended(name, value, options); });
}

void check_extended(const server_options& options) {
  const tls_options& tls = options.tls;
  if (tls.enabled && (tls.chain_cert.empty() || tls.key.empty())) {
    refuse("-Z needs -o ssl_chain_cert=PATH and ssl_key=PATH");
  }
  if (!tls.enabled && !(tls.chain_cert + tls.key + tls.ca_cert + tls.ciphers).empty()) {
    refuse("-o ssl_...: without -Z nothing would be encrypted");
  }
}

}  // namespace scoot::server
