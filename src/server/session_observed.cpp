// SPDX-License-Identifier: MIT
//
// What a session does besides answering while somebody watches or prefixes are counted, and the commands that ask for
// it.
#include "server/session.hpp"

namespace scoot::server {
namespace {

std::string_view word_of(store_mode mode) noexcept {
  constexpr std::string_view words[] = {"set", "add", "replace", "append", "prepend", "cas"};
  return words[static_cast<unsigned>(mode)];
}

std::string_view word_of(cache_status status) noexcept {
  switch (status) {
    case cache_status::ok:
      return "stored";
    case cache_status::exists:
      return "exists";
    case cache_status::not_found:
      return "not_found";
    case cache_status::too_large:
      return "too_large";
    case cache_status::no_memory:
      return "no_memory";
    default:
      return "not_stored";
  }
}

}  // namespace

session::step session::begin_watch(const session_context& with, std::string_view arguments) noexcept {
  if (!with.state.options.watch_enabled) {
    reply(with, "CLIENT_ERROR watch commands not allowed\r\n");
    return step::again;
  }
  unsigned topics = 0;
  for (std::string_view name = next_key(arguments); !name.empty(); name = next_key(arguments)) {
    const unsigned topic = topic_of(name);
    if (topic == 0) {
      reply(with, reply_error);
      return step::again;
    }
    topics |= topic;
  }
  if (with.state.watching.full()) {
    reply(with, "WATCHER_TOO_MANY log watcher limit reached\r\n");
    return step::again;
  }
  watch_topics_ = topics == 0 ? watch_fetchers : topics;
  phase_ = phase::watching;
  return step::watch;  // who then takes the socket says OK
}

void session::observe_fetch(const session_context& with, std::string_view key, bool found,
                            std::size_t bytes) const noexcept {
  server_state& state = with.state;
  if (!state.observes(watch_fetchers | count_prefixes)) [[likely]]
    return;
  using operation = prefix_stats::operation;
  if (state.observes(count_prefixes)) state.prefixes.count(key, found ? operation::hit : operation::miss);
  if (!state.observes(watch_fetchers)) return;
  event_text line("item_get");
  line.key(key).word(found ? " status=found" : " status=not_found").number(" clsid=", found ? 1 : 0);
  state.watching.tell(watch_fetchers, line.number(" cfd=", id_).number(" size=", static_cast<std::int64_t>(bytes)));
}

void session::observe_store(const session_context& with, std::string_view key, const store_options& options,
                            cache_status status, std::size_t bytes) const noexcept {
  server_state& state = with.state;
  if (!state.observes(watch_mutations | count_prefixes)) [[likely]]
    return;
  if (state.observes(count_prefixes)) state.prefixes.count(key, prefix_stats::operation::set);
  if (!state.observes(watch_mutations)) return;
  const std::uint32_t now = state.items.now();
  const std::uint32_t ttl = options.expires_at > now ? options.expires_at - now : 0;
  event_text line("item_store");
  line.key(key).word(" status=").word(word_of(status)).word(" cmd=").word(word_of(options.mode));
  line.number(" ttl=", ttl).number(" clsid=", 1).number(" cfd=", id_);
  state.watching.tell(watch_mutations, line.number(" size=", static_cast<std::int64_t>(bytes)));
}

// The size is that of a moment before.
cache_status session::remove_observed(const session_context& with, std::string_view key, const remove_options& options,
                                      std::string_view command) const noexcept {
  server_state& state = with.state;
  std::size_t bytes = 0;
  meta_read unnoticed;
  unnoticed.unnoticed = true;
  read_options look;
  look.meta = &unnoticed;
  if (state.observes(watch_deletions)) {
    (void)state.items.get(
        key, [&bytes](const item_view& item) noexcept { bytes = item.value.size(); }, look);
  }
  const cache_status status = state.items.remove(key, options);
  if (state.observes(count_prefixes)) state.prefixes.count(key, prefix_stats::operation::remove);
  if (status == cache_status::ok && state.observes(watch_deletions)) {
    event_text line("deleted");
    line.key(key).word(" cmd=").word(command).number(" clsid=", 1);
    state.watching.tell(watch_deletions, line.number(" size=", static_cast<std::int64_t>(bytes)));
  }
  return status;
}

// 0 at the end, as the cursor of a walk.
std::uint64_t session::tell_prefixes(const session_context& with) noexcept {
  try {
    return with.state.prefixes.dump_some(walk_->prefix, with.out) ? 0 : 1;
  } catch (const std::bad_alloc&) {
    return 0;  // what is left is not told
  }
}

session::step session::stats_detail(const session_context& with, std::string_view arguments,
                                    std::size_t line_bytes) noexcept {
  const std::string_view what = next_key(arguments);
  if (what == "dump") return begin_walk(with, walk::kind::prefixes, 0, line_bytes);
  if (what == "on") {
    with.state.observed.fetch_or(count_prefixes, std::memory_order_relaxed);
  } else if (what == "off") {
    with.state.observed.fetch_and(~count_prefixes, std::memory_order_relaxed);
  }
  reply(with, what == "on" || what == "off" ? "OK\r\n" : "CLIENT_ERROR usage: stats detail on|off|dump\r\n");
  return step::again;
}

}  // namespace scoot::server
