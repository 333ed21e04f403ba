// SPDX-License-Identifier: MIT
//
// meta_protocol: memcached's meta commands, from a line to what it asks for, and base64 keys. Pure bytes, no state.
//
//     ms <key> <bytes> F5 T60 c k Oabc\r\n      mg, md, ma, me: the same without <bytes>
//     |  | |           |-- flags: a letter, and for some a token behind it; each letter once --|
//
// parse_meta() looks at one line that parse_request() found to be a meta command. Errors are memcached 1.6's lines.
// Views in a meta_request point into the line, but for a base64 key, which is decoded into the request itself; so a
// request is not copied.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "scoot/cache.hpp"

namespace scoot::server {

inline constexpr std::size_t meta_flags_max = 18;
inline constexpr std::size_t opaque_bytes_max = 32;  // with its O

enum class meta_verb : unsigned char { get, set, remove, arithmetic, debug };

struct meta_request {
  meta_request() = default;
  meta_request(const meta_request&) = delete;
  meta_request& operator=(const meta_request&) = delete;

  meta_verb command = meta_verb::get;
  std::string_view key;  // as it is stored
  std::string_view key_as_sent;
  std::uint32_t value_bytes = 0;  // set
  // Those that are answered are answered in this order.
  std::array<std::string_view, meta_flags_max> flags;
  std::size_t flag_count = 0;

  bool quiet = false;                        // q
  bool value = false;                        // v
  bool binary_key = false;                   // b
  bool no_use = false;                       // u
  bool idle = false;                         // l
  bool invalidate = false;                   // I
  bool drop_value = false;                   // x
  bool give_cas = false;                     // c
  bool recache_after_touch = false;          // R stands behind T
  bool vivify_after_touch = false;           // N does
  char mode = 0;                             // M
  std::uint32_t client_flags = 0;            // F
  std::optional<std::int32_t> ttl;           // T
  std::optional<std::int32_t> vivify_ttl;    // N
  std::optional<std::int32_t> recache_ttl;   // R
  std::optional<std::uint64_t> compare_cas;  // C
  std::optional<std::uint64_t> new_cas;      // E
  std::uint64_t delta = 1;                   // D
  std::uint64_t initial = 0;                 // J

  [[nodiscard]] bool has(char letter) const noexcept {
    const auto at = static_cast<unsigned char>(letter) & 63u;
    return (letters >> at & 1) != 0;
  }
  std::uint64_t letters = 0;  // a bit for each letter given: the low 6 bits of its code
  std::array<char, key_bytes_max> decoded;
};

struct meta_result {
  std::string_view error;       // with its end of line; empty if the request is good
  std::size_t block_bytes = 0;  // set, with an error: so many bytes behind the line are its data
};

// Reads a line, without its end, whose first word is mg, ms, md, ma or me.
[[nodiscard]] meta_result parse_meta(std::string_view line, meta_request& out) noexcept;

// As memcached does: characters that are not of the alphabet are passed over. Returns the bytes written, 0 if the text
// is no base64 or does not fit.
[[nodiscard]] std::size_t decode_base64(std::string_view text, char* to, std::size_t room) noexcept;
// Writes (n + 2) / 3 * 4 bytes; returns their end.
char* encode_base64(char* to, std::string_view bytes) noexcept;

}  // namespace scoot::server
