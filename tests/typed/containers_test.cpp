// SPDX-License-Identifier: MIT
//
// Goal: what containers.hpp promises beyond agreeing with their std counterparts (typed_model_test): arguments that lie
// in the container, elements that use the heap, exhaustion, memory, alignment, nesting. Method: one small program each.
#include "scoot/containers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

class containers_test : public typed_fixture {};

static_assert(heap_element<int> && heap_element<counted> && heap_element<heap_vector<int>>);
static_assert(heap_element<heap_map<int, int>> && heap_element<owner<int[]>>);
static_assert(sizeof(heap_vector<int>) == 8 + 2 * sizeof(void*) && sizeof(heap_map<int, int>) <= 24);

TEST_F(containers_test, an_element_of_the_vector_may_be_pushed) {
  heap_vector<std::string> v(*things);
  ASSERT_TRUE(v.push_back("a text that is too long for a small one"));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(v.push_back(v[0]));
    ASSERT_TRUE(v.emplace_back(v[v.size() / 2]));
    h->move_everything();
  }
  for (const std::string& s : v) EXPECT_EQ(s, v.front());
  EXPECT_EQ(v.size(), 201U);
}

TEST_F(containers_test, containers_nest_and_all_of_them_move) {
  heap_vector<heap_vector<counted>> rows(*things);
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(rows.emplace_back(*things));
    for (std::uint64_t j = 0; j <= i; ++j) {
      ASSERT_TRUE(rows[i].emplace_back(i * 100 + j));
      h->move_everything();
    }
  }
  heap_map<int, heap_vector<heap_vector<counted>>> all(*things);
  ASSERT_TRUE(all.insert(7, std::move(rows)).is_new);
  EXPECT_EQ(h->move_everything(), 42U);
  EXPECT_TRUE(rows.empty());
  ASSERT_NE(all.find(7), nullptr);
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_EQ((*all.find(7))[i].size(), i + 1);
    for (std::uint64_t j = 0; j <= i; ++j) ASSERT_EQ((*all.find(7))[i][j].number(), i * 100 + j);
  }
  EXPECT_TRUE(rows.emplace_back(*things)) << "a vector that was moved from is empty and usable";
}

struct branch {
  std::string name;
  heap_vector<branch> under;
  heap_map<int, branch> beside;
  branch(std::string n, typed_heap& things) noexcept : name(std::move(n)), under(things), beside(things) {}
};

TEST_F(containers_test, a_vector_may_be_replaced_by_one_inside_of_it) {
  heap_vector<branch> v(*things);
  ASSERT_TRUE(v.emplace_back("outer", *things));
  ASSERT_TRUE(v[0].under.emplace_back("inner", *things));
  ASSERT_TRUE(v[0].under[0].under.emplace_back("innermost", *things));
  branch side("beside", *things);
  ASSERT_TRUE(v[0].under[0].beside.insert(1, std::move(side)).is_new);
  h->move_everything();
  v = std::move(v[0].under);
  h->move_everything();
  ASSERT_EQ(v.size(), 1U);
  EXPECT_EQ(v[0].name, "inner");
  EXPECT_EQ(v[0].under[0].name, "innermost");
  EXPECT_EQ(v[0].beside.find(1)->name, "beside");
}

TEST_F(containers_test, an_element_that_uses_the_heap_while_it_is_made_finds_its_place) {
  struct maker {
    owner<counted> child;
    maker(typed_heap& things, unsigned n) : child(make<counted>(things, n)) { things.blocks().move_everything(); }
  };
  heap_vector<maker> v(*things);
  heap_map<unsigned, maker> m(*things);
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_TRUE(v.emplace_back(*things, i));
    ASSERT_TRUE(m.insert(i, maker(*things, i)).is_new);
  }
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_EQ(v[i].child->number(), i);
    EXPECT_EQ(m.find(i)->child->number(), i);
  }
}

TEST_F(containers_test, pinned_contents_can_be_walked_while_the_heap_moves_all_else) {
  heap_vector<int> v(*things);
  heap_map<int, int> m(*things);
  heap_vector<owner<int>> made(*things);
  EXPECT_FALSE(v.pin());
  EXPECT_FALSE(m.pin());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(v.push_back(i));
    ASSERT_TRUE(m.insert(i, -i).is_new);
  }
  int sum = 0;
  {
    const pin_guard a = v.pin();
    const pin_guard b = m.pin();
    ASSERT_TRUE(a && b);
    for (const int& i : v) {
      ASSERT_TRUE(made.push_back(make<int>(*things, i)));
      h->move_everything();
      sum += i;
    }
    for (const auto& e : m) {
      ASSERT_TRUE(made.push_back(make<int>(*things, e.value)));
      h->move_everything();
      EXPECT_EQ(e.key, -e.value);
      sum += e.value;
    }
  }
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

