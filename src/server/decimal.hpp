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

#include "base/decimal.hpp"

namespace scoot::server {

inline constexpr std::size_t decimal_bytes_max = 20;  // of an unsigned 64-bit number

// Writes the number at `to`, which has room for decimal_bytes_max bytes; returns the end of what was written.
inline char* write_decimal(char* to, std::uint64_t number) noexcept {
  return std::to_chars(to, to + decimal_bytes_max, number).ptr;
}

// A number from 0 to 2^64-1; empty for anything else.
[[nodiscard]] constexpr std::optional<std::uint64_t> read_unsigned(std::string_view text) noexcept {
  const auto read = base::read_digits(text);
  if (!read || (read->negative && read->magnitude != 0)) return std::nullopt;
  return read->magnitude;
}

// A number from -(2^63-1) to 2^63-1; empty for anything else.
[[nodiscard]] constexpr std::optional<std::int64_t> read_signed(std::string_view text) noexcept {
  const auto read = base::read_digits(text);
  if (!read || read->magnitude > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const auto magnitude = static_cast<std::int64_t>(read->magnitude);
  return read->negative ? -magnitude : magnitude;
}

}  // namespace scoot::server
