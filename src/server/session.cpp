// SPDX-License-Identifier: MIT
#include "server/session.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "server/decimal.hpp"
#include "server/log.hpp"

namespace scoot::server {
namespace {

store_mode mode_of(verb v) noexcept {
  switch (v) {
    case verb::add:
      return store_mode::add;
    case verb::replace:
      return store_mode::replace;
    case verb::append:
      return store_mode::append;
    case verb::prepend:
      return store_mode::prepend;
    case verb::cas:
      return store_mode::compare_and_swap;
    default:
      return store_mode::set;
  }
}

}  // namespace

session_progress session::run(const session_context& with, std::string_view input, unsigned& commands_left) noexcept {
  const char* const first = input.data();
  session_progress progress;
  step next = step::again;
  while (next == step::again) {
    if (input.empty()) {
      next = step::needs_input;
      break;
    }
    if (with.out.full()) {
      next = step::output_full;
      break;
    }
    switch (phase_) {
      case phase::start:
        next = begin(with, input);
        break;
      case phase::auth:
      case phase::command:
      case phase::binary:
        if (commands_left == 0) {
          progress.status = session_status::turn_over;
          progress.used_bytes = static_cast<std::size_t>(input.data() - first);
          return progress;
        }
        next = phase_ == phase::command  ? run_command(with, input)
               : phase_ == phase::binary ? run_binary(with, input)
                                         : run_auth(with, input);
        if (next == step::again) --commands_left;
        break;
      case phase::retrieving:
        next = resume_retrieval(with, input);
        break;
      case phase::walking:
        next = run_walk(with, input);
        break;
      case phase::value:
        next = receive_value(with, input);
        break;
      case phase::value_end:
        next = finish_value(with, input);
        break;
      case phase::swallowing:
        next = swallow(input);
        break;
      case phase::watching:
        input.remove_prefix(input.size());
        break;
    }
    waits_ = next == step::wait;
  }
  progress.used_bytes = static_cast<std::size_t>(input.data() - first);
  switch (next) {
    case step::output_full:
      progress.status = session_status::output_full;
      break;
    case step::turn_over:
      progress.status = session_status::turn_over;
      break;
    case step::wait:
      progress.status = session_status::wait;
      break;
    case step::watch:
      progress.status = session_status::watch;
      break;
    case step::close:
      progress.status = session_status::close;
      break;
    default:
      progress.status = session_status::needs_input;
  }
  return progress;
}

// The first byte tells which protocol a client speaks.
session::step session::begin(const session_context& with, std::string_view input) noexcept {
  const protocol_choice speaks = with.state.options.protocol;
  binary_ = static_cast<unsigned char>(input.front()) == binary_request_magic;
  if (binary_ ? speaks == protocol_choice::ascii : speaks == protocol_choice::binary) {
    if (binary_) refuse_binary(with, input);
    return step::close;
  }
  needs_auth_ = (binary_ ? with.state.sasl_users : with.state.text_users) != nullptr;
  phase_ = binary_ ? phase::binary : needs_auth_ ? phase::auth : phase::command;
  return step::again;
}

session::step session::run_command(const session_context& with, std::string_view& input) noexcept {
  request what;
  const parse_result parsed = parse_request(input, what);
  if (parsed.status == parse_status::incomplete) return step::needs_input;
  if (parsed.status == parse_status::hopeless) return step::close;
  noreply_ = what.noreply;
  verb_ = what.command;
  if (parsed.status == parse_status::invalid) {
    note_command(with, input.substr(0, parsed.line_bytes));
    reply(with, parsed.error);
    input.remove_prefix(parsed.line_bytes);
    swallow_bytes_ = parsed.block_bytes;
    if (swallow_bytes_ > 0) phase_ = phase::swallowing;
    return step::again;
  }
  if (is_retrieval(what.command)) {
    note_command(with, input.substr(0, parsed.line_bytes));
    if (what.command >= verb::gat) expires_at_ = expiry_of(what.exptime, with.state.items.now());
    return run_retrieval(with, what.arguments, input, parsed.line_bytes);
  }
  if (is_store(what.command)) return run_store(with, what, input, parsed.line_bytes);
  if (what.command == verb::meta) return run_meta(with, what.arguments, input, parsed.line_bytes);
  note_command(with, input.substr(0, parsed.line_bytes));
  return execute(with, what, input, parsed.line_bytes);
}

session::step session::execute(const session_context& with, const request& what, std::string_view& input,
                               std::size_t line_bytes) noexcept {
  cache& items = with.state.items;
  step next = step::again;
  switch (what.command) {
    case verb::remove:
      reply(with, (with.state.observes(watch_deletions | count_prefixes) ? remove_observed(with, what.key, {}, "delete")
                                                                         : items.remove(what.key)) == cache_status::ok
                      ? "DELETED\r\n"
                      : "NOT_FOUND\r\n");
      break;
    case verb::increment:
    case verb::decrement:
      run_arithmetic(with, what);
      break;
    case verb::touch: {
      const std::uint32_t expires_at = expiry_of(what.exptime, items.now());
      const cache_status status = items.touch(what.key, expires_at);
      observe_fetch(with, what.key, status != cache_status::not_found, 0);
      reply(with, status == cache_status::ok          ? "TOUCHED\r\n"
                  : status == cache_status::not_found ? "NOT_FOUND\r\n"
                                                      : reply_out_of_memory);
      break;
    }
    case verb::flush_all:
      if (with.state.live.flush_enabled) flush(with, what.exptime > 0 ? expiry_of(what.exptime, items.now()) : 0);
      reply(with, with.state.live.flush_enabled ? "OK\r\n" : "CLIENT_ERROR flush_all not allowed\r\n");
      break;
    case verb::verbosity:
      set_verbosity(with, what.number);
      reply(with, "OK\r\n");
      break;
    case verb::memory_limit:
      reply(with, with.state.set_budget(static_cast<std::size_t>(what.number) << 20)
                      ? "OK\r\n"
                      : "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");
      break;
    case verb::meta_noop:
      with.counters.meta_commands.add();
      reply(with, "MN\r\n");
      break;
    case verb::version:
      reply(with, "VERSION ");
      reply(with, protocol_version);
      reply(with, "\r\n");
      break;
    case verb::stats:
      next = run_stats(with, what.arguments, line_bytes);
      break;
    case verb::lru_crawler:
      next = run_lru_crawler(with, what.arguments, line_bytes);
      break;
    case verb::slabs:
      run_slabs(with, what.arguments);
      break;
    case verb::lru:
      reply(with, "ERROR the eviction policy has no such setting\r\n");
      break;
    case verb::watch:
      next = begin_watch(with, what.arguments);
      break;
    case verb::shutdown:
      next = shut_down(with, what.arguments);
      break;
    case verb::refresh_certs:
      reply(with, with.state.refresh_certificates() ? "OK\r\n" : reply_error);
      break;
    default:  // quit
      next = step::close;
  }
  if (next != step::turn_over) input.remove_prefix(line_bytes);  // a walk takes it off at its end
  return next;
}

session::step session::run_store(const session_context& with, const request& what, std::string_view& input,
                                 std::size_t line_bytes) noexcept {
  cache& items = with.state.items;
  const std::size_t value_bytes = what.value_bytes;
  const std::string_view block = input.substr(line_bytes);
  const bool whole = block.size() >= value_bytes + 2;
  if (value_bytes >= large_value_bytes_min) large_value_ = true;
  if (!whole && value_bytes < in_place_bytes_min) return step::needs_input;  // come again with the line and all of it
  note_command(with, input.substr(0, line_bytes));
  store_options options;
  options.mode = mode_of(what.command);
  options.flags = what.flags;
  options.expires_at = expiry_of(what.exptime, what.exptime == 0 ? 0 : items.now());
  options.cas = what.number;
  if (whole) {
    // As memcached does: whatever is there instead of the end of line is used up with the block.
    if (std::memcmp(block.data() + value_bytes, "\r\n", 2) == 0) {
      const cache_status status = items.store(what.key, block.substr(0, value_bytes), options);
      observe_store(with, what.key, options, status, value_bytes);
      reply_stored(with, status, value_bytes);
    } else {
      reply(with, reply_bad_chunk);
    }
    input.remove_prefix(line_bytes + value_bytes + 2);
    return step::again;
  }
  store_options_ = options;
  refuse_value(with, begin_value(with, what.key, value_bytes, options, {}));
  input.remove_prefix(line_bytes);
  return step::again;
}

// A large value is received in place. What commits it is store_options_, or the request in `kept`, read again. If it is
// refused the caller says so, and what comes of it is swallowed.
cache_status session::begin_value(const session_context& with, std::string_view key, std::size_t value_bytes,
                                  const store_options& options, std::string_view kept) noexcept {
  cache_status status = cache_status::ok;
  incoming_ = with.state.items.reserve(key, value_bytes, options, status);
  if (incoming_ && !kept.empty()) {
    try {
      kept_ = std::make_unique<std::string>(kept);
    } catch (const std::bad_alloc&) {
      incoming_.reset();
      status = cache_status::no_memory;
    }
  }
  if (incoming_) {
    value_received_ = 0;
    phase_ = phase::value;
    return cache_status::ok;
  }
  observe_store(with, key, options, status, value_bytes);
  swallow_bytes_ = value_bytes + (binary_ ? 0 : 2);
  phase_ = phase::swallowing;
  return status;
}

void session::refuse_value(const session_context& with, cache_status status) noexcept {
  if (status == cache_status::ok) return;
  reply(with, status == cache_status::too_large ? reply_too_large : reply_no_memory);
}

session::step session::receive_value(const session_context& with, std::string_view& input) noexcept {
  const std::size_t bytes = std::min(incoming_.value_bytes() - value_received_, input.size());
  std::memcpy(incoming_.value() + value_received_, input.data(), bytes);
  input.remove_prefix(bytes);
  value_arrived(bytes);
  if (binary_ && phase_ == phase::value_end) finish_binary_value(with);
  return step::again;
}

void session::value_arrived(std::size_t bytes) noexcept {
  value_received_ += bytes;
  if (value_received_ == incoming_.value_bytes()) phase_ = phase::value_end;
}

session::step session::finish_value(const session_context& with, std::string_view& input) noexcept {
  if (input.size() < 2) return step::needs_input;
  phase_ = phase::command;
  if (std::memcmp(input.data(), "\r\n", 2) != 0) {
    reply(with, reply_bad_chunk);
  } else if (kept_ != nullptr) {
    finish_meta_value(with, *kept_);
  } else {
    const std::size_t value_bytes = incoming_.value_bytes();
    const kept_key key(with.state, incoming_);
    const cache_status status = with.state.items.commit(std::move(incoming_), store_options_);
    observe_store(with, key.view(), store_options_, status, value_bytes);
    reply_stored(with, status, value_bytes);
  }
  incoming_.reset();
  kept_.reset();
  input.remove_prefix(2);
  return step::again;
}

session::step session::swallow(std::string_view& input) noexcept {
  const std::size_t bytes = std::min(swallow_bytes_, input.size());
  input.remove_prefix(bytes);
  swallow_bytes_ -= bytes;
  if (swallow_bytes_ == 0) phase_ = binary_ ? phase::binary : phase::command;
  return step::again;
}

void session::run_arithmetic(const session_context& with, const request& what) noexcept {
  const arithmetic_options options{what.number, what.command == verb::decrement};
  const arithmetic_result result = with.state.items.arithmetic(what.key, options);
  observe_fetch(with, what.key, result.status != cache_status::not_found, 0);
  switch (result.status) {
    case cache_status::ok: {
      char text[decimal_bytes_max + 2];
      char* end = write_decimal(text, result.value);
      std::memcpy(end, "\r\n", 2);
      reply(with, {text, static_cast<std::size_t>(end + 2 - text)});
      break;
    }
    case cache_status::not_found:
      reply(with, "NOT_FOUND\r\n");
      break;
    case cache_status::not_numeric:
      reply(with, reply_not_numeric);
      break;
    default:
      reply(with, reply_out_of_memory);
  }
}

void session::flush(const session_context& with, std::uint32_t at) noexcept {
  with.state.items.flush(at);
  with.state.flushed_at.store(with.state.uptime_s(), std::memory_order_relaxed);
}

void session::set_verbosity(const session_context& with, std::uint64_t level) noexcept {
  with.state.verbosity.store(static_cast<int>(std::min<std::uint64_t>(level, 2)), std::memory_order_relaxed);
  set_log_verbosity(with.state.verbosity.load(std::memory_order_relaxed));
}

session::step session::shut_down(const session_context& with, std::string_view how) noexcept {
  const std::string_view mode = next_key(how);
  if (!with.state.live.shutdown_command) {
    reply(with, "ERROR: shutdown not enabled\r\n");
  } else if (mode.empty() || mode == "graceful") {
    with.state.shut_down();
    return step::close;
  } else {
    reply(with, "CLIENT_ERROR invalid shutdown mode\r\n");
  }
  return step::again;
}

// A command that is carried out now, for the log and for those who watch.
void session::tell_command(const session_context& with, std::string_view line) const noexcept {
  if (with.state.verbosity.load(std::memory_order_relaxed) > 1) log_traffic('<', id_, line);
  if (!with.state.observes(watch_rawcmds)) return;
  line = line.substr(0, std::min(line.find_first_of("\r\n"), std::size_t{512}));
  event_text text = event_text::plain("<");
  with.state.watching.tell(watch_rawcmds, text.number("", id_).word(" ").word(line));
}

// Where the binary protocol is switched off its clients get an answer of its form, status "unknown command", and the
// connection ends.
void session::refuse_binary(const session_context& with, std::string_view input) noexcept {
  constexpr std::string_view text = "binary protocol not supported";
  char header[24] = {};
  header[0] = static_cast<char>(0x81);
  if (input.size() > 1) header[1] = input[1];  // opcode
  header[7] = static_cast<char>(0x81);         // status
  header[11] = static_cast<char>(text.size());
  if (input.size() >= 16) std::memcpy(header + 12, input.data() + 12, 4);  // opaque
  with.out.append({header, sizeof header});
  with.out.append(text);
}

void session::reply(const session_context& with, std::string_view text) noexcept {
  if (with.state.verbosity.load(std::memory_order_relaxed) > 1) [[unlikely]] {
    log_traffic('>', id_, text);
  }
  if (!noreply_) with.out.append(text);
}

void session::reply_stored(const session_context& with, cache_status status, std::size_t value_bytes) noexcept {
  switch (status) {
    case cache_status::ok:
      return reply(with, "STORED\r\n");
    case cache_status::not_stored:
      return reply(with, "NOT_STORED\r\n");
    case cache_status::exists:
      return reply(with, "EXISTS\r\n");
    case cache_status::not_found:
      return reply(with, "NOT_FOUND\r\n");
    case cache_status::too_large: {
      // memcached says no more than this when it is the sum that is too large.
      const bool sum = (verb_ == verb::append || verb_ == verb::prepend) &&
                       value_bytes + key_bytes_max < with.state.options.item_bytes_max;
      return reply(with, sum ? "NOT_STORED\r\n" : reply_too_large);
    }
    default:
      return reply(with, reply_no_memory);
  }
}

}  // namespace scoot::server
