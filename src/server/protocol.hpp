// SPDX-License-Identifier: MIT
//
// protocol: memcached's text protocol, from bytes to commands. No I/O, no state, nothing allocated.
//
//     set <key> <flags> <exptime> <bytes> [noreply]\r\n   <data block>\r\n
//     |---------------- parse_request ----------------|   |- the session -|
//
// parse_request() looks at the first line of the bytes a connection has. It answers with the command, or with the error
// line that memcached 1.6 gives for it, or asks for more bytes. Being pure it is incremental: call it again with the
// same bytes and more. Where memcached's grammar is accidental (numbers, NULs, blanks, where noreply counts) this is
// the same accident, because clients came to rely on it; docs/protocol.md lists the few differences.
//
// Views in a request point into the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace scoot::server {

// What `version` answers: clients parse it, and libmemcached refuses a major version of 0.
inline constexpr std::string_view protocol_version = "1.6.45-scoot";

// What a client that sends no end of line may have buffered before it is cut off: retrievals of many keys, others.
inline constexpr std::size_t retrieval_line_bytes_max = std::size_t{1} << 20;
inline constexpr std::size_t line_bytes_max = 2048;
inline constexpr std::size_t line_bytes_read_max = std::size_t{16} << 10;  // and if its end came along with it

inline constexpr std::string_view reply_error = "ERROR\r\n";
inline constexpr std::string_view reply_bad_format = "CLIENT_ERROR bad command line format\r\n";
inline constexpr std::string_view reply_bad_chunk = "CLIENT_ERROR bad data chunk\r\n";
inline constexpr std::string_view reply_too_large = "SERVER_ERROR object too large for cache\r\n";
inline constexpr std::string_view reply_no_memory = "SERVER_ERROR out of memory storing object\r\n";
inline constexpr std::string_view reply_out_of_memory = "SERVER_ERROR out of memory\r\n";
inline constexpr std::string_view reply_not_numeric =
    "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
inline constexpr std::string_view reply_bad_exptime = "CLIENT_ERROR invalid exptime argument\r\n";

enum class verb : unsigned char {
  get,
  gets,
  gat,
  gats,
  set,
  add,
  replace,
  append,
  prepend,
  cas,
  remove,
  increment,
  decrement,
  touch,
  flush_all,
  verbosity,
  memory_limit,
  meta,  // mg, ms, md, ma, me: the line is read by parse_meta()
  meta_noop,
  version,
  stats,
  lru_crawler,
  slabs,
  lru,
  watch,
  shutdown,
  refresh_certs,
  quit,
};

[[nodiscard]] constexpr bool is_retrieval(verb v) noexcept { return v <= verb::gats; }
[[nodiscard]] constexpr bool is_store(verb v) noexcept { return v >= verb::set && v <= verb::cas; }

struct request {
  verb command = verb::quit;
  bool noreply = false;
  std::string_view key;           // of every command that has exactly one
  std::string_view arguments;     // retrievals: the keys, to be taken by next_key(); stats, shutdown and the like: all
                                  // after the word; meta: line
  std::uint32_t flags = 0;        // stores
  std::int32_t exptime = 0;       // stores, touch, gat, gats, flush_all: as sent
  std::uint32_t value_bytes = 0;  // stores: of the data block, without its end of line
  std::uint64_t number = 0;  // cas: the unique; increment, decrement: the delta; verbosity, memory_limit: the level
};

enum class parse_status : unsigned char {
  request,     // a command, to be carried out
  incomplete,  // no end of line yet: come again with more bytes
  invalid,     // not a command: answer with `error`, unless the request says noreply, and go on behind the line
  hopeless,    // no end of line where there must have been one, or HTTP: close the connection
};

struct parse_result {
  parse_status status = parse_status::incomplete;
  std::size_t line_bytes = 0;   // of the line, its end included, when there is one
  std::size_t block_bytes = 0;  // invalid: so many bytes behind the line are the data of the refused command
  std::string_view error;       // with its end of line
};

// Reads one command line from the front of `input` into `out`, which is only valid if the status says so (but its
// noreply is also valid for an invalid command).
[[nodiscard]] parse_result parse_request(std::string_view input, request& out) noexcept;

// Takes the next word off the front of the keys of a retrieval. Empty when there are no more.
[[nodiscard]] inline std::string_view next_key(std::string_view& keys) noexcept {
  const char* at = keys.data();
  const char* const end = at + keys.size();
  while (at != end && *at == ' ') ++at;
  if (at == end) {
    keys = {at, 0};  // its place tells how far a retrieval has come
    return keys;
  }
  const auto* const blank = static_cast<const char*>(std::memchr(at, ' ', static_cast<std::size_t>(end - at)));
  const char* const behind = blank == nullptr ? end : blank;
  keys = {behind, static_cast<std::size_t>(end - behind)};
  return {at, static_cast<std::size_t>(behind - at)};
}

// As in a URI: what is no letter, digit or one of -._~ becomes %XX. Writes up to 3 * text.size() bytes; returns their
// end.
[[nodiscard]] inline char* write_escaped(char* to, std::string_view text) noexcept {
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      *to++ = c;
      continue;
    }
    *to++ = '%';
    *to++ = digits[static_cast<unsigned char>(c) >> 4];
    *to++ = digits[static_cast<unsigned char>(c) & 15];
  }
  return to;
}

// Unix seconds at which an item with this exptime expires (scoot::expires_never: never): up to thirty days it is
// relative, then absolute; a negative one is long past.
[[nodiscard]] constexpr std::uint32_t expiry_of(std::int32_t exptime, std::uint32_t now) noexcept {
  constexpr std::int32_t relative_max = 60 * 60 * 24 * 30;
  if (exptime == 0) return 0;
  if (exptime < 0) return 1;
  return exptime > relative_max ? static_cast<std::uint32_t>(exptime) : now + static_cast<std::uint32_t>(exptime);
}

}  // namespace scoot::server
