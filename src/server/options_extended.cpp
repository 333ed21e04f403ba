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
    "watcher_logbuf_size",
    "worker_logbuf_size",
    "resp_obj_mem_limit",
    "read_buf_mem_limit",
    "track_sizes",
    "no_inline_ascii_resp",
    "inline_ascii_resp",
    "modern",
    "no_modern",
    "no_drop_privileges",
    "ssl_wbuf_size",
};

struct refusal {
  std::string_view name;
  std::string_view reason;
};

constexpr refusal refusals[] = {
    {"drop_privileges", "there is no filter of system calls"},
    {"ssl_kernel_tls", "TLS is done by OpenSSL, not by the kernel"},
    {"relaxed_privileges", "there is no filter of system calls"},
    {"proxy_config", "there is no proxy"},
    {"proxy_arg", "there is no proxy"},
    {"meta_response_old", "meta commands answer as memcached's have since 1.6.10"},
};

std::string_view cut(std::string_view& rest, char at) {
  const std::size_t end = std::min(rest.find(at), rest.size());
  const std::string_view front = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return front;
}

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
    if (value != "PEM" && value != "DER") refuse("-o ssl_keyformat: '", value, "' is neither PEM nor DER");
    tls.key_is_der = value == "DER";
  } else {
    return false;
  }
  return true;
}

void parse_one(std::string_view name, const std::string& value, server_options& options) {
  if (parse_tls(name, value, options.tls)) return;
  if (name == "idle_timeout") {
    options.idle_timeout_s = static_cast<unsigned>(number(value, "-o idle_timeout", 0, 1'000'000'000));
  } else if (name == "maxconns_fast") {
    options.reject_at_limit = true;
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

}  // namespace

void parse_extended(std::string_view list, server_options& options) {
  while (!list.empty()) {
    std::string_view value = cut(list, ',');
    const std::string_view name = cut(value, '=');
    if (name.empty()) continue;
    constexpr std::string_view paths[] = {"ssl_chain_cert", "ssl_key", "ssl_ca_cert", "ssl_ciphers"};
    const bool needs_value = std::find(std::begin(paths), std::end(paths), name) != std::end(paths);
    if (needs_value && value.empty()) refuse("-o ", std::string(name), " needs a value");
    parse_one(name, std::string(value), options);
  }
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
