// SPDX-License-Identifier: MIT
#include "server/http_snapshot.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "scoot/cache.hpp"
#include "server/feed_sample.hpp"
#include "server/http_module.hpp"

namespace scoot::server {
namespace {

constexpr std::size_t pins_max = 256;  // told one by one

struct shelf_sum {
  std::size_t index = 0;
  std::size_t pages = 0;
  std::size_t holes = 0;
};

struct kind_sum {
  const char* name = "";
  std::size_t blocks = 0, live_bytes = 0, held_bytes = 0, hole_bytes = 0, pages = 0;
};

nlohmann::json pool_json(const cache_stats& c) {
  return {{"budget_bytes", c.pool.budget_bytes},       {"held_bytes", c.pool.held_bytes},
          {"held_bytes_peak", c.pool.held_bytes_peak}, {"metadata_bytes", c.pool.metadata_bytes},
          {"idle_bytes", c.pool.idle_bytes},           {"pages", c.pool.pages},
          {"address_bytes", c.pool.address_bytes}};
}

nlohmann::json heap_json(const heap_stats& h) {
  return {{"blocks", h.blocks},
          {"live_bytes", h.live_bytes},
          {"held_bytes", h.held_bytes},
          {"hole_bytes", h.hole_bytes},
          {"slack_bytes", h.slack_bytes},
          {"metadata_bytes", h.metadata_bytes},
          {"pages", h.pages},
          {"shelves", h.shelves},
          {"pinned_blocks", h.pinned_blocks},
          {"allocations", h.allocations},
          {"allocated_bytes", h.allocated_bytes},
          {"blocks_moved", h.blocks_moved},
          {"bytes_moved", h.bytes_moved},
          {"blocks_dropped", h.blocks_dropped},
          {"blocks_kept", h.blocks_kept},
          {"failures", h.failures}};
}

// The pages, and what they sum up to: each belongs to a shelf (heap, kind, slot size) or to none.
class page_writer {
 public:
  void add(unsigned heap, const page_view& page, std::string& out) {
    std::string json = page_as_json(page, heap);
    if (page.of) {
      kind_sum& k = kinds_[page.of.index];
      k.name = page.kind_name;
      ++k.pages;
      k.blocks += page.blocks;
      k.live_bytes += page.live_bytes;
      k.held_bytes += page.resident_bytes();
      k.hole_bytes += page.holes * page.slot_bytes;
    }
    if (page.content == page_content::shelf) {
      auto& sum = shelves_[{heap, page.of.index, page.slot_bytes}];
      if (sum.pages == 0) sum.index = shelves_.size() - 1;
      ++sum.pages;
      sum.holes += page.holes;
      json.insert(json.size() - 1, ",\"shelf\":" + std::to_string(sum.index));
    }
    if (pages_++ != 0) out += ",\n";
    out += json;
  }
  [[nodiscard]] nlohmann::json shelves() const {
    nlohmann::json list = nlohmann::json::array();
    for (std::size_t i = 0; i < shelves_.size(); ++i) list.push_back(nullptr);
    for (const auto& [key, sum] : shelves_) {
      list[sum.index] = {{"heap", std::get<0>(key)},
                         {"kind", std::get<1>(key)},
                         {"slot_bytes", std::get<2>(key)},
                         {"pages", sum.pages},
                         {"holes", sum.holes}};
    }
    return list;
  }
  [[nodiscard]] nlohmann::json kinds() const {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [index, k] : kinds_) {
      while (list.size() < index) list.push_back({{"name", ""}});  // of which there is nothing
      list.push_back({{"name", k.name},
                      {"blocks", k.blocks},
                      {"live_bytes", k.live_bytes},
                      {"held_bytes", k.held_bytes},
                      {"hole_bytes", k.hole_bytes},
                      {"pages", k.pages}});
    }
    return list;
  }

