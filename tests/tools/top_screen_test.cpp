// SPDX-License-Identifier: MIT
//
// Goal: what two samples make, and that every screen fits. Method: samples by hand; all sizes up to 40 x 100.
#include "tools/top_screen.hpp"

#include <gtest/gtest.h>

namespace tools::testing {
namespace {

server_sample sample(double seconds, double hits, double misses, double sets) {
  server_sample s;
  s.seconds = seconds;
  s.version = "1";
  s.values = {{"pid", 7},
              {"uptime", 90'061 + seconds},
              {"get_hits", hits},
              {"get_misses", misses},
              {"cmd_set", sets},
              {"limit_maxbytes", 1000},
              {"heap.held_bytes", 800},
              {"heap.live_bytes", 600},
              {"moves.bytes_moved", 10 * sets},
              {"moves.allocated_bytes", 100 * sets},
              {"max_connections", 12'345'678}};
  return s;
}

TEST(top, rates_are_differences_over_time) {
  const server_sample a = sample(10, 100, 10, 5), b = sample(12, 160, 30, 25);
  const server_view v = view_of(&a, b);
  EXPECT_DOUBLE_EQ(v.gets.value(), 40);
  EXPECT_DOUBLE_EQ(v.sets.value(), 10);
  EXPECT_DOUBLE_EQ(v.operations.value(), 50);
  EXPECT_DOUBLE_EQ(v.hit_ratio.value(), .75);
  EXPECT_DOUBLE_EQ(v.hit_ratio_ever.value(), 160. / 190);
  EXPECT_DOUBLE_EQ(v.utilisation.value(), .75);
  EXPECT_DOUBLE_EQ(v.moved_bytes.value(), 100);
  EXPECT_DOUBLE_EQ(v.moved_per_allocated.value(), .1);
}

TEST(top, a_first_sample_has_no_rates) {
  const server_view v = view_of(nullptr, sample(1, 1, 1, 1));
  EXPECT_FALSE(v.gets || v.operations || v.hit_ratio || v.moved_bytes);
  EXPECT_TRUE(v.hit_ratio_ever && v.utilisation);
}

TEST(top, a_restart_or_a_reset_between_samples_makes_no_negative_rates) {
  const server_sample before = sample(10, 100, 10, 5);
  server_sample other = sample(11, 500, 500, 500);
  other.values["pid"] = 8;
  EXPECT_FALSE(view_of(&before, other).gets);
  EXPECT_FALSE(view_of(&before, sample(11, 1, 1, 1)).gets);
  EXPECT_FALSE(view_of(&before, before).gets) << "no time between them";
}

TEST(top, what_a_server_does_not_have_is_absent) {
  server_sample s;
  s.seconds = 1;
  const server_view v = view_of(nullptr, s);
  EXPECT_FALSE(v.items || v.budget_bytes || v.held_bytes || v.moved_bytes_ever);
  const std::vector<std::string> lines = screen_of(v, "there", {80, 24}, "");
  for (const std::string& line : lines) EXPECT_NE(line.substr(0, 5), "moves");
  EXPECT_EQ(json_of(v)["items"], nullptr);
}

TEST(top, a_cold_tier_and_pressure_are_shown_where_they_are) {
  server_sample s = sample(1, 1, 1, 1);
  s.values["purgeable_limit"] = 1 << 20;
  s.values["cold_items"] = 77;
  s.values["pressure_target"] = 4096;
  std::string text;
  for (const std::string& line : screen_of(view_of(nullptr, s), "there", {120, 40}, "")) text += line + "\n";
  EXPECT_NE(text.find("cold tier    77 items"), std::string::npos) << text;
  EXPECT_NE(text.find("pressure     target 4.00 KiB"), std::string::npos) << text;
  s.values["purgeable_limit"] = 0;
  EXPECT_FALSE(view_of(nullptr, s).cold_items);
}

TEST(top, every_screen_fits_and_keeps_the_notice) {
  const server_sample a = sample(10, 100, 10, 5);
  server_view v = view_of(&a, sample(12, 1e12, 3e9, 2e7));
  for (std::uint64_t bytes = 64; bytes < 1 << 20; bytes *= 2) v.sizes.push_back({bytes, bytes});
  for (std::size_t rows = 0; rows <= 40; ++rows) {
    for (std::size_t columns = 0; columns <= 100; ++columns) {
      const std::vector<std::string> lines = screen_of(v, "127.0.0.1:11211", {columns, rows}, "notice");
      ASSERT_LE(lines.size(), rows);
      for (const std::string& line : lines) ASSERT_LE(line.size(), columns);
      if (rows > 0) {
        ASSERT_EQ(lines.back(), std::string("notice").substr(0, columns));
      }
    }
  }
}

TEST(top, numbers_are_short) {
  EXPECT_EQ(in_short(0), "0");
  EXPECT_EQ(in_short(9999), "9999");
  EXPECT_EQ(in_short(12'345), "12.3 k");
  EXPECT_EQ(in_short(1.5e9), "1.50 G");
  EXPECT_EQ(bytes_in_short(1023), "1023 B");
  EXPECT_EQ(bytes_in_short(1536), "1.50 KiB");
  EXPECT_EQ(bytes_in_short(200.0 * (1 << 20)), "200 MiB");
}

}  // namespace
}  // namespace tools::testing