TEST_F(containers_test, a_vector_that_cannot_grow_is_as_before) {
  make_heap(1 * mib);
  heap_vector<counted> v(*things);
  std::uint64_t n = 0;
  while (v.emplace_back(n)) ++n;
  EXPECT_GT(n, 10'000U);
  EXPECT_EQ(v.size(), n);
  EXPECT_FALSE(v.reserve(SIZE_MAX));
  EXPECT_FALSE(v.reserve(SIZE_MAX / sizeof(counted)));
  EXPECT_FALSE(v.resize(1'000'000));
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(v[i].number(), i);
  v.clear();
  EXPECT_EQ(counted::alive, 0);
  EXPECT_GE(v.capacity(), n);
  EXPECT_TRUE(v.shrink_to_fit());
  EXPECT_EQ(v.capacity(), 0U);
}

TEST_F(containers_test, a_map_that_cannot_grow_is_as_before) {
  make_heap(1 * mib);
  heap_map<std::uint64_t, counted> m(*things);
  std::uint64_t n = 0;
  while (m.insert(n, counted(n)).value != nullptr) ++n;
  EXPECT_GT(n, 8'000U);
  EXPECT_EQ(m.size(), n);
  EXPECT_EQ(m.insert(n, counted(n)).value, nullptr);
  EXPECT_FALSE(m.reserve(SIZE_MAX));
  EXPECT_FALSE(m.reserve(SIZE_MAX / 64));
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(m.find(i)->number(), i);
  EXPECT_EQ(m.insert(3, counted(5)).value->number(), 3U) << "a key that is there needs no memory";
  EXPECT_TRUE(m.erase(std::uint64_t{0}));
  EXPECT_TRUE(m.insert(n, counted(n)).is_new);
  m.clear();
  EXPECT_EQ(counted::alive, 0);
}

TEST_F(containers_test, what_has_room_takes_a_move_only_element_without_losing_it) {
  make_heap(1 * mib);
  heap_vector<owner<counted>> v(*things);
  heap_map<std::uint64_t, owner<counted>> m(*things);
  std::uint64_t n = 0;
  for (; n < 500; ++n) {
    ASSERT_TRUE(v.make_room());
    ASSERT_TRUE(m.make_room());
    ASSERT_TRUE(v.push_back(make<counted>(*things, n)));
    ASSERT_TRUE(m.insert(n, make<counted>(*things, n)).is_new);
  }
  owner<counted> one = make<counted>(*things, n);
  owner<counted> other = make<counted>(*things, n);
  const ballast full(*h, 1000);
  while (v.make_room()) ASSERT_TRUE(v.push_back({}));
  for (std::uint64_t key = n + 1; m.make_room(); ++key) ASSERT_TRUE(m.insert(key, {}).is_new);
  EXPECT_FALSE(v.make_room()) << "the budget is full";
  EXPECT_EQ(one->number(), n) << "who asks first keeps what it has";
  v.pop_back();
  EXPECT_TRUE(v.make_room());
  EXPECT_TRUE(v.push_back(std::move(one)));
  EXPECT_EQ(v.back()->number(), n);
  EXPECT_TRUE(m.erase(n - 1));
  EXPECT_TRUE(m.make_room());
  EXPECT_TRUE(m.insert(n, std::move(other)).is_new);
}

TEST_F(containers_test, elements_are_taken_out_with_what_they_own) {
  heap_vector<owner<counted>> v(*things);
  heap_map<int, owner<counted>> m(*things);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(v.push_back(make<counted>(*things, std::uint64_t(i))));
    ASSERT_TRUE(m.insert(i, make<counted>(*things, std::uint64_t(i))).is_new);
  }
  const owner<counted> last = v.take_back();
  EXPECT_EQ(last->number(), 99U);
  EXPECT_EQ(v.size(), 99U);
  std::optional<owner<counted>> taken = m.take(40);
  ASSERT_TRUE(taken);
  EXPECT_EQ((*taken)->number(), 40U);
  EXPECT_FALSE(m.contains(40));
  EXPECT_FALSE(m.take(40));
  h->move_everything();
  EXPECT_EQ((*taken)->number(), 40U);
}

TEST_F(containers_test, a_vector_appends_copies_its_own_included) {
  heap_vector<int> v(*things);
  ASSERT_TRUE(v.append({}));
  const int first[] = {1, 2, 3};
  ASSERT_TRUE(v.append(first));
  std::vector<int> expected(first, first + 3);
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(v.append({v.data() + 1, v.size() - 1}));
    const std::vector<int> tail(expected.begin() + 1, expected.end());
    expected.insert(expected.end(), tail.begin(), tail.end());
    h->move_everything();
  }
  ASSERT_EQ(v.size(), expected.size());
  EXPECT_TRUE(std::equal(v.begin(), v.end(), expected.begin()));
  const std::size_t before = v.size();
  const std::vector<int> too_many(40 * mib / sizeof(int));
  EXPECT_FALSE(v.append(too_many));
  EXPECT_EQ(v.size(), before);
}

