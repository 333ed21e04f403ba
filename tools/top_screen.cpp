// SPDX-License-Identifier: MIT
#include "tools/top_screen.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace tools {
namespace {

[[gnu::format(printf, 1, 2)]] std::string format(const char* how, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, how);
  std::vsnprintf(text, sizeof text, how, arguments);
  va_end(arguments);
  return text;
}

std::string scaled(double value, double step, const char* const* units, std::size_t count) {
  std::size_t unit = 0;
  while (std::fabs(value) >= step && unit + 1 < count) {
    value /= step;
    ++unit;
  }
  const int digits = unit == 0 || std::fabs(value) >= 100 ? 0 : std::fabs(value) >= 10 ? 1 : 2;
  return format("%.*f%s%s", digits, value, *units[unit] == '\0' ? "" : " ", units[unit]);
}

std::string rate(std::optional<double> value) { return value ? in_short(*value) + "/s" : "-"; }
std::string byte_rate(std::optional<double> value) { return value ? bytes_in_short(*value) + "/s" : "-"; }
std::string amount(std::optional<double> value) { return value ? in_short(*value) : "-"; }
std::string bytes(std::optional<double> value) { return value ? bytes_in_short(*value) : "-"; }
std::string share(std::optional<double> value) { return value ? format("%.2f %%", 100 * *value) : "-"; }

std::string bar(double part, std::size_t width) {
  const auto full = static_cast<std::size_t>(std::lround(std::clamp(part, 0.0, 1.0) * static_cast<double>(width)));
  std::string text(width + 2, '.');
  text.front() = '[';
  text.back() = ']';
  std::fill_n(text.begin() + 1, full, '#');
  return text;
}

std::string duration(double seconds) {
  const auto s = static_cast<std::uint64_t>(seconds);
  const std::string clock = format("%02u:%02u:%02u", static_cast<unsigned>(s / 3600 % 24),
                                   static_cast<unsigned>(s / 60 % 60), static_cast<unsigned>(s % 60));
  return s < 86400 ? clock : format("%llu d ", static_cast<unsigned long long>(s / 86400)) + clock;
}

void add_memory(const server_view& v, screen_size size, std::vector<std::string>& out) {
  const std::optional<double> used = v.held_bytes ? v.held_bytes : v.item_bytes;
  if (v.budget_bytes && used && *v.budget_bytes > 0) {
    const double part = *used / *v.budget_bytes;
    const std::size_t width = size.columns > 60 ? std::min<std::size_t>(size.columns - 56, 40) : 8;
    out.push_back("memory       " + bar(part, width) + " " + bytes(used) + " of " + bytes(v.budget_bytes) + ", " +
                  format("%.1f %%", 100 * part) + (v.held_bytes_peak ? ", peak " + bytes(v.held_bytes_peak) : ""));
  }
  out.push_back("items        " + amount(v.items) + ", " + bytes(v.item_bytes) + " of keys and values");
  if (v.live_bytes) {
    out.push_back("utilisation  " + (v.utilisation ? format("%.3f", *v.utilisation) : "-") + " (live / held), " +
                  bytes(v.hole_bytes) + " in holes, " + amount(v.pages) + " pages, " + amount(v.shelves) + " shelves");
  }
}

std::string moves(const server_view& v) {
  return "moves        " + byte_rate(v.moved_bytes) + ", " + rate(v.moved_blocks) + " blocks; ever " +
         bytes(v.moved_bytes_ever) +
         (v.moved_per_allocated ? format(", %.3f a byte allocated", *v.moved_per_allocated) : "");
}

void add_moves(const server_view& v, std::vector<std::string>& out) {
  out.push_back("evictions    " + rate(v.evictions) + ", " + amount(v.evictions_ever) + " ever; expired " +
                rate(v.expirations) + "; refused " + rate(v.refused));
  if (v.moved_bytes_ever) out.push_back(moves(v));
  if (v.cold_items) {
    out.push_back("cold tier    " + amount(v.cold_items) + " items, " + bytes(v.cold_offered_bytes) +
                  " offered; hits " + rate(v.cold_hits) + ", demoted " + rate(v.cold_demotions) + ", lost " +
                  rate(v.cold_lost));
  }
  if (v.pressure_target) {
    out.push_back("pressure     target " + bytes(v.pressure_target) + ", deficit " + bytes(v.pressure_deficit) +
                  "; available " + bytes(v.pressure_available_bytes) + "; given back " +
                  byte_rate(v.pressure_given_bytes));
  }
}

void add_sizes(const server_view& v, screen_size size, std::size_t rows, std::vector<std::string>& out) {
  if (v.sizes.empty() || rows < 3) return;
  out.emplace_back();
  out.emplace_back("item sizes   bytes of key and value      items");
  std::uint64_t most = 1;
  for (const size_class& one : v.sizes) most = std::max(most, one.items);
  const std::size_t shown = std::min(v.sizes.size(), rows - 2);
  const std::size_t width = size.columns > 60 ? std::min<std::size_t>(size.columns - 44, 40) : 10;
  for (std::size_t i = 0; i < shown; ++i) {
    const size_class& one = v.sizes[i];
    const double part = static_cast<double>(one.items) / static_cast<double>(most);
    out.push_back(format("             up to %9s %14s ", bytes_in_short(static_cast<double>(one.bytes_max)).c_str(),
                         in_short(static_cast<double>(one.items)).c_str()) +
                  std::string(static_cast<std::size_t>(std::lround(part * static_cast<double>(width))), '#'));
  }
}

}  // namespace

std::string in_short(double value) {
  if (value < 10'000) return format("%.0f", value);
  static constexpr const char* units[] = {"", "k", "M", "G", "T"};
  return scaled(value, 1000, units, std::size(units));
}

std::string bytes_in_short(double value) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  return scaled(value, 1024, units, std::size(units));
}

std::vector<std::string> screen_of(const server_view& v, const std::string& where, screen_size size,
                                   const std::string& notice) {
  std::vector<std::string> out;
  out.push_back("scoot top    " + where + "   version " + (v.version.empty() ? "-" : v.version) + "   up " +
                duration(v.uptime_s));
  out.emplace_back();
  out.push_back("operations   " + rate(v.operations) + ": get " + rate(v.gets) + ", set " + rate(v.sets) + ", delete " +
                rate(v.deletes) + ", touch " + rate(v.touches));
  out.push_back("hit ratio    " + share(v.hit_ratio) + " now, " + share(v.hit_ratio_ever) + " ever");
  add_memory(v, size, out);
  add_moves(v, out);
  out.push_back("connections  " + amount(v.connections) + " of " + amount(v.connections_max) + ", " +
                amount(v.threads) + " threads, " + (v.cpu ? format("%.2f", *v.cpu) : "-") + " cores; in " +
                byte_rate(v.received_bytes) + ", out " + byte_rate(v.sent_bytes));
  const std::size_t kept = size.rows - (notice.empty() || size.rows == 0 ? 0 : 1);
  if (kept > out.size()) add_sizes(v, size, kept - out.size(), out);
  if (out.size() > kept) out.resize(kept);
  if (!notice.empty() && size.rows > 0) out.push_back(notice);
  for (std::string& line : out) {
    if (line.size() > size.columns) line.resize(size.columns);
  }
  return out;
}

}  // namespace tools
