// SPDX-License-Identifier: MIT
//
// What `stats` answers: memcached's names, and of those only what is true here. Items have no size classes; where
// memcached's tools expect some, all items are one class, number 1.

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "scoot/cache.hpp"
#include "server/binary_protocol.hpp"
#include "server/decimal.hpp"
#include "server/listener.hpp"
#include "server/process.hpp"
#include "server/protocol.hpp"
#include "server/server_state.hpp"
#include "server/tls.hpp"
#include "server/warm_restart.hpp"
#include "server/worker.hpp"

namespace scoot::server {
namespace {

class stat_lines {
 public:
  stat_lines(response_buffer& out, const binary_request* binary) noexcept : out_(out), binary_(binary) {}
  void add(std::string_view name, std::string_view value) noexcept {
    if (binary_ != nullptr) return add_frame(name, value);
    out_.append("STAT ");
    out_.append(name);
    out_.append(" ");
    out_.append(value);
    out_.append("\r\n");
  }
  void add(std::string_view name, std::uint64_t value) noexcept {
    char text[decimal_bytes_max];
    add(name, std::string_view(text, static_cast<std::size_t>(write_decimal(text, value) - text)));
  }
  void add_time(std::string_view name, const timeval& value) noexcept {
    char text[32];
    const int bytes = std::snprintf(text, sizeof text, "%ld.%06ld", static_cast<long>(value.tv_sec),
                                    static_cast<long>(value.tv_usec));
    add(name, std::string_view(text, static_cast<std::size_t>(bytes)));
  }
  void end() noexcept {
    if (binary_ != nullptr) return add_frame({}, {});
    out_.append("END\r\n");
  }

 private:
  void add_frame(std::string_view name, std::string_view value) noexcept {
    char header[binary_header_bytes];
    binary_response response;
    response.key_bytes = static_cast<std::uint16_t>(name.size());
    response.value_bytes = static_cast<std::uint32_t>(value.size());
    write_binary_header(header, *binary_, response);
    out_.append({header, sizeof header});
    if (!name.empty()) out_.append(name);
    if (!value.empty()) out_.append(value);
  }

