// SPDX-License-Identifier: MIT
//
// What a handful of trials says: intervals for proportions, quantiles, and whether two samples differ.
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

struct interval {
  double low = 0;
  double high = 1;
};

// Where the probability lies if `successes` of `trials` succeeded, with 95 % confidence: E. B. Wilson, "Probable
// inference, the law of succession, and statistical inference", JASA 22 (1927). All of [0, 1] without trials.
interval wilson(std::uint64_t successes, std::uint64_t trials) noexcept;

// The value that the part q of all do not exceed, by linear interpolation between the two nearest. Of at least one.
double quantile(std::vector<double> values, double q);

// The probability, if both samples came from one distribution, that their ranks differ at least as much as they do,
// either way: H. B. Mann, D. R. Whitney (1947), by the normal approximation with corrections for ties and continuity,
// which is good from about eight values each. 1 where a sample is empty or all values are the same.
double rank_test(const std::vector<double>& a, const std::vector<double>& b);

// The probability, if both had one chance of success, of proportions at least as unlikely as these: Fisher's exact
// test, two-sided.
double proportion_test(std::uint64_t successes_a, std::uint64_t trials_a, std::uint64_t successes_b,
                       std::uint64_t trials_b);

}  // namespace bench
