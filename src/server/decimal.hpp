// SPDX-License-Identifier: MIT
//
// Decimal numbers as the text protocol has them: reading with the C library's tolerance, writing without its cost.
//
// memcached reads numbers by strtoul and strtol, so " 7", "+7", "7\tx" are 7 to its clients; read_unsigned and
// read_signed accept the same texts. Pure functions over bytes; nothing is allocated, nothing throws.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace scoot::server {

inline constexpr std::size_t decimal_bytes_max = 20;  // of an unsigned 64-bit number

// C's isspace in the "C" locale.
[[nodiscard]] constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Writes the number at `to`, which has room for decimal_bytes_max bytes; returns the end of what was written.
inline char* write_decimal(char* to, std::uint64_t number) noexcept {
  return std::to_chars(to, to + decimal_bytes_max, number).ptr;
}

namespace detail {

struct digits {
  std::uint64_t magnitude = 0;
  bool negative = false;
};

// White space, a sign, digits, then the end or white space and anything. Empty if it is anything else, or above 2^64-1.
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

}  // namespace detail

// A number from 0 to 2^64-1; empty for anything else.
[[nodiscard]] constexpr std::optional<std::uint64_t> read_unsigned(std::string_view text) noexcept {
  const auto read = detail::read_digits(text);
  if (!read || (read->negative && read->magnitude != 0)) return std::nullopt;
  return read->magnitude;
}

// A number from -(2^63-1) to 2^63-1; empty for anything else.
[[nodiscard]] constexpr std::optional<std::int64_t> read_signed(std::string_view text) noexcept {
  const auto read = detail::read_digits(text);
  if (!read || read->magnitude > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const auto magnitude = static_cast<std::int64_t>(read->magnitude);
  return read->negative ? -magnitude : magnitude;
}

}  // namespace scoot::server
