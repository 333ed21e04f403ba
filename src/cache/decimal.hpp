// SPDX-License-Identifier: MIT
//
// The numbers that incr and decr accept: what memcached's safe_strtoull makes of a value.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/decimal.hpp"

namespace scoot::caching {

// A minus gives the two's complement, as strtoull does, and is refused where that is above 2^63. False, and out
// unchanged, if the text is no number.
[[nodiscard]] constexpr bool parse_decimal(std::string_view text, std::uint64_t& out) noexcept {
  const auto read = base::read_digits(text);
  if (!read) return false;
  const std::uint64_t number = read->negative ? ~read->magnitude + 1 : read->magnitude;
  if (read->negative && number >> 63 != 0) return false;
  out = number;
  return true;
}

}  // namespace scoot::caching
