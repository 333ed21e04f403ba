// SPDX-License-Identifier: MIT
//
// Goal: the statistics that verdicts of the benchmarks rest on are the published ones.
// Method: published figures, and ones worked out from the definitions in exact arithmetic; and properties.
#include "statistics.hpp"

#include <gtest/gtest.h>

#include <random>

namespace {

TEST(wilson, gives_the_published_intervals) {
  const bench::interval some = bench::wilson(8, 10);
  EXPECT_NEAR(some.low, 0.4902, 5e-5);
  EXPECT_NEAR(some.high, 0.9433, 5e-5);
  const bench::interval pilot = bench::wilson(33, 36);
  EXPECT_NEAR(pilot.low, 0.7817, 5e-5);
  EXPECT_NEAR(pilot.high, 0.9713, 5e-5);
}

TEST(wilson, reaches_the_ends_only_where_all_trials_agree) {
  EXPECT_EQ(bench::wilson(0, 20).low, 0);
  EXPECT_NEAR(bench::wilson(0, 20).high, 0.1611, 5e-5);
  EXPECT_NEAR(bench::wilson(60, 60).low, 0.9398, 5e-5);
  EXPECT_EQ(bench::wilson(60, 60).high, 1);
  for (unsigned k = 1; k < 20; ++k) {
    const bench::interval i = bench::wilson(k, 20);
    EXPECT_GT(i.low, 0);
    EXPECT_LT(i.low, k / 20.0);
    EXPECT_GT(i.high, k / 20.0);
    EXPECT_LT(i.high, 1);
  }
}

TEST(wilson, knows_nothing_without_trials) {
  EXPECT_EQ(bench::wilson(0, 0).low, 0);
  EXPECT_EQ(bench::wilson(0, 0).high, 1);
}

TEST(wilson, covers_the_truth_about_as_often_as_it_says) {
  std::mt19937_64 random(5);
  for (const double p : {0.1, 0.5, 0.9}) {
    std::binomial_distribution<unsigned> trials(40, p);
    int covered = 0;
    for (int i = 0; i < 4000; ++i) {
      const bench::interval w = bench::wilson(trials(random), 40);
      if (w.low <= p && p <= w.high) ++covered;
    }
    EXPECT_GT(covered, 4000 * 0.93) << p;
    EXPECT_LT(covered, 4000 * 0.98) << p;
  }
}

TEST(quantile, interpolates_between_neighbours) {
  EXPECT_EQ(bench::quantile({7}, 0.9), 7);
  EXPECT_EQ(bench::quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(bench::quantile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(bench::quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_DOUBLE_EQ(bench::quantile({10, 20, 30, 40, 50}, 0.9), 46);
}

TEST(rank_test, agrees_with_the_definition) {
  // U = 12.5 by counting pairs, with a mean of 50; 5 ties of two.
  const std::vector<double> low = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, high = {6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  EXPECT_NEAR(bench::rank_test(low, high), 0.005075, 1e-4);
  EXPECT_DOUBLE_EQ(bench::rank_test(low, high), bench::rank_test(high, low));
}

TEST(rank_test, finds_no_difference_where_there_is_none) {
  EXPECT_EQ(bench::rank_test({3, 3, 3}, {3, 3, 3, 3}), 1);
  EXPECT_EQ(bench::rank_test({}, {1}), 1);
  std::mt19937_64 random(9);
  std::normal_distribution<double> normal;
  int found = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<double> a(20), b(20);
    for (double& x : a) x = normal(random);
    for (double& x : b) x = normal(random);
    if (bench::rank_test(a, b) < 0.05) ++found;
  }
  EXPECT_GT(found, 2000 * 0.03);
  EXPECT_LT(found, 2000 * 0.07);
}

TEST(proportion_test, agrees_with_counting_tables) {
  EXPECT_NEAR(bench::proportion_test(3, 4, 1, 4), 0.4857, 5e-5);  // the lady who tasted tea
  EXPECT_NEAR(bench::proportion_test(1, 10, 11, 14), 0.002759, 5e-6);
  EXPECT_NEAR(bench::proportion_test(20, 20, 20, 20), 1, 1e-9);
  EXPECT_NEAR(bench::proportion_test(0, 20, 20, 20), 1.4508e-11, 1e-14);
}

}  // namespace
