// SPDX-License-Identifier: MIT
//
// What `scoot top` knows of a server: its statistics at a moment, and what two of them make.
//
// A figure that a server does not have is absent: memcached has no moves and no holes, and is shown without them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/address.hpp"

namespace tools {

// The numbers of `stats`, `stats heap` (names as "heap.live_bytes") and `stats moves` ("moves.bytes_moved").
struct server_sample {
  double seconds = 0;  // of a steady clock
  std::string version;
  std::map<std::string, double, std::less<>> values;

  [[nodiscard]] std::optional<double> get(std::string_view name) const;
};

// Items by size: those of up to `bytes_max` bytes of key and value, and more than the class before.
struct size_class {
  std::uint64_t bytes_max = 0;
  std::uint64_t items = 0;
};

class stats_client {
 public:
  stats_client(address to, access_options access) : to_(std::move(to)), access_(std::move(access)) {}

  // Takes a sample, connecting first where there is no connection. False, with the reason; then it begins anew.
  [[nodiscard]] bool take(server_sample& out, std::string& error);

  // Sizes of the items by doublings. The server walks over all items for it. Empty where the server does not say.
  [[nodiscard]] bool take_sizes(std::vector<size_class>& out, std::string& error);

 private:
  bool ask(std::string_view group, std::map<std::string, std::string>& out, std::string& error);

  address to_;
  access_options access_;
  connection connection_;
  std::string input_;
};

// Figures of a moment; rates are per second since the sample before.
struct server_view {
  std::string version;
  double uptime_s = 0;
  std::optional<double> operations, gets, sets, deletes, touches;  // rates
  std::optional<double> hit_ratio, hit_ratio_ever;                 // absent where nothing was asked for
  std::optional<double> budget_bytes, held_bytes, held_bytes_peak, live_bytes, utilisation, hole_bytes;
  std::optional<double> items, item_bytes, pages, shelves;
  std::optional<double> evictions, evictions_ever, expirations, refused;
  std::optional<double> moved_bytes, moved_blocks, moved_bytes_ever, moved_per_allocated;
  std::optional<double> connections, connections_max, threads, received_bytes, sent_bytes, cpu;
  std::optional<double> cold_items, cold_offered_bytes, cold_hits, cold_demotions, cold_lost;               // cold tier
  std::optional<double> pressure_target, pressure_deficit, pressure_available_bytes, pressure_given_bytes;  // followed
  std::vector<size_class> sizes;
};

// `before` may be of another life of the server, or none: then there are no rates.
[[nodiscard]] server_view view_of(const server_sample* before, const server_sample& now);

[[nodiscard]] nlohmann::ordered_json json_of(const server_view& v);

}  // namespace tools
