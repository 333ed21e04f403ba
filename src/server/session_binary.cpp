// SPDX-License-Identifier: MIT
//
// A session that speaks the binary protocol, and both protocols' ways to say who one is.
#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "server/binary_protocol.hpp"
#include "server/credentials.hpp"
#include "server/decimal.hpp"
#include "server/log.hpp"
#include "server/session.hpp"

namespace scoot::server {
namespace {

constexpr std::uint32_t create_never = 0xffffffff;  // arithmetic: the expiry that says so

// An exptime of 32 bits without a sign: up to thirty days from now on, above that a unix time.
std::uint32_t binary_expiry(std::uint32_t exptime, std::uint32_t now) noexcept {
  constexpr auto sign = std::uint32_t{1} << 31;
  return exptime < sign ? expiry_of(static_cast<std::int32_t>(exptime), now) : exptime;
}

store_mode mode_of(binary_verb command, bool compares) noexcept {
  switch (command) {
    case binary_verb::append:
      return store_mode::append;
    case binary_verb::prepend:
      return store_mode::prepend;
    case binary_verb::add:
      return compares ? store_mode::compare_and_swap : store_mode::add;
    case binary_verb::replace:
      return compares ? store_mode::compare_and_swap : store_mode::replace;
    default:
      return compares ? store_mode::compare_and_swap : store_mode::set;
  }
}

// A store as the cache is asked for it. The unique is in every answer, so an item gets one unless nobody is answered.
struct binary_store {
  store_options options;
  store_extras extras;
  stored_item stored;