 private:
  std::map<std::tuple<unsigned, unsigned, std::size_t>, shelf_sum> shelves_;
  std::map<unsigned, kind_sum> kinds_;
  std::size_t pages_ = 0;
};

// Goes on after "chunk_bytes":, up to the last chunk.
bool write_cold(const cache_window& window, const cache_stats& c, const std::function<bool(std::string_view)>& sink,
                std::string& out) {
  struct seen {
    unsigned heap;
    cold_chunk_view chunk;
  };
  std::vector<seen> some;
  some.reserve(256);
  std::uint64_t cursor = 0;
  bool begun = false;
  do {
    some.clear();
    cursor = window.visit_cold(cursor, [&](unsigned heap, const cold_chunk_view& chunk) {
      if (some.size() < some.capacity()) some.push_back({heap, chunk});
    });
    for (const seen& one : some) {
      if (!begun) out += std::to_string(one.chunk.bytes) + ",\"chunks\":[";
      if (begun) out += ',';
      out += '\n';
      begun = true;
      out += chunk_as_json(one.chunk, one.heap, std::uint64_t{one.chunk.number} * c.shards + one.heap);
    }
    if (begun && !sink(out)) return false;
    if (begun) out.clear();
  } while (cursor != 0);
  return begun || sink(out + "0,\"chunks\":[");
}

std::string pins_json(const cache_window& window) {
  std::vector<cache_pin> room(pins_max);
  const std::size_t count = window.list_pins(room);
  room.resize(std::min(count, room.size()));
  nlohmann::json list = nlohmann::json::array();
  for (const cache_pin& one : room) {
    std::array<char, 24> address{};
    std::snprintf(address.data(), address.size(), "%p", one.pin.block);
    list.push_back({{"heap", one.shard},
                    {"address", address.data()},
                    {"bytes", one.pin.bytes},
                    {"kind", one.pin.of.index},
                    {"holder", one.pin.holder},
                    {"pins", one.pin.pins},
                    {"age_ns", one.pin.age_ns},
                    {"stranded_bytes", one.pin.stranded_bytes}});
  }
  return "\"pins\":" + list.dump() + ",\"pins_left_out\":" + std::to_string(count - room.size());
}

}  // namespace

bool write_cache_snapshot(const cache_window& window, const std::function<bool(std::string_view)>& sink) {
  const cache_stats c = window.stats();
  const nlohmann::json head = {{"scoot_snapshot", 1},
                               {"revision", 2},
                               {"page_bytes", c.pool.page_bytes},
                               {"os_page_bytes", sysconf(_SC_PAGESIZE)},
                               {"heaps", c.shards},
                               {"pool", pool_json(c)},
                               {"heap", heap_json(c.heap)}};
  std::string out = head.dump();
  out.back() = ',';
  out += "\n\"pages\":[\n";
  page_writer pages;
  struct seen {
    unsigned heap;
    page_view page;
  };
  std::vector<seen> some;
  const page_visit how{.pages_max = 64, .draw = true};
  some.reserve(how.pages_max);
  std::uint64_t cursor = 0;
  do {
    some.clear();
    // Nothing but noting down: a shard's lock is held.
    cursor = window.visit_pages(
        cursor,
        [&](unsigned heap, const page_view& page) {
          if (some.size() < some.capacity()) some.push_back({heap, page});
        },
        how);
    for (const seen& one : some) pages.add(one.heap, one.page, out);
    if (!out.empty() && !sink(out)) return false;
    out.clear();
  } while (cursor != 0);
  out = "\n],\"pages_left_out\":0,\n\"cold\":{\"chunk_bytes\":";
  if (!write_cold(window, c, sink, out)) return false;
  out = "\n]},\n\"shelves\":" + pages.shelves().dump() + ",\n\"kinds\":" + pages.kinds().dump() + ",\n" +
        pins_json(window) + "}\n";
  return sink(out);
}

}  // namespace scoot::server
