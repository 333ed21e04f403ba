// SPDX-License-Identifier: MIT
#include "policy_generator.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string_view>

#include "random.hpp"
#include "zipf.hpp"

namespace bench {
namespace {

// ---- the statistics -----------------------------------------------------------------------------------------------

// Columns of a CSV line, with quotes around those that have commas.
std::vector<std::string> columns_of(const std::string& line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      out.emplace_back();
    } else if (c != '\r') {
      out.back() += c;
    }
  }
  return out;
}

enum class parsed : std::uint8_t { number, missing, damaged };

// The number at the front of the text, which is advanced past it.
parsed number_from(std::string_view& text, double& out) {
  if (text.empty() || text == "NA" || text == "N/A") return parsed::missing;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (failed != std::errc{} || !std::isfinite(out) || out < 0) return parsed::damaged;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return parsed::number;
}

parsed number_of(std::string_view text, double& out) {
  const parsed result = number_from(text, out);
  return result == parsed::number && !text.empty() ? parsed::damaged : result;
}

// "1.8h:0.28, 1d:0.05"
parsed parse_ttls(std::string_view text, std::vector<std::pair<double, std::uint32_t>>& out) {
  if (text.empty() || text == "N/A") return parsed::missing;
  while (!text.empty()) {
    double amount = 0, share = 0;
    if (number_from(text, amount) != parsed::number || text.size() < 3 || text[1] != ':') return parsed::damaged;
    const double unit = text[0] == 's' ? 1 : text[0] == 'm' ? 60 : text[0] == 'h' ? 3600 : text[0] == 'd' ? 86400 : 0;
    text.remove_prefix(2);
    if (unit == 0 || number_from(text, share) != parsed::number) return parsed::damaged;
    out.emplace_back(share, static_cast<std::uint32_t>(std::max(1.0, amount * unit)));
    while (!text.empty() && (text.front() == ',' || text.front() == ' ')) text.remove_prefix(1);
  }
  return parsed::number;
}

// "get:0.93 set:0.07"
parsed parse_operations(std::string_view text, std::vector<std::pair<double, cache_operation>>& out) {
  static constexpr std::pair<std::string_view, cache_operation> names[] = {
      {"get", cache_operation::get},       {"gets", cache_operation::get},        {"set", cache_operation::set},
      {"add", cache_operation::add},       {"replace", cache_operation::replace}, {"cas", cache_operation::replace},
      {"append", cache_operation::extend}, {"prepend", cache_operation::extend},  {"delete", cache_operation::remove},
      {"incr", cache_operation::count},    {"decr", cache_operation::count}};
  if (text.empty() || text == "NA" || text == "N/A") return parsed::missing;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const auto* const found = std::find_if(std::begin(names), std::end(names),
                                           [&](const auto& entry) { return entry.first == text.substr(0, colon); });
    if (colon == std::string_view::npos || found == std::end(names)) return parsed::damaged;
    text.remove_prefix(colon + 1);
    double share = 0;
    if (number_from(text, share) != parsed::number) return parsed::damaged;
    out.emplace_back(share, found->second);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
  return parsed::number;
}

constexpr std::size_t statistics_columns = 14;

// Sets `why` if the cluster cannot be used; false if the line is damaged.
bool parse_cluster(const std::vector<std::string>& c, cluster_statistics& out, std::string& why, std::string& error) {
  double kqps = 0, one_hit = 0, compulsory = 0, set_mb_no_ttl = 0, set_mb = 0;
  out.name = c[0];
  const std::pair<std::size_t, double*> numbers[] = {{1, &out.miss_ratio}, {3, &out.key_bytes}, {4, &out.value_bytes},
                                                     {5, &kqps},           {7, &one_hit},       {8, &compulsory},
                                                     {10, &set_mb_no_ttl}, {11, &set_mb},       {13, &out.zipf_alpha}};
  for (const auto& [column, number] : numbers) {
    const parsed result = number_of(c[column], *number);
    if (result == parsed::damaged) return error = "column " + std::to_string(column + 1) + " is " + c[column], false;
    if (result == parsed::missing && column != 1) why = "column " + std::to_string(column + 1) + " is missing";
  }
  const parsed ttls = parse_ttls(c[9], out.ttls), mix = parse_operations(c[12], out.operations);
  if (ttls == parsed::damaged) return error = "column 10 is no mix of ttls: " + c[9], false;
  if (mix == parsed::damaged) return error = "column 13 is no mix of operations: " + c[12], false;
  if (ttls == parsed::missing || mix == parsed::missing) why = "its ttls or operations are missing";
  if (!why.empty()) return true;
  const bool reads = std::any_of(out.operations.begin(), out.operations.end(),
                                 [](const auto& entry) { return entry.second == cache_operation::get; });
  if (!reads) why = "nothing is read";
  if (out.key_bytes < 1 || out.key_bytes > 250 || out.value_bytes < 1 || kqps <= 0) why = "its sizes or rate are 0";
  out.requests_per_second = kqps * 1000;
  out.one_hit_share = std::min(one_hit / 100, 1.0);
  out.new_share = std::min(compulsory / 100, 1.0);
  const double object_bytes = out.key_bytes + out.value_bytes;
  // Where the working set within the ttl is not given, what is new within a ttl (Little's law).
  double ttl_mean = 0, shares = 0;
  for (const auto& entry : out.ttls) ttl_mean += entry.first * entry.second, shares += entry.first;
  ttl_mean = shares > 0 ? ttl_mean / shares : 86400;
  const double fresh = out.requests_per_second * std::max(out.new_share, 1e-4) * std::min(ttl_mean, 604800.0);
  out.working_set_bytes = set_mb > 0 ? set_mb * 1e6 : std::max(fresh, 1000.0) * object_bytes;
  return true;
}