  response_buffer& out_;
  const binary_request* binary_;
};

void write_server(const server_state& state, stat_lines& to) noexcept {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  to.add("pid", static_cast<std::uint64_t>(getpid()));
  to.add("uptime", state.uptime_s());
  to.add("time", static_cast<std::uint64_t>(std::time(nullptr)));
  to.add("version", protocol_version);
  to.add("pointer_size", 8 * sizeof(void*));
  to.add_time("rusage_user", usage.ru_utime);
  to.add_time("rusage_system", usage.ru_stime);
  to.add("max_connections", state.live.connections_max.load(std::memory_order_relaxed));
  const std::uint64_t connections = state.connections_now.load(std::memory_order_relaxed);
  to.add("curr_connections", connections);
  to.add("total_connections", state.connections_total.load(std::memory_order_relaxed));
  to.add("rejected_connections", state.connections_rejected.load(std::memory_order_relaxed));
  to.add("connection_structures", connections);
  to.add("response_obj_oom", state.clients.closed_for_answers.load(std::memory_order_relaxed));
  to.add("read_buf_oom", state.clients.closed_for_input.load(std::memory_order_relaxed));
  to.add("client_bytes", state.clients.bytes());
  to.add("client_pinned_bytes", state.clients.pinned_bytes());
  to.add("client_pin_waits", state.clients.waits.load(std::memory_order_relaxed));
  to.add("client_pin_yields", state.clients.yields.load(std::memory_order_relaxed));
  to.add("reserved_fds", descriptors_for(0, state.options.threads));
  to.add("idle_kicks", state.idle_kicks.load(std::memory_order_relaxed));
  if (state.tls != nullptr) {
    if (state.tls_settings().session_cache) to.add("ssl_new_sessions", tls_context::new_sessions());
    to.add("ssl_handshake_errors", state.tls_handshake_errors.load(std::memory_order_relaxed));
    to.add("time_since_server_cert_refresh", state.tls->seconds_since_load());
  }
}

void write_operations(const server_state& state, const cache_stats& c, const worker_totals& totals,
                      stat_lines& to) noexcept {
  to.add("cmd_get", c.gets);
  to.add("cmd_set", c.sets);
  to.add("cmd_flush", c.flushes);
  to.add("cmd_touch", c.touches);
  to.add("cmd_meta", totals.meta_commands);
  to.add("get_hits", c.get_hits);
  to.add("get_misses", c.gets - std::min(c.gets, c.get_hits));
  to.add("get_expired", c.get_expired);
  to.add("get_flushed", c.get_flushed);
  to.add("delete_misses", c.deletes - std::min(c.deletes, c.delete_hits));
  to.add("delete_hits", c.delete_hits);
  to.add("incr_misses", c.increments - std::min(c.increments, c.increment_hits));
  to.add("incr_hits", c.increment_hits);
  to.add("decr_misses", c.decrements - std::min(c.decrements, c.decrement_hits));
  to.add("decr_hits", c.decrement_hits);
  to.add("cas_misses", c.cas_misses);
  to.add("cas_hits", c.cas_hits);
  to.add("cas_badval", c.cas_badval);
  to.add("touch_hits", c.touch_hits);
  to.add("touch_misses", c.touches - std::min(c.touches, c.touch_hits));
  to.add("store_too_large", c.store_too_large);
  to.add("store_no_memory", c.store_no_memory);
  to.add("auth_cmds", state.auth_commands.load(std::memory_order_relaxed));
  to.add("auth_errors", state.auth_errors.load(std::memory_order_relaxed));
}

// The tier in purgeable memory.
void write_cold_tier(const cold_stats& c, stat_lines& to) noexcept {
  constexpr std::string_view supports[] = {"refused", "accepted", "seen"};
  to.add("purgeable_support", supports[static_cast<std::size_t>(c.support)]);
  to.add("purgeable_limit", c.ceiling_bytes);
  to.add("purgeable_offered", c.offered_bytes);
  to.add("purgeable_purged", c.purged_bytes);
  to.add("purgeable_reads", c.reads);
  to.add("purgeable_lost_reads", c.lost_reads);
  to.add("cold_items", c.items);
  to.add("cold_hits", c.hits);
  to.add("cold_promotions", c.promotions);
  to.add("cold_demotions", c.demotions);
  to.add("cold_lost", c.lost_items);
  to.add("cold_dropped", c.dropped_items);
  to.add("cold_too_large", c.too_large_items);
  to.add("cold_index_bytes", c.index_bytes);
}

void write_pressure(const cache_stats& c, stat_lines& to) noexcept {
  constexpr std::string_view scheduling[] = {"plain", "raised", "realtime"};
  const pressure_stats& p = c.pressure;
  to.add("pressure_target", c.target_bytes);
  to.add("pressure_limit", p.limit_bytes);
  to.add("pressure_available", p.available_bytes);
  to.add("pressure_headroom", p.headroom_bytes);
  to.add("pressure_deficit", p.deficit_bytes);
  to.add("pressure_alarms", p.alarms);
  to.add("pressure_notices", p.notices);
  to.add("pressure_asked", p.asked_bytes);
  to.add("pressure_given", p.given_bytes);
  to.add("pressure_give_back_us_max", p.give_back_ns_max / 1000);
  to.add("pressure_wake_delay_us_max", p.wake_delay_ns_max / 1000);
  to.add("pressure_cpu_us", p.cpu_ns / 1000);
  to.add("pressure_scheduling", scheduling[static_cast<std::size_t>(p.scheduling)]);
}

// What the cache began with.
void write_restart(const restart_report& r, stat_lines& to) {
  to.add("restart_outcome", to_string(r.outcome));
  std::string reason = r.reason;  // some clients end a value at its first space
  std::replace(reason.begin(), reason.end(), ' ', '_');
  if (!reason.empty()) to.add("restart_reason", reason);
  to.add("restart_items", r.items);
  to.add("restart_cold_items", r.cold_items);
  to.add("restart_bytes", r.item_bytes);
  to.add("restart_expired", r.expired_items);
  to.add("restart_dropped", r.dropped_items);
  to.add("restart_damaged", r.damaged_chunks);
  to.add("restart_us", r.elapsed_us);
  to.add("restart_down_s", r.down_s);
}

constexpr std::string_view absent_events[] = {"hash_is_expanding",
                                              "slab_reassign_rescues",
                                              "slab_reassign_chunk_rescues",
                                              "slab_reassign_evictions_nomem",
                                              "slab_reassign_inline_reclaim",
                                              "slab_reassign_busy_items",
                                              "slab_reassign_busy_deletes",
                                              "slab_reassign_running",
                                              "slabs_moved",
                                              "slab_global_page_pool",
                                              "lru_crawler_running",
                                              "lru_crawler_starts",
                                              "crawler_items_checked",
                                              "lru_maintainer_juggles",
                                              "lrutail_reflocked",
                                              "moves_to_cold",
                                              "moves_to_warm",
                                              "moves_within_lru",
                                              "lru_bumps_dropped",
                                              "unexpected_napi_ids",
                                              "round_robin_fallback"};

constexpr std::string_view absent_item_events[] = {
    "items:1:tailrepairs",   "items:1:evicted_active", "items:1:crawler_items_checked", "items:1:lrutail_reflocked",
    "items:1:moves_to_cold", "items:1:moves_to_warm",  "items:1:moves_within_lru",      "items:1:direct_reclaims"};

void write_general(const server_state& state, stat_lines& to) noexcept {
  const cache_stats c = state.items.stats();
  const worker_totals totals = state.totals();
  write_server(state, to);
  write_operations(state, c, totals, to);
  to.add("bytes_read", totals.bytes_read);
  to.add("bytes_written", totals.bytes_written);
  to.add("limit_maxbytes", c.budget_bytes);
  to.add("accepting_conns", state.accepting.load(std::memory_order_relaxed) ? 1 : 0);
  to.add("listen_disabled_num", state.accept_pauses.load(std::memory_order_relaxed));
  to.add("time_in_listen_disabled_us", state.accept_paused_us.load(std::memory_order_relaxed));
  to.add("threads", state.options.threads);
  to.add("conn_yields", totals.yields);
  // Index buckets of 8 items each, in all shards.
  to.add("hash_power_level", std::bit_width(c.index_bytes / 64) - (c.index_bytes >= 64 ? 1 : 0));
  to.add("hash_bytes", c.index_bytes);
  to.add("bytes", c.item_bytes);
  to.add("curr_items", c.items);
  to.add("total_items", c.items_stored);
  to.add("expired_unfetched", c.expired_unread);
  to.add("evicted_unfetched", c.evicted_unread);
  to.add("evictions", c.evictions);
  to.add("reclaimed", c.reclaimed + c.expired);
  to.add("crawler_reclaimed", c.expired);
  to.add("malloc_fails", 0);
  const watchers::totals told = state.watching.counted();
  to.add("log_worker_dropped", 0);
  to.add("log_worker_written", told.told);
  to.add("log_watcher_skipped", told.skipped);
  to.add("log_watcher_sent", told.sent);
  to.add("log_watchers", told.watching);
  // Of what there is none here, nothing ever happened.
  for (const std::string_view name : absent_events) to.add(name, 0);
  to.add("bytes_held", c.pool.held_bytes);
  to.add("bytes_moved", c.heap.bytes_moved);
  to.add("bytes_in_holes", c.heap.hole_bytes);
  to.add("shards", c.shards);
  if (state.options.purgeable_bytes != 0) write_cold_tier(c.cold, to);
  if (c.follows_pressure) write_pressure(c, to);
  if (!state.options.restart_file.empty()) write_restart(state.restarted, to);
}

void write_tls_settings(const tls_options& o, stat_lines& to) noexcept {
  constexpr const char* versions[] = {"tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"};
  to.add("ssl_enabled", o.enabled ? "yes" : "no");
  if (!o.enabled) return;
  to.add("ssl_chain_cert", o.chain_cert);
  to.add("ssl_key", o.key);
  to.add("ssl_verify_mode", o.verify_mode);
  to.add("ssl_keyformat", o.key_is_der ? "DER" : "PEM");
  to.add("ssl_ciphers", o.ciphers.empty() ? "NULL" : std::string_view(o.ciphers));
  to.add("ssl_ca_cert", o.ca_cert.empty() ? "NULL" : std::string_view(o.ca_cert));
  to.add("ssl_session_cache", o.session_cache ? "yes" : "no");
  to.add("ssl_min_version", versions[o.version_min]);
}

void write_settings(const server_state& state, stat_lines& to) noexcept {
  const server_options& o = state.options;
  const live_settings& now = state.live;
  const cache_stats c = state.items.stats();
  std::string_view interface = "NULL";
  std::string_view port = "0";
  if (!o.listen.empty()) {
    interface = o.listen.front().host;
    port = o.listen.front().port;
  }
  std::array<char, 8> mask{};
  std::snprintf(mask.data(), mask.size(), "%o", o.unix_mask);
  to.add("maxbytes", c.budget_bytes);
  to.add("maxconns", now.connections_max.load(std::memory_order_relaxed));
  to.add("tcpport", port);
  to.add("udpport", 0);
  to.add("inter", interface);
  to.add("verbosity", static_cast<std::uint64_t>(std::max(state.verbosity.load(std::memory_order_relaxed), 0)));
  to.add("oldest", state.flushed_at.load(std::memory_order_relaxed));
  to.add("evictions", o.evict ? "on" : "off");
  if (o.purgeable_bytes == purgeable_auto) {
    to.add("purgeable", "auto");
  } else {
    to.add("purgeable", o.purgeable_bytes);
  }
  if (!o.restart_file.empty()) to.add("memory_file", o.restart_file);
  to.add("domain_socket", o.unix_socket.empty() ? "NULL" : o.unix_socket);
  to.add("umask", mask.data());
  to.add("shutdown_command", now.shutdown_command ? "yes" : "no");
  to.add("num_threads", o.threads);
  to.add("num_threads_per_udp", 0);
  to.add("stat_key_prefix", std::string_view(&o.prefix_delimiter, 1));
  to.add("detail_enabled", state.observes(count_prefixes) ? "yes" : "no");
  to.add("hash_algorithm", "xxh3");
  to.add("track_sizes", "no");
  to.add("inline_ascii_response", "no");
  to.add("watch_enabled", o.watch_enabled ? "yes" : "no");
  to.add("watcher_logbuf_size", o.watcher_buffer_bytes);
  to.add("reqs_per_event", now.requests_per_event.load(std::memory_order_relaxed));
  to.add("cas_enabled", o.cas ? "yes" : "no");
  to.add("tcp_backlog", static_cast<std::uint64_t>(o.backlog));
  to.add("binding_protocol", o.protocol == protocol_choice::both    ? "auto-negotiate"
                             : o.protocol == protocol_choice::ascii ? "ascii"
                                                                    : "binary");
  to.add("auth_enabled_sasl", o.sasl ? "yes" : "no");
  to.add("auth_enabled_ascii", o.auth_file.empty() ? "no" : o.auth_file);
  to.add("item_size_max", o.item_bytes_max);
  to.add("maxconns_fast", now.reject_at_limit ? "yes" : "no");
  to.add("flush_enabled", now.flush_enabled ? "yes" : "no");
  to.add("dump_enabled", now.dump_enabled ? "yes" : "no");
  to.add("idle_timeout", now.idle_timeout_s.load(std::memory_order_relaxed));
  write_tls_settings(state.tls_settings(), to);
}

void write_items(const server_state& state, stat_lines& to) noexcept {
  const cache_stats c = state.items.stats();
  if (c.items == 0) return;
  // The queue of new items passes for HOT, that of items used again for COLD; nothing is WARM.
  to.add("items:1:number", c.items);
  const std::size_t fresh = std::min(c.queued_items[0], c.items);
  to.add("items:1:number_hot", fresh);
  to.add("items:1:number_warm", 0);
  to.add("items:1:number_cold", c.items - fresh);
  to.add("items:1:age_hot", c.queue_age_s[0]);
  to.add("items:1:age_warm", 0);
  to.add("items:1:age", std::max(c.queue_age_s[0], c.queue_age_s[1]));
  to.add("items:1:mem_requested", c.item_bytes);
  to.add("items:1:evicted", c.evictions);
  to.add("items:1:evicted_nonzero", c.evicted_expiring);
  to.add("items:1:evicted_time", c.evicted_age_s);
  to.add("items:1:evicted_unfetched", c.evicted_unread);
  to.add("items:1:expired_unfetched", c.expired_unread);
  to.add("items:1:crawler_reclaimed", c.expired);
  to.add("items:1:outofmemory", c.store_no_memory);
  to.add("items:1:reclaimed", c.reclaimed + c.expired);
  for (const std::string_view name : absent_item_events) to.add(name, 0);
}

void write_slabs(const server_state& state, stat_lines& to) noexcept {
  const cache_stats c = state.items.stats();
  if (c.items != 0) {
    // Slots are of each item's size, so the mean stands for all.
    const std::size_t queued = c.queued_items[0] + c.queued_items[1];
    const std::size_t slot =
        std::max<std::size_t>((c.queued_bytes[0] + c.queued_bytes[1]) / std::max<std::size_t>(queued, 1), 1);
    const std::size_t free = c.heap.hole_bytes / slot;
    to.add("1:chunk_size", slot);
    to.add("1:chunks_per_page", c.pool.page_bytes / slot);
    to.add("1:total_pages", c.pool.pages);
    to.add("1:total_chunks", c.items + free);
    to.add("1:used_chunks", c.items);
    to.add("1:free_chunks", free);
    to.add("1:free_chunks_end", 0);
    to.add("1:mem_requested", c.item_bytes);
    to.add("1:get_hits", c.get_hits);
    to.add("1:cmd_set", c.sets);
    to.add("1:delete_hits", c.delete_hits);
    to.add("1:incr_hits", c.increment_hits);
    to.add("1:decr_hits", c.decrement_hits);
    to.add("1:cas_hits", c.cas_hits);
    to.add("1:cas_badval", c.cas_badval);
    to.add("1:touch_hits", c.touch_hits);
  }
  to.add("active_slabs", c.items == 0 ? 0 : 1);
  to.add("total_malloced", c.pool.held_bytes);
}

std::string with_transport(const peer_name& who) {
  const std::string host(who.host_text());
  if (who.local) return "unix:" + host;
  const bool v6 = who.family == AF_INET6;
  return (v6 ? "tcp6:[" + host + "]:" : "tcp:" + host + ":") + std::to_string(who.port);
}

std::string_view word_of(connection::state s) noexcept {
  switch (s) {
    case connection::state::writing:
      return "conn_mwrite";
    case connection::state::ready:
      return "conn_parse_cmd";
    case connection::state::waiting:
      return "conn_waiting";
    default:
      return "conn_read";
  }
}

void write_connection(int descriptor, std::string_view how, std::uint64_t idle_s, stat_lines& to) {
  const std::string prefix = std::to_string(descriptor) + ":";
  const peer_name here = name_of_socket(descriptor);
  if (how == "conn_listening") {
    to.add(prefix + "addr", with_transport(here));
  } else {
    const peer_name peer = name_of_peer(descriptor);
    to.add(prefix + "addr", peer.family == 0 ? "unknown" : with_transport(peer.local ? here : peer));
    to.add(prefix + "listen_addr", with_transport(here));
  }
  to.add(prefix + "state", how);
  to.add(prefix + "secs_since_last_cmd", idle_s);
}

void write_connections(const server_state& state, int asking, stat_lines& to) {
  const std::uint32_t now = state.items.now();
  for (const int descriptor : state.listening) write_connection(descriptor, "conn_listening", state.uptime_s(), to);
  for (const worker* one : state.workers) {
    one->for_each([&](const connection& c) {
      const std::uint32_t since = c.active_s.load(std::memory_order_relaxed);
      const bool asks = c.descriptor() == asking;
      write_connection(c.descriptor(), asks ? "conn_parse_cmd" : word_of(c.waits_for()), now - std::min(now, since),
                       to);
    });
  }
  state.watching.for_each([&](int descriptor) { write_connection(descriptor, "conn_watch", 0, to); });
}

// What the heaps under the cache hold.
void write_heap(const server_state& state, stat_lines& to) noexcept {
  const cache_stats c = state.items.stats();
  to.add("budget_bytes", c.pool.budget_bytes);
  to.add("held_bytes", c.pool.held_bytes);
  to.add("held_bytes_peak", c.pool.held_bytes_peak);
  to.add("item_bytes", c.item_bytes);
  to.add("live_bytes", c.heap.live_bytes);
  to.add("index_bytes", c.index_bytes);
  to.add("hole_bytes", c.heap.hole_bytes);
  to.add("slack_bytes", c.heap.slack_bytes);
  to.add("idle_page_bytes", c.pool.idle_bytes);
  to.add("metadata_bytes", c.pool.metadata_bytes);
  to.add("address_bytes", c.pool.address_bytes);
  to.add("page_bytes", c.pool.page_bytes);
  to.add("pages", c.pool.pages);
  to.add("heaps", c.shards);
  to.add("shelves", c.heap.shelves);
  to.add("blocks", c.heap.blocks);
  to.add("pinned_blocks", c.heap.pinned_blocks);
  to.add("pinned_items", c.pinned_items);
  to.add("allocations", c.heap.allocations);
  to.add("allocated_bytes", c.heap.allocated_bytes);
  to.add("failures", c.heap.failures);
}

// What moving blocks together did and cost: all of it, and the part that was done in idle moments.
void write_moves(const server_state& state, stat_lines& to) noexcept {
  constexpr std::string_view reasons[] = {"idle_stops_done", "idle_stops_effort_spent", "idle_stops_nothing_to_gain",
                                          "idle_stops_pinned", "idle_stops_refused"};
  const cache_stats c = state.items.stats();
  to.add("allocated_bytes", c.heap.allocated_bytes);
  to.add("bytes_moved", c.heap.bytes_moved);
  to.add("blocks_moved", c.heap.blocks_moved);
  to.add("blocks_kept", c.heap.blocks_kept);
  to.add("blocks_dropped", c.heap.blocks_dropped);
  to.add("blocks_examined", c.heap.blocks_examined);
  to.add("idle_compactions", c.idle_compactions);
  to.add("idle_bytes_moved", c.idle_bytes_moved);
  to.add("idle_bytes_given_back", c.idle_bytes_given_back);
  for (std::size_t i = 0; i < std::size(reasons); ++i) to.add(reasons[i], c.idle_stops[i]);
  to.add("maintenance_cpu_us", c.maintenance_cpu_us);
}

}  // namespace

void write_sizes(const std::map<std::size_t, std::uint64_t>& counts, std::size_t step, response_buffer& out,
                 const binary_request* binary) noexcept {
  stat_lines to(out, binary);
  for (const auto& [bucket, items] : counts) {
    char name[decimal_bytes_max];
    to.add({name, static_cast<std::size_t>(write_decimal(name, bucket * step) - name)}, items);
  }
  to.end();
}

bool write_stats(server_state& state, std::string_view arguments, response_buffer& out, int asking,
                 const binary_request* binary) noexcept {
  const std::string_view what = next_key(arguments);
  stat_lines lines(out, binary);
  if (what.empty()) {
    write_general(state, lines);
  } else if (what == "settings") {
    write_settings(state, lines);
  } else if (what == "items") {
    write_items(state, lines);
  } else if (what == "slabs") {
    write_slabs(state, lines);
  } else if (what == "conns") {
    const response_buffer::mark before = out.position();
    try {
      write_connections(state, asking, lines);
    } catch (const std::bad_alloc&) {
      out.roll_back(before);
      return false;
    }
  } else if (what == "extstore") {
    // There is no external storage, and of that memcached tells nothing.
  } else if (what == "heap") {
    write_heap(state, lines);
  } else if (what == "moves") {
    write_moves(state, lines);
  } else if (what == "reset") {
    state.items.reset_stats();
    state.reset_totals();
    state.prefixes.clear();
    state.connections_total.store(0, std::memory_order_relaxed);
    state.connections_rejected.store(0, std::memory_order_relaxed);
    if (binary == nullptr) {
      out.append("RESET\r\n");
      return true;
    }
  } else {
    return false;
  }
  lines.end();
  return true;
}

}  // namespace scoot::server
