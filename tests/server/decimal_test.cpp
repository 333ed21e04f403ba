// SPDX-License-Identifier: MIT
//
// Goal: numbers are read as the C library reads them for memcached. Method: the same texts through strtoull and
// strtoll, over a grid of every short text of the characters that matter.
#include "server/decimal.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace scoot::server {
namespace {

template <class Number, class Convert>
std::optional<Number> by_the_c_library(const std::string& text, Convert convert) {
  char* end = nullptr;
  errno = 0;
  const Number value = convert(text.c_str(), &end, 10);
  if (errno == ERANGE || end == text.c_str()) return std::nullopt;
  if (*end != '\0' && !base::is_space(*end)) return std::nullopt;
  return value;
}

template <class Visit>
void for_each_text(std::size_t length, Visit&& visit, std::string text = {}) {
  visit(text);
  if (text.size() == length) return;
  for (const char c : {' ', '\t', '\r', '+', '-', '0', '1', '9', 'x'}) for_each_text(length, visit, text + c);
}

TEST(decimal, reads_unsigned_numbers_as_strtoull_does) {
  for_each_text(5, [](const std::string& text) {
    auto expected = by_the_c_library<std::uint64_t>(text, std::strtoull);
    // memcached refuses what strtoull makes of a negative number.
    if (expected && *expected != 0 && text.find('-') < text.find_first_of("0123456789")) expected.reset();
    ASSERT_EQ(read_unsigned(text), expected) << "'" << text << "'";
  });
}

TEST(decimal, reads_signed_numbers_as_strtoll_does) {
  for_each_text(5, [](const std::string& text) {
    ASSERT_EQ(read_signed(text), by_the_c_library<std::int64_t>(text, std::strtoll)) << "'" << text << "'";
  });
}

TEST(decimal, reads_up_to_the_limits_and_not_beyond) {
  EXPECT_EQ(read_unsigned("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(read_unsigned("18446744073709551616"), std::nullopt);
  EXPECT_EQ(read_unsigned("184467440737095516150"), std::nullopt);
  EXPECT_EQ(read_unsigned("00000000000000000000000000000000000007"), 7u);
  EXPECT_EQ(read_signed("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(read_signed("9223372036854775808"), std::nullopt);
  EXPECT_EQ(read_signed("-9223372036854775807"), -std::numeric_limits<std::int64_t>::max());
}

TEST(decimal, writes_what_it_reads) {
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{10}, std::uint64_t{99},
                                     std::uint64_t{4294967296}, std::numeric_limits<std::uint64_t>::max()}) {
    char text[decimal_bytes_max];
    const char* const end = write_decimal(text, number);
    EXPECT_EQ(std::string(text, static_cast<std::size_t>(end - text)), std::to_string(number));
  }
}

}  // namespace
}  // namespace scoot::server
