// SPDX-License-Identifier: MIT
//
// server: scootd from checked options to its end, in this order: limits, sockets, background, user, cache, workers.
//
// Whoever starts it with -d learns from the exit status whether it came up: the parent waits for that.
#pragma once

#include <functional>

#include "server/options.hpp"

namespace scoot::server {

// Reads command line and configuration file again, for SIGHUP.
using settings_reader = std::function<parsed_options()>;

// Runs until SIGTERM or SIGINT. Returns the exit status; errors are told on standard error.
[[nodiscard]] int run_server(const parsed_options& parsed, const settings_reader& read_again);

}  // namespace scoot::server
