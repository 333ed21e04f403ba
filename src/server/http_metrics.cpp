// SPDX-License-Identifier: MIT
#include "server/http_metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "scoot/version.h"
#include "server/feed_sample.hpp"
#include "server/http_module.hpp"
#include "server/warm_restart.hpp"

namespace scoot::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

class families {
 public:
  // The metrics that are added next are of this family.
  families& counter(const char* name, const char* help) { return open(MetricType::Counter, name, help); }
  families& gauge(const char* name, const char* help) { return open(MetricType::Gauge, name, help); }
  families& add(double value, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = metric.gauge.value = value;
    list_.back().metric.push_back(std::move(metric));
    return *this;
  }
  families& add(std::uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
    return add(static_cast<double>(value), std::move(labels));
  }
  // The lookups of a command, and how they went.
  families& add(const char* command, std::uint64_t all, std::uint64_t hits) {
    add(hits, {{"command", command}, {"result", "hit"}});
    return add(all - std::min(all, hits), {{"command", command}, {"result", "miss"}});
  }
  families& pauses(const char* name, const char* help, const heap_stats& h) {
    open(MetricType::Histogram, name, help);
    ClientMetric metric;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < pause_classes; ++i) {
      sum += h.pauses[i];
      const double bound = i + 1 == pause_classes ? std::numeric_limits<double>::infinity()
                                                  : static_cast<double>(pause_ns_least << i) * 1e-9;
      metric.histogram.bucket.push_back({sum, bound});
    }
    metric.histogram.sample_count = sum;
    metric.histogram.sample_sum = static_cast<double>(h.pause_ns) * 1e-9;
    list_.back().metric.push_back(std::move(metric));
    return *this;
  }
  [[nodiscard]] std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, list_);
    return out.str();
  }

 private:
  families& open(MetricType type, const char* name, const char* help) {
    prometheus::MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    list_.push_back(std::move(family));
    return *this;
  }

  std::vector<prometheus::MetricFamily> list_;
};

void add_process(const server_state& state, families& to) {
  const process_use use = read_process_use();
  const auto began = std::chrono::system_clock::now() - (std::chrono::steady_clock::now() - state.started);
  to.gauge("scootd_info", "Always 1; the version is a label.").add(1.0, {{"version", SCOOT_VERSION}});
  to.gauge("process_start_time_seconds", "When the server started, in seconds since 1970.")
      .add(std::chrono::duration<double>(began.time_since_epoch()).count());
  to.counter("process_cpu_seconds_total", "Processor time of the process, user and system.")
      .add(static_cast<double>(use.cpu_us) * 1e-6);
  to.gauge("process_resident_memory_bytes", "Resident memory of the whole process.").add(use.rss_bytes);
}

void add_memory(const cache_stats& c, families& to) {
  to.gauge("scootd_budget_bytes", "Ceiling of all that the cache holds (-m).").add(c.budget_bytes);
  to.gauge("scootd_held_bytes", "Held now: memory of items, index, queues and metadata that may be resident.")
      .add(c.pool.held_bytes);
  to.gauge("scootd_held_peak_bytes", "Most ever held.").add(c.pool.held_bytes_peak);
  to.gauge("scootd_item_bytes", "Keys and values of the live items.").add(c.item_bytes);
  to.gauge("scootd_live_bytes", "Usable bytes of all live blocks: items with their headers, index and queues.")
      .add(c.heap.live_bytes);
  to.gauge("scootd_index_bytes", "Index and queues.").add(c.index_bytes);
  to.gauge("scootd_hole_bytes", "In freed slots and in holes between large blocks.").add(c.heap.hole_bytes);
  to.gauge("scootd_slack_bytes", "Resident above what is in use, and rounding.").add(c.heap.slack_bytes);
  to.gauge("scootd_idle_page_bytes", "Resident in pages that no heap uses at the moment.").add(c.pool.idle_bytes);
  to.gauge("scootd_metadata_bytes", "The part of the held bytes that is bookkeeping of the heaps.")
      .add(c.pool.metadata_bytes);
  to.gauge("scootd_address_space_bytes", "Address space reserved for pages; costs no memory.")
      .add(c.pool.address_bytes);
  to.gauge("scootd_page_size_bytes", "Size of a page.").add(c.pool.page_bytes);
  to.gauge("scootd_pages", "Pages in use.").add(c.pool.pages);
  to.gauge("scootd_heaps", "Heaps, one a shard of the cache.").add(std::uint64_t{c.shards});
  to.gauge("scootd_shelves", "Slot sizes in use, over all heaps.").add(c.heap.shelves);
  to.gauge("scootd_blocks", "Live blocks of the heaps.").add(c.heap.blocks);
  to.gauge("scootd_pinned_blocks", "Blocks that must stay where they are at the moment.").add(c.heap.pinned_blocks);
  to.gauge("scootd_utilisation_ratio", "Live bytes over held bytes.")
      .add(c.pool.held_bytes == 0 ? 0.0
                                  : static_cast<double>(c.heap.live_bytes) / static_cast<double>(c.pool.held_bytes));
}

