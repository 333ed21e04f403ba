// SPDX-License-Identifier: MIT
#include "server/feed_sample.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "server/http_module.hpp"

namespace scoot::server {
namespace {

constexpr std::array<std::string_view, 28> names = {
    "time",     "budget",    "held",       "rss",          "item_bytes",  "live_bytes", "items",
    "gets",     "hits",      "sets",       "others",       "evictions",   "expired",    "moved",
    "pause_us", "pages",     "holes",      "idle",         "connections", "cpu",        "target",
    "deficit",  "available", "cold_items", "cold_ceiling", "offered",     "purged",     "cold_hits"};

std::uint64_t others(const cache_stats& c) noexcept { return c.touches + c.deletes + c.increments + c.decrements; }

// The bound of the longest class of pauses that got more.
double longest_pause_us(const heap_stats& now, const heap_stats& before) noexcept {
  for (std::size_t i = pause_classes; i-- > 0;) {
    if (now.pauses[i] > before.pauses[i]) return static_cast<double>(pause_ns_least << i) / 1000;
  }
  return 0;
}

class number_list {
 public:
  void add(double value) {
    char text[40];
    const int bytes = std::snprintf(text, sizeof text, "%s%.10g", list_.empty() ? "" : ",", value);
    list_.append(text, static_cast<std::size_t>(bytes));
  }
  void add(std::uint64_t value) { list_.append(list_.empty() ? "" : ",").append(std::to_string(value)); }
  void add_if(bool known, double value) {
    if (known) return add(value);
    list_.append(",null");
  }
  [[nodiscard]] std::string text() const { return "[" + list_ + "]"; }

 private:
  std::string list_;
};

}  // namespace

process_use read_process_use() noexcept {
  process_use use;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micro = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_usec);
  };
  use.cpu_us = micro(usage.ru_utime) + micro(usage.ru_stime);
  if (std::FILE* file = std::fopen("/proc/self/statm", "re"); file != nullptr) {
    unsigned long long size = 0, resident = 0;
    if (std::fscanf(file, "%llu %llu", &size, &resident) == 2) {
      use.rss_bytes = resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    }
    std::fclose(file);
  }
  return use;
}

sampler::sampler(const cache_window& window)
    : window_(window),
      before_(window.stats()),
      cpu_us_before_(read_process_use().cpu_us),
      time_before_(std::chrono::steady_clock::now()) {}

std::string sampler::fields() {
  std::string list = "[";
  for (const std::string_view name : names) list.append(list.size() == 1 ? "\"" : ",\"").append(name).append("\"");
  return list + "]";
}

std::string sampler::take() {
  const cache_stats now = window_.stats();
  const process_use use = read_process_use();
  const auto time = std::chrono::steady_clock::now();
  const double seconds = std::max(std::chrono::duration<double>(time - time_before_).count(), 1e-3);
  // A counter that was reset meanwhile has made no step back.
  const auto rate = [seconds](std::uint64_t after, std::uint64_t before) {
    return after > before ? static_cast<double>(after - before) / seconds : 0.0;
  };
  const auto date = std::chrono::system_clock::now().time_since_epoch();
  number_list row;
  row.add(std::chrono::duration<double>(std::chrono::duration_cast<std::chrono::milliseconds>(date)).count());
  row.add(std::uint64_t{now.budget_bytes});
  row.add(std::uint64_t{now.pool.held_bytes});
  row.add(use.rss_bytes);
  row.add(std::uint64_t{now.item_bytes});
  row.add(std::uint64_t{now.heap.live_bytes});
  row.add(std::uint64_t{now.items});
  row.add(rate(now.gets, before_.gets));
  row.add(rate(now.get_hits, before_.get_hits));
  row.add(rate(now.sets, before_.sets));
  row.add(rate(others(now), others(before_)));
  row.add(rate(now.evictions, before_.evictions));
  row.add(rate(now.expired + now.reclaimed, before_.expired + before_.reclaimed));
  row.add(rate(now.heap.bytes_moved, before_.heap.bytes_moved));
  row.add(longest_pause_us(now.heap, before_.heap));
  row.add(std::uint64_t{now.pool.pages});
  row.add(std::uint64_t{now.heap.hole_bytes});
  row.add(std::uint64_t{now.pool.idle_bytes});
  row.add(window_.connections());
  row.add(rate(use.cpu_us, cpu_us_before_) / 1e6);
  row.add(std::uint64_t{now.target_bytes});
  row.add_if(now.follows_pressure, static_cast<double>(now.pressure.deficit_bytes));
  row.add_if(now.follows_pressure, static_cast<double>(now.pressure.available_bytes));
  const bool cold = now.cold.ceiling_bytes != 0;
  row.add_if(cold, static_cast<double>(now.cold.items));
  row.add_if(cold, static_cast<double>(now.cold.ceiling_bytes));
  row.add_if(cold, static_cast<double>(now.cold.offered_bytes));
  row.add_if(cold, rate(now.cold.purged_bytes, before_.cold.purged_bytes));
  row.add_if(cold, rate(now.cold.hits, before_.cold.hits));
  before_ = now;
  cpu_us_before_ = use.cpu_us;
  time_before_ = time;
  return row.text();
}

