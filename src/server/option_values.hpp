// SPDX-License-Identifier: MIT
//
// What the parsers of options share: refusing, and reading numbers and sizes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/options.hpp"

namespace scoot::server {

struct usage_error {
  std::string text;
};

template <class... Part>
[[noreturn]] void refuse(const Part&... parts) {
  std::string text;
  (text.append(parts), ...);
  throw usage_error{text};
}

// A decimal number in a range, nothing around it.
inline std::int64_t number(const std::string& text, const char* option, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end || value < least || value > most) {
    refuse(option, ": '", text, "' is not a number from ", std::to_string(least), " to ", std::to_string(most));
  }
  return value;
}

// A number with an optional suffix k, m or g, in bytes; `unit` is what a bare number counts.
inline std::size_t size(std::string text, const char* option, std::size_t unit, std::size_t least, std::size_t most) {
  const std::string given = text;
  if (!text.empty()) {
    switch (text.back() | 0x20) {
      case 'k':
        unit = std::size_t{1} << 10;
        break;
      case 'm':
        unit = std::size_t{1} << 20;
        break;
      case 'g':
        unit = std::size_t{1} << 30;
        break;
      default:
        text += ' ';  // no suffix to take off
    }
    text.pop_back();
  }
  std::size_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end) refuse(option, ": '", given, "' is not a size");
  if (value > most / unit || value * unit < least) {
    refuse(option, ": '", given, "' is out of range (", std::to_string(least), " to ", std::to_string(most), " bytes)");
  }
  return value * unit;
}

// One argument of -o: memcached's extended options, separated by commas. Refuses by usage_error.
void parse_extended(std::string_view list, server_options& options);
// One of them.
void parse_extended(std::string_view name, const std::string& value, server_options& options);
// True for those that have an effect here.
[[nodiscard]] bool is_extended(std::string_view name) noexcept;
// Lines for the example of a configuration file: each of them with its default.
[[nodiscard]] std::string extended_example();
// Calls take(name, value) for each in a list.
template <class Take>
void each_extended(std::string_view list, Take&& take) {
  while (!list.empty()) {
    const std::string_view one = list.substr(0, list.find(','));
    list.remove_prefix(one.size() < list.size() ? one.size() + 1 : one.size());
    const std::string_view name = one.substr(0, one.find('='));
    if (!name.empty()) take(name, std::string(one.size() > name.size() ? one.substr(name.size() + 1) : ""));
  }
}
// What only all of them together tell.
void check_extended(const server_options& options);

}  // namespace scoot::server
