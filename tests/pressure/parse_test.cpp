// SPDX-License-Identifier: MIT
//
// Goal: what the kernel writes about memory is understood, and anything else is no result rather than a wrong one.
// Method: real lines, edge cases by hand, and random bytes and mutations of real text from a seed.
#include "pressure/parse.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

#include "support.hpp"

namespace scoot::pressure {
namespace {

TEST(parse, numbers_are_decimal_and_max_is_no_limit) {
  EXPECT_EQ(parse_bytes("4096\n"), 4096U);
  EXPECT_EQ(parse_bytes("  7 \n"), 7U);
  EXPECT_EQ(parse_bytes("max\n"), no_limit);
  EXPECT_EQ(parse_bytes("18446744073709551615"), no_limit);
  EXPECT_EQ(parse_bytes("99999999999999999999999999"), no_limit);
  for (const char* bad : {"", "\n", "-1", "+1", "1 2", "0x10", "12kB", "maximum", "1e3"}) {
    EXPECT_EQ(parse_bytes(bad), std::nullopt) << bad;
  }
}

TEST(parse, a_field_is_found_by_its_whole_name) {
  const char* text = "total_inactive_file 5\ninactive_file 7\ninactive_file_x 9\nlast 3";
  EXPECT_EQ(find_field(text, "inactive_file"), 7U);
  EXPECT_EQ(find_field(text, "last"), 3U);
  EXPECT_EQ(find_field(text, "file"), std::nullopt);
  EXPECT_EQ(find_field("inactive_file\n", "inactive_file"), std::nullopt);
}

TEST(parse, meminfo_is_in_kib) {
  const char* text = "MemTotal:       24683656 kB\nMemAvailable:   10 kB\nHugePages_Total:       0\n";
  EXPECT_EQ(find_meminfo(text, "MemTotal"), 24683656ULL * 1024);
  EXPECT_EQ(find_meminfo(text, "MemAvailable"), 10240U);
  EXPECT_EQ(find_meminfo(text, "HugePages_Total"), std::nullopt);
  EXPECT_EQ(find_meminfo(text, "Mem"), std::nullopt);
  EXPECT_EQ(find_meminfo("MemTotal: 99999999999999999999 kB", "MemTotal"), no_limit);
}

TEST(parse, cgroup_lines_have_controllers_and_a_path_that_may_contain_colons) {
  const auto line = parse_cgroup_line("9:memory,cpu:/a:b");
  ASSERT_TRUE(line);
  EXPECT_TRUE(lists(line->controllers, "memory"));
  EXPECT_TRUE(lists(line->controllers, "cpu"));
  EXPECT_FALSE(lists(line->controllers, "mem"));
  EXPECT_EQ(line->path, "/a:b");
  EXPECT_EQ(parse_cgroup_line("0::/")->controllers, "");
  for (const char* bad : {"", "0", "0:", "0::", "0::a", ":::"}) EXPECT_FALSE(parse_cgroup_line(bad)) << bad;
}

TEST(parse, mount_lines_have_any_number_of_optional_fields) {
  for (const char* optional : {"", " shared:9", " shared:9 master:1"}) {
    const std::string line =
        std::string("35 31 0:32 /r /sys/fs/cgroup/memory rw,relatime") + optional + " - cgroup cgroup rw,memory";
    const auto mount = parse_mount_line(line);
    ASSERT_TRUE(mount) << line;
    EXPECT_EQ(mount->root, "/r");
    EXPECT_EQ(mount->point, "/sys/fs/cgroup/memory");
    EXPECT_EQ(mount->type, "cgroup");
    EXPECT_EQ(mount->options, "rw,memory");
  }
  EXPECT_FALSE(parse_mount_line("35 31 0:32 / /x rw"));
  EXPECT_FALSE(parse_mount_line("35 31 0:32 x /x rw - cgroup cgroup rw"));
}

TEST(parse, escapes_of_mount_points_are_resolved) {
  path_text path;
  append_unescaped(path, "/a\\040b\\134c\\9");
  EXPECT_EQ(path.view(), "/a b\\c\\9");
}

std::string folder(std::string_view root, std::string_view point, std::string_view cgroup) {
  path_text path;
  append_cgroup_folder(path, {root, point, "cgroup2", ""}, cgroup);
  return std::string(path.view());
}

TEST(parse, a_cgroup_is_seen_through_its_mount) {
  EXPECT_EQ(folder("/", "/sys/fs/cgroup", "/"), "/sys/fs/cgroup");
  EXPECT_EQ(folder("/", "/sys/fs/cgroup", "/user/a"), "/sys/fs/cgroup/user/a");
  // A container whose mount begins at its own cgroup, without a namespace.
  EXPECT_EQ(folder("/docker/1", "/m", "/docker/1"), "/m");
  EXPECT_EQ(folder("/docker/1", "/m", "/docker/1/sub"), "/m/sub");
  EXPECT_EQ(folder("/docker/1", "/m", "/docker/12"), "/m");
  // Paths outside of the mount, or of the namespace.
  EXPECT_EQ(folder("/docker/1", "/m", "/other"), "/m");
  EXPECT_EQ(folder("/", "/m", "/../other"), "/m");
  EXPECT_EQ(folder("/../..", "/m", "/a"), "/m");
}

TEST(parse, a_path_that_is_too_long_is_empty_for_good) {
  path_text path("/a");
  path.append(std::string(1021, 'x'));
  EXPECT_EQ(path.view().size(), 1023U);
  path.append("y");
  EXPECT_EQ(path.view(), "");
  path.append("/etc");
  EXPECT_STREQ(path.c_str(), "");
  EXPECT_EQ(path_text(std::string_view("a\0b", 3)).view(), "");
}

TEST(parse, base64_is_decoded_or_refused) {
  std::array<char, 64> bytes{};
  const auto decoded = [&](std::string_view text) -> std::optional<std::string> {
    const auto size = decode_base64(text, bytes);
    return size ? std::optional(std::string(bytes.data(), *size)) : std::nullopt;
  };
  EXPECT_EQ(decoded("c29tZSAyMDAwMDAgMjAwMDAwMAA="), std::string("some 200000 2000000\0", 20));
  EXPECT_EQ(decoded("YQ=="), "a");
  EXPECT_EQ(decoded(""), "");
  for (const char* bad : {"YQ", "YQ=", "Y===", "Y Q=", "$$$$", "YQ==YQ=="})
    EXPECT_EQ(decoded(bad), std::nullopt) << bad;
  EXPECT_EQ(decoded(std::string(400, 'A')), std::nullopt) << "does not fit";
}

// Whatever the bytes, the parsers return; sanitizers watch that they stay within them.
TEST(parse, garbage_is_survived) {
  std::mt19937_64 random(11);
  const std::string real =
      "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n4:memory:/a\nMemTotal: 5 kB\ninactive_file "
      "7\nmax\n";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = real;
    if (round % 2 == 0) {
      text.resize(random() % 80);
      for (char& c : text) c = static_cast<char>(random());
    } else {
      for (int change = 0; change < 4; ++change) text[random() % text.size()] = static_cast<char>(random());
      text.resize(random() % (text.size() + 1));
    }
    (void)parse_bytes(text);
    (void)find_field(text, "inactive_file");
    (void)find_meminfo(text, "MemTotal");
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view line = next_line(rest);
      (void)parse_cgroup_line(line);
      if (const auto mount = parse_mount_line(line)) {
        path_text path;
        append_cgroup_folder(path, *mount, line);
        EXPECT_LT(path.view().size(), 1024U);
      }
    }
    std::array<char, 32> bytes{};
    if (const auto size = decode_base64(text, bytes)) {
      EXPECT_LE(*size, bytes.size());
    }
  }
}

}  // namespace
}  // namespace scoot::pressure