void add_items(const cache_stats& c, families& to) {
  to.gauge("scootd_items", "Live items.").add(c.items);
  to.counter("scootd_items_stored_total", "Items stored.").add(c.items_stored);
  to.counter("scootd_lookups_total", "Commands that look for an item, by whether it was there.")
      .add("get", c.gets, c.get_hits)
      .add("touch", c.touches, c.touch_hits)
      .add("delete", c.deletes, c.delete_hits)
      .add("incr", c.increments, c.increment_hits)
      .add("decr", c.decrements, c.decrement_hits);
  to.counter("scootd_get_misses_gone_total", "Gets that missed because the item had just gone, by why.")
      .add(c.get_expired, {{"reason", "expired"}})
      .add(c.get_flushed, {{"reason", "flushed"}});
  to.counter("scootd_stores_total", "Store commands of any mode.").add(c.sets);
  to.counter("scootd_stores_refused_total", "Stores refused, by why.")
      .add(c.store_too_large, {{"reason", "too_large"}})
      .add(c.store_no_memory, {{"reason", "no_memory"}});
  to.counter("scootd_cas_total", "Compare-and-swap stores, by result.")
      .add(c.cas_hits, {{"result", "stored"}})
      .add(c.cas_badval, {{"result", "exists"}})
      .add(c.cas_misses, {{"result", "miss"}});
  to.counter("scootd_flushes_total", "flush_all commands.").add(c.flushes);
  to.counter("scootd_evictions_total", "Live items removed to make room, by whether they had been read.")
      .add(c.evictions - std::min(c.evictions, c.evicted_unread), {{"read", "yes"}})
      .add(c.evicted_unread, {{"read", "no"}});
  to.counter("scootd_expired_total", "Items removed because their time had come.").add(c.expired + c.reclaimed);
}

void add_moves(const cache_stats& c, families& to) {
  constexpr std::array<const char*, 5> reasons = {"done", "effort_spent", "nothing_to_gain", "pinned", "refused"};
  to.counter("scootd_allocations_total", "Blocks allocated.").add(c.heap.allocations);
  to.counter("scootd_allocated_bytes_total", "Usable bytes allocated.").add(c.heap.allocated_bytes);
  to.counter("scootd_allocation_failures_total", "Allocations that found no room; the cache then makes some.")
      .add(c.heap.failures);
  to.counter("scootd_moved_bytes_total", "Bytes of blocks moved to give memory back.").add(c.heap.bytes_moved);
  to.counter("scootd_moved_blocks_total", "Blocks moved.").add(c.heap.blocks_moved);
  to.counter("scootd_moves_examined_total", "Times that a block was looked at to be moved.")
      .add(c.heap.blocks_examined);
  to.counter("scootd_moves_dropped_total", "Blocks dropped instead of moved, because their item had expired.")
      .add(c.heap.blocks_dropped);
  to.counter("scootd_moves_refused_total", "Blocks that were to stay where they are.").add(c.heap.blocks_kept);
  to.pauses("scootd_pause_seconds", "Wall time that one operation spent moving blocks.", c.heap);
  to.counter("scootd_idle_compactions_total", "Compactions in idle moments, by why they stopped.");
  for (std::size_t i = 0; i < reasons.size(); ++i) to.add(c.idle_stops[i], {{"stopped", reasons[i]}});
  to.counter("scootd_idle_moved_bytes_total", "Bytes moved by these.").add(c.idle_bytes_moved);
  to.counter("scootd_idle_given_back_bytes_total", "Bytes given back to the system by these.")
      .add(c.idle_bytes_given_back);
  to.counter("scootd_maintenance_cpu_seconds_total",
             "Processor time of the cache's upkeep: expiry, compaction, budget.")
      .add(static_cast<double>(c.maintenance_cpu_us) * 1e-6);
}

