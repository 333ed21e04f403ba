// SPDX-License-Identifier: MIT
//
// get, gets, gat and gats: any number of keys, answered in pieces where the output is full or values cannot be pinned.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "server/decimal.hpp"
#include "server/log.hpp"
#include "server/session.hpp"

namespace scoot::server {
namespace {

constexpr std::string_view reply_end = "END\r\n";
constexpr std::size_t keys_together_max = 32;  // looked up at once
constexpr std::size_t item_line_bytes_max = 6 + key_bytes_max + 3 * (1 + decimal_bytes_max) + 2;

// "VALUE <key> <flags> <bytes>[ <cas>]\r\n"; returns its end. `to` has room for item_line_bytes_max.
char* write_item_line(char* to, const item_view& item, bool with_cas) noexcept {
  std::memcpy(to, "VALUE ", 6);
  to += 6;
  std::memcpy(to, item.key.data(), item.key.size());
  to += item.key.size();
  *to++ = ' ';
  to = write_decimal(to, item.flags);
  *to++ = ' ';
  to = write_decimal(to, item.value.size());
  if (with_cas) {
    *to++ = ' ';
    to = write_decimal(to, item.cas);
  }
  std::memcpy(to, "\r\n", 2);
  return to + 2;
}

// A key that is too long makes a retrieval fail as a whole.
bool has_long_key(std::string_view keys) noexcept {
  for (;;) {
    const std::string_view key = next_key(keys);
    if (key.empty()) return false;
    if (key.size() > key_bytes_max) return true;
  }
}

}  // namespace

session::step session::resume_retrieval(const session_context& with, std::string_view& input) noexcept {
  const void* const newline = std::memchr(input.data(), '\n', input.size());
  if (newline == nullptr) return step::needs_input;  // not reached: the caller keeps what was not used
  const auto length = static_cast<std::size_t>(static_cast<const char*>(newline) - input.data());
  std::string_view keys = input.substr(0, length);
  if (!keys.empty() && keys.back() == '\r') keys.remove_suffix(1);
  keys = keys.substr(0, keys.find('\0'));
  return run_retrieval(with, keys, input, length + 1);
}

session::step session::run_retrieval(const session_context& with, std::string_view keys, std::string_view& input,
                                     std::size_t line_bytes) noexcept {
  if (phase_ != phase::retrieving) [[likely]] {
    std::string_view rest = keys;
    const std::string_view only = next_key(rest);
    if (rest.empty() && only.size() <= key_bytes_max) [[likely]] {
      if (with.state.observes(pins_short) && has_to_wait(with, only)) [[unlikely]]
        return step::wait;
      (void)retrieve(with, {&only, 1}, true);
      input.remove_prefix(line_bytes);
      return step::again;
    }
  }
  const response_buffer::mark before = with.out.position();
  std::size_t batch = with.out.is_kept_small() ? 2 : keys_together_max;
  std::string_view error;
  for (;;) {
    std::array<std::string_view, keys_together_max> some;
    std::size_t count = 0;
    bool refused = false;
    while (count < batch) {
      const std::string_view key = next_key(keys);
      if (key.empty()) break;
      refused |= key.size() > key_bytes_max;
      some[count++] = key;
    }
    if (count == 0) break;
    if (!refused) [[likely]] {
      const std::size_t pending = with.out.pending_bytes();
      const std::size_t now = answerable_now(with, {some.data(), count});
      if (now > 0 && !retrieve(with, {some.data(), now}, false)) [[unlikely]] {
        error = reply_out_of_memory;
        break;
      }
      if (now < count) [[unlikely]] {
        // Comes again with the rest, unless that is known to be bad.
        const std::string_view rest(some[now].data(),
                                    static_cast<std::size_t>(keys.data() + keys.size() - some[now].data()));
        refused = phase_ != phase::retrieving && has_long_key(rest);
        if (!refused) {
          phase_ = phase::retrieving;
          input.remove_prefix(static_cast<std::size_t>(rest.data() - input.data()));
          return step::wait;
        }
      } else if (!with.out.full()) [[likely]] {
        // Large values come few at a time, so that the output does not grow far above full.
        if (with.out.pending_bytes() - pending > response_buffer::full_bytes / 2) batch = 2;
        continue;
      }
      // What is sent cannot be taken back, so see first whether the rest is good.
      refused = refused || (phase_ != phase::retrieving && has_long_key(keys));
      if (!refused) {
        phase_ = phase::retrieving;
        input.remove_prefix(static_cast<std::size_t>(keys.data() - input.data()));
        return step::output_full;
      }
    }
    error = reply_bad_format;
    break;
  }
  if (!error.empty() && phase_ != phase::retrieving) with.out.roll_back(before);
  reply(with, error.empty() ? reply_end : error);
  phase_ = phase::command;
  input.remove_prefix(line_bytes);
  return step::again;
}

// While values are not to be pinned: whether this one would be. It is looked at and not used, since the command will be
// carried out from its beginning later.
bool session::has_to_wait(const session_context& with, std::string_view key) const noexcept {
  std::size_t bytes = 0;
  meta_read unnoticed;
  unnoticed.unnoticed = true;
  read_options look;
  look.meta = &unnoticed;
  (void)with.state.items.get(
      key, [&bytes](const item_view& item) noexcept { bytes = item.value.size(); }, look);
  if (bytes < response_buffer::held_value_bytes_min) return false;
  if (!waits_) with.state.clients.waits.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// How many of the keys come before one that has to wait.
std::size_t session::answerable_now(const session_context& with,
                                    std::span<const std::string_view> keys) const noexcept {
  if (!with.state.observes(pins_short)) [[likely]]
    return keys.size();
  std::size_t count = 0;
  while (count < keys.size() && !has_to_wait(with, keys[count])) ++count;
  return count;
}

// `whole`: this one key is the whole retrieval, so its end is answered as well. False: for an item that is there, what
// was to be noted of it could not.
bool session::retrieve(const session_context& with, std::span<const std::string_view> keys, bool whole) noexcept {
  const bool observed = with.state.observes(watch_fetchers | count_prefixes);
  if (observed && keys.size() > 1) [[unlikely]] {
    for (const std::string_view& key : keys) {
      if (!retrieve(with, {&key, 1}, false)) return false;
    }
    return true;
  }
  response_buffer& out = with.out;
  const bool with_cas = verb_ == verb::gets || verb_ == verb::gats;
  std::size_t value_bytes = 0;
  pinned_item pinned;
  read_options options;
  options.cas = with_cas && with.state.options.cas;
  options.pinned = &pinned;
  options.pin_bytes_min = response_buffer::held_value_bytes_min;
  if (verb_ >= verb::gat) options.touch = expires_at_;
  // Under the shard's lock: the value is copied once, to where it is sent from, or held if it is large.
  const auto answer = [&out, &pinned, &value_bytes, with_cas, whole](const item_view& item) noexcept {
    constexpr std::string_view end = "\r\nEND\r\n";
    value_bytes = item.value.size();
    const std::size_t copied_bytes = pinned ? 0 : item.value.size();
    char* to = out.room(item_line_bytes_max + copied_bytes + end.size());
    if (to == nullptr) return;
    to = write_item_line(to, item, with_cas);
    if (pinned) {
      out.finish(to);
      out.append_held(std::move(pinned));
      out.append(whole ? end : end.substr(0, 2));
      return;
    }
    std::memcpy(to, item.value.data(), item.value.size());
    to += item.value.size();
    std::memcpy(to, end.data(), end.size());
    out.finish(to + (whole ? end.size() : 2));
  };
  if (keys.size() == 1) {
    const cache_status status = with.state.items.get(keys.front(), answer, options);
    if (observed) [[unlikely]]
      observe_fetch(with, keys.front(), status != cache_status::not_found, value_bytes);
    if (!whole) return status != cache_status::no_memory;
    if (status != cache_status::ok) {
      reply(with, status == cache_status::not_found ? reply_end : reply_out_of_memory);
    } else if (with.state.verbosity.load(std::memory_order_relaxed) > 1) [[unlikely]] {
      log_traffic('>', id_, reply_end);
    }
    return true;
  }
  const auto one = [&answer](std::size_t, const item_view& item) noexcept { answer(item); };
  return with.state.items.get_many(keys, one, options) == cache_status::ok;
}

}  // namespace scoot::server
