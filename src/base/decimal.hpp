// SPDX-License-Identifier: MIT
//
// Reading decimal digits with the tolerance of C's strtoul, which is what clients of memcached's protocol rely on:
// white space and a sign before them, white space and then anything behind. Pure; nothing is allocated, nothing throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace scoot::base {

// C's isspace in the "C" locale.
[[nodiscard]] constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

struct digits {
  std::uint64_t magnitude = 0;
  bool negative = false;
};

// Empty if the text is no number, or its magnitude is above 2^64-1.
[[nodiscard]] constexpr std::optional<digits> read_digits(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size() && is_space(text[at])) ++at;
  digits result;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) result.negative = text[at++] == '-';
  const std::size_t first = at;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (result.magnitude > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) return std::nullopt;
    result.magnitude = result.magnitude * 10 + digit;
  }
  if (at == first || (at < text.size() && !is_space(text[at]))) return std::nullopt;
  return result;
}

}  // namespace scoot::base
