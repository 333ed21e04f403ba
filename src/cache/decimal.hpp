// SPDX-License-Identifier: MIT
//
// The numbers that incr and decr accept: what memcached's safe_strtoull makes of a value.
#pragma once

#include <cstdint>
#include <string_view>

namespace scoot::caching {

[[nodiscard]] constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

// White space, a sign, digits; then the end or white space, and anything after that. A minus gives the two's
// complement, as strtoull does, and is refused where that is above 2^63. False, and out unchanged, if it is no number.
[[nodiscard]] constexpr bool parse_decimal(std::string_view text, std::uint64_t& out) noexcept {
  std::size_t at = 0;
  while (at < text.size() && is_space(text[at])) ++at;
  bool minus = false;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) minus = text[at++] == '-';
  const std::size_t first = at;
  std::uint64_t number = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (number > (~std::uint64_t{0} - digit) / 10) return false;
    number = number * 10 + digit;
  }
  if (at == first || (at < text.size() && !is_space(text[at]))) return false;
  if (minus) number = ~number + 1;
  if (minus && number >> 63 != 0) return false;
  out = number;
  return true;
}

}  // namespace scoot::caching
