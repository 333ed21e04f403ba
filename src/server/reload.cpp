// SPDX-License-Identifier: MIT
#include "server/reload.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "server/credentials.hpp"
#include "server/log.hpp"
#include "server/process.hpp"
#include "server/tls.hpp"

namespace scoot::server {
namespace {

constexpr std::string_view changeable[] = {
    "memory-limit", "conn-limit",       "max-reqs-per-event", "disable-flush-all", "disable-dumping",
    "verbose",      "log-level",        "enable-shutdown",    "idle_timeout",      "maxconns_fast",
    "auth-file",    "no_maxconns_fast", "ssl_chain_cert",     "ssl_key",           "ssl_keyformat",
    "ssl_ca_cert",  "ssl_verify_mode",  "ssl_ciphers",        "ssl_min_version",   "ssl_session_cache",
};

std::string text_of(const std::map<std::string, std::string>& settings, const std::string& name) {
  const auto found = settings.find(name);
  return found == settings.end() || found->second.empty() ? "(unset)" : found->second;
}

}  // namespace

reloader::reloader(server_state& state, credentials& users, const parsed_options& running,
                   std::function<parsed_options()> read_again)
    : state_(state), users_(users), running_(running.settings), read_again_(std::move(read_again)) {}

// Whether clients must say who they are, and whether there is TLS, is settled for good.
bool reloader::may_change(const std::string& name, const server_options& wanted) const {
  if (name == "auth-file" && (state_.options.auth_file.empty() || wanted.auth_file.empty())) return false;
  if (name.rfind("ssl_", 0) == 0 && (state_.tls == nullptr || !wanted.tls.enabled)) return false;
  return std::find(std::begin(changeable), std::end(changeable), name) != std::end(changeable);
}

// The only step that can fail after it changed something is the last one that can fail at all.
std::string reloader::apply(const server_options& wanted, const settings_map& changed) {
  const auto differs = [&changed](const char* name) { return changed.count(name) != 0; };
  credentials users;
  const bool text_users = state_.text_users != nullptr && !wanted.auth_file.empty();
  const bool any_users = text_users || state_.sasl_users != nullptr;
  if (any_users) {
    if (std::string error = load_users(wanted, users); !error.empty()) return error;
  }
  const bool tls = state_.tls != nullptr && wanted.tls.enabled;
  if (tls) {
    tls_context trial;
    if (std::string error = trial.load(wanted.tls); !error.empty()) return "-Z: " + error;
  }
  if (differs("conn-limit")) {
    const unsigned descriptors = descriptors_for(wanted.connections_max, state_.options.threads);
    if (std::string error = raise_descriptor_limit(descriptors); !error.empty()) return error;
  }
  if (differs("memory-limit") && !state_.set_budget(wanted.memory_bytes)) {
    return "the memory is too small (-m)";
  }
  if (any_users) users_.replace(std::move(users));
  if (tls) {
    state_.set_tls_settings(wanted.tls);
    static_cast<void>(state_.refresh_certificates());
  }
  state_.live.take(wanted);
  if (differs("verbose") || differs("log-level")) {
    state_.verbosity.store(wanted.verbosity, std::memory_order_relaxed);
    set_log_verbosity(wanted.verbosity);
  }
  return {};
}

bool reloader::reload() {
  const parsed_options read = read_again_();
  std::string error = read.run ? std::string{} : read.text.substr(0, read.text.find('\n'));
  settings_map changed, fixed;
  if (error.empty()) {
    settings_map all = running_;
    all.insert(read.settings.begin(), read.settings.end());
    for (const auto& [name, ignored] : all) {
      if (text_of(running_, name) == text_of(read.settings, name)) continue;
      (may_change(name, read.options) ? changed : fixed)[name] = text_of(read.settings, name);
    }
    error = apply(read.options, changed);
  }
  if (!error.empty()) {
    spdlog::error("reload: nothing is changed: {}", error);
    return false;
  }
  for (const auto& [name, text] : changed) {
    spdlog::info("reload: {} is {}, was {}", name, text, text_of(running_, name));
    const auto now = read.settings.find(name);
    if (now == read.settings.end()) {
      running_.erase(name);
    } else {
      running_[name] = now->second;
    }
  }
  for (const auto& [name, text] : fixed) {
    spdlog::warn("reload: {} stays {}: {} needs a restart", name, text_of(running_, name), text);
  }
  spdlog::info("reload: done, {} changed, {} need a restart", changed.size(), fixed.size());
  return true;
}

}  // namespace scoot::server
