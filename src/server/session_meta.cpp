// SPDX-License-Identifier: MIT
//
// A session's meta commands: mg, ms, md, ma, me.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "server/decimal.hpp"
#include "server/meta_protocol.hpp"
#include "server/session.hpp"

namespace scoot::server {
namespace {

// "VA 4294967295", then for each flag that is answered a blank, its letter and a number, the opaque, or the key as
// base64 and " b"; then " Z", " X" and " W".
constexpr std::size_t meta_line_bytes_max =
    16 + 6 * (2 + decimal_bytes_max) + (1 + opaque_bytes_max) + (2 + (key_bytes_max + 2) / 3 * 4 + 2) + 6 + 2;

char* write_text(char* to, std::string_view text) noexcept {
  std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* write_flag(char* to, char letter) noexcept {
  *to++ = ' ';
  *to++ = letter;
  return to;
}

char* write_key(char* to, std::string_view key, bool binary) noexcept {
  to = write_flag(to, 'k');
  if (!binary) return write_text(to, key);
  return write_flag(encode_base64(to, key), 'b');
}

char* write_ttl(char* to, std::uint32_t expires_at, std::uint32_t now) noexcept {
  to = write_flag(to, 't');
  if (expires_at == expires_never) return write_text(to, "-1");
  return write_decimal(to, expires_at - std::min(now, expires_at));
}

// The opaque and the key, which every answer repeats if the request has them.
char* write_echo(char* to, std::string_view flag, const meta_request& what) noexcept {
  if (flag.front() == 'O') {
    *to++ = ' ';
    return write_text(to, flag);
  }
  return flag.front() == 'k' ? write_key(to, what.key, what.binary_key) : to;
}

char* write_item_flags(char* to, const meta_request& what, const item_view& item, std::uint32_t now) noexcept {
  // Flags take effect one after another, and t tells what is so when its turn comes.
  std::uint32_t expires_at = item.created ? expires_never : what.ttl ? item.expired_at : item.expires_at;
  for (std::size_t i = 0; i < what.flag_count; ++i) {
    const std::string_view flag = what.flags[i];
    switch (flag.front()) {
      case 'T':
        expires_at = expiry_of(*what.ttl, now);
        break;
      case 'N':
        if (item.created) expires_at = expiry_of(*what.vivify_ttl, now);
        break;
      case 's':
        to = write_decimal(write_flag(to, 's'), item.value.size());
        break;
      case 't':
        to = write_ttl(to, expires_at, now);
        break;
      case 'c':
        to = write_decimal(write_flag(to, 'c'), item.cas);
        break;
      case 'f':
        to = write_decimal(write_flag(to, 'f'), item.flags);
        break;
      case 'l':
        to = write_decimal(write_flag(to, 'l'), item.idle_s);
        break;
      case 'h':
        to = write_flag(to, 'h');
        *to++ = item.read ? '1' : '0';
        break;
      case 'k':
        to = write_key(to, item.key, item.binary_key);
        break;
      default:
        to = write_echo(to, flag, what);
    }
  }
  if (item.won) to = write_flag(to, 'Z');
  if (item.stale) to = write_flag(to, 'X');
  if (item.wins) to = write_flag(to, 'W');
  return to;
}

store_mode mode_of(const meta_request& what) noexcept {
  switch (what.mode) {
    case 'E':
      return store_mode::add;
    case 'A':
      return store_mode::append;
    case 'P':
      return store_mode::prepend;
    case 'R':
      return what.compare_cas ? store_mode::compare_and_swap : store_mode::replace;
    default:
      return what.compare_cas ? store_mode::compare_and_swap : store_mode::set;
  }
}

}  // namespace

struct meta_store {
  store_options options;
  store_extras extras;
  stored_item stored;