void add_cold(const cold_stats& cold, families& to) {
  to.gauge("scootd_cold_ceiling_bytes", "Ceiling of the cold tier (--purgeable) now; 0: there is none.")
      .add(cold.ceiling_bytes);
  to.gauge("scootd_cold_items", "Items in the cold tier; some may have been purged lately.").add(cold.items);
  to.gauge("scootd_cold_offered_bytes", "Memory that the kernel may take whenever it is short.")
      .add(cold.offered_bytes);
  to.counter("scootd_cold_hits_total", "Items asked for that were in the cold tier.").add(cold.hits);
  to.counter("scootd_cold_promotions_total", "Items copied back from the cold tier.").add(cold.promotions);
  to.counter("scootd_cold_demotions_total", "Items that went to the cold tier rather than being evicted.")
      .add(cold.demotions);
  to.counter("scootd_cold_lost_items_total", "Items lost with memory that the kernel took.").add(cold.lost_items);
  to.counter("scootd_cold_dropped_items_total", "Items dropped from the cold tier for want of room.")
      .add(cold.dropped_items);
  to.counter("scootd_cold_purged_bytes_total", "Memory of the cold tier that the kernel took.").add(cold.purged_bytes);
}

// What the cache began with; all 0 without --restart-file.
void add_restart(const restart_report& r, families& to) {
  to.gauge("scootd_restart_info", "Always 1; what became of the restart file is a label.")
      .add(1.0, {{"outcome", to_string(r.outcome)}});
  to.gauge("scootd_restart_items", "Items that the cache began with.").add(r.items);
  to.gauge("scootd_restart_item_bytes", "Keys and values of these.").add(r.item_bytes);
  to.gauge("scootd_restart_dropped_items", "Items in the restart file for which there was no room.")
      .add(r.dropped_items);
  to.gauge("scootd_restart_expired_items", "Items in the restart file that were expired.").add(r.expired_items);
  to.gauge("scootd_restart_damaged_chunks", "Parts of the restart file that were damaged.").add(r.damaged_chunks);
  to.gauge("scootd_restart_seconds", "Time that it took to read the restart file.")
      .add(static_cast<double>(r.elapsed_us) * 1e-6);
}

// All 0 where memory pressure is not followed.
void add_pressure(const cache_stats& c, families& to) {
  const pressure_stats& p = c.pressure;
  to.gauge("scootd_pressure_followed", "1 if memory pressure is followed (--pressure), else 0.")
      .add(c.follows_pressure ? 1.0 : 0.0);
  to.gauge("scootd_target_bytes", "What may be held now: the budget, under pressure less.").add(c.target_bytes);
  to.gauge("scootd_pressure_deficit_bytes", "Memory that ought to be given back now.").add(p.deficit_bytes);
  to.gauge("scootd_pressure_available_bytes", "Memory free or free at once, of the limit that leaves least.")
      .add(p.available_bytes);
  to.gauge("scootd_pressure_headroom_bytes", "Memory to be kept free for others.").add(p.headroom_bytes);
  to.gauge("scootd_pressure_limit_bytes", "The limit that leaves least: a control group's or the machine's.")
      .add(p.limit_bytes);
  to.counter("scootd_pressure_alarms_total", "Alarms of the kernel.").add(p.alarms);
  to.counter("scootd_pressure_notices_total", "Times that memory was asked back.").add(p.notices);
  to.counter("scootd_pressure_asked_bytes_total", "Memory asked back.").add(p.asked_bytes);
  to.counter("scootd_pressure_given_bytes_total", "Memory given back for it.").add(p.given_bytes);
  to.counter("scootd_pressure_cpu_seconds_total", "Processor time of watching for pressure.")
      .add(static_cast<double>(p.cpu_ns) * 1e-9);
}

