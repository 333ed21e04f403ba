// SPDX-License-Identifier: MIT
//
// Goal: no sequence of operations makes the cache give back anything but what was stored last. Method: seeded random
// operations against a std::map oracle (cache_model.hpp), with every item moved after every step, and all invariants
// and every byte checked every few. Two budgets: one where nothing is evicted, so that the cache and the oracle must
// agree exactly, and one where an item may be missing, but never wrong.
#include "cache_model.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace scoot {
namespace {

// More in the long form (`./dev test --long`).
std::uint64_t seeds() { return std::getenv("SCOOT_TEST_LONG") != nullptr ? 30 : 4; }

void run(std::uint64_t seed, const testing::cache_model_options& options) {
  testing::cache_model<testing::seeded> model(testing::seeded(seed), options);
  for (int i = 0; i < 2500; ++i) {
    if (!model.step() || (i % 100 == 0 && !model.check_all())) break;
  }
  (void)model.finish();
  ASSERT_EQ(model.failure(), "") << "seed " << seed;
}

TEST(cache_model, agrees_with_the_oracle_while_everything_moves) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    testing::cache_model_options options;
    options.shards = seed % 2 == 0 ? 4 : 1;
    run(seed, options);
  }
}

TEST(cache_model, never_gives_back_anything_else_under_eviction) {
  for (std::uint64_t seed = 101; seed < 101 + seeds(); ++seed) {
    testing::cache_model_options options;
    options.budget_bytes = std::size_t{2} << 20;
    options.shards = seed % 2 == 0 ? 2 : 1;
    options.exact = false;
    options.value_bytes_max = 100000;
    run(seed, options);
  }
}

}  // namespace
}  // namespace scoot
