// SPDX-License-Identifier: MIT
#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace bench {
namespace {

constexpr double z_95 = 1.959963984540054;

double log_choose(double n, double k) { return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1); }

}  // namespace

interval wilson(std::uint64_t successes, std::uint64_t trials) noexcept {
  if (trials == 0) return {};
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n, z2 = z_95 * z_95;
  const double middle = p + z2 / (2 * n), reach = z_95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  // The ends are 0 and 1 exactly there, which rounding must not spoil.
  return {successes == 0 ? 0 : (middle - reach) / (1 + z2 / n),
          successes == trials ? 1 : (middle + reach) / (1 + z2 / n)};
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

double rank_test(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || b.empty()) return 1;
  std::vector<std::pair<double, bool>> all;  // value, whether it is of a
  for (const double v : a) all.emplace_back(v, true);
  for (const double v : b) all.emplace_back(v, false);
  std::sort(all.begin(), all.end());
  double ranks_a = 0, ties = 0;
  for (std::size_t i = 0; i < all.size();) {
    std::size_t end = i;
    while (end < all.size() && all[end].first == all[i].first) ++end;
    const auto length = static_cast<double>(end - i);
    const double rank = static_cast<double>(i + end + 1) / 2;  // the mean of ranks i + 1 to end
    ties += length * length * length - length;
    for (; i < end; ++i) ranks_a += all[i].second ? rank : 0;
  }
  const auto n_a = static_cast<double>(a.size()), n_b = static_cast<double>(b.size());
  const double n = n_a + n_b;
  const double variance = n_a * n_b / 12 * (n + 1 - ties / (n * (n - 1)));
  if (variance <= 0) return 1;
  const double distance = std::abs(ranks_a - n_a * (n + 1) / 2);
  return std::erfc(std::max(0.0, distance - 0.5) / std::sqrt(2 * variance));
}

double proportion_test(std::uint64_t successes_a, std::uint64_t trials_a, std::uint64_t successes_b,
                       std::uint64_t trials_b) {
  const std::uint64_t successes = successes_a + successes_b, trials = trials_a + trials_b;
  const auto log_probability = [&](std::uint64_t k) {
    const auto x = static_cast<double>(k);
    return log_choose(static_cast<double>(trials_a), x) +
           log_choose(static_cast<double>(trials_b), static_cast<double>(successes) - x) -
           log_choose(static_cast<double>(trials), static_cast<double>(successes));
  };
  const double seen = log_probability(successes_a);
  const std::uint64_t least = successes > trials_b ? successes - trials_b : 0;
  double sum = 0;
  for (std::uint64_t k = least; k <= std::min(successes, trials_a); ++k) {
    const double p = log_probability(k);
    if (p <= seen + 1e-9) sum += std::exp(p);
  }
  return std::min(1.0, sum);
}

}  // namespace bench
