// SPDX-License-Identifier: MIT
//
// Goal: heaps of one pool, each with its thread, share nothing by their typed use but the table of typed heaps, which
// is made for that. Method: threads that make, move and destroy, under ThreadSanitizer too.
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "scoot/handle.hpp"
#include "scoot/owner.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

class typed_threads : public typed_fixture {};

struct linked {
  std::uint64_t number;
  owner<linked> next;
  linked(const std::uint64_t& n, owner<linked>&& rest) noexcept : number(n), next(std::move(rest)) {}
};

TEST_F(typed_threads, several_typed_heaps_do_not_meet_even_on_several_threads) {
  constexpr unsigned threads = 3;
  std::vector<std::thread> running;
  std::vector<std::uint64_t> sums(threads);
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([this, t, &sums] {
      for (int round = 0; round < 20; ++round) {
        const auto own = heap::create(*pool);
        typed_heap mine(*own);
        std::vector<owner<std::uint64_t>> numbers;
        for (std::uint64_t i = 0; i < 500; ++i) {
          numbers.push_back(make<std::uint64_t>(mine, i));
          if (i % 100 == t) own->move_everything();
        }
        handle_table<std::uint64_t> table(mine);
        EXPECT_TRUE(table.make(t));
        owner<linked> list = make<linked>(mine, *numbers[0], owner<linked>());
        for (int i = 0; i < 100; ++i) list = make<linked>(mine, list->number, std::move(list->next));
        for (const auto& n : numbers) sums[t] += &n.home() == &mine ? *n : 0;
      }
    });
  }
  for (std::thread& t : running) t.join();
  for (const std::uint64_t s : sums) EXPECT_EQ(s, 20U * 500 * 499 / 2);
}

}  // namespace
}  // namespace scoot::testing
