// SPDX-License-Identifier: MIT
//
// The files of page/, built into the program by embed.cmake.
#pragma once

#include <cstddef>
#include <string_view>

namespace scoot::server {

struct http_page {
  std::string_view path;
  const char* type;
  const unsigned char* bytes;
  std::size_t size;

  [[nodiscard]] std::string_view body() const noexcept { return {reinterpret_cast<const char*>(bytes), size}; }
};

// Null if there is no such page. Threads: any.
[[nodiscard]] const http_page* find_http_page(std::string_view path) noexcept;

}  // namespace scoot::server