  binary_store(const binary_request& what, std::uint32_t now, bool with_cas) noexcept {
    const bool compares = with_cas && what.cas != 0;
    options.mode = mode_of(what.command, compares);
    options.flags = what.flags;
    options.expires_at = binary_expiry(what.exptime, now);
    options.cas = what.cas;
    extras.give_cas = with_cas && !what.quiet;
    if (compares) extras.expect = what.cas;
    extras.stored = &stored;
    if (extras.give_cas || extras.expect) options.extras = &extras;
  }
  binary_store(const binary_store&) = delete;
  binary_store& operator=(const binary_store&) = delete;
};

binary_status status_of(cache_status status, binary_verb command) noexcept {
  switch (status) {
    case cache_status::ok:
      return binary_status::ok;
    case cache_status::not_found:
      return binary_status::not_found;
    case cache_status::exists:
      return binary_status::exists;
    case cache_status::not_stored:
      if (command == binary_verb::add) return binary_status::exists;
      return command == binary_verb::replace ? binary_status::not_found : binary_status::not_stored;
    case cache_status::not_numeric:
      return binary_status::not_numeric;
    case cache_status::too_large:
      return binary_status::too_large;
    default:
      return binary_status::no_memory;
  }
}

}  // namespace

void session::binary_reply(const session_context& with, const binary_request& what, binary_status status,
                           std::string_view value, std::uint64_t cas) noexcept {
  char* to = with.out.room(binary_header_bytes + value.size());
  if (to == nullptr) return;
  binary_response response;
  response.status = status;
  response.value_bytes = static_cast<std::uint32_t>(value.size());
  response.cas = cas;
  to = write_binary_header(to, what, response);
  with.out.finish(std::copy(value.begin(), value.end(), to));
}

void session::binary_error(const session_context& with, const binary_request& what, binary_status status) noexcept {
  binary_reply(with, what, status, text_of(status));
}

session::step session::run_binary(const session_context& with, std::string_view& input) noexcept {
  binary_request what;
  const binary_result parsed = parse_binary(input, what);
  switch (parsed.status) {
    case binary_parse::incomplete:
      return step::needs_input;
    case binary_parse::hopeless:
      return step::close;
    case binary_parse::invalid:
      binary_error(with, what, binary_status::invalid);
      return step::close;
    case binary_parse::unknown: {
      binary_error(with, what, binary_status::unknown_command);
      const std::size_t here = std::min(parsed.frame_bytes, input.size());
      input.remove_prefix(here);
      swallow_bytes_ = parsed.frame_bytes - here;
      if (swallow_bytes_ > 0) phase_ = phase::swallowing;
      return step::again;
    }
    case binary_parse::request:
      break;
  }
  const bool open = !needs_auth_ || what.command >= binary_verb::sasl_list || what.command == binary_verb::version;
  if (!open) {
    binary_error(with, what, binary_status::unauthorised);
    return step::close;
  }
  if (is_store(what.command)) {
    return binary_set(with, what, input.substr(0, parsed.head_bytes), input, parsed.frame_bytes);
  }
  if (what.command == binary_verb::stats && what.key == "sizes") {
    return begin_walk(with, walk::kind::sizes, 0, parsed.frame_bytes);
  }
  const step next = binary_execute(with, what);
  if (next == step::wait) return next;
  input.remove_prefix(parsed.frame_bytes);
  return next;
}

session::step session::binary_execute(const session_context& with, const binary_request& what) noexcept {
  cache& items = with.state.items;
  switch (what.command) {
    case binary_verb::get:
    case binary_verb::touch:
    case binary_verb::get_and_touch:
      return binary_get(with, what);
    case binary_verb::remove: {
      remove_options options;
      options.cas = what.cas;
      const bool observed = with.state.observes(watch_deletions | count_prefixes);
      const binary_status status =
          status_of(observed ? remove_observed(with, what.key, options, "delete") : items.remove(what.key, options),
                    what.command);
      if (status != binary_status::ok) {
        binary_error(with, what, status);
      } else if (!what.quiet) {
        binary_reply(with, what, status, {});
      }
      break;
    }
    case binary_verb::increment:
    case binary_verb::decrement:
      binary_arithmetic(with, what);
      break;
    case binary_verb::flush:
      if (!with.state.live.flush_enabled) {
        binary_error(with, what, binary_status::unauthorised);
        break;
      }
      flush(with, binary_expiry(what.exptime, items.now()));
      if (!what.quiet) binary_reply(with, what, binary_status::ok, {});
      break;
    case binary_verb::version:
      binary_reply(with, what, binary_status::ok, protocol_version);
      break;
    case binary_verb::verbosity:
      set_verbosity(with, what.level);
      binary_reply(with, what, binary_status::ok, {});
      break;
    case binary_verb::stats:
      if (!write_stats(with.state, what.key, with.out, id_, &what)) binary_error(with, what, binary_status::not_found);
      break;
    case binary_verb::sasl_list:
    case binary_verb::sasl_auth:
    case binary_verb::sasl_step:
      binary_sasl(with, what);
      break;
    case binary_verb::quit:
      if (!what.quiet) binary_reply(with, what, binary_status::ok, {});
      return step::close;
    default:  // noop
      binary_reply(with, what, binary_status::ok, {});
  }
  return step::again;
}

session::step session::binary_get(const session_context& with, const binary_request& what) noexcept {
  response_buffer& out = with.out;
  const bool touches = what.command != binary_verb::get;
  const bool gives_value = what.command != binary_verb::touch;
  if (with.state.observes(pins_short) && gives_value && has_to_wait(with, what.key)) return step::wait;
  pinned_item pinned;
  read_options options;
  options.cas = with.state.options.cas;
  if (touches) options.touch = binary_expiry(what.exptime, with.state.items.now());
  if (gives_value) options.pinned = &pinned;
  options.pin_bytes_min = response_buffer::held_value_bytes_min;
  std::size_t value_bytes = 0;
  const auto answer = [&](const item_view& item) noexcept {
    value_bytes = item.value.size();
    const std::size_t copied_bytes = gives_value && !pinned ? item.value.size() : 0;
    char* to = out.room(binary_header_bytes + 4 + key_bytes_max + copied_bytes);
    if (to == nullptr) return;
    binary_response response;
    response.extras_bytes = 4;
    response.key_bytes = what.with_key ? static_cast<std::uint16_t>(item.key.size()) : std::uint16_t{0};
    response.value_bytes = gives_value ? static_cast<std::uint32_t>(item.value.size()) : 0;
    response.cas = item.cas;
    to = write_big_endian(write_binary_header(to, what, response), item.flags, 4);
    std::memcpy(to, item.key.data(), response.key_bytes);
    to += response.key_bytes;
    std::memcpy(to, item.value.data(), copied_bytes);
    out.finish(to + copied_bytes);
    if (pinned) out.append_held(std::move(pinned));
  };
  const cache_status status = with.state.items.get(what.key, answer, options);
  observe_fetch(with, what.key, status == cache_status::ok, value_bytes);
  if (status == cache_status::no_memory) binary_error(with, what, binary_status::no_memory);
  if (status == cache_status::ok || status == cache_status::no_memory || what.quiet) return step::again;
  if (!what.with_key) {
    binary_error(with, what, binary_status::not_found);
    return step::again;
  }
  char* to = out.room(binary_header_bytes + what.key.size());
  if (to == nullptr) return step::again;
  binary_response response;
  response.status = binary_status::not_found;
  response.key_bytes = static_cast<std::uint16_t>(what.key.size());
  to = write_binary_header(to, what, response);
  std::memcpy(to, what.key.data(), what.key.size());
  out.finish(to + what.key.size());
  return step::again;
}

session::step session::binary_set(const session_context& with, const binary_request& what, std::string_view head,
                                  std::string_view& input, std::size_t frame_bytes) noexcept {
  cache& items = with.state.items;
  const bool whole = what.value.size() == what.value_bytes;
  if (what.value_bytes >= large_value_bytes_min) large_value_ = true;
  if (!whole && what.value_bytes < in_place_bytes_min) return step::needs_input;  // come again with all of it
  binary_store wanted(what, items.now(), with.state.options.cas);
  if (whole) {
    const cache_status status = items.store(what.key, what.value, wanted.options);
    observe_store(with, what.key, wanted.options, status, what.value_bytes);
    binary_stored(with, what, status, wanted.stored);
    input.remove_prefix(frame_bytes);
    return step::again;
  }
  const cache_status status = begin_value(with, what.key, what.value_bytes, wanted.options, head);
  if (status != cache_status::ok) binary_error(with, what, status_of(status, what.command));
  input.remove_prefix(head.size());
  return step::again;
}

void session::finish_binary_value(const session_context& with) noexcept {
  binary_request what;
  (void)parse_binary(*kept_, what);  // which it was once already
  binary_store wanted(what, with.state.items.now(), with.state.options.cas);
  const cache_status status = with.state.items.commit(std::move(incoming_), wanted.options);
  observe_store(with, what.key, wanted.options, status, what.value_bytes);
  binary_stored(with, what, status, wanted.stored);
  incoming_.reset();
  kept_.reset();
  phase_ = phase::binary;
}

void session::binary_stored(const session_context& with, const binary_request& what, cache_status status,
                            const stored_item& stored) noexcept {
  const binary_status answer = status_of(status, what.command);
  if (answer != binary_status::ok) return binary_error(with, what, answer);
  if (!what.quiet) binary_reply(with, what, answer, {}, stored.cas);
}

void session::binary_arithmetic(const session_context& with, const binary_request& what) noexcept {
  cache& items = with.state.items;
  arithmetic_options options;
  options.delta = what.delta;
  options.decrement = what.command == binary_verb::decrement;
  options.cas = what.cas;
  options.give_cas = with.state.options.cas && !what.quiet;
  options.initial = what.initial;
  options.report = true;
  if (what.exptime != create_never) {
    options.create = binary_expiry(what.exptime, items.now());
  }
  const arithmetic_result result = items.arithmetic(what.key, options);
  observe_fetch(with, what.key, result.status != cache_status::not_found, 0);
  if (result.status != cache_status::ok) return binary_error(with, what, status_of(result.status, what.command));
  if (what.quiet) return;
  char number[8];
  write_big_endian(number, result.value, 8);
  binary_reply(with, what, binary_status::ok, {number, sizeof number}, result.cas);
}

// PLAIN only: one message says it all, so there is never a second step.
void session::binary_sasl(const session_context& with, const binary_request& what) noexcept {
  const credentials* const users = with.state.sasl_users;
  if (users == nullptr) return binary_error(with, what, binary_status::unknown_command);
  if (what.command == binary_verb::sasl_list) return binary_reply(with, what, binary_status::ok, "PLAIN");
  with.state.auth_commands.fetch_add(1, std::memory_order_relaxed);
  const bool good = what.command == binary_verb::sasl_auth && what.key == "PLAIN" && users->check_plain(what.value);
  needs_auth_ = !good;
  if (good) return binary_reply(with, what, binary_status::ok, "Authenticated");
  with.state.auth_errors.fetch_add(1, std::memory_order_relaxed);
  binary_error(with, what, binary_status::unauthorised);
}

// ---- text ---------------------------------------------------------------------------------------------------------

// Until a client has said who it is by `set <any key> <n> <n> <bytes>` and "name password", nothing else is heard.
session::step session::run_auth(const session_context& with, std::string_view& input) noexcept {
  const std::size_t newline = input.find('\n');
  if (newline == std::string_view::npos) return input.size() > line_bytes_max ? step::close : step::needs_input;
  std::string_view line = input.substr(0, newline);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  noreply_ = false;
  std::array<std::string_view, 5> words;
  for (std::string_view& word : words) word = next_key(line);
  const auto bytes = read_unsigned(words[4]);
  if (words[0] != "set" || !bytes || *bytes > line_bytes_max) {
    input.remove_prefix(newline + 1);
    reply(with, "CLIENT_ERROR unauthenticated\r\n");
    return step::again;
  }
  const auto block_bytes = static_cast<std::size_t>(*bytes);
  std::string_view block = input.substr(newline + 1);
  if (block.size() < block_bytes + 2) return step::needs_input;
  input.remove_prefix(newline + 1 + block_bytes + 2);
  if (block.substr(block_bytes, 2) != "\r\n") {
    reply(with, "CLIENT_ERROR bad command line termination\r\n");
    return step::again;
  }
  block = block.substr(0, block_bytes);
  const std::string_view name = next_key(block);
  const std::string_view password = next_key(block);
  if (password.empty()) {
    reply(with, "CLIENT_ERROR bad authentication token format\r\n");
    return step::again;
  }
  with.state.auth_commands.fetch_add(1, std::memory_order_relaxed);
  if (!with.state.text_users->check(name, password)) {
    with.state.auth_errors.fetch_add(1, std::memory_order_relaxed);
    reply(with, "CLIENT_ERROR authentication failure\r\n");
    return step::again;
  }
  needs_auth_ = false;
  phase_ = phase::command;
  reply(with, "STORED\r\n");
  return step::again;
}

}  // namespace scoot::server