  meta_store(const meta_request& what, std::uint32_t now, bool with_cas) noexcept {
    const bool extends = what.mode == 'A' || what.mode == 'P';
    options.mode = mode_of(what);
    options.flags = what.client_flags;
    options.cas = what.compare_cas.value_or(0);
    extras.create = extends && what.vivify_ttl;
    options.expires_at = expiry_of(extras.create ? *what.vivify_ttl : what.ttl.value_or(0), now);
    extras.give_cas = what.give_cas && with_cas;
    extras.new_cas = what.new_cas.value_or(0);
    if (with_cas) extras.expect = what.compare_cas;
    extras.invalidate = what.invalidate && with_cas && options.mode == store_mode::compare_and_swap;
    extras.binary_key = what.binary_key;
    extras.stored = &stored;
    if (extras.give_cas || extras.new_cas != 0 || extras.expect || extras.invalidate || extras.create ||
        extras.binary_key || what.has('s')) {
      options.extras = &extras;
    }
  }
  meta_store(const meta_store&) = delete;
  meta_store& operator=(const meta_store&) = delete;
};

session::step session::run_meta(const session_context& with, std::string_view line, std::string_view& input,
                                std::size_t line_bytes) noexcept {
  meta_request what;
  const meta_result parsed = parse_meta(line, what);
  if (what.command == meta_verb::set && parsed.error.empty() && what.value_bytes < in_place_bytes_min &&
      input.size() - line_bytes < std::size_t{what.value_bytes} + 2) {
    return step::needs_input;  // come again with all of it
  }
  if (!waits_) with.counters.meta_commands.add();
  note_command(with, input.substr(0, line_bytes));
  if (!parsed.error.empty()) {
    reply(with, parsed.error);
    input.remove_prefix(line_bytes);
    swallow_bytes_ = parsed.block_bytes;
    if (swallow_bytes_ > 0) phase_ = phase::swallowing;
    return step::again;
  }
  switch (what.command) {
    case meta_verb::get:
      if (meta_get(with, what) == step::wait) return step::wait;
      break;
    case meta_verb::set:
      return meta_set(with, what, line, input, line_bytes);
    case meta_verb::remove:
      meta_remove(with, what);
      break;
    case meta_verb::arithmetic:
      meta_arithmetic(with, what);
      break;
    case meta_verb::debug:
      meta_debug(with, what);
      break;
  }
  input.remove_prefix(line_bytes);
  return step::again;
}

session::step session::meta_get(const session_context& with, const meta_request& what) noexcept {
  if (with.state.observes(pins_short) && what.value && has_to_wait(with, what.key)) return step::wait;
  cache& items = with.state.items;
  response_buffer& out = with.out;
  const std::uint32_t now = items.now();
  pinned_item pinned;
  meta_read meta;
  meta.use = !what.no_use;
  meta.idle = what.idle;
  meta.binary_key = what.binary_key;
  meta.create_cas = what.new_cas.value_or(0);
  meta.recache_after_touch = what.recache_after_touch;
  meta.create_prevails = what.vivify_after_touch;
  if (what.vivify_ttl) meta.create = expiry_of(*what.vivify_ttl, now);
  if (what.recache_ttl) meta.recache = expiry_of(*what.recache_ttl, now);
  read_options options;
  options.cas = what.give_cas && with.state.options.cas;
  if (what.ttl) options.touch = expiry_of(*what.ttl, now);
  if (what.value) options.pinned = &pinned;
  options.pin_bytes_min = response_buffer::held_value_bytes_min;
  options.meta = &meta;
  std::size_t value_bytes = 0;
  const auto answer = [&](const item_view& item) noexcept {
    value_bytes = item.value.size();
    const std::size_t copied_bytes = what.value && !pinned ? item.value.size() : 0;
    char* to = out.room(meta_line_bytes_max + copied_bytes + 2);
    if (to == nullptr) return;
    to = what.value ? write_decimal(write_text(to, "VA "), item.value.size()) : write_text(to, "HD");
    to = write_text(write_item_flags(to, what, item, now), "\r\n");
    if (what.value && !pinned) to = write_text(write_text(to, item.value), "\r\n");
    out.finish(to);
    if (!pinned) return;
    out.append_held(std::move(pinned));
    out.append("\r\n");
  };
  const cache_status status = items.get(what.key, answer, options);
  observe_fetch(with, what.key, status == cache_status::ok, value_bytes);
  if (status == cache_status::no_memory) {
    reply(with, reply_out_of_memory);
  } else if (status != cache_status::ok && !what.quiet) {
    meta_reply(with, "EN", what);
  }
  return step::again;
}

// A status, and what of the request is repeated in every answer.
void session::meta_reply(const session_context& with, std::string_view status, const meta_request& what) noexcept {
  char line[meta_line_bytes_max];
  char* to = write_text(line, status);
  for (std::size_t i = 0; i < what.flag_count; ++i) to = write_echo(to, what.flags[i], what);
  to = write_text(to, "\r\n");
  reply(with, {line, static_cast<std::size_t>(to - line)});
}

session::step session::meta_set(const session_context& with, const meta_request& what, std::string_view line,
                                std::string_view& input, std::size_t line_bytes) noexcept {
  cache& items = with.state.items;
  const std::string_view block = input.substr(line_bytes);
  const bool whole = block.size() >= std::size_t{what.value_bytes} + 2;
  if (what.value_bytes >= large_value_bytes_min) large_value_ = true;
  meta_store wanted(what, items.now(), with.state.options.cas);
  if (whole) {
    input.remove_prefix(line_bytes + what.value_bytes + 2);
    if (std::memcmp(block.data() + what.value_bytes, "\r\n", 2) != 0) {
      reply(with, reply_bad_chunk);
      return step::again;
    }
    const cache_status status = items.store(what.key, block.substr(0, what.value_bytes), wanted.options);
    meta_stored(with, what, status, wanted);
    return step::again;
  }
  refuse_value(with, begin_value(with, what.key, what.value_bytes, wanted.options, line));
  input.remove_prefix(line_bytes);
  return step::again;
}

void session::finish_meta_value(const session_context& with, std::string_view line) noexcept {
  meta_request what;
  (void)parse_meta(line, what);  // which it was once already
  meta_store wanted(what, with.state.items.now(), with.state.options.cas);
  meta_stored(with, what, with.state.items.commit(std::move(incoming_), wanted.options), wanted);
}

void session::meta_stored(const session_context& with, const meta_request& what, cache_status status,
                          meta_store& wanted) noexcept {
  observe_store(with, what.key, wanted.options, status, what.value_bytes);
  stored_item& stored = wanted.stored;
  if (wanted.options.extras == nullptr) stored.value_bytes = what.value_bytes;
  std::string_view code = "HD";
  switch (status) {
    case cache_status::ok:
      if (what.quiet) return;
      break;
    case cache_status::exists:
      code = "EX";
      break;
    case cache_status::not_found:
      code = "NF";
      break;
    case cache_status::too_large:
      if ((what.mode != 'A' && what.mode != 'P') ||
          what.value_bytes + key_bytes_max >= with.state.options.item_bytes_max) {
        return reply(with, reply_too_large);
      }
      [[fallthrough]];
    case cache_status::not_stored:
      code = "NS";
      break;
    default:
      return reply(with, reply_no_memory);
  }
  char line[meta_line_bytes_max];
  char* to = write_text(line, code);
  for (std::size_t i = 0; i < what.flag_count; ++i) {
    switch (what.flags[i].front()) {
      case 'c':
        to = write_decimal(write_flag(to, 'c'), stored.cas);
        break;
      case 's':
        to = write_decimal(write_flag(to, 's'), status == cache_status::ok ? stored.value_bytes : what.value_bytes);
        break;
      default:
        to = write_echo(to, what.flags[i], what);
    }
  }
  to = write_text(to, "\r\n");
  reply(with, {line, static_cast<std::size_t>(to - line)});
}

void session::meta_remove(const session_context& with, const meta_request& what) noexcept {
  cache& items = with.state.items;
  remove_options options;
  // Where there are none, all are 0.
  options.compare = what.compare_cas && (with.state.options.cas || *what.compare_cas != 0);
  options.cas = what.compare_cas.value_or(0);
  options.keep_stale = what.invalidate;
  options.drop_value = what.drop_value;
  options.flags = what.client_flags;
  if (what.ttl) options.expires_at = expiry_of(*what.ttl, items.now());
  options.new_cas = what.new_cas.value_or(0);
  const bool observed = with.state.observes(watch_deletions | count_prefixes);
  switch (observed ? remove_observed(with, what.key, options, "md") : items.remove(what.key, options)) {
    case cache_status::ok:
      if (!what.quiet) meta_reply(with, "HD", what);
      return;
    case cache_status::exists:
      return meta_reply(with, "EX", what);
    case cache_status::not_found:
      return meta_reply(with, "NF", what);
    default:
      return reply(with, reply_out_of_memory);
  }
}

void session::meta_arithmetic(const session_context& with, const meta_request& what) noexcept {
  cache& items = with.state.items;
  const std::uint32_t now = items.now();
  arithmetic_options options;
  options.delta = what.delta;
  options.decrement = what.mode == 'D' || what.mode == '-';
  options.report = true;
  options.cas = what.compare_cas.value_or(0);
  options.give_cas = what.give_cas && with.state.options.cas;
  options.new_cas = what.new_cas.value_or(0);
  options.initial = what.initial;
  options.binary_key = what.binary_key;
  if (what.vivify_ttl) options.create = expiry_of(*what.vivify_ttl, now);
  if (what.ttl) options.touch = expiry_of(*what.ttl, now);
  const arithmetic_result result = items.arithmetic(what.key, options);
  observe_fetch(with, what.key, result.status != cache_status::not_found, 0);
  switch (result.status) {
    case cache_status::ok:
      break;
    case cache_status::exists:
      return meta_reply(with, "EX", what);
    case cache_status::not_found:
      return meta_reply(with, "NF", what);
    case cache_status::not_numeric:
      return reply(with, reply_not_numeric);
    default:
      return reply(with, reply_out_of_memory);
  }
  if (what.quiet) return;
  char digits[decimal_bytes_max];
  const std::string_view number(digits, static_cast<std::size_t>(write_decimal(digits, result.value) - digits));
  char line[meta_line_bytes_max + decimal_bytes_max + 2];
  char* to = what.value ? write_decimal(write_text(line, "VA "), number.size()) : write_text(line, "HD");
  bool touched = false;
  for (std::size_t i = 0; i < what.flag_count; ++i) {
    switch (what.flags[i].front()) {
      case 'T':
        touched = true;
        break;
      case 'c':
        to = write_decimal(write_flag(to, 'c'), result.cas);
        break;
      case 't':
        to = write_ttl(to, touched ? result.expires_at : result.expired_at, now);
        break;
      default:
        to = write_echo(to, what.flags[i], what);
    }
  }
  if (what.value) to = write_text(write_text(to, "\r\n"), number);
  to = write_text(to, "\r\n");
  reply(with, {line, static_cast<std::size_t>(to - line)});
}

// What is known of an item, without using it.
void session::meta_debug(const session_context& with, const meta_request& what) noexcept {
  cache& items = with.state.items;
  const std::uint32_t now = items.now();
  meta_read meta;
  meta.unnoticed = true;
  read_options options;
  options.meta = &meta;
  const auto answer = [&](const item_view& item) noexcept {
    char* to = with.out.room(meta_line_bytes_max + 128);
    if (to == nullptr) return;
    to = write_text(to, "ME ");
    to = item.binary_key ? encode_base64(to, item.key) : write_text(to, item.key);
    to = write_text(to, " exp=");
    to = item.expires_at == expires_never ? write_text(to, "-1")
                                          : write_decimal(to, item.expires_at - std::min(now, item.expires_at));
    to = write_decimal(write_text(to, " la="), item.idle_s);
    to = write_decimal(write_text(to, " cas="), item.cas);
    to = write_text(write_text(to, " fetch="), item.read ? "yes" : "no");
    to = write_decimal(write_text(to, " cls=1 size="), item.key.size() + item.value.size());
    with.out.finish(write_text(to, "\r\n"));
  };
  const cache_status status = items.get(what.key, answer, options);
  if (status != cache_status::ok) reply(with, status == cache_status::not_found ? "EN\r\n" : reply_out_of_memory);
}

}  // namespace scoot::server
