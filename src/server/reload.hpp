// SPDX-License-Identifier: MIT
//
// reload: what SIGHUP does. Command line and configuration file are read again, and what may change while running does.
//
// Either all of it is good or nothing changes: options, certificate and key, and the file of -Y are looked at first.
// Each change is told by name, with what it was and what it is; so is what differs but needs a restart, and that is
// told at every reload until there was one. What a command changed meanwhile (cache_memlimit, verbosity) stays until
// the option says something else than it did.
//
// Ownership: refers to the state and the credentials, which outlive it. Threads: one.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "server/options.hpp"
#include "server/server_state.hpp"

namespace scoot::server {

class credentials;

class reloader {
 public:
  // What the server runs with, and how to read it again.
  reloader(server_state& state, credentials& users, const parsed_options& running,
           std::function<parsed_options()> read_again);

  // False, and nothing is changed, if something is wrong with what was read.
  bool reload();

 private:
  using settings_map = std::map<std::string, std::string>;

  [[nodiscard]] bool may_change(const std::string& name, const server_options& wanted) const;
  [[nodiscard]] std::string apply(const server_options& wanted, const settings_map& changed);

  server_state& state_;
  credentials& users_;
  settings_map running_;
  std::function<parsed_options()> read_again_;
};

}  // namespace scoot::server
