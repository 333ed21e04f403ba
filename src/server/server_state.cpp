// SPDX-License-Identifier: MIT
#include "server/server_state.hpp"

#include <unistd.h>

#include <csignal>

namespace scoot::server {
namespace {

worker_totals operator-(const worker_totals& a, const worker_totals& b) noexcept {
  return {a.bytes_read - b.bytes_read, a.bytes_written - b.bytes_written, a.yields - b.yields,
          a.meta_commands - b.meta_commands};
}

}  // namespace

server_state::server_state(cache& the_items, const server_options& the_options)
    : items(the_items),
      options(the_options),
      live(the_options),
      restarted(the_items.restarted()),
      verbosity(the_options.verbosity),
      observed(the_options.count_prefixes ? count_prefixes : 0),
      prefixes(the_options.prefix_delimiter),
      watching(the_items, observed, connections_now, the_options.watcher_buffer_bytes),
      clients(observed, the_options.memory_bytes),
      counters(the_options.threads),
      tls_settings_(the_options.tls) {}

bool server_state::set_budget(std::size_t bytes) noexcept {
  if (!items.set_budget(bytes)) return false;
  clients.set_budget(bytes);
  return true;
}

void live_settings::take(const server_options& options) noexcept {
  connections_max.store(options.connections_max, std::memory_order_relaxed);
  requests_per_event.store(options.requests_per_event, std::memory_order_relaxed);
  idle_timeout_s.store(options.idle_timeout_s, std::memory_order_relaxed);
  reject_at_limit.store(options.reject_at_limit, std::memory_order_relaxed);
  dump_enabled.store(options.dump_enabled, std::memory_order_relaxed);
  flush_enabled.store(options.flush_enabled, std::memory_order_relaxed);
  shutdown_command.store(options.shutdown_command, std::memory_order_relaxed);
}

void server_state::set_tls_settings(const tls_options& wanted) {
  const std::lock_guard hold(tls_lock_);
  tls_settings_ = wanted;
}

tls_options server_state::tls_settings() const {
  const std::lock_guard hold(tls_lock_);
  return tls_settings_;
}

std::uint32_t server_state::uptime_s() const noexcept {
  const auto up = std::chrono::steady_clock::now() - started;
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(up).count());
}

worker_totals server_state::sum() const noexcept {
  worker_totals result;
  for (const worker_counters& one : counters) {
    result.bytes_read += one.bytes_read.value();
    result.bytes_written += one.bytes_written.value();
    result.yields += one.yields.value();
    result.meta_commands += one.meta_commands.value();
  }
  return result;
}

worker_totals server_state::totals() const noexcept {
  const std::lock_guard hold(reset_lock_);
  return sum() - at_reset_;
}

void server_state::reset_totals() noexcept {
  const std::lock_guard hold(reset_lock_);
  at_reset_ = sum();
}

void end_this_process() noexcept { kill(getpid(), SIGINT); }

}  // namespace scoot::server
