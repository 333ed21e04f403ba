// SPDX-License-Identifier: MIT
#include "tools/top_sample.hpp"

#include <algorithm>
#include <bit>
#include <charconv>

namespace tools {
namespace {

constexpr std::chrono::milliseconds answer_timeout{5000};
constexpr std::size_t answer_bytes_max = std::size_t{4} << 20;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<double> number(const std::string& text) {
  double value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<double> server_sample::get(std::string_view name) const {
  const auto at = values.find(name);
  return at == values.end() ? std::nullopt : std::optional<double>(at->second);
}

// One group of statistics as texts; empty if the server does not know the group.
bool stats_client::ask(std::string_view group, std::map<std::string, std::string>& out, std::string& error) {
  out.clear();
  input_.clear();
  const std::string request = group.empty() ? "stats\r\n" : "stats " + std::string(group) + "\r\n";
  if (!connection_.send(request, answer_timeout, error)) return false;
  for (std::size_t at = 0;;) {
    const std::size_t end = input_.find("\r\n", at);
    if (end == std::string::npos) {
      if (input_.size() > answer_bytes_max) return error = "the answer to stats does not end", false;
      if (!connection_.receive(input_, answer_timeout, error)) return false;
      continue;
    }
    const std::string_view line(input_.data() + at, end - at);
    at = end + 2;
    if (line == "END" || line == "RESET" || line == "ERROR") return true;
    if (line.substr(0, 12) == "CLIENT_ERROR" && line.find("unauthenticated") != std::string_view::npos) {
      return error = "the server asks for a name and a password (--auth-file)", false;
    }
    if (line.find("_ERROR") != std::string_view::npos) return true;
    const std::size_t space = line.find(' ', 5);
    if (line.substr(0, 5) != "STAT " || space == std::string_view::npos) {
      return error = "this does not answer as memcached does: " + std::string(line.substr(0, 60)), false;
    }
    out.emplace(line.substr(5, space - 5), line.substr(space + 1));
  }
}

bool stats_client::take(server_sample& out, std::string& error) {
  out = {};
  if (!connection_.is_open() && !connection_.open(to_, access_, answer_timeout, error)) return false;
  for (const std::string_view group : {"", "heap", "moves"}) {
    std::map<std::string, std::string> texts;
    if (!ask(group, texts, error)) {
      connection_.close();
      error = to_.text() + ": " + error;
      return false;
    }
    if (group.empty()) {
      if (texts.empty()) return connection_.close(), error = to_.text() + ": gives no statistics", false;
      out.seconds = steady_seconds();
      out.version = texts["version"];
    }
    for (const auto& [name, text] : texts) {
      const std::optional<double> value = number(text);
      if (value) out.values.emplace(group.empty() ? name : std::string(group) + "." + name, *value);
    }
  }
  return true;
}

bool stats_client::take_sizes(std::vector<size_class>& out, std::string& error) {
  out.clear();
  std::map<std::string, std::string> texts;
  if (!connection_.is_open() && !connection_.open(to_, access_, answer_timeout, error)) return false;
  if (!ask("sizes", texts, error)) return connection_.close(), false;
  std::map<std::uint64_t, std::uint64_t> classes;
  for (const auto& [name, text] : texts) {
    const std::optional<double> bytes = number(name), items = number(text);
    if (!bytes || !items) continue;  // memcached: sizes_status disabled
    classes[std::bit_ceil(std::max<std::uint64_t>(static_cast<std::uint64_t>(*bytes), 64))] +=
        static_cast<std::uint64_t>(*items);
  }
  for (const auto& [bytes, items] : classes) out.push_back({bytes, items});
  return true;
}

namespace {

// Sums of statistics, and their rates; absent if the first of the names is.
class reader {
 public:
  reader(const server_sample* before, const server_sample& now) : before_(before), now_(now) {}

  [[nodiscard]] std::optional<double> sum(std::initializer_list<std::string_view> names) const {
    return sum_of(now_, names);
  }
  [[nodiscard]] std::optional<double> grown(std::initializer_list<std::string_view> names) const {
    if (before_ == nullptr) return std::nullopt;
    const std::optional<double> a = sum_of(*before_, names), b = sum_of(now_, names);
    return a && b && *b >= *a ? std::optional<double>(*b - *a) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> rate(std::initializer_list<std::string_view> names) const {
    const std::optional<double> more = grown(names);
    return more ? std::optional<double>(*more / (now_.seconds - before_->seconds)) : std::nullopt;
  }

 private:
  static std::optional<double> sum_of(const server_sample& s, std::initializer_list<std::string_view> names) {
    if (!s.get(*names.begin())) return std::nullopt;
    double total = 0;
    for (const std::string_view name : names) total += s.get(name).value_or(0);
    return total;
  }

  const server_sample* before_;
  const server_sample& now_;
};

std::optional<double> quotient(std::optional<double> part, std::optional<double> of) {
  return part && of && *of > 0 ? std::optional<double>(*part / *of) : std::nullopt;
}

}  // namespace

server_view view_of(const server_sample* before, const server_sample& now) {
  if (before != nullptr &&
      (before->get("pid") != now.get("pid") || now.seconds <= before->seconds || before->version != now.version)) {
    before = nullptr;
  }
  const reader r(before, now);
  server_view v;
  v.version = now.version;
  v.uptime_s = now.get("uptime").value_or(0);
  v.gets = r.rate({"get_hits", "get_misses"});
  v.sets = r.rate({"cmd_set"});
  v.deletes = r.rate({"delete_hits", "delete_misses"});
  v.touches = r.rate({"cmd_touch"});
  v.operations = r.rate({"get_hits", "get_misses", "cmd_set", "delete_hits", "delete_misses", "cmd_touch", "incr_hits",
                         "incr_misses", "decr_hits", "decr_misses"});
  v.hit_ratio = quotient(r.grown({"get_hits"}), r.grown({"get_hits", "get_misses"}));
  v.hit_ratio_ever = quotient(r.sum({"get_hits"}), r.sum({"get_hits", "get_misses"}));
  v.budget_bytes = r.sum({"limit_maxbytes"});
  v.held_bytes = r.sum({"heap.held_bytes"});
  v.held_bytes_peak = r.sum({"heap.held_bytes_peak"});
  v.live_bytes = r.sum({"heap.live_bytes"});
  v.items = r.sum({"curr_items"});
  v.item_bytes = r.sum({"bytes"});
  v.utilisation = quotient(v.live_bytes, v.held_bytes);
  v.hole_bytes = r.sum({"heap.hole_bytes"});
  v.pages = r.sum({"heap.pages"});
  v.shelves = r.sum({"heap.shelves"});
  v.evictions = r.rate({"evictions"});
  v.evictions_ever = r.sum({"evictions"});
  v.expirations = r.rate({"reclaimed"});
  v.refused = r.rate({"store_no_memory", "store_too_large"});
  v.moved_bytes = r.rate({"moves.bytes_moved"});
  v.moved_blocks = r.rate({"moves.blocks_moved"});
  v.moved_bytes_ever = r.sum({"moves.bytes_moved"});
  v.moved_per_allocated = quotient(v.moved_bytes_ever, r.sum({"moves.allocated_bytes"}));
  if (r.sum({"purgeable_limit"}).value_or(0) > 0) {
    v.cold_items = r.sum({"cold_items"});
    v.cold_offered_bytes = r.sum({"purgeable_offered"});
    v.cold_hits = r.rate({"cold_hits"});
    v.cold_demotions = r.rate({"cold_demotions"});
    v.cold_lost = r.rate({"cold_lost"});
  }
  v.pressure_target = r.sum({"pressure_target"});
  v.pressure_deficit = r.sum({"pressure_deficit"});
  v.pressure_available_bytes = r.sum({"pressure_available"});
  v.pressure_given_bytes = r.rate({"pressure_given"});
  v.connections = r.sum({"curr_connections"});
  v.connections_max = r.sum({"max_connections"});
  v.threads = r.sum({"threads"});
  v.received_bytes = r.rate({"bytes_read"});
  v.sent_bytes = r.rate({"bytes_written"});
  v.cpu = r.rate({"rusage_user", "rusage_system"});
  return v;
}

nlohmann::ordered_json json_of(const server_view& v) {
  nlohmann::ordered_json out;
  const auto put = [&out](const char* name, std::optional<double> value) {
    if (value) {
      out[name] = *value;
    } else {
      out[name] = nullptr;
    }
  };
  out["version"] = v.version;
  out["uptime_s"] = v.uptime_s;
  put("operations_per_s", v.operations);
  put("gets_per_s", v.gets);
  put("sets_per_s", v.sets);
  put("deletes_per_s", v.deletes);
  put("touches_per_s", v.touches);
  put("hit_ratio", v.hit_ratio);
  put("hit_ratio_ever", v.hit_ratio_ever);
  put("budget_bytes", v.budget_bytes);
  put("held_bytes", v.held_bytes);
  put("held_bytes_peak", v.held_bytes_peak);
  put("live_bytes", v.live_bytes);
  put("utilisation", v.utilisation);
  put("hole_bytes", v.hole_bytes);
  put("items", v.items);
  put("item_bytes", v.item_bytes);
  put("pages", v.pages);
  put("shelves", v.shelves);
  put("evictions_per_s", v.evictions);
  put("evictions", v.evictions_ever);
  put("expirations_per_s", v.expirations);
  put("refused_per_s", v.refused);
  put("moved_bytes_per_s", v.moved_bytes);
  put("moved_blocks_per_s", v.moved_blocks);
  put("moved_bytes", v.moved_bytes_ever);
  put("moved_bytes_per_allocated_byte", v.moved_per_allocated);
  put("cold_items", v.cold_items);
  put("cold_offered_bytes", v.cold_offered_bytes);
  put("cold_hits_per_s", v.cold_hits);
  put("cold_demotions_per_s", v.cold_demotions);
  put("cold_lost_per_s", v.cold_lost);
  put("pressure_target_bytes", v.pressure_target);
  put("pressure_deficit_bytes", v.pressure_deficit);
  put("pressure_available_bytes", v.pressure_available_bytes);
  put("pressure_given_bytes_per_s", v.pressure_given_bytes);
  put("connections", v.connections);
  put("connections_max", v.connections_max);
  put("threads", v.threads);
  put("received_bytes_per_s", v.received_bytes);
  put("sent_bytes_per_s", v.sent_bytes);
  put("cpu_cores", v.cpu);
  out["sizes"] = nlohmann::ordered_json::array();
  for (const size_class& one : v.sizes) out["sizes"].push_back({{"bytes_max", one.bytes_max}, {"items", one.items}});
  return out;
}

}  // namespace tools
