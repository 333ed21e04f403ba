// SPDX-License-Identifier: MIT
//
// log: the daemon's messages, to standard error by spdlog.
//
// Verbosity 0 tells what an operator must know (start, end, errors), 1 (-v) connections that are turned away, 2 (-vv)
// each connection, command and response as well. Threads: any.
#pragma once

#include <string_view>

namespace scoot::server {

void start_log(int verbosity);
void mute_log();  // for tests: nothing is printed, whatever the verbosity
void set_log_verbosity(int verbosity) noexcept;

// One command ('<') or response ('>') of connection `id`, printed without its end of line, at verbosity 2.
void log_traffic(char direction, int id, std::string_view line) noexcept;

}  // namespace scoot::server
