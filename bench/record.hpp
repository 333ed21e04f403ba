// SPDX-License-Identifier: MIT
//
// Running a program under the recorder (recorder/recorder.cpp).
#pragma once

#include <string>
#include <vector>

namespace bench {

struct record_request {
  std::string file;                  // to write; must not exist
  std::vector<std::string> program;  // found along PATH, and its arguments
  std::string input;                 // its standard input; empty: ours
  bool quiet = false;                // its standard output goes nowhere
};

// Waits for the program. Its exit status (128 and the signal if it was killed); -1, with a message, if nothing was
// recorded.
int record_program(const record_request& request);

}  // namespace bench
