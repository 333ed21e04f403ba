// SPDX-License-Identifier: MIT
//
// server_state: what the workers, the acceptor and the stats command share.
//
// Counters that requests touch are one set per worker, each written by that worker alone (so plain loads and stores,
// no locked instruction) and summed by whoever asks. Connections are counted by atomics: they come and go rarely.
//
// Ownership: belongs to the server; refers to its cache and options, which outlive it. Threads: any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

#include "scoot/cache.hpp"
#include "server/client_memory.hpp"
#include "server/options.hpp"
#include "server/prefix_stats.hpp"
#include "server/response_buffer.hpp"
#include "server/watchers.hpp"

namespace scoot::server {

class credentials;
class worker;
class tls_context;
struct binary_request;

void end_this_process() noexcept;  // as SIGINT does

// A counter that one thread raises and others read.
class tally {
 public:
  void add(std::uint64_t amount = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct alignas(64) worker_counters {
  tally bytes_read;
  tally bytes_written;
  tally yields;         // a connection had more requests than its turn allows
  tally meta_commands;  // mg, ms, md, ma, me and mn
};

struct worker_totals {
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t yields = 0;
  std::uint64_t meta_commands = 0;
};

// What a reload may change, as of now.
struct live_settings {
  explicit live_settings(const server_options& options) noexcept { take(options); }
  void take(const server_options& options) noexcept;

  std::atomic<unsigned> connections_max;
  std::atomic<unsigned> requests_per_event;
  std::atomic<unsigned> idle_timeout_s;
  std::atomic<bool> reject_at_limit;
  std::atomic<bool> dump_enabled;
  std::atomic<bool> flush_enabled;
  std::atomic<bool> shutdown_command;
};

class server_state {
 public:
  server_state(cache& the_items, const server_options& the_options);

  cache& items;
  const server_options& options;  // as of the start
  live_settings live;
  const restart_report restarted;  // what the cache began with
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::atomic<int> verbosity;

  std::atomic<std::uint64_t> connections_now{0};
  std::atomic<std::uint64_t> connections_total{0};
  std::atomic<std::uint64_t> connections_rejected{0};
  std::atomic<bool> accepting{true};
  std::atomic<bool> serving{false};             // from the first connection that may come to the beginning of the end
  std::atomic<std::uint64_t> accept_pauses{0};  // times that descriptors ran out
  std::atomic<std::uint64_t> accept_paused_us{0};
  std::atomic<std::uint64_t> idle_kicks{0};
  std::atomic<std::uint64_t> tls_handshake_errors{0};  // connections that ended before they spoke
  std::atomic<std::uint32_t> flushed_at{0};            // uptime in seconds at the last flush_all

  // What else than to answer is to be done with requests: watch_... and count_prefixes (watchers.hpp), pins_short
  // (client_memory.hpp). Usually nothing.
  std::atomic<unsigned> observed{0};
  prefix_stats prefixes;
  watchers watching;
  client_memory clients;
  [[nodiscard]] bool observes(unsigned what) const noexcept {
    return (observed.load(std::memory_order_relaxed) & what) != 0;
  }

  // For `stats conns`: set before the first connection, and not owned.
  std::vector<const worker*> workers;
  std::vector<int> listening;

  tls_context* tls = nullptr;  // set before the first connection; not owned
  // Reads certificate and key again. False, and no change, if they are not good or there is no TLS.
  [[nodiscard]] bool refresh_certificates() noexcept;
  void set_tls_settings(const tls_options& wanted);  // which it does by, from then on
  [[nodiscard]] tls_options tls_settings() const;

  std::atomic<std::uint64_t> auth_commands{0};
  std::atomic<std::uint64_t> auth_errors{0};

  // Who may speak; null: anybody. Set before the first connection, and not owned.
  const credentials* text_users = nullptr;
  const credentials* sasl_users = nullptr;
  void (*shut_down)() noexcept = &end_this_process;  // what the command does

  [[nodiscard]] bool set_budget(std::size_t bytes) noexcept;  // of the cache

  // One per worker thread; deque, so that they stay where they are.
  std::deque<worker_counters> counters;

  [[nodiscard]] worker_totals totals() const noexcept;  // since the last reset
  void reset_totals() noexcept;
  [[nodiscard]] std::uint32_t uptime_s() const noexcept;

 private:
  [[nodiscard]] worker_totals sum() const noexcept;

  // Counters belong to their workers, so a reset notes where they stood instead of clearing them.
  mutable std::mutex reset_lock_;
  worker_totals at_reset_;

  mutable std::mutex tls_lock_;
  tls_options tls_settings_;
};

// Answers `stats` with these arguments, its last line included; to a binary request if there is one. False, and nothing
// is written, if there are no such statistics. `asking` is the connection's descriptor.
[[nodiscard]] bool write_stats(server_state& state, std::string_view arguments, response_buffer& out, int asking = -1,
                               const binary_request* binary = nullptr) noexcept;

// `stats sizes`: counts[i] (if there are any) items have between (i - 1) * step and i * step bytes.
void write_sizes(const std::map<std::size_t, std::uint64_t>& counts, std::size_t step, response_buffer& out,
                 const binary_request* binary) noexcept;

}  // namespace scoot::server
