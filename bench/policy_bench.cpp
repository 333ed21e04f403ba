// SPDX-License-Identifier: MIT
#include "policy_bench.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>

#include "clock.hpp"
#include "policy_memcached.hpp"
#include "policy_models.hpp"
#include "svg_plot.hpp"

namespace bench {
namespace {

constexpr double mib = 1 << 20;
constexpr std::size_t population_max = 2'000'000;
constexpr double item_overhead = 24;  // of scoot::cache, about: only to size the budgets

bool complain(const std::string& what) {
  std::fprintf(stderr, "scoot-bench: %s\n", what.c_str());
  return false;
}

// ---- replay -------------------------------------------------------------------------------------------------------

struct replay_result {
  std::uint64_t gets = 0, misses = 0;               // of the second half
  std::uint64_t value_bytes = 0, bytes_missed = 0;  // of these
  std::uint64_t evictions = 0;                      // of all
  double payload = 0;                               // bytes of keys and values held, mean over the second half
  [[nodiscard]] double miss_ratio() const {
    return gets == 0 ? 0 : static_cast<double>(misses) / static_cast<double>(gets);
  }
};

// Whoever misses a get stores the object. The first half, after `filling` requests, is not counted.
replay_result replay(const request_trace& t, replayed_cache& cache, std::size_t filling) {
  replay_result r;
  std::uint32_t now = ~std::uint32_t{0};
  const std::size_t half = filling + (t.requests.size() - filling) / 2;
  const std::size_t sample_every = std::max<std::size_t>(1, (t.requests.size() - half) / 64);
  unsigned samples = 0;
  using when = replayed_cache::when;
  for (std::size_t i = 0; i < t.requests.size(); ++i) {
    const trace_request& q = t.requests[i];
    if (q.time != now) cache.pass_time(now = q.time);
    if (i >= half && (i - half) % sample_every == 0) {
      r.payload += static_cast<double>(cache.payload_bytes());
      ++samples;
    }
    switch (q.operation) {
      case cache_operation::get: {
        const bool hit = cache.get(q);
        if (!hit) (void)cache.store(q, when::always);
        r.gets += i >= half;
        r.misses += i >= half && !hit;
        r.value_bytes += i >= half ? q.value_bytes : 0;
        r.bytes_missed += i >= half && !hit ? q.value_bytes : 0;
        break;
      }
      case cache_operation::set:
        (void)cache.store(q, when::always);
        break;
      case cache_operation::add:
        (void)cache.store(q, when::absent);
        break;
      case cache_operation::replace:
      case cache_operation::extend:
        (void)cache.store(q, when::present);
        break;
      case cache_operation::count:
        (void)cache.get(q);
        break;
      case cache_operation::remove:
        cache.remove(q);
        break;
    }
  }
  r.evictions = cache.evictions();
  r.payload /= std::max(samples, 1u);
  return r;
}

// ---- one trace at one budget --------------------------------------------------------------------------------------

enum column : unsigned { scoot, memcached, memcached_m, segmented, plain_lru, sieve, offline, unlimited, columns };
constexpr const char* column_names[columns] = {"scoot", "memcached", "memcached -m", "segmented LRU",
                                               "LRU",   "SIEVE",     "offline",      "unlimited"};
constexpr const char* column_keys[columns] = {"scoot", "memcached", "memcached_m", "segmented_lru",
                                              "lru",   "sieve",     "offline",     "unlimited"};

struct comparison {
  std::string name;
  double budget_mib = 0;
  double fraction = 0;
  replay_result results[columns];
  // Misses of a policy to those of memcached's in the same memory; 1 where neither misses.
  [[nodiscard]] double ratio(column c, column to = memcached) const {
    return quotient(results[c].misses, results[to].misses);
  }
  [[nodiscard]] double ratio_of_bytes() const {
    return quotient(results[scoot].bytes_missed, results[memcached].bytes_missed);
  }
  // The same for the misses that more memory would spare.
  [[nodiscard]] double ratio_of_avoidable(column c) const { return quotient(avoidable(c), avoidable(memcached)); }
  [[nodiscard]] std::uint64_t avoidable(column c) const {
    return results[c].misses - std::min(results[c].misses, results[unlimited].misses);
  }

