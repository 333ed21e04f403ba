// SPDX-License-Identifier: MIT
//
// Goal: the index finds exactly what is in it, while it grows, shrinks, fills to the brim and runs out of memory.
// Method: items in a real heap, an std::unordered_map as the oracle, seeded operations, verify() throughout.
#include "cache/index.hpp"

#include <gtest/gtest.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "support.hpp"

namespace scoot::caching {
namespace {

class index_test : public ::testing::Test {
 protected:
  index_test()
      : pool_(page_pool::create({std::size_t{32} << 20, 0, 0})),
        heap_(heap::create(*pool_)),
        fixed_(heap_->add_kind({"fixed", 64, nullptr, nullptr})),
        items_(heap_->add_kind({"items", 8, nullptr, nullptr})),
        table_(*heap_, fixed_, 42) {
    EXPECT_TRUE(table_.start());
  }

  static std::string key_of(std::uint64_t i) { return "key" + std::to_string(i); }
  static name name_of(std::uint64_t i) { return name::of(hash_of(key_of(i), 42)); }

  item make(std::uint64_t i) {
    const std::string key = key_of(i);
    item it(heap_->allocate(items_, item::bytes_for(key.size(), 0, {})));
    it.format(key, 0, {});
    return it;
  }
  index::slot find(std::uint64_t i) {
    const std::string key = key_of(i);
    return table_.find(name_of(i), [&](index::slot s) { return s.get().key() == key; });
  }
  bool insert(std::uint64_t i, unsigned epoch = 0) {
    while (table_.wants_to_grow()) {
      if (!table_.grow()) break;
    }
    const item it = make(i);
    if (table_.insert(name_of(i), it, epoch)) return true;
    heap_->free(it.block());
    return false;
  }
  void erase(std::uint64_t i) {
    const index::slot s = find(i);
    void* const block = s.get().block();
    table_.erase(s);
    heap_->free(block);
  }

  std::unique_ptr<page_pool> pool_;
  std::unique_ptr<heap> heap_;
  kind fixed_, items_;
  index table_;
};

TEST_F(index_test, finds_what_was_inserted_and_nothing_else) {
  for (std::uint64_t i = 0; i < 50000; ++i) ASSERT_TRUE(insert(i, i % 4));
  table_.verify();
  for (std::uint64_t i = 0; i < 50000; ++i) {
    const index::slot s = find(i);
    ASSERT_TRUE(s) << i;
    ASSERT_EQ(s.epoch(), i % 4);
  }
  for (std::uint64_t i = 50000; i < 60000; ++i) ASSERT_FALSE(find(i)) << i;
}

TEST_F(index_test, needs_less_than_ten_bytes_of_bucket_an_item_at_any_size) {
  for (std::uint64_t i = 0; i < 100000; ++i) {
    ASSERT_TRUE(insert(i));
    if (i > 2000) {
      ASSERT_LT(static_cast<double>(table_.buckets()) * 64 / static_cast<double>(i), 10.0) << i;
    }
  }
}

TEST_F(index_test, shrinks_back_to_its_first_size) {
  for (std::uint64_t i = 0; i < 30000; ++i) ASSERT_TRUE(insert(i));
  const std::size_t bytes = table_.bytes();
  for (std::uint64_t i = 0; i < 30000; ++i) {
    erase(i);
    while (table_.wants_to_shrink()) ASSERT_TRUE(table_.shrink());
    if (i % 1000 == 0) {
      table_.verify();
      for (std::uint64_t k = i + 1; k < 30000; k += 37) ASSERT_TRUE(find(k));
    }
  }
  EXPECT_EQ(table_.entries(), 0u);
  EXPECT_EQ(table_.buckets(), 32u);
  EXPECT_LT(table_.bytes(), bytes / 10);
}

TEST_F(index_test, fills_to_the_brim_without_growing_and_then_refuses) {
  std::uint64_t stored = 0;
  for (;; ++stored) {
    const item it = make(stored);
    if (!table_.insert(name_of(stored), it, 0)) break;
  }
  EXPECT_GT(stored, 32 * 8 * 95 / 100);  // 32 buckets of 8
  table_.verify();
  for (std::uint64_t i = 0; i < stored; ++i) ASSERT_TRUE(find(i)) << i;
  // Room again, for as many as left.
  for (std::uint64_t i = 0; i < 100; ++i) erase(i);
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(table_.insert(name_of(1000000 + i), make(1000000 + i), 0));
  table_.verify();
}

TEST_F(index_test, agrees_with_an_oracle_over_random_operations) {
  testing::seeded random(7);
  std::unordered_map<std::uint64_t, unsigned> oracle;
  for (int step = 0; step < 200000; ++step) {
    // Tides: mostly inserts, then mostly erases.
    const bool rising = step / 20000 % 2 == 0;
    const std::uint64_t i = random.below(20000);
    const bool there = oracle.count(i) != 0;
    ASSERT_EQ(static_cast<bool>(find(i)), there);
    if (!there && random.below(10) < (rising ? 9u : 2u)) {
      ASSERT_TRUE(insert(i, i % 4));
      oracle[i] = i % 4;
    } else if (there && random.below(10) < (rising ? 2u : 9u)) {
      erase(i);
      oracle.erase(i);
    }
    if (table_.wants_to_shrink()) (void)table_.shrink();
    if (step % 5000 == 0) {
      table_.verify();
      for (const auto& [key, epoch] : oracle) ASSERT_EQ(find(key).epoch(), epoch);
    }
  }
}

TEST_F(index_test, walk_sees_each_entry_once_while_others_come_and_go) {
  for (std::uint64_t i = 0; i < 10000; ++i) ASSERT_TRUE(insert(i));
  std::unordered_map<std::string, int> seen;
  std::uint64_t fresh = 20000;
  for (std::size_t at = 0;;) {
    at = table_.walk(at, 4, [&](index::slot s) { ++seen[std::string(s.get().key())]; });
    table_.set_scan(at != 0, at);
    if (at == 0) break;
    // The table is kept from growing meanwhile, and fills up.
    for (int i = 0; i < 2; ++i) (void)insert(fresh++);
  }
  table_.verify();
  for (std::uint64_t i = 0; i < 10000; ++i) ASSERT_EQ(seen[key_of(i)], 1) << i;
  for (const auto& [key, times] : seen) ASSERT_EQ(times, 1) << key;
}

}  // namespace
}  // namespace scoot::caching
