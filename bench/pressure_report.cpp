// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <set>

#include "pressure_bench.hpp"
#include "server_runs.hpp"
#include "statistics.hpp"
#include "svg_plot.hpp"

namespace bench {
namespace {

constexpr std::uint64_t few_pages = 64;
constexpr double significant = 0.01;

using figure = double (*)(const trial_result&);

struct column {
  const char* name;
  figure value;
};

template <auto Member>
double field(const trial_result& r) {
  return static_cast<double>(r.*Member);
}

constexpr column columns[] = {
    {"shortage_mib", field<&trial_result::shortage_mib>},
    {"headroom_mib", field<&trial_result::headroom_mib>},
    {"swapped_pages_before", field<&trial_result::swapped_before>},
    {"swapped_pages", field<&trial_result::swapped>},
    {"swapped_pages_machine", field<&trial_result::swapped_machine>},
    {"swapped_pages_victim", field<&trial_result::swapped_victim>},
    {"swapped_pages_scootd", field<&trial_result::swapped_scootd>},
    {"swapped_pages_burst", field<&trial_result::swapped_burst>},
    {"sweep_us_before", field<&trial_result::sweep_us_before>},
    {"sweep_us_worst", field<&trial_result::sweep_us_worst>},
    {"victim_major_faults", field<&trial_result::victim_faults>},
    {"burst_s", field<&trial_result::burst_s>},
    {"lost_mib", field<&trial_result::lost_mib>},
    {"hit_before", field<&trial_result::hit_before>},
    {"hit_worst", field<&trial_result::hit_worst>},
    {"hit_after", field<&trial_result::hit_after>},
    {"recover_s", field<&trial_result::recover_s>},
    {"oom_kills", field<&trial_result::oom_kills>},
    {"victim_died", field<&trial_result::victim_died>},
    {"scootd_died", field<&trial_result::scootd_died>},
    {"burst_died", field<&trial_result::burst_died>},
};

const char* pattern_name(access_pattern p) { return p == access_pattern::zipf ? "zipf" : "uniform"; }

using results = std::vector<const trial_result*>;

results of_arm(const std::vector<finished_trial>& trials, const std::string& arm) {
  results found;
  for (const finished_trial& t : trials)
    if (t.cell.arm->name == arm) found.push_back(&t.result);
  return found;
}

std::vector<double> values(const results& of, figure value) {
  std::vector<double> all;
  for (const trial_result* r : of) all.push_back(value(*r));
  return all;
}

std::uint64_t count(const results& of, bool (*condition)(const trial_result&)) {
  return static_cast<std::uint64_t>(std::count_if(of.begin(), of.end(), [&](const auto* r) { return condition(*r); }));
}

bool nothing_swapped(const trial_result& r) { return r.swapped == 0; }
bool few_swapped(const trial_result& r) { return r.swapped <= few_pages; }
double lost_over_shortage(const trial_result& r) { return r.shortage_mib > 0 ? r.lost_mib / r.shortage_mib : 0; }

std::string proportion(std::uint64_t k, std::size_t n) {
  const interval w = wilson(k, n);
  return std::to_string(k) + "/" + std::to_string(n) + " (" + format_fixed(w.low, 2) + "-" + format_fixed(w.high, 2) +
         ")";
}

// "median (worst)", worst being the largest.
std::string spread(const results& of, figure value, double scale, int digits) {
  const std::vector<double> v = values(of, value);
  return format_fixed(quantile(v, 0.5) * scale, digits) + " (" + format_fixed(quantile(v, 1) * scale, digits) + ")";
}

std::vector<std::string> table_row(const std::string& arm, const results& of) {
  const auto median = [&](figure value, int digits) { return format_fixed(quantile(values(of, value), 0.5), digits); };
  return {arm,
          proportion(count(of, nothing_swapped), of.size()),
          proportion(count(of, few_swapped), of.size()),
          spread(of, field<&trial_result::swapped>, 1, 0),
          spread(of, field<&trial_result::swapped_victim>, 1, 0),
          spread(of, field<&trial_result::swapped_scootd>, 1, 0),
          spread(of, field<&trial_result::sweep_us_worst>, 1e-3, 1),
          median(field<&trial_result::shortage_mib>, 1),
          spread(of, field<&trial_result::lost_mib>, 1, 1),
          spread(of, lost_over_shortage, 1, 2),
          median(field<&trial_result::hit_before>, 3),
          median(field<&trial_result::hit_after>, 3),
          spread(of, field<&trial_result::recover_s>, 1, 2),
          format_fixed(quantile(values(of, field<&trial_result::oom_kills>), 1) == 0
                           ? 0
                           : static_cast<double>(count(of, [](const trial_result& r) { return r.oom_kills > 0; })),
                       0)};
}

nlohmann::ordered_json json_row(const std::string& arm, const results& of) {
  nlohmann::ordered_json row;
  row["arm"] = arm;
  row["trials"] = of.size();
  for (const auto& [name, condition] :
       {std::pair{"nothing_swapped", &nothing_swapped}, {"few_swapped", &few_swapped}}) {
    const std::uint64_t k = count(of, condition);
    const interval w = wilson(k, of.size());
    row[name] = static_cast<double>(k) / static_cast<double>(of.size());
    row[std::string(name) + "_min"] = w.low;
    row[std::string(name) + "_max"] = w.high;
  }
  for (const column& c : columns) {
    const std::vector<double> v = values(of, c.value);
    row[c.name] = quantile(v, 0.5);
    row[std::string(c.name) + "_min"] = quantile(v, 0);
    row[std::string(c.name) + "_max"] = quantile(v, 1);
  }
  return row;
}

// What tells two ways apart: a figure, and whether more of it is better.
struct criterion {
  const char* name;
  figure value;
  bool more_is_better;
};

constexpr criterion criteria[] = {
    {"pages swapped out", field<&trial_result::swapped>, false},
    {"victim's worst sweep", field<&trial_result::sweep_us_worst>, false},
    {"victim's major faults", field<&trial_result::victim_faults>, false},
    {"time of the burst", field<&trial_result::burst_s>, false},
    {"bytes lost", field<&trial_result::lost_mib>, false},
    {"hit rate before", field<&trial_result::hit_before>, true},
    {"hit rate after", field<&trial_result::hit_after>, true},
    {"time to recover", field<&trial_result::recover_s>, false},
};

// One arm against another, by ranks within each rate and pattern apart would need more trials: pooled, since every arm
// has as many trials of each.
void compare(const std::vector<finished_trial>& trials, const std::string& arm, const std::string& other,
             std::vector<std::vector<std::string>>& table) {
  const results a = of_arm(trials, arm), b = of_arm(trials, other);
  if (a.empty() || b.empty()) return;
  const auto add = [&](const char* name, double mean_a, double mean_b, double p, bool more_is_better) {
    const bool better = more_is_better ? mean_a > mean_b : mean_a < mean_b;
    char probability[32];
    std::snprintf(probability, sizeof probability, "%.2g", p);
    table.push_back({arm + " against " + other, name, format_fixed(mean_a, 3), format_fixed(mean_b, 3), probability,
                     p >= significant ? "no difference shown"
                     : better         ? "better"
                                      : "worse"});
  };
  const std::uint64_t k_a = count(a, nothing_swapped), k_b = count(b, nothing_swapped);
  add("P(nothing swapped out)", static_cast<double>(k_a) / static_cast<double>(a.size()),
      static_cast<double>(k_b) / static_cast<double>(b.size()), proportion_test(k_a, a.size(), k_b, b.size()), true);
  for (const criterion& c : criteria) {
    const std::vector<double> v = values(a, c.value), w = values(b, c.value);
    const auto mean = [](const std::vector<double>& x) {
      double sum = 0;
      for (const double y : x) sum += y;
      return sum / static_cast<double>(x.size());
    };
    add(c.name, mean(v), mean(w), rank_test(v, w), c.more_is_better);
  }
}

// The arms that were run, in the order of the list of all.
std::vector<std::string> arms_of(const std::vector<finished_trial>& trials) {
  std::vector<std::string> names;
  for (const pressure_arm& a : pressure_arms())
    if (!of_arm(trials, a.name).empty()) names.push_back(a.name);
  return names;
}

}  // namespace

void print_pressure_report(const std::vector<finished_trial>& trials, json_rows& rows) {
  std::vector<std::vector<std::string>> table = {{"arm", "nothing swapped", "<= 64 pages", "pages", "victim's",
                                                  "scootd's", "worst sweep ms", "short MiB", "lost MiB", "lost/short",
                                                  "hits before", "after", "recover s", "OOM trials"}};
  for (const std::string& arm : arms_of(trials)) {
    const results of = of_arm(trials, arm);
    table.push_back(table_row(arm, of));
    rows.push_back(json_row(arm, of));
  }
  std::puts("proportions with Wilson's 95 % intervals; else medians (worst)");
  print_table(table);
  std::vector<std::vector<std::string>> verdicts = {{"arms", "figure", "mean", "mean", "p", "verdict"}};
  compare(trials, "both", "watermark", verdicts);
  compare(trials, "both", "purgeable", verdicts);
  if (verdicts.size() > 1) {
    std::puts("");
    print_table(verdicts);
  }
}

bool write_pressure_csv(const std::string& path, const std::vector<finished_trial>& trials) {
  std::ofstream file(path, std::ios::trunc);
  file << "arm,pattern,burst_mib_per_s,seed";
  for (const column& c : columns) file << ',' << c.name;
  file << '\n';
  for (const finished_trial& t : trials) {
    file << t.cell.arm->name << ',' << pattern_name(t.cell.pattern) << ',' << t.cell.burst_mib_per_s << ','
         << t.cell.seed;
    for (const column& c : columns) file << ',' << c.value(t.result);
    file << '\n';
  }
  file.close();
  return file.good() || complain("cannot write " + path);
}

namespace {

plot proportions_plot(const std::vector<finished_trial>& trials) {
  plot p;
  p.title = "Nothing swapped out: part of the trials, 95 % intervals";
  p.y_label = "part of the trials";
  p.x_names = arms_of(trials);
  p.lines = false;
  for (const auto& [name, condition] : {std::pair{"no page", &nothing_swapped}, {"64 pages at most", &few_swapped}}) {
    plot_series s;
    s.name = name;
    for (std::size_t i = 0; i < p.x_names.size(); ++i) {
      const results of = of_arm(trials, p.x_names[i]);
      const std::uint64_t k = count(of, condition);
      const interval w = wilson(k, of.size());
      s.points.emplace_back(static_cast<double>(i) + (p.series.empty() ? -0.1 : 0.1),
                            static_cast<double>(k) / static_cast<double>(of.size()));
      s.ranges.emplace_back(w.low, w.high);
    }
    p.series.push_back(s);
  }
  return p;
}

// A point a trial, the arms side by side, the rates apart by colour.
plot trials_plot(const std::vector<finished_trial>& trials, const char* title, const char* label,
                 const std::function<double(const trial_result&)>& value) {
  plot p;
  p.title = title;
  p.y_label = label;
  p.x_names = arms_of(trials);
  p.lines = false;
  std::set<double> rates;
  for (const finished_trial& t : trials) rates.insert(t.cell.burst_mib_per_s);
  double shift = -0.2;
  for (const double rate : rates) {
    plot_series s;
    s.name = format_fixed(rate, 0) + " MiB/s";
    for (std::size_t i = 0; i < p.x_names.size(); ++i)
      for (const finished_trial& t : trials)
        if (t.cell.arm->name == p.x_names[i] && t.cell.burst_mib_per_s == rate)
          s.points.emplace_back(static_cast<double>(i) + shift, value(t.result));
    p.series.push_back(s);
    shift += 0.4 / static_cast<double>(std::max<std::size_t>(rates.size() - 1, 1));
  }
  return p;
}

}  // namespace

bool draw_pressure_plots(const std::string& prefix, const std::vector<finished_trial>& trials) {
  constexpr double mib_a_page = 4096.0 / (1 << 20);
  bool ok = write_svg(prefix + "no-swap.svg", proportions_plot(trials));
  ok = write_svg(prefix + "swapped.svg",
                 trials_plot(trials, "Of the group in swap at most, a point a trial", "MiB",
                             [](const trial_result& r) { return static_cast<double>(r.swapped) * mib_a_page; })) &&
       ok;
  return write_svg(prefix + "sweep.svg",
                   trials_plot(trials, "The victim's worst sweep, a point a trial", "milliseconds",
                               [](const trial_result& r) { return r.sweep_us_worst / 1e3; })) &&
         ok;
}

}  // namespace bench
