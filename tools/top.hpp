// SPDX-License-Identifier: MIT
//
// `scoot top`: a running server in the terminal. On a terminal that can move its cursor the screen is drawn anew at
// every interval and when its size changes, until q or Ctrl-C; on a dumb one, and where standard output is no terminal,
// the same lines come one after the other. The terminal is left as it was found.
#pragma once

#include <string>

#include "tools/tls_session.hpp"

namespace tools {

struct top_options {
  std::string address = "127.0.0.1:11211";
  access_options access;
  double interval_s = 1;
  bool once = false;
  bool json = false;
  bool no_sizes = false;  // do not ask for item sizes, every half minute
};

// 0; 1 if the server cannot be reached at the start, or with `once` at all.
int run_top(const top_options& options);

}  // namespace tools
