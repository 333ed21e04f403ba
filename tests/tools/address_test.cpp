// SPDX-License-Identifier: MIT
//
// Goal: addresses as people write them, and a clear reason for what is none. Method: tables.
#include "tools/address.hpp"

#include <gtest/gtest.h>

namespace tools::testing {
namespace {

TEST(address, is_read_in_all_its_forms) {
  const struct {
    const char *given, *host, *port, *path, *text;
  } table[] = {{"cache", "cache", "7", "", "cache:7"},
               {"cache:99", "cache", "99", "", "cache:99"},
               {"127.0.0.1:11211", "127.0.0.1", "11211", "", "127.0.0.1:11211"},
               {"11212", "127.0.0.1", "11212", "", "127.0.0.1:11212"},
               {"::1", "::1", "7", "", "[::1]:7"},
               {"[::1]", "::1", "7", "", "[::1]:7"},
               {"[fe80::1]:65535", "fe80::1", "65535", "", "[fe80::1]:65535"},
               {"/run/scootd.sock", "", "", "/run/scootd.sock", "/run/scootd.sock"},
               {"./s", "", "", "./s", "./s"}};
  for (const auto& one : table) {
    address a;
    std::string error;
    ASSERT_TRUE(parse_address(one.given, 7, a, error)) << one.given << ": " << error;
    EXPECT_EQ(a.path, one.path) << one.given;
    if (*one.path == '\0') {
      EXPECT_EQ(a.host, one.host) << one.given;
      EXPECT_EQ(a.port, one.port) << one.given;
    }
    EXPECT_EQ(a.text(), one.text);
  }
}

TEST(address, that_is_none_is_refused_with_a_reason) {
  for (const char* given : {"", ":", ":11211", "host:", "host:x", "host:0", "host:65536", "[::1", "[::1]x",
                            "[::1]:", "[]:1", "host:1x", "host:-1"}) {
    address a;
    std::string error;
    EXPECT_FALSE(parse_address(given, 7, a, error)) << given;
    EXPECT_FALSE(error.empty()) << given;
  }
  address a;
  std::string error;
  EXPECT_FALSE(parse_address("/" + std::string(200, 'x'), 7, a, error));
}

}  // namespace
}  // namespace tools::testing
