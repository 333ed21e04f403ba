// SPDX-License-Identifier: MIT
//
// binary_protocol: memcached's binary protocol, from bytes to requests, and the headers of responses. Pure bytes, no
// state; numbers are big-endian.
//
//     0     1      2          4          5    6        8           12      16   24
//    +-----+------+----------+----------+----+--------+-----------+-------+----+--------+-----+-------+
//    | 80  | code | key bytes| extras   | 00 | 0 or   | all behind|opaque |cas | extras | key | value |
//    | 81  |      |          | bytes    |    | status | the header|       |    |        |     |       |
//    +-----+------+----------+----------+----+--------+-----------+-------+----+--------+-----+-------+
//
// parse_binary() looks at the frame at the front of the bytes a connection has. It wants the frame whole, but for the
// value of a large store. Call it again with the same bytes and more. Views in a request point into the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace scoot::server {

inline constexpr unsigned char binary_request_magic = 0x80;
inline constexpr std::size_t binary_header_bytes = 24;

enum class binary_verb : unsigned char {
  get,
  set,
  add,
  replace,
  append,
  prepend,
  remove,
  increment,
  decrement,
  quit,
  flush,
  noop,
  version,
  stats,
  verbosity,
  touch,
  get_and_touch,
  sasl_list,
  sasl_auth,
  sasl_step,
};

enum class binary_status : std::uint16_t {
  ok = 0,
  not_found = 1,
  exists = 2,
  too_large = 3,
  invalid = 4,
  not_stored = 5,
  not_numeric = 6,
  unauthorised = 0x20,
  unknown_command = 0x81,
  no_memory = 0x82,
};

[[nodiscard]] constexpr bool is_store(binary_verb v) noexcept {
  return v >= binary_verb::set && v <= binary_verb::prepend;
}

struct binary_request {
  binary_verb command = binary_verb::noop;
  std::uint8_t opcode = 0;  // as sent; responses repeat it
  bool quiet = false;       // success (of reads: a miss) is not answered
  bool with_key = false;    // reads: the answer repeats the key
  std::uint32_t opaque = 0;
  std::uint64_t cas = 0;
  std::string_view key;
  std::string_view value;       // as much of it as is there
  std::size_t value_bytes = 0;  // of all of it
  std::uint32_t flags = 0;      // set, add, replace
  std::uint32_t exptime = 0;    // stores, increment, decrement, touch, get_and_touch, flush
  bool has_exptime = false;     // flush
  std::uint64_t delta = 0;      // increment, decrement
  std::uint64_t initial = 0;
  std::uint32_t level = 0;  // verbosity
};

enum class binary_parse : unsigned char {
  request,     // whole, but perhaps for the value of a store
  incomplete,  // come again with more bytes
  unknown,     // an opcode that we do not know: answer so, and pass over the frame
  invalid,     // a frame that contradicts itself or its command: answer so and close
  hopeless,    // not a request at all: close
};

struct binary_result {
  binary_parse status = binary_parse::incomplete;
  std::size_t head_bytes = 0;   // header, extras and key
  std::size_t frame_bytes = 0;  // all of it
};

// Reads the frame at the front of `input`. opcode and opaque of `out` are valid whenever the header is there.
[[nodiscard]] binary_result parse_binary(std::string_view input, binary_request& out) noexcept;

struct binary_response {
  binary_status status = binary_status::ok;
  std::uint16_t key_bytes = 0;
  std::uint8_t extras_bytes = 0;
  std::uint32_t value_bytes = 0;
  std::uint64_t cas = 0;
};

// Writes binary_header_bytes; returns their end.
char* write_binary_header(char* to, const binary_request& request, const binary_response& response) noexcept;
char* write_big_endian(char* to, std::uint64_t number, unsigned bytes) noexcept;

// What memcached says in the body of an error.
[[nodiscard]] std::string_view text_of(binary_status status) noexcept;

}  // namespace scoot::server
