// SPDX-License-Identifier: MIT
//
// Goal: several heaps share a pool from several threads. Method: a heap_model a thread over one pool, too small for
// them all, while another thread trims, reads statistics and changes the budget. ThreadSanitizer builds run this too.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "directory.hpp"
#include "heap_model.hpp"

namespace scoot::testing {
namespace {

constexpr unsigned threads = 4;

operation draw(std::mt19937_64& random) {
  static constexpr op_code codes[] = {op_code::allocate,
                                      op_code::allocate,
                                      op_code::allocate_many,
                                      op_code::free,
                                      op_code::free,
                                      op_code::allocate,
                                      op_code::pin,
                                      op_code::unpin,
                                      op_code::compact_bounded,
                                      op_code::compact,
                                      op_code::release,
                                      op_code::trim,
                                      op_code::move_everything,
                                      op_code::free_many};
  operation o;
  o.code = codes[random() % std::size(codes)];
  o.a = static_cast<std::uint32_t>(random());
  o.b = static_cast<std::uint32_t>(random());
  return o;
}

void run_models(page_pool& pool, unsigned operations, std::vector<std::string>& failures, std::atomic<unsigned>& left) {
  std::vector<std::unique_ptr<heap_model>> models;  // made first: later the others may have left no room for its kinds
  for (unsigned t = 0; t < threads; ++t) {
    model_options options;
    options.pool = &pool;
    options.seed = t + 1;
    options.verify_every = 16;
    options.size_max = 256 * kib;
    options.live_bytes_max = mib;
    models.push_back(std::make_unique<heap_model>(options));
  }
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      heap_model& m = *models[t];
      std::mt19937_64 random(t + 100);
      for (unsigned i = 0; i < operations && m.failure().empty(); ++i) m.apply(draw(random));
      m.free_all();
      failures[t] = m.failure();
      models[t].reset();
      --left;
    });
  }
  for (std::thread& each : all) each.join();
}

TEST(threads, heaps_on_one_pool_do_not_disturb_each_other) {
  const auto pool = page_pool::create({3 * mib, 64 * kib, 0});
  ASSERT_NE(pool, nullptr);
  std::vector<std::string> failures(threads);
  std::atomic<unsigned> left{threads};
  std::thread watcher([&] {
    while (left != 0) {
      const page_pool_stats s = pool->stats();
      EXPECT_LE(s.held_bytes, s.budget_bytes);
      pool->trim(128 * kib);
      std::this_thread::yield();
    }
  });
  run_models(*pool, 1500, failures, left);
  watcher.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  pool->trim();
  EXPECT_EQ(pool->stats().pages, 0U);
  EXPECT_EQ(pool->stats().held_bytes, pool->stats().metadata_bytes);
}

TEST(threads, the_budget_may_rise_while_heaps_are_at_work) {
  const auto pool = page_pool::create({2 * mib, 64 * kib, 4 * mib});
  ASSERT_NE(pool, nullptr);
  std::vector<std::string> failures(threads);
  std::atomic<unsigned> left{threads};
  std::thread raiser([&] {
    for (std::size_t budget = 2 * mib; budget <= 8 * mib && left != 0; budget += 64 * kib) {
      EXPECT_TRUE(pool->set_budget(budget));
      std::this_thread::yield();
    }
  });
  run_models(*pool, 800, failures, left);
  raiser.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST(threads, heaps_come_and_go_from_all_threads) {
  const auto pool = page_pool::create({8 * mib, 0, 0});
  ASSERT_NE(pool, nullptr);
  std::vector<std::thread> all;
  std::atomic<unsigned> refused{0};
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        const auto h = heap::create(*pool);
        if (h == nullptr) {
          ++refused;
          continue;
        }
        directory blocks;
        const kind k = blocks.add_kind(*h);
        for (std::size_t size = 8; size < 60000; size = size * 2 + 1) {
          if (blocks.allocate(*h, k, size) < 0) ++refused;
        }
        if (!blocks.all_intact()) ++refused;
      }
    });
  }
  for (std::thread& each : all) each.join();
  EXPECT_EQ(refused, 0U);
  EXPECT_EQ(pool->stats().pages, 0U);
}

}  // namespace
}  // namespace scoot::testing
