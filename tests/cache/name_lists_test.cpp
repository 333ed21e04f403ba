// SPDX-License-Identifier: MIT
//
// Goal: names come back in order, whole lists can be joined, chunks may be moved by the heap at any time, and tidying
// drops exactly the names it is told to. Method: seeded operations against std::deque, all chunks moved throughout.
#include "cache/name_lists.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

#include "support.hpp"

namespace scoot::caching {
namespace {

class name_lists_test : public ::testing::Test {
 protected:
  static constexpr unsigned list_count = 8;

  name_lists_test()
      : pool_(page_pool::create({std::size_t{8} << 20, 0, 0})),
        heap_(heap::create(*pool_)),
        fixed_(heap_->add_kind({"fixed", 64, nullptr, nullptr})),
        chunks_(heap_->add_kind({"chunks", 8, &name_lists_test::move, this})),
        lists_(*heap_, fixed_) {
    EXPECT_TRUE(lists_.start(list_count, chunks_));
  }

  static verdict move(void* self, void* from, void* to, std::size_t size) noexcept {
    std::memcpy(to, from, size);
    static_cast<name_lists_test*>(self)->lists_.move(from, to);
    return verdict::moved;
  }
  static name nth(std::uint32_t i) { return {i & name::place_mask, static_cast<std::uint16_t>(i % 65535 + 1)}; }

  std::uint8_t push(unsigned list, std::uint32_t i) {
    EXPECT_TRUE(lists_.reserve(1));
    return lists_.push(list, nth(i));
  }

  std::unique_ptr<page_pool> pool_;
  std::unique_ptr<heap> heap_;
  kind fixed_, chunks_;
  name_lists lists_;
};

TEST_F(name_lists_test, tell_for_how_long_the_oldest_name_has_been_there) {
  EXPECT_EQ(lists_.age(1), 0u);
  lists_.pass_time(100);
  for (std::uint32_t i = 0; i < name_lists::names_per_chunk; ++i) push(1, i);
  lists_.pass_time(130);
  push(1, 1000);
  EXPECT_EQ(lists_.age(1), 30u);
  heap_->move_everything();
  EXPECT_EQ(lists_.age(1), 30u);
  name_lists::popped p;
  for (std::uint32_t i = 0; i < name_lists::names_per_chunk; ++i) {
    ASSERT_TRUE(lists_.pop(1, p));
    EXPECT_EQ(p.since, 100u);
  }
  lists_.pass_time(135);
  EXPECT_EQ(lists_.age(1), 5u);
  ASSERT_TRUE(lists_.pop(1, p));
  EXPECT_EQ(p.since, 130u);
}

TEST_F(name_lists_test, keep_order_while_chunks_move) {
  testing::seeded random(3);
  std::map<unsigned, std::deque<std::uint32_t>> oracle;
  std::uint32_t next = 0;
  for (int step = 0; step < 100000; ++step) {
    const auto list = static_cast<unsigned>(random.below(list_count));
    switch (random.below(8)) {
      case 0: {
        const auto to = static_cast<unsigned>(2 + random.below(list_count - 2));
        if (list < 2 || to == list) break;
        lists_.splice(list, to);
        oracle[to].insert(oracle[to].end(), oracle[list].begin(), oracle[list].end());
        oracle[list].clear();
        break;
      }
      case 1:
      case 2:
      case 3: {
        name_lists::popped p;
        const bool any = lists_.pop(list, p);
        ASSERT_EQ(any, !oracle[list].empty());
        if (!any) break;
        ASSERT_EQ(p.of, nth(oracle[list].front()));
        oracle[list].pop_front();
        break;
      }
      default:
        push(list, next);
        oracle[list].push_back(next++);
    }
    if (step % 64 == 0) heap_->move_everything();
    if (step % 1000 == 0) lists_.verify();
  }
  lists_.verify();
}

TEST_F(name_lists_test, marks_tell_the_two_queues_apart) {
  for (std::uint32_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(push(0, i) & 1, 0);
    ASSERT_EQ(push(1, i) & 1, 1);
  }
}

TEST_F(name_lists_test, tidy_drops_stale_names_and_keeps_the_order_of_the_rest) {
  std::map<std::uint32_t, std::uint8_t> marks;  // of the valid names, by place
  for (std::uint32_t i = 0; i < 5000; ++i) marks[i] = push(i % 2, i);
  for (std::uint32_t i = 0; i < 5000; ++i) {
    if (i % 5 != 0) marks.erase(i);
  }
  const std::size_t bytes = lists_.bytes();
  std::size_t dropped = 0;
  for (int pass = 0; pass < 200; ++pass) {
    dropped += lists_.tidy(0, 2, [&](const name_lists::popped& p, std::uint8_t mark) {
      const auto at = marks.find(p.of.place);
      if (at == marks.end() || at->second != p.mark) return false;
      at->second = mark;
      return true;
    });
    heap_->move_everything();
    lists_.verify();
  }
  EXPECT_EQ(dropped, 4000u);
  EXPECT_LT(lists_.bytes(), bytes / 2);
  for (const unsigned list : {0u, 1u}) {
    name_lists::popped p;
    std::uint32_t last = 0;
    for (bool first = true; lists_.pop(list, p); first = false) {
      ASSERT_TRUE(first || p.of.place > last);
      last = p.of.place;
      ASSERT_EQ(p.mark, marks.at(p.of.place));
    }
  }
}

TEST_F(name_lists_test, tidy_drops_the_names_of_earlier_lives) {
  // One key stored and deleted over and over, as a lock is: only its last name counts.
  std::uint8_t mark = 0;
  for (int i = 0; i < 100000; ++i) {
    mark = push(0, 1);
    if (lists_.queued() > 600) {
      lists_.tidy(0, 2, [&](const name_lists::popped& p, std::uint8_t fresh) {
        if (p.mark != mark) return false;
        mark = fresh;
        return true;
      });
    }
  }
  EXPECT_LT(lists_.queued(), 700u);
}

TEST_F(name_lists_test, tidy_leaves_no_chunks_that_are_mostly_empty) {
  // Most names become stale soon, a few much later, as those of items with a ttl in a cache that evicts.
  testing::seeded random(5);
  constexpr std::size_t young_max = 500, valid_max = 5000;
  std::map<std::uint32_t, std::uint8_t> marks;
  std::deque<std::uint32_t> young;
  std::vector<std::uint32_t> old;
  for (std::uint32_t i = 0; i < 300000; ++i) {
    marks[i] = push(2, i);
    young.push_back(i);
    if (young.size() <= young_max) continue;
    std::uint32_t leaves = young.front();
    young.pop_front();
    if (old.size() < valid_max - young_max) {
      old.push_back(leaves);
      continue;
    }
    if (random.below(10) == 0) std::swap(leaves, old[random.below(old.size())]);
    marks.erase(leaves);
    if (lists_.filed() < valid_max * 5 / 4) continue;
    lists_.tidy(2, list_count, [&](const name_lists::popped& p, std::uint8_t mark) {
      const auto at = marks.find(p.of.place);
      if (at == marks.end() || at->second != p.mark) return false;
      at->second = mark;
      return true;
    });
  }
  lists_.verify();
  EXPECT_LT(lists_.bytes(), valid_max * 5 * 3 / 2);
}

}  // namespace
}  // namespace scoot::caching