TEST_F(containers_test, a_map_loses_all_entries_that_are_doomed_and_no_others) {
  struct few_hashes {
    std::size_t operator()(int i) const noexcept { return static_cast<std::size_t>(i % 7); }
  };
  for (const int every : {1, 2, 3, 10, 1000}) {
    heap_map<int, owner<counted>> spread(*things);
    heap_map<int, int, few_hashes> crowded(*things);
    for (int i = 0; i < 400; ++i) {
      ASSERT_TRUE(spread.insert(i, make<counted>(*things, std::uint64_t(i))).is_new);
      ASSERT_TRUE(crowded.insert(i, i).is_new);
    }
    const std::size_t doomed = static_cast<std::size_t>((400 + every - 1) / every);
    EXPECT_EQ(spread.erase_if([&](auto& e) { return e.key % every == 0; }), doomed);
    EXPECT_EQ(crowded.erase_if([&](auto& e) { return e.value % every == 0; }), doomed);
    for (int i = 0; i < 400; ++i) {
      ASSERT_EQ(spread.contains(i), i % every != 0);
      ASSERT_EQ(crowded.contains(i), i % every != 0);
      if (i % every == 0) continue;
      ASSERT_EQ((*spread.find(i))->number(), std::uint64_t(i));
    }
  }
  heap_map<int, int> none(*things);
  EXPECT_EQ(none.erase_if([](auto&) { return true; }), 0U);
}

TEST_F(containers_test, every_number_of_entries_that_is_reserved_fits_without_growing) {
  for (int n = 1; n < 300; ++n) {
    heap_map<int, int> m(*things);
    ASSERT_TRUE(m.reserve(static_cast<std::size_t>(n)));
    const std::size_t capacity = m.capacity();
    for (int i = 0; i < n; ++i) ASSERT_TRUE(m.insert(i, i).is_new);
    ASSERT_EQ(m.capacity(), capacity);
    ASSERT_LT(m.size(), capacity);
  }
}

