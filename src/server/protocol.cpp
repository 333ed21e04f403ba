// SPDX-License-Identifier: MIT
#include "server/protocol.hpp"

#include <array>
#include <cstring>
#include <limits>

#include "scoot/cache.hpp"
#include "server/decimal.hpp"

namespace scoot::server {
namespace {

constexpr std::string_view bad_delta = "CLIENT_ERROR invalid numeric delta argument\r\n";
constexpr std::string_view bad_delete = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
constexpr std::string_view memory_limit_too_small = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n";
constexpr std::string_view memory_limit_too_large = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n";

constexpr std::size_t words_max = 8;  // no command has more; one with more of them has too many anyway

struct words {
  std::array<std::string_view, words_max> at;
  std::size_t count = 0;  // words_max: that many or more
  [[nodiscard]] std::string_view last() const noexcept { return at[count - 1]; }
};

words split(std::string_view line) noexcept {
  words result;
  while (result.count < words_max) {
    const std::string_view word = next_key(line);
    if (word.empty()) break;
    result.at[result.count++] = word;
  }
  return result;
}

constexpr parse_result accepted{parse_status::request, 0, 0, {}};
parse_result refused(std::string_view error) noexcept { return {parse_status::invalid, 0, 0, error}; }

// Some commands have their word and then anything.
parse_result simple(verb v, request& out) noexcept {
  out.command = v;
  return accepted;
}

// A store that is refused for anything but its form takes its data block with it, if the length can be made out: what a
// client sends as data must not be carried out as commands.
parse_result parse_store(verb v, const words& w, request& out) noexcept {
  const std::size_t needed = v == verb::cas ? 6 : 5;
  if (w.count != needed && w.count != needed + 1) return refused(reply_error);
  out.command = v;
  out.noreply = w.last() == "noreply";
  out.key = w.at[1];
  const auto flags = read_unsigned(w.at[2]);
  const auto exptime = read_signed(w.at[3]);
  const auto bytes = read_signed(w.at[4]);
  const auto unique = v == verb::cas ? read_unsigned(w.at[5]) : 0;
  if (!bytes || *bytes < 0 || *bytes > std::numeric_limits<std::int32_t>::max() - 2) return refused(reply_bad_format);
  out.value_bytes = static_cast<std::uint32_t>(*bytes);
  if (!flags || !exptime || !unique || out.key.size() > key_bytes_max) {
    parse_result result = refused(reply_bad_format);
    result.block_bytes = std::size_t{out.value_bytes} + 2;
    return result;
  }
  out.flags = static_cast<std::uint32_t>(*flags);
  out.exptime = static_cast<std::int32_t>(*exptime);
  out.number = *unique;
  return accepted;
}

parse_result parse_arithmetic(verb v, const words& w, request& out) noexcept {
  if (w.count != 3 && w.count != 4) return refused(reply_error);
  out.command = v;
  out.noreply = w.last() == "noreply";
  out.key = w.at[1];
  if (out.key.size() > key_bytes_max) return refused(reply_bad_format);
  const auto delta = read_unsigned(w.at[2]);
  if (!delta) return refused(bad_delta);
  out.number = *delta;
  return accepted;
}

parse_result parse_touch(const words& w, request& out) noexcept {
  if (w.count != 3 && w.count != 4) return refused(reply_error);
  out.command = verb::touch;
  out.noreply = w.last() == "noreply";
  out.key = w.at[1];
  if (out.key.size() > key_bytes_max) return refused(reply_bad_format);
  const auto exptime = read_signed(w.at[2]);
  if (!exptime) return refused(reply_bad_exptime);
  out.exptime = static_cast<std::int32_t>(*exptime);
  return accepted;
}

// Old clients send a hold time, which may be 0 only.
parse_result parse_delete(const words& w, request& out) noexcept {
  if (w.count < 2 || w.count > 4) return refused(reply_error);
  out.command = verb::remove;
  out.key = w.at[1];
  if (w.count > 2) {
    const bool holds_zero = w.at[2] == "0";
    out.noreply = w.last() == "noreply";
    const bool valid = w.count == 3 ? holds_zero || out.noreply : holds_zero && out.noreply;
    if (!valid) return refused(bad_delete);
  }
  if (out.key.size() > key_bytes_max) return refused(reply_bad_format);
  return accepted;
}

parse_result parse_flush_all(const words& w, request& out) noexcept {
  if (w.count > 3) return refused(reply_error);
  out.command = verb::flush_all;
  out.noreply = w.last() == "noreply";
  if (w.count != (out.noreply ? 2 : 1)) {
    const auto exptime = read_signed(w.at[1]);
    if (!exptime) return refused(reply_bad_exptime);
    out.exptime = static_cast<std::int32_t>(*exptime);
  }
  return accepted;
}

parse_result parse_verbosity(const words& w, request& out) noexcept {
  if (w.count < 2 || w.count > 4) return refused(reply_error);
  out.command = verb::verbosity;
  out.noreply = w.last() == "noreply";
  const auto level = read_unsigned(w.at[1]);
  if (!level) return refused(reply_bad_format);
  out.number = *level;
  return accepted;
}

parse_result parse_memory_limit(const words& w, request& out) noexcept {
  if (w.count != 2 && w.count != 3) return refused(reply_error);
  out.command = verb::memory_limit;
  out.noreply = w.last() == "noreply";
  const auto mebibytes = read_unsigned(w.at[1]);
  if (!mebibytes) return refused(reply_error);
  if (*mebibytes < 8) return refused(memory_limit_too_small);
  if (*mebibytes > 1000000000) return refused(memory_limit_too_large);
  out.number = *mebibytes;
  return accepted;
}

// `rest`: what is behind the command's word.
parse_result parse_retrieval(verb v, std::string_view rest, request& out) noexcept {
  out.command = v;
  out.arguments = rest;
  if (rest.find_first_not_of(' ') == std::string_view::npos) return refused(reply_error);
  if (v == verb::gat || v == verb::gats) {
    const auto exptime = read_signed(next_key(out.arguments));
    if (!exptime) return refused(reply_bad_exptime);
    out.exptime = static_cast<std::int32_t>(*exptime);
  }
  return accepted;
}

parse_result parse_with_arguments(verb v, std::string_view rest, request& out) noexcept {
  out.command = v;
  out.arguments = rest;
  return accepted;
}

// Meta commands have two letters, and their lines a grammar of their own.
bool is_meta(std::string_view line) noexcept {
  if (line.size() < 2 || line[0] != 'm' || (line.size() > 2 && line[2] != ' ')) return false;
  return line[1] == 'g' || line[1] == 's' || line[1] == 'd' || line[1] == 'a' || line[1] == 'e';
}

parse_result parse_meta_line(std::string_view line, request& out) noexcept {
  out.command = verb::meta;
  out.arguments = line;
  return accepted;
}

parse_result parse_line(std::string_view line, request& out) noexcept {
  const words w = split(line);
  if (w.count == 0) return refused(reply_error);
  const std::string_view word = w.at[0];
  const std::string_view rest = line.substr(static_cast<std::size_t>(word.data() + word.size() - line.data()));
  switch (word.size()) {
    case 2:
      if (word == "mn") return simple(verb::meta_noop, out);
      break;
    case 3:
      if (word == "set") return parse_store(verb::set, w, out);
      if (word == "get") return parse_retrieval(verb::get, rest, out);
      if (word == "add") return parse_store(verb::add, w, out);
      if (word == "lru") return parse_with_arguments(verb::lru, rest, out);
      if (word == "cas") return parse_store(verb::cas, w, out);
      if (word == "gat") return parse_retrieval(verb::gat, rest, out);
      break;
    case 4:
      if (word == "gets") return parse_retrieval(verb::gets, rest, out);
      if (word == "gats") return parse_retrieval(verb::gats, rest, out);
      if (word == "incr") return parse_arithmetic(verb::increment, w, out);
      if (word == "decr") return parse_arithmetic(verb::decrement, w, out);
      if (word == "quit") return simple(verb::quit, out);
      if (word == "bget") return parse_retrieval(verb::get, rest, out);
      break;
    case 5:
      if (word == "touch") return parse_touch(w, out);
      if (word == "stats") return parse_with_arguments(verb::stats, rest, out);
      if (word == "slabs") return parse_with_arguments(verb::slabs, rest, out);
      if (word == "watch") return parse_with_arguments(verb::watch, rest, out);
      break;
    case 6:
      if (word == "delete") return parse_delete(w, out);
      if (word == "append") return parse_store(verb::append, w, out);
      break;
    case 7:
      if (word == "replace") return parse_store(verb::replace, w, out);
      if (word == "prepend") return parse_store(verb::prepend, w, out);
      if (word == "version") return simple(verb::version, out);
      break;
    case 8:
      if (word == "shutdown") return parse_with_arguments(verb::shutdown, rest, out);
      break;
    case 9:
      if (word == "flush_all") return parse_flush_all(w, out);
      if (word == "verbosity") return parse_verbosity(w, out);
      break;
    case 13:
      if (word == "refresh_certs") return simple(verb::refresh_certs, out);
      break;
    case 11:
      if (word == "lru_crawler") return parse_with_arguments(verb::lru_crawler, rest, out);
      break;
    case 14:
      if (word == "cache_memlimit") return parse_memory_limit(w, out);
      break;
    default:
      break;
  }
  // A browser that was made to talk to this port must not get its headers and body carried out.
  if (w.count < words_max && w.last().substr(0, 5) == "HTTP/") return {parse_status::hopeless, 0, 0, {}};
  return refused(reply_error);
}

bool is_long_retrieval(std::string_view input) noexcept {
  std::size_t blanks = 0;
  while (blanks < input.size() && input[blanks] == ' ') ++blanks;
  if (blanks > 100) return false;
  input.remove_prefix(blanks);
  return input.substr(0, 4) == "get " || input.substr(0, 5) == "gets ";
}

// A line is too long when its end has not come and it is no retrieval, or when it has grown past all bounds.
bool is_hopeless(std::string_view input) noexcept {
  if (input.size() <= line_bytes_max) return false;
  return !is_long_retrieval(input) || input.size() > retrieval_line_bytes_max;
}

}  // namespace

parse_result parse_request(std::string_view input, request& out) noexcept {
  const void* const newline = std::memchr(input.data(), '\n', input.size());
  if (newline == nullptr) {
    return {is_hopeless(input) ? parse_status::hopeless : parse_status::incomplete, 0, 0, {}};
  }
  auto length = static_cast<std::size_t>(static_cast<const char*>(newline) - input.data());
  const std::size_t line_bytes = length + 1;
  if (length >= line_bytes_read_max && !is_long_retrieval(input)) return {parse_status::hopeless, line_bytes, 0, {}};
  if (length > 1 && input[length - 1] == '\r') --length;
  std::string_view line = input.substr(0, length);
  // A NUL ends the line for memcached's C strings, and what is behind it is not looked at.
  if (const void* nul = std::memchr(line.data(), '\0', line.size()); nul != nullptr) [[unlikely]] {
    line = line.substr(0, static_cast<std::size_t>(static_cast<const char*>(nul) - line.data()));
  }
  out = request{};
  parse_result result = line.size() > 4 && std::memcmp(line.data(), "get ", 4) == 0
                            ? parse_retrieval(verb::get, line.substr(4), out)
                        : is_meta(line) ? parse_meta_line(line, out)
                                        : parse_line(line, out);
  result.line_bytes = line_bytes;
  return result;
}

}  // namespace scoot::server