// ---- drawing ------------------------------------------------------------------------------------------------------

template <class Value>
const Value& choose(const std::vector<std::pair<double, Value>>& shares, double at) {
  double sum = 0;
  for (const auto& entry : shares) sum += entry.first;
  at *= sum;
  for (const auto& entry : shares) {
    at -= entry.first;
    if (at < 0) return entry.second;
  }
  return shares.back().second;
}

// What an object is like, by its number.
struct shape {
  std::uint32_t value_bytes;
  std::uint32_t ttl;
};

class shapes {
 public:
  shapes(const cluster_statistics& cluster, const generator_options& options)
      : cluster_(cluster), sigma_(options.value_sigma), seed_(options.seed) {}

  [[nodiscard]] shape of(std::uint32_t object) const {
    random_source random(seed_ * 0x9e3779b97f4a7c15U ^ object);
    const double mean = cluster_.value_bytes, mu = std::log(mean) - sigma_ * sigma_ / 2;
    // Box and Muller.
    const double normal = std::sqrt(-2 * std::log(1 - uniform(random))) * std::cos(6.283185307179586 * uniform(random));
    const double bytes = std::clamp(std::exp(mu + sigma_ * normal), 1.0, std::min(32 * mean, 500e3));
    const std::uint32_t ttl = cluster_.ttls.empty() ? 0 : choose(cluster_.ttls, uniform(random));
    return {static_cast<std::uint32_t>(std::lround(bytes)), ttl};
  }

 private:
  const cluster_statistics& cluster_;
  double sigma_;
  std::uint64_t seed_;
};

// Draws the requests of a cluster one after another.
class generator {
 public:
  generator(const cluster_statistics& cluster, const generator_options& options)
      : cluster_(cluster),
        options_(options),
        random_(options.seed),
        popularity_(options.population, cluster.zipf_alpha),
        shapes_(cluster, options),
        objects_(options.population),
        scan_at_(options.population) {
    const double object_bytes = cluster.key_bytes + cluster.value_bytes;
    const double sampled = static_cast<double>(options.population) / (cluster.working_set_bytes / object_bytes);
    seconds_per_request_ = 1 / (cluster.requests_per_second * sampled);
    scan_begins_ = options.scan / (1 - options.scan) / static_cast<double>(options.population);
    split_operations();
  }

  // Stores the population in random order; what expires does so at a random time within its ttl.
  void fill(std::vector<trace_request>& out) {
    for (std::uint32_t i = 0; i < objects_.size(); ++i) objects_[i] = i;
    for (auto i = static_cast<std::uint32_t>(objects_.size()); i > 1; --i)
      std::swap(objects_[i - 1], objects_[random_.below(i)]);
    for (fresh_ = 0; fresh_ < objects_.size(); ++fresh_) {
      trace_request q = request_for(fresh_, cache_operation::set);
      if (q.ttl != 0) q.ttl = 1 + random_.below(q.ttl);
      out.push_back(q);
    }
  }

  trace_request next() {
    const std::size_t population = objects_.size();
    if (scan_at_ < population && (requests_++ & 1) != 0) {  // every other request while a scan is on
      return request_for(objects_[scan_at_++], cache_operation::get);
    }
    ++others_;
    if (scan_at_ >= population && uniform(random_) < scan_begins_) scan_at_ = 0;
    if (options_.drift > 0 && uniform(random_) < options_.drift) {
      std::swap(objects_[popularity_.draw(random_)], objects_[random_.below(static_cast<std::uint32_t>(population))]);
    }
    if (uniform(random_) < cluster_.new_share) {
      const std::uint32_t object = fresh_++;
      if (uniform(random_) >= cluster_.one_hit_share) {
        objects_[random_.below(static_cast<std::uint32_t>(population))] = object;
      }
      return request_for(object, choose(operations_of_new_, uniform(random_)));
    }
    return request_for(objects_[popularity_.draw(random_)], choose(operations_of_old_, uniform(random_)));
  }