 private:
  static double quotient(std::uint64_t of, std::uint64_t to) {
    return to > 0 ? static_cast<double>(of) / static_cast<double>(to) : of > 0 ? 2 : 1;
  }
};

// A page of memcached's is 1 MiB. Where a small budget stands for a larger one, pages are as much smaller, or nothing
// but the size of the pages would be measured.
std::size_t page_for(std::size_t budget, double object_bytes) {
  const auto wanted = static_cast<std::size_t>(std::max(static_cast<double>(budget) / 64, 16 * object_bytes));
  return std::clamp<std::size_t>(std::bit_floor(wanted), std::size_t{16} << 10, std::size_t{1} << 20);
}

bool compare(const request_trace& t, double fraction, std::size_t budget, std::size_t filling,
             const policy_bench_options& o, comparison& out) {
  out.name = t.name;
  out.fraction = fraction;
  out.budget_mib = static_cast<double>(budget) / mib;
  const double object_bytes = static_cast<double>(t.payload_bytes) / std::max(1u, t.objects);
  std::size_t payload = 0;
  for (unsigned c = 0; c < columns; ++c) {
    if (c == offline ? !o.offline : o.brief && c != scoot && c != memcached && c != unlimited) continue;
    progress(t.name + "  " + format_fixed(out.budget_mib, 1) + " MiB  " + column_names[c]);
    std::unique_ptr<replayed_cache> cache;
    const memcached_model_options model{budget, page_for(budget, object_bytes), true, c == memcached};
    const memcached_model_options one_class{payload, payload, false, false};
    switch (c) {
      case scoot:
        cache = make_scoot(budget, o.generating.seed);
        break;
      case memcached:
      case memcached_m:
        cache = make_memcached(t, model);
        break;
      case segmented:
        cache = make_memcached(t, one_class);
        break;
      case plain_lru:
        cache = make_lru(t, payload);
        break;
      case sieve:
        cache = make_sieve(t, payload);
        break;
      case offline:
        cache = make_offline(t, payload);
        break;
      default:
        cache = make_lru(t, t.payload_bytes * 2 + t.requests.size());
    }
    if (cache == nullptr) return complain("no memory for a cache of " + std::to_string(budget) + " bytes");
    out.results[c] = replay(t, *cache, filling);
    if (const std::string damage = cache->damage(); !damage.empty()) return complain(t.name + ": " + damage);
    if (c == scoot) {  // whose bytes the models below hold; all of them if it never had to evict
      payload = out.results[c].evictions == 0 ? t.payload_bytes + 1 : static_cast<std::size_t>(out.results[c].payload);
      payload = std::max<std::size_t>(payload, 4096);
    }
  }
  return true;
}

// Whether the model of memcached is right: what it and a real memcached miss of the same trace. Nothing expires, and
// the model's clock goes as the replay went.
bool validate(request_trace t, std::size_t budget, std::size_t filling, const std::string& program) {
  for (trace_request& q : t.requests) q.ttl = 0;
  const std::size_t memory_mib = std::max<std::size_t>(16, budget >> 20);
  std::string error;
  const std::unique_ptr<replayed_cache> real = make_real_memcached(program, memory_mib, error);
  if (real == nullptr) return complain(error);
  progress(t.name + "  " + std::to_string(memory_mib) + " MiB  a real memcached");
  const std::uint64_t start = wall_ns();
  const replay_result theirs = replay(t, *real, filling);
  const double seconds = static_cast<double>(wall_ns() - start) / 1e9;
  if (const std::string damage = real->damage(); !damage.empty()) return complain(damage);
  for (std::size_t i = 0; i < t.requests.size(); ++i) {
    t.requests[i].time =
        static_cast<std::uint32_t>(seconds * static_cast<double>(i) / static_cast<double>(t.requests.size()));
  }
  const std::size_t page_bytes = std::size_t{1} << 20;
  const replay_result model = replay(t, *make_memcached(t, {memory_mib << 20, page_bytes, true, false}), filling);
  progress_done();
  std::printf("%s without expiry, -m %zu, %.0f s: %s misses %.4f of the gets, the model %.4f (%+.1f %%)\n",
              t.name.c_str(), memory_mib, seconds, program.c_str(), theirs.miss_ratio(), model.miss_ratio(),
              100 * (model.miss_ratio() / std::max(theirs.miss_ratio(), 1e-9) - 1));
  return true;
}

// ---- reporting ----------------------------------------------------------------------------------------------------

std::string ratio_of(const comparison& c, column of, column to = memcached) {
  return c.results[of].gets == 0 || c.results[to].gets == 0 ? "-" : format_fixed(c.ratio(of, to), 3);
}

void report_summary(const std::vector<comparison>& all, double fraction) {
  std::vector<std::vector<std::string>> table = {{"", "median", "min", "max"}};
  const auto add = [&](const std::string& what, column peer, auto&& value) {
    if (all[0].results[peer].gets == 0) return;
    std::vector<double> values;
    for (const comparison& c : all) {
      if (c.fraction == fraction) values.push_back(value(c));
    }
    const summary s = summarise(values);
    table.push_back({what, format_fixed(s.median, 3), format_fixed(s.min, 3), format_fixed(s.max, 3)});
  };
  add("scoot / memcached, all of its memory", memcached, [](const comparison& c) { return c.ratio(scoot); });
  add("scoot / memcached, its table beyond -m", memcached_m,
      [](const comparison& c) { return c.ratio(scoot, memcached_m); });
  add("bytes missed, scoot / memcached", memcached, [](const comparison& c) { return c.ratio_of_bytes(); });
  add("avoidable misses, scoot / memcached", memcached,
      [](const comparison& c) { return c.ratio_of_avoidable(scoot); });
  add("scoot / segmented LRU =", segmented, [](const comparison& c) { return c.ratio(scoot, segmented); });
  add("scoot / LRU =", plain_lru, [](const comparison& c) { return c.ratio(scoot, plain_lru); });
  add("scoot / SIEVE =", sieve, [](const comparison& c) { return c.ratio(scoot, sieve); });
  add("offline = / memcached", offline, [](const comparison& c) { return c.ratio(offline); });
  add("unlimited / memcached", unlimited, [](const comparison& c) { return c.ratio(unlimited); });
  std::printf("\nmisses to misses, budget %s; = with as many bytes of keys and values\n",
              format_fixed(fraction, 3).c_str());
  print_table(table);
}

void report(const std::vector<comparison>& all, json_rows& rows) {
  std::vector<std::vector<std::string>> table = {{"trace", "", "MiB", "scoot", "memcached", "scoot/mc", "/mc -m",
                                                  "bytes/mc", "avoidable/mc", "payload/mc", "seg.LRU=/mc", "LRU=/mc",
                                                  "SIEVE=/mc", "offline=/mc", "unlimited/mc"}};
  for (const comparison& c : all) {
    const replay_result& mine = c.results[scoot];
    const double density = c.results[memcached].payload > 0 ? mine.payload / c.results[memcached].payload : 1;
    std::vector<std::string> line = {c.name, format_fixed(c.fraction, 3), format_fixed(c.budget_mib, 1)};
    line.push_back(format_fixed(mine.miss_ratio(), 4));
    line.push_back(format_fixed(c.results[memcached].miss_ratio(), 4));
    line.push_back(format_fixed(c.ratio(scoot), 3));
    line.push_back(ratio_of(c, scoot, memcached_m));
    line.push_back(format_fixed(c.ratio_of_bytes(), 3));
    line.push_back(format_fixed(c.ratio_of_avoidable(scoot), 3));
    line.push_back(format_fixed(density, 3));
    for (const column k : {segmented, plain_lru, sieve, offline, unlimited}) line.push_back(ratio_of(c, k));
    table.push_back(line);
    nlohmann::ordered_json row;
    row["bench"] = "policy";
    row["trace"] = c.name;
    row["fraction"] = c.fraction;
    row["budget_mib"] = c.budget_mib;
    row["gets"] = mine.gets;
    for (unsigned k = 0; k < columns; ++k) {
      if (c.results[k].gets != 0) row[std::string("miss_ratio_") + column_keys[k]] = c.results[k].miss_ratio();
    }
    row["misses_to_memcached"] = c.ratio(scoot);
    if (c.results[memcached_m].gets != 0) row["misses_to_memcached_m"] = c.ratio(scoot, memcached_m);
    row["bytes_missed_to_memcached"] = c.ratio_of_bytes();
    row["avoidable_misses_to_memcached"] = c.ratio_of_avoidable(scoot);
    row["payload_to_memcached"] = density;
    row["evictions"] = mine.evictions;
    rows.push_back(row);
  }
  print_table(table);
  std::vector<double> fractions;
  for (const comparison& c : all) {
    if (std::find(fractions.begin(), fractions.end(), c.fraction) == fractions.end()) fractions.push_back(c.fraction);
  }
  for (const double fraction : fractions) report_summary(all, fraction);
}

// Over budgets if there is one trace, else over traces, sorted by what scoot misses.
bool draw(const std::string& path, std::vector<comparison> all) {
  plot p;
  const bool one = std::all_of(all.begin(), all.end(), [&](const comparison& c) { return c.name == all[0].name; });
  p.title = one ? all[0].name : "misses at equal memory, to those of memcached's policy";
  p.y_label = one ? "miss ratio" : "misses / memcached's";
  p.x_label = one ? "budget in MiB" : "";
  p.lines = one;
  p.log_x = one;
  std::sort(all.begin(), all.end(), [&](const comparison& a, const comparison& b) {
    return one ? a.budget_mib < b.budget_mib : a.ratio(scoot) < b.ratio(scoot);
  });
  for (unsigned k = 0; k < columns; ++k) {
    if (all[0].results[k].gets == 0) continue;
    plot_series s;
    s.name = std::string(column_names[k]) + (k >= segmented && k < unlimited ? " (equal payload)" : "");
    for (std::size_t i = 0; i < all.size(); ++i) {
      s.points.emplace_back(one ? all[i].budget_mib : static_cast<double>(i),
                            one ? all[i].results[k].miss_ratio() : all[i].ratio(static_cast<column>(k)));
    }
    p.series.push_back(s);
  }
  for (std::size_t i = 0; i < all.size() && !one; ++i)
    p.x_names.push_back(all[i].name +
                        (all[i].fraction == all[0].fraction ? "" : " " + format_fixed(all[i].fraction, 2)));
  return write_svg(path, p);
}

// For smoke runs: the cache is a cache, and no worse than LRU with as many bytes.
bool plausible(const comparison& c) {
  if (c.results[scoot].gets == 0) return complain("implausible: " + c.name + " reads nothing");
  for (unsigned k = 0; k < unlimited; ++k) {
    if (c.results[k].gets == 0) continue;
    if (c.results[k].misses == 0 || c.results[k].misses >= c.results[k].gets)
      return complain("implausible: " + c.name + " misses nothing or all in " + column_names[k]);
  }
  if (c.ratio(scoot) > 1.1) return complain("implausible: " + c.name + " misses more than memcached's policy");
  return true;
}

// ---- what to run --------------------------------------------------------------------------------------------------

bool run_file(const std::string& path, const policy_bench_options& o, std::vector<comparison>& all) {
  request_trace t;
  std::string error;
  progress("reading " + path);
  if (!read_request_trace(path, o.reading, t, error)) return complain(error);
  if (t.skipped != 0) complain(path + ": " + std::to_string(t.skipped) + " records without a size are left out");
  if (t.cut) complain(path + ": only its first " + std::to_string(t.requests.size()) + " requests (--requests)");
  for (const double fraction : o.fractions) {
    const double budget = std::max(2 * mib, fraction * static_cast<double>(t.payload_bytes));
    all.emplace_back();
    if (!compare(t, fraction, static_cast<std::size_t>(budget), 0, o, all.back())) return false;
    if (!o.memcached.empty() && !validate(t, static_cast<std::size_t>(budget), 0, o.memcached)) return false;
  }
  return true;
}

// The budget is the same for all clusters; the fraction decides how many objects there are, up to a bound.
bool run_cluster(const cluster_statistics& cluster, const policy_bench_options& o, std::vector<comparison>& all) {
  const double object_bytes = cluster.key_bytes + cluster.value_bytes + item_overhead;
  for (const double fraction : o.fractions) {
    generator_options g = o.generating;
    g.requests = o.reading.requests_max;
    g.population = std::clamp<std::size_t>(static_cast<std::size_t>(o.budget_mib * mib / fraction / object_bytes), 1000,
                                           population_max);
    progress(cluster.name + "  " + std::to_string(g.population) + " objects");
    const request_trace t = generate_trace(cluster, g);
    all.emplace_back();
    if (!compare(t, fraction, static_cast<std::size_t>(o.budget_mib * mib), g.population, o, all.back())) return false;
    if (!o.memcached.empty() && !validate(t, static_cast<std::size_t>(o.budget_mib * mib), g.population, o.memcached))
      return false;
  }
  return true;
}

}  // namespace

int run_policy_bench(policy_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.reading.requests_max = std::min<std::size_t>(o.reading.requests_max, 200'000);
    o.budget_mib = 2;
  }
  if (o.fractions.empty()) o.fractions = {0.1};
  std::vector<cluster_statistics> clusters;
  if (!o.clusters.empty()) {
    std::string error;
    std::vector<std::string> left_out;
    if (!read_clusters(o.clusters, clusters, left_out, error)) return complain(error), 1;
    for (const std::string& why : left_out) complain("left out " + why);
  } else if (o.files.empty()) {
    clusters = built_in_clusters();
  }
  if (!o.only.empty()) {
    std::erase_if(clusters, [&](const cluster_statistics& c) {
      return std::find(o.only.begin(), o.only.end(), c.name) == o.only.end();
    });
    if (clusters.empty()) return complain("none of the clusters has a name asked for"), 1;
  }
  std::vector<comparison> all;
  bool ok = true;
  for (const std::string& path : o.files) ok = ok && run_file(path, o, all);
  for (const cluster_statistics& cluster : clusters) ok = ok && run_cluster(cluster, o, all);
  progress_done();
  if (!ok || all.empty()) return 1;
  std::printf("seed %llu, %zu requests at most, the second half counted; commit %s\n",
              static_cast<unsigned long long>(o.generating.seed), o.reading.requests_max, commit().c_str());
  report(all, rows);
  if (!o.svg.empty()) ok = draw(o.svg, all) && ok;
  if (o.smoke) {
    for (const comparison& c : all) ok = plausible(c) && ok;
  }
  return ok ? 0 : 1;
}

}  // namespace bench
