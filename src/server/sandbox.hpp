// SPDX-License-Identifier: MIT
//
// sandbox: what the process gives up for good once it listens: privileges, and with --seccomp all system calls but
// those that it needs.
//
// A call that is not on the list fails with EPERM, and the kernel logs it: a bug in the list or a library that wants
// more is an error of that call, never the end of the process. What requests of io_uring do is not filtered; with
// --io=epoll there is no io_uring. Threads: one, before any other is started, since all later ones inherit it.
#pragma once

#include <string>

#include "server/options.hpp"

namespace scoot::server {

// No more privileges by any exec, and, unless we are root, no capability but that for a thread's priority. Returns an
// error text, empty if all went well, as does the other.
[[nodiscard]] std::string drop_capabilities();

// off: nothing. log: all calls are allowed, those not on the list are logged. on: those fail.
[[nodiscard]] std::string filter_system_calls(const server_options& options);

}  // namespace scoot::server