 private:
  using operation_shares = std::vector<std::pair<double, cache_operation>>;

  void split_operations() {
    double gets = 0, all = 0;
    for (const auto& [share, operation] : cluster_.operations) {
      all += share;
      if (operation == cache_operation::get) gets += share;
      if (operation == cache_operation::set || operation == cache_operation::add)
        operations_of_new_.emplace_back(share, operation);
    }
    double stores = 0;
    for (const auto& entry : operations_of_new_) stores += entry.first;
    const double fresh = cluster_.new_share;
    double by_get = gets / all;
    if (stores > 0 && fresh > 0) by_get *= std::min(1.0, cluster_.miss_ratio / fresh);
    if (stores <= 0) by_get = 1;
    for (auto& entry : operations_of_new_) entry.first *= (1 - by_get) / stores;
    operations_of_new_.emplace_back(by_get, cache_operation::get);
    // What is left of the mix.
    for (const auto& [share, operation] : cluster_.operations) {
      double taken = 0;
      for (const auto& entry : operations_of_new_) taken += entry.second == operation ? entry.first * fresh : 0;
      if (operation == cache_operation::get) taken *= share / gets;  // of get and gets each its part
      operations_of_old_.emplace_back(std::max(0.0, share / all - taken), operation);
    }
    if (std::none_of(operations_of_old_.begin(), operations_of_old_.end(),
                     [](const auto& entry) { return entry.first > 0; })) {
      operations_of_old_ = {{1, cache_operation::get}};
    }
  }

  trace_request request_for(std::uint32_t object, cache_operation operation) const {
    const shape s = shapes_.of(object);
    trace_request q;
    q.time = static_cast<std::uint32_t>(static_cast<double>(others_) * seconds_per_request_);
    q.object = object;
    q.value_bytes = s.value_bytes;
    q.ttl = s.ttl;
    q.key_bytes = static_cast<std::uint8_t>(std::clamp(cluster_.key_bytes, 10.0, 250.0));
    q.operation = operation;
    return q;
  }

  const cluster_statistics& cluster_;
  const generator_options& options_;
  random_source random_;
  const zipf popularity_;
  const shapes shapes_;
  operation_shares operations_of_new_, operations_of_old_;
  std::vector<std::uint32_t> objects_;  // by rank
  std::uint32_t fresh_ = 0;             // the next new object
  std::size_t scan_at_;                 // where a scan is; the population: there is none
  std::size_t requests_ = 0;
  std::size_t others_ = 0;  // requests that belong to no scan
  double seconds_per_request_ = 0;
  double scan_begins_ = 0;
};

}  // namespace

bool read_clusters(const std::string& path, std::vector<cluster_statistics>& out, std::vector<std::string>& left_out,
                   std::string& error) {
  std::ifstream file(path);
  if (!file) return error = path + ": " + std::strerror(errno), false;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    if (number == 1 || line.empty()) continue;  // the heading
    const std::vector<std::string> columns = columns_of(line);
    const std::string place = path + ": line " + std::to_string(number) + ": ";
    if (columns.size() != statistics_columns) {
      return error = place + "has " + std::to_string(columns.size()) + " columns, not 14", false;
    }
    cluster_statistics cluster;
    std::string why, what;
    if (!parse_cluster(columns, cluster, why, what)) return error = place + what, false;
    if (why.empty()) {
      out.push_back(std::move(cluster));
    } else {
      left_out.push_back(cluster.name + ": " + why);
    }
  }
  if (out.empty()) return error = path + ": has no cluster that can be used", false;
  return true;
}

std::vector<cluster_statistics> built_in_clusters() {
  using op = cache_operation;
  return {{"sessions", 24, 300, 5000, 0.2, 0.02, 600e6, 0.8, 1, {{1, 3600}}, {{0.8, op::get}, {0.2, op::set}}},
          {"pages", 40, 1500, 2000, 0.1, 0.01, 2e9, 1.0, 1, {{1, 0}}, {{0.98, op::get}, {0.02, op::remove}}},
          {"counters", 30, 20, 8000, 0.3, 0.03, 200e6, 0.6, 1, {{1, 86400}}, {{0.9, op::get}, {0.1, op::count}}}};
}

request_trace generate_trace(const cluster_statistics& cluster, const generator_options& options) {
  request_trace out;
  out.name = cluster.name;
  generator g(cluster, options);
  out.requests.reserve(options.population + options.requests);
  g.fill(out.requests);
  for (std::size_t i = 0; i < options.requests; ++i) out.requests.push_back(g.next());
  summarise_requests(out);
  return out;
}

}  // namespace bench
