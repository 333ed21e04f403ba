// SPDX-License-Identifier: MIT
#include "server/binary_protocol.hpp"

#include <array>

#include "scoot/cache.hpp"

namespace scoot::server {
namespace {

// What each command's frame must look like.
struct shape {
  bool known = false;
  binary_verb command = binary_verb::noop;
  bool quiet = false;
  bool with_key = false;
  std::uint8_t extras = 0;  // bytes
  bool extras_optional = false;
  enum : unsigned char { none, optional, needed } key = none;
  bool value = false;  // may have one
};

constexpr std::size_t opcodes = 0x25;
constexpr std::size_t other_body_bytes_max = 2048;  // of what is no store

constexpr std::array<shape, opcodes> make_shapes() {
  std::array<shape, opcodes> t{};
  const auto entry = [&t](unsigned code, binary_verb v, bool quiet, std::uint8_t extras, decltype(shape::key) key,
                          bool value) { t[code] = {true, v, quiet, false, extras, false, key, value}; };
  using v = binary_verb;
  for (const bool quiet : {false, true}) {
    entry(quiet ? 0x09 : 0x00, v::get, quiet, 0, shape::needed, false);
    entry(quiet ? 0x0d : 0x0c, v::get, quiet, 0, shape::needed, false);
    t[quiet ? 0x0d : 0x0c].with_key = true;
    entry(quiet ? 0x11 : 0x01, v::set, quiet, 8, shape::needed, true);
    entry(quiet ? 0x12 : 0x02, v::add, quiet, 8, shape::needed, true);
    entry(quiet ? 0x13 : 0x03, v::replace, quiet, 8, shape::needed, true);
    entry(quiet ? 0x19 : 0x0e, v::append, quiet, 0, shape::needed, true);
    entry(quiet ? 0x1a : 0x0f, v::prepend, quiet, 0, shape::needed, true);
    entry(quiet ? 0x14 : 0x04, v::remove, quiet, 0, shape::needed, false);
    entry(quiet ? 0x15 : 0x05, v::increment, quiet, 20, shape::needed, false);
    entry(quiet ? 0x16 : 0x06, v::decrement, quiet, 20, shape::needed, false);
    entry(quiet ? 0x17 : 0x07, v::quit, quiet, 0, shape::none, false);
    entry(quiet ? 0x18 : 0x08, v::flush, quiet, 4, shape::none, false);
    t[quiet ? 0x18 : 0x08].extras_optional = true;
    entry(quiet ? 0x1e : 0x1d, v::get_and_touch, quiet, 4, shape::needed, false);
    entry(quiet ? 0x24 : 0x23, v::get_and_touch, quiet, 4, shape::needed, false);
    t[quiet ? 0x24 : 0x23].with_key = true;
  }
  entry(0x0a, v::noop, false, 0, shape::none, false);
  entry(0x0b, v::version, false, 0, shape::none, false);
  entry(0x10, v::stats, false, 0, shape::optional, false);
  entry(0x1b, v::verbosity, false, 4, shape::none, false);
  entry(0x1c, v::touch, false, 4, shape::needed, false);
  entry(0x20, v::sasl_list, false, 0, shape::none, false);
  entry(0x21, v::sasl_auth, false, 0, shape::needed, true);
  entry(0x22, v::sasl_step, false, 0, shape::needed, true);
  return t;
}
constexpr auto shapes = make_shapes();

std::uint64_t read_big_endian(const char* from, unsigned bytes) noexcept {
  std::uint64_t number = 0;
  for (unsigned i = 0; i < bytes; ++i) number = number << 8 | static_cast<unsigned char>(from[i]);
  return number;
}

void read_extras(const char* extras, binary_request& out) noexcept {
  switch (out.command) {
    case binary_verb::set:
    case binary_verb::add:
    case binary_verb::replace:
      out.flags = static_cast<std::uint32_t>(read_big_endian(extras, 4));
      out.exptime = static_cast<std::uint32_t>(read_big_endian(extras + 4, 4));
      break;
    case binary_verb::increment:
    case binary_verb::decrement:
      out.delta = read_big_endian(extras, 8);
      out.initial = read_big_endian(extras + 8, 8);
      out.exptime = static_cast<std::uint32_t>(read_big_endian(extras + 16, 4));
      break;
    case binary_verb::verbosity:
      out.level = static_cast<std::uint32_t>(read_big_endian(extras, 4));
      break;
    default:  // touch, get_and_touch, flush
      out.exptime = static_cast<std::uint32_t>(read_big_endian(extras, 4));
      out.has_exptime = true;
  }
}

bool fits(const shape& s, std::size_t key_bytes, std::size_t extras_bytes, std::size_t body_bytes) noexcept {
  if (key_bytes + extras_bytes > body_bytes || key_bytes > key_bytes_max) return false;
  if (extras_bytes != s.extras && !(s.extras_optional && extras_bytes == 0)) return false;
  if (s.key == shape::needed ? key_bytes == 0 : s.key == shape::none && key_bytes != 0) return false;
  const std::size_t value_bytes = body_bytes - key_bytes - extras_bytes;
  if (!s.value) return value_bytes == 0;
  return is_store(s.command) ? value_bytes <= 0x7ffffffd : body_bytes <= other_body_bytes_max;
}

}  // namespace

binary_result parse_binary(std::string_view input, binary_request& out) noexcept {
  out = binary_request{};
  if (input.empty()) return {};
  if (static_cast<unsigned char>(input.front()) != binary_request_magic) return {binary_parse::hopeless, 0, 0};
  if (input.size() < binary_header_bytes) return {};
  const char* const head = input.data();
  out.opcode = static_cast<std::uint8_t>(head[1]);
  const auto key_bytes = static_cast<std::size_t>(read_big_endian(head + 2, 2));
  const auto extras_bytes = static_cast<std::size_t>(static_cast<unsigned char>(head[4]));
  const auto body_bytes = static_cast<std::size_t>(read_big_endian(head + 8, 4));
  out.opaque = static_cast<std::uint32_t>(read_big_endian(head + 12, 4));
  out.cas = read_big_endian(head + 16, 8);
  binary_result result;
  result.head_bytes = binary_header_bytes + extras_bytes + key_bytes;
  result.frame_bytes = binary_header_bytes + body_bytes;
  if (key_bytes + extras_bytes > body_bytes) {
    result.status = binary_parse::invalid;
    return result;
  }
  if (out.opcode >= opcodes || !shapes[out.opcode].known) {
    result.status = binary_parse::unknown;
    return result;
  }
  const shape& s = shapes[out.opcode];
  out.command = s.command;
  out.quiet = s.quiet;
  out.with_key = s.with_key;
  if (!fits(s, key_bytes, extras_bytes, body_bytes)) {
    result.status = binary_parse::invalid;
    return result;
  }
  if (input.size() < (is_store(s.command) ? result.head_bytes : result.frame_bytes)) return result;
  if (extras_bytes != 0) read_extras(head + binary_header_bytes, out);
  out.key = input.substr(binary_header_bytes + extras_bytes, key_bytes);
  out.value_bytes = result.frame_bytes - result.head_bytes;
  out.value = input.substr(result.head_bytes, out.value_bytes);
  result.status = binary_parse::request;
  return result;
}

char* write_big_endian(char* to, std::uint64_t number, unsigned bytes) noexcept {
  for (unsigned i = bytes; i-- > 0;) *to++ = static_cast<char>(number >> 8 * i);
  return to;
}

char* write_binary_header(char* to, const binary_request& request, const binary_response& response) noexcept {
  *to++ = static_cast<char>(0x81);
  *to++ = static_cast<char>(request.opcode);
  to = write_big_endian(to, response.key_bytes, 2);
  *to++ = static_cast<char>(response.extras_bytes);
  *to++ = 0;
  to = write_big_endian(to, static_cast<std::uint16_t>(response.status), 2);
  to = write_big_endian(to, std::uint64_t{response.key_bytes} + response.extras_bytes + response.value_bytes, 4);
  to = write_big_endian(to, request.opaque, 4);
  return write_big_endian(to, response.cas, 8);
}

std::string_view text_of(binary_status status) noexcept {
  switch (status) {
    case binary_status::ok:
      return {};
    case binary_status::not_found:
      return "Not found";
    case binary_status::exists:
      return "Data exists for key.";
    case binary_status::too_large:
      return "Too large.";
    case binary_status::invalid:
      return "Invalid arguments";
    case binary_status::not_stored:
      return "Not stored.";
    case binary_status::not_numeric:
      return "Non-numeric server-side value for incr or decr";
    case binary_status::unauthorised:
      return "Auth failure.";
    case binary_status::no_memory:
      return "Out of memory";
    default:
      return "Unknown command";
  }
}

}  // namespace scoot::server
