// SPDX-License-Identifier: MIT
//
// A server_view as lines of text that fit a width and a height. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/top_sample.hpp"

namespace tools {

struct screen_size {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

// No line is longer than the columns, and there are at most as many as rows; what matters least is left out first.
// `notice`, if not empty, is the last line.
[[nodiscard]] std::vector<std::string> screen_of(const server_view& v, const std::string& where, screen_size size,
                                                 const std::string& notice);

// 1234567 as "1.23 M", and with the units of bytes as "1.18 MiB".
[[nodiscard]] std::string in_short(double value);
[[nodiscard]] std::string bytes_in_short(double bytes);

}  // namespace tools