std::string page_as_json(const page_view& page, unsigned heap) {
  constexpr std::array<const char*, 7> uses = {"unused", "idle", "used", "shelf", "large", "run", "run_body"};
  char text[640];
  int bytes = std::snprintf(
      text, sizeof text,
      R"({"number":%zu,"heap":%u,"address":"%p","use":"%s","resident_begin":%u,"resident_end":%u,)"
      R"("missing_bytes":%u,"pins":%u,"kind":%u,"live_bytes":%zu,"moved_in":%u,"moved_out":%u)",
      page.number, heap, page.address, uses[static_cast<std::size_t>(page.content)], page.resident_begin,
      page.resident_end, page.missing_bytes, page.pins, page.of.index, page.live_bytes, page.arrivals, page.departures);
  std::string json(text, static_cast<std::size_t>(bytes));
  if (page.content == page_content::shelf) {
    bytes = std::snprintf(text, sizeof text, R"(,"slot_bytes":%zu,"slots":%zu,"holes":%zu,"withdrawn":%zu)",
                          page.slot_bytes, page.slots, page.holes, page.withdrawn);
    json.append(text, static_cast<std::size_t>(bytes));
  } else if (page.content == page_content::large) {
    bytes = std::snprintf(text, sizeof text, R"(,"blocks":%zu,"mixed":%s)", page.blocks, page.mixed ? "true" : "false");
    json.append(text, static_cast<std::size_t>(bytes));
  } else if (page.content == page_content::run) {
    bytes = std::snprintf(text, sizeof text, R"(,"run_bytes":%zu)", page.slot_bytes);
    json.append(text, static_cast<std::size_t>(bytes));
  }
  if (page.fill[0] != 0) json.append(R"(,"fill":")").append(page.fill).append("\"");
  return json + "}";
}

std::string chunk_as_json(const cold_chunk_view& chunk, unsigned heap, std::uint64_t number) {
  constexpr std::array<const char*, 5> states = {"free", "kept", "offered", "partly_purged", "purged"};
  char fill[65] = {};
  for (std::size_t i = 0; i < 64; ++i) {
    const bool used = i * (chunk.bytes / 64) < chunk.used_bytes;
    fill[i] = !used ? '.' : (chunk.purged >> i & 1) != 0 ? 'x' : '9';
  }
  char text[400];
  const int bytes = std::snprintf(
      text, sizeof text,
      R"({"number":%llu,"heap":%u,"state":"%s","used_bytes":%zu,"purged_bytes":%zu,"items":%zu,"age":%llu,)"
      R"("read":%s,"fill":"%s"})",
      static_cast<unsigned long long>(number), heap, states[static_cast<std::size_t>(chunk.state)], chunk.used_bytes,
      chunk.purged_bytes, chunk.items, static_cast<unsigned long long>(chunk.age), chunk.read ? "true" : "false", fill);
  return {text, static_cast<std::size_t>(bytes)};
}

}  // namespace scoot::server