void add_connections(const server_state& state, const worker_totals& totals, unsigned viewers, families& to) {
  constexpr auto relaxed = std::memory_order_relaxed;
  to.gauge("scootd_connections", "Client connections now.").add(state.connections_now.load(relaxed));
  to.gauge("scootd_connections_limit", "Client connections at a time (-c).")
      .add(std::uint64_t{state.options.connections_max});
  to.counter("scootd_connections_total", "Client connections accepted.").add(state.connections_total.load(relaxed));
  to.counter("scootd_connections_rejected_total", "Client connections turned away at the limit.")
      .add(state.connections_rejected.load(relaxed));
  to.counter("scootd_accept_pauses_total", "Times that accepting stopped for want of descriptors.")
      .add(state.accept_pauses.load(relaxed));
  to.counter("scootd_idle_kicks_total", "Connections closed because they were idle (-o idle_timeout).")
      .add(state.idle_kicks.load(relaxed));
  const client_memory& kept = state.clients;
  to.gauge("scootd_client_bytes", "Kept for clients beside the cache: unfinished input, answers not taken.")
      .add(kept.bytes());
  to.gauge("scootd_client_pinned_bytes", "Values of the cache that slow readers are being sent.")
      .add(kept.pinned_bytes());
  to.counter("scootd_client_pin_waits_total", "Times that a read of a large value waited for slow readers.")
      .add(kept.waits.load(relaxed));
  to.counter("scootd_client_pin_yields_total", "Times that a slow reader of large values let others go first.")
      .add(kept.yields.load(relaxed));
  to.counter("scootd_clients_closed_total", "Connections closed as clients kept too much memory, by what most was.")
      .add(kept.closed_for_input.load(relaxed), {{"kept", "input"}})
      .add(kept.closed_for_answers.load(relaxed), {{"kept", "answers"}});
  to.counter("scootd_received_bytes_total", "Bytes read from clients.").add(totals.bytes_read);
  to.counter("scootd_sent_bytes_total", "Bytes written to clients.").add(totals.bytes_written);
  to.counter("scootd_yields_total", "Times that a connection had more requests than its turn allows (-R).")
      .add(totals.yields);
  to.counter("scootd_auth_commands_total", "Attempts to say who one is.").add(state.auth_commands.load(relaxed));
  to.counter("scootd_auth_errors_total", "Those that failed.").add(state.auth_errors.load(relaxed));
  to.counter("scootd_tls_handshake_errors_total", "TLS connections that ended before they spoke.")
      .add(state.tls_handshake_errors.load(relaxed));
  to.gauge("scootd_threads", "Worker threads (-t).").add(std::uint64_t{state.options.threads});
  to.gauge("scootd_viewers", "Viewers of the live page.").add(std::uint64_t{viewers});
}

}  // namespace

std::string write_metrics(const server_state& state, const cache_window& window, unsigned viewers) {
  families to;
  const cache_stats c = window.stats();
  add_process(state, to);
  add_memory(c, to);
  add_items(c, to);
  add_moves(c, to);
  add_cold(c.cold, to);
  add_pressure(c, to);
  add_restart(state.restarted, to);
  add_connections(state, window.totals(), viewers, to);
  return to.text();
}

}  // namespace scoot::server
