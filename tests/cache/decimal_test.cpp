// SPDX-License-Identifier: MIT
//
// Goal: incr and decr accept exactly what memcached 1.6 accepts. Method: its safe_strtoull is written out here, on top
// of the C library's strtoull, and compared with ours over chosen and random texts.
#include "cache/decimal.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "support.hpp"

namespace scoot::caching {
namespace {

std::optional<std::uint64_t> memcached_parses(std::string text) {
  text += "\r\n";  // as an item's value ends there
  errno = 0;
  char* end = nullptr;
  const unsigned long long number = std::strtoull(text.c_str(), &end, 10);
  if (errno == ERANGE || end == text.c_str()) return std::nullopt;
  if (std::isspace(static_cast<unsigned char>(*end)) == 0 && *end != '\0') return std::nullopt;
  if (static_cast<long long>(number) < 0 && std::memchr(text.c_str(), '-', end - text.c_str()) != nullptr) {
    return std::nullopt;
  }
  return number;
}

std::optional<std::uint64_t> ours(const std::string& text) {
  std::uint64_t number = 0;
  return parse_decimal(text, number) ? std::optional(number) : std::nullopt;
}

TEST(decimal, agrees_with_memcached_on_chosen_texts) {
  for (const char* text : {"0",
                           "1",
                           "007",
                           "18446744073709551615",
                           "18446744073709551616",
                           "99999999999999999999",
                           " 12",
                           "12 ",
                           "12 x",
                           "12x",
                           "x",
                           "-1",
                           "-0",
                           "+5",
                           "--1",
                           "-9223372036854775808",
                           "-9223372036854775809",
                           "-18446744073709551615",
                           "\t9",
                           "1\n2",
                           "+",
                           "-",
                           " ",
                           "9 9",
                           "1.5",
                           "-18446744073709551616"}) {
    EXPECT_EQ(ours(text), memcached_parses(text)) << text;
  }
}

TEST(decimal, agrees_with_memcached_on_random_texts) {
  testing::seeded random(1);
  for (int i = 0; i < 200000; ++i) {
    std::string text;
    for (auto length = 1 + random.below(22); length-- > 0;) text += "0123456789999 -+\tx"[random.below(18)];
    ASSERT_EQ(ours(text), memcached_parses(text)) << text;
  }
}

TEST(decimal, has_no_number_in_nothing) { EXPECT_EQ(ours(""), std::nullopt); }

}  // namespace
}  // namespace scoot::caching
