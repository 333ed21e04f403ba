// SPDX-License-Identifier: MIT
//
// Of what a client says, what is answered the same every time and in whatever pieces it comes.
#pragma once

#include <string_view>

#include "server/protocol.hpp"

namespace scoot::fuzz {

[[nodiscard]] inline bool says_binary(std::string_view said) {
  return !said.empty() && static_cast<unsigned char>(said.front()) == 0x80;
}

// What may differ from one time to the next: times, bytes of memory that depend on the order of things, and the order
// of a dump.
[[nodiscard]] inline bool comparable(std::string_view said) {
  for (const std::string_view what : {"stats", "verbosity", "cache_memlimit", "lru_crawler"}) {
    if (said.find(what) != std::string_view::npos) return false;
  }
  return !says_binary(said) || said.find("\x80\x10") == std::string_view::npos;  // statistics
}

// Where a line without an end is cut off depends on how much of it came at once.
[[nodiscard]] inline bool has_no_endless_line(std::string_view said) {
  if (says_binary(said)) return true;  // no lines at all
  std::size_t line = 0;
  for (const char c : said) {
    line = c == '\n' ? 0 : line + 1;
    if (line > server::line_bytes_max) return false;
  }
  return true;
}

}  // namespace scoot::fuzz
