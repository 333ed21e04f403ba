// SPDX-License-Identifier: MIT
//
// log: the daemon's messages, by spdlog.
//
// Verbosity 0 (info) tells what an operator must know (start, end, reloads, warnings, errors), 1 (debug, -v)
// connections that are turned away, 2 (trace, -vv) each connection, command and response as well; -1 leaves warnings
// and errors, -2 errors. Threads: any.
//
// As text a line is "date time level: message". As JSON it is an object with time (UTC, RFC 3339), level, pid and
// message. In the journal and in syslog the text has no date and level of its own, since these have them.
#pragma once

#include <string_view>

#include "server/options.hpp"

namespace scoot::server {

void start_log(const server_options& options);
// From here on standard error leads nowhere.
void log_from_background(const server_options& options);
void mute_log();  // for tests: nothing is printed, whatever the verbosity
void set_log_verbosity(int verbosity) noexcept;

// One command ('<') or response ('>') of connection `id`, printed without its end of line, at verbosity 2.
void log_traffic(char direction, int id, std::string_view line) noexcept;

}  // namespace scoot::server