TEST_F(containers_test, a_map_searches_few_places_whatever_the_keys) {
  // Keys that differ only in high or low bits; the cost is seen in the comparisons.
  static std::size_t compared = 0;
  struct counting_equal {
    bool operator()(std::uint64_t a, std::uint64_t b) const noexcept {
      ++compared;
      return a == b;
    }
  };
  for (const unsigned shift : {0U, 12U, 32U, 48U}) {
    if (shift >= 8 * sizeof(std::size_t)) continue;  // all one to the std::hash of 32 bits
    heap_map<std::uint64_t, int, std::hash<std::uint64_t>, counting_equal> m(*things);
    for (std::uint64_t i = 0; i < 10'000; ++i) ASSERT_TRUE(m.insert(i << shift, 0).is_new);
    compared = 0;
    for (std::uint64_t i = 0; i < 10'000; ++i) ASSERT_TRUE(m.contains(i << shift));
    EXPECT_LT(compared, 15'000U) << shift;
    compared = 0;
    for (std::uint64_t i = 10'000; i < 15'000; ++i) ASSERT_FALSE(m.contains(i << shift));
    EXPECT_LT(compared, 2'000U) << shift;
  }
}

TEST_F(containers_test, a_map_whose_keys_all_collide_still_works) {
  struct same_hash {
    std::size_t operator()(int) const noexcept { return 42; }
  };
  heap_map<int, int, same_hash> m(*things);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(m.insert(i, i).is_new);
  for (int i = 0; i < 200; i += 3) EXPECT_TRUE(m.erase(i));
  h->move_everything();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(m.contains(i), i % 3 != 0);
}

TEST_F(containers_test, a_map_can_be_searched_by_what_its_hash_takes) {
  struct hash {
    std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>()(s); }
  };
  heap_map<std::string, int, hash, std::equal_to<>> m(*things);
  ASSERT_TRUE(m.insert("one", 1).is_new);
  EXPECT_EQ(*m.find(std::string_view("one")), 1);
  EXPECT_EQ(m.find("two"), nullptr);
  EXPECT_TRUE(m.erase("one"));
}

template <class T>
concept gives_way = requires(T& t) {
  t[0] = 1;
};
static_assert(gives_way<heap_vector<int>> && !gives_way<const heap_vector<int>>);
static_assert(std::is_same_v<decltype(std::declval<const heap_map<int, int>&>().find(1)), const int*>);

TEST_F(containers_test, entries_are_erased_while_they_are_walked) {
  heap_map<int, int> m(*things);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(m.insert(i, i).value);
  for (auto at = m.begin(); at != m.end();) {
    if (at->key % 7 != 0) {
      at = m.erase(at);
    } else {
      ++at;
    }
  }
  EXPECT_EQ(m.size(), 143U);
  const heap_map<int, int>& read = m;
  int sum = 0;
  for (const auto& e : read) sum += e.key == e.value ? e.key : 1'000'000;
  EXPECT_EQ(sum, 7 * 142 * 143 / 2);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(read.contains(i), i % 7 == 0);
}

TEST_F(containers_test, over_aligned_elements_stay_aligned) {
  struct alignas(64) wide {
    std::uint64_t n;
  };
  heap_vector<wide> v(*things);
  heap_map<char, wide> m(*things);
  heap_map<char, std::pair<wide, owner<int>>> objects(*things);
  for (char c = 0; c < 100; ++c) {
    ASSERT_TRUE(v.emplace_back(std::uint64_t(c)));
    ASSERT_TRUE(m.insert(c, wide{std::uint64_t(c)}).is_new);
    ASSERT_TRUE(objects.insert(c, {wide{std::uint64_t(c)}, make<int>(*things, c)}).is_new);
    h->move_everything();
  }
  for (char c = 0; c < 100; ++c) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&v[std::size_t(c)]) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m.find(c)) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(objects.find(c)) % 64, 0U);
    EXPECT_EQ(v[std::size_t(c)].n, std::uint64_t(c));
    EXPECT_EQ(m.find(c)->n, std::uint64_t(c));
    EXPECT_EQ(*objects.find(c)->second, c);
  }
}

TEST_F(containers_test, shrinking_gives_memory_back_and_keeps_the_contents) {
  heap_vector<counted> v(*things);
  heap_map<int, counted> m(*things);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(v.emplace_back(std::uint64_t(i)));
    ASSERT_TRUE(m.insert(i, counted(std::uint64_t(i))).is_new);
  }
  while (v.size() > 100) v.pop_back();
  for (int i = 100; i < 10'000; ++i) ASSERT_TRUE(m.erase(i));
  EXPECT_TRUE(v.shrink_to_fit());
  EXPECT_TRUE(m.shrink_to_fit());
  EXPECT_LT(v.capacity(), 110U);
  EXPECT_LT(m.capacity(), 120U);
  EXPECT_LT(h->stats().live_bytes, 8 * kib);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(v[std::size_t(i)].number(), std::uint64_t(i));
    EXPECT_EQ(m.find(i)->number(), std::uint64_t(i));
  }
  EXPECT_EQ(counted::alive, 200);
  m.clear();
  v = heap_vector<counted>(*things);
  EXPECT_EQ(counted::alive, 0);
}

#if SCOOT_CHECK_LEVEL >= 1

using containers_death_test = containers_test;

TEST_F(containers_death_test, a_vector_that_grows_while_it_is_pinned) {
  EXPECT_DEATH(
      {
        heap_vector<int> v(*things);
        (void)v.push_back(1);
        const pin_guard guard = v.pin();
        (void)v.reserve(1000);
      },
      "scoot: ");
}

#endif

}  // namespace
}  // namespace scoot::testing
