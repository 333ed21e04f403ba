// SPDX-License-Identifier: MIT
#include "server/meta_protocol.hpp"

#include <limits>

#include "server/decimal.hpp"
#include "server/protocol.hpp"

namespace scoot::server {
namespace {

constexpr std::size_t words_max = 19;  // memcached's limit, command and key included
constexpr std::string_view bad_token = "CLIENT_ERROR bad token in command line format\r\n";
constexpr std::string_view duplicate_flag = "CLIENT_ERROR duplicate flag\r\n";
constexpr std::string_view invalid_flag = "CLIENT_ERROR invalid flag\r\n";
constexpr std::string_view invalid_or_duplicate_flag = "CLIENT_ERROR invalid or duplicate flag\r\n";
constexpr std::string_view bad_key = "CLIENT_ERROR error decoding key\r\n";
constexpr std::string_view too_many_flags = "CLIENT_ERROR options flags are too long\r\n";
constexpr std::string_view opaque_too_long = "CLIENT_ERROR opaque token too long\r\n";
constexpr std::string_view bad_initial = "CLIENT_ERROR invalid numeric initial value\r\n";
constexpr std::string_view bad_delta = "CLIENT_ERROR invalid numeric delta value\r\n";
constexpr std::string_view bad_mode_length = "CLIENT_ERROR incorrect length for M token\r\n";
constexpr std::string_view bad_set_mode = "CLIENT_ERROR invalid mode for ms M token\r\n";
constexpr std::string_view bad_arithmetic_mode = "CLIENT_ERROR invalid mode for ma M token\r\n";

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr unsigned char not_base64 = 0x80;

constexpr std::array<unsigned char, 256> make_base64_values() {
  std::array<unsigned char, 256> values{};
  for (unsigned char& v : values) v = not_base64;
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<unsigned char>(i);
  }
  values['='] = 0;
  return values;
}
constexpr auto base64_values = make_base64_values();

std::string_view read_ttl(std::string_view token, std::optional<std::int32_t>& out) noexcept {
  const auto number = read_signed(token);
  if (!number) return bad_token;
  out = static_cast<std::int32_t>(*number);
  return {};
}

std::string_view read_cas(std::string_view token, std::optional<std::uint64_t>& out) noexcept {
  out = read_unsigned(token);
  return out ? std::string_view{} : bad_token;
}

std::string_view read_number(std::string_view token, std::string_view error, std::uint64_t& out) noexcept {
  const auto number = read_unsigned(token);
  if (!number) return error;
  out = *number;
  return {};
}

std::string_view read_client_flags(std::string_view token, meta_request& out) noexcept {
  const auto number = read_unsigned(token);
  if (!number) return reply_bad_format;
  out.client_flags = static_cast<std::uint32_t>(*number);
  return {};
}

std::string_view decode_key(meta_request& out) noexcept {
  out.binary_key = true;
  const std::size_t bytes = decode_base64(out.key_as_sent, out.decoded.data(), out.decoded.size());
  out.key = {out.decoded.data(), bytes};
  return bytes == 0 ? bad_key : std::string_view{};
}

// One flag. An error does not end the line: a flag that is unknown counts more.
std::string_view read_flag(char letter, std::string_view token, meta_request& out) noexcept {
  switch (letter) {
    case 'b':
      return decode_key(out);
    case 'N':
      out.vivify_after_touch = out.has('T');
      return read_ttl(token, out.vivify_ttl);
    case 'T':
      return read_ttl(token, out.ttl);
    case 'R':
      out.recache_after_touch = out.has('T');
      return read_ttl(token, out.recache_ttl);
    case 'F':
      return read_client_flags(token, out);
    case 'C':
      return read_cas(token, out.compare_cas);
    case 'E':
      return read_cas(token, out.new_cas);
    case 'J':
      return read_number(token, bad_initial, out.initial);
    case 'D':
      return read_number(token, bad_delta, out.delta);
    case 'M':
      if (token.size() != 1) return bad_mode_length;
      out.mode = token.front();
      break;
    case 'O':
      return token.size() < opaque_bytes_max ? std::string_view{} : opaque_too_long;
    case 'q':
      out.quiet = true;
      break;
    case 'v':
      out.value = true;
      break;
    case 'u':
      out.no_use = true;
      break;
    case 'l':
      out.idle = true;
      break;
    case 'I':
      out.invalidate = true;
      break;
    case 'x':
      out.drop_value = true;
      break;
    case 'c':
      out.give_cas = true;
      break;
    default:  // k s t f h, and P and L, which are for proxies
      break;
  }
  return {};
}

constexpr std::string_view known_letters = "bNTRFCEJDMOqvuIxlckstfhPL";

constexpr std::uint64_t make_known() {
  std::uint64_t known = 0;
  for (const char c : known_letters) known |= std::uint64_t{1} << (static_cast<unsigned char>(c) & 63u);
  return known;
}

// Letters only, so that the low 6 bits of a code tell one from another.
constexpr bool is_letter(char c) noexcept { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

// An error, unless the line is too long as well, which counts more.
std::string_view fail(std::string_view error, std::string_view rest, std::size_t words) noexcept {
  while (!next_key(rest).empty()) ++words;
  return words > words_max ? too_many_flags : error;
}

std::string_view read_flags(std::string_view rest, std::size_t words, meta_request& out) noexcept {
  constexpr std::uint64_t known = make_known();
  std::string_view error;
  for (std::string_view word = next_key(rest); !word.empty(); word = next_key(rest)) {
    if (++words > words_max) return too_many_flags;
    const char letter = word.front();
    const std::uint64_t bit = std::uint64_t{1} << (static_cast<unsigned char>(letter) & 63u);
    if (static_cast<unsigned char>(letter) >= 127) return fail(duplicate_flag, rest, words);
    if (!is_letter(letter) || (known & bit) == 0) return fail(invalid_flag, rest, words);
    if ((out.letters & bit) != 0) return fail(duplicate_flag, rest, words);
    if (const std::string_view bad = read_flag(letter, word.substr(1), out); !bad.empty()) error = bad;
    out.letters |= bit;
    out.flags[out.flag_count++] = word;
  }
  return error;
}

std::string_view check_mode(const meta_request& what) noexcept {
  if (what.mode == 0) return {};
  if (what.command == meta_verb::set) {
    return std::string_view("EAPRS").find(what.mode) == std::string_view::npos ? bad_set_mode : std::string_view{};
  }
  if (what.command != meta_verb::arithmetic) return {};
  return std::string_view("I+D-").find(what.mode) == std::string_view::npos ? bad_arithmetic_mode : std::string_view{};
}

// me knows no flag but b, and reads over anything else.
meta_result parse_debug(std::string_view rest, meta_request& out) noexcept {
  if (out.key.empty() || out.key.size() > key_bytes_max) return {reply_bad_format, 0};
  if (next_key(rest) == "b" && !decode_key(out).empty()) return {reply_bad_format, 0};
  return {};
}

}  // namespace

meta_result parse_meta(std::string_view line, meta_request& out) noexcept {
  const std::string_view word = next_key(line);
  const char letter = word.size() == 2 ? word[1] : '\0';
  out.key = out.key_as_sent = next_key(line);
  switch (letter) {
    case 'g':
      out.command = meta_verb::get;
      break;
    case 's':
      out.command = meta_verb::set;
      break;
    case 'd':
      out.command = meta_verb::remove;
      break;
    case 'a':
      out.command = meta_verb::arithmetic;
      break;
    case 'e':
      out.command = meta_verb::debug;
      return parse_debug(line, out);
    default:
      return {reply_error, 0};
  }
  if (out.key.empty()) return {reply_error, 0};
  std::size_t words = 2;
  meta_result result;
  if (out.command == meta_verb::set) {
    const std::string_view length = next_key(line);
    const auto bytes = read_signed(length);
    if (!bytes || *bytes < 0 || *bytes > std::numeric_limits<std::int32_t>::max() - 2) return {reply_bad_format, 0};
    out.value_bytes = static_cast<std::uint32_t>(*bytes);
    ++words;
    result.block_bytes = std::size_t{out.value_bytes} + 2;
  }
  if (out.key.size() > key_bytes_max) {
    result.error = reply_bad_format;
    return result;
  }
  result.error = read_flags(line, words, out);
  const bool exact = result.error == too_many_flags || result.error == opaque_too_long;
  if (out.command >= meta_verb::remove && !result.error.empty() && !exact) result.error = invalid_or_duplicate_flag;
  if (result.error.empty()) result.error = check_mode(out);
  return result;
}

std::size_t decode_base64(std::string_view text, char* to, std::size_t room) noexcept {
  std::size_t count = 0;
  for (const char c : text) count += base64_values[static_cast<unsigned char>(c)] != not_base64 ? 1 : 0;
  if (count == 0 || count % 4 != 0 || count / 4 * 3 > room + 2) return 0;
  std::size_t written = 0, in_group = 0, padding = 0;
  std::uint32_t group = 0;
  for (const char c : text) {
    const unsigned char value = base64_values[static_cast<unsigned char>(c)];
    if (value == not_base64) continue;
    padding += c == '=' ? 1 : 0;
    group = group << 6 | value;
    if (++in_group < 4) continue;
    if (padding > 2) return 0;
    const std::size_t bytes = 3 - padding;
    if (written + bytes > room) return 0;
    for (std::size_t i = 0; i < bytes; ++i) to[written++] = static_cast<char>(group >> (16 - 8 * i));
    if (padding != 0) break;
    in_group = 0;
    group = 0;
  }
  return written;
}

char* encode_base64(char* to, std::string_view bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = bytes.size() - at < 3 ? bytes.size() - at : 3;
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) *to++ = i <= count ? alphabet[group >> (18 - 6 * i) & 63] : '=';
  }
  return to;
}

}  // namespace scoot::server
