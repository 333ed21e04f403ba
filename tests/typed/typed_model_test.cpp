// SPDX-License-Identifier: MIT
//
// Goal: heap_vector and heap_map agree with std::vector and std::unordered_map, wherever their blocks are. Method:
// seeded random operations on both, with every block moved and all contents compared after each; with elements that
// move as bytes, by their constructor, and by owners in other blocks. Part of it in a heap that is full most of the
// time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scoot/containers.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

// An element from a number, and back.
template <class T>
struct convert {
  static T from(typed_heap&, std::uint64_t n) { return T(n); }
  static std::uint64_t to(const T& t) { return t; }
};
template <>
struct convert<counted> {
  static counted from(typed_heap&, std::uint64_t n) { return counted(n); }
  static std::uint64_t to(const counted& c) { return c.number(); }
};
template <>
struct convert<std::string> {
  static std::string from(typed_heap&, std::uint64_t n) { return std::to_string(n) + std::string(n % 20, ' '); }
  static std::uint64_t to(const std::string& s) { return std::stoull(s); }
};
template <>
struct convert<owner<counted>> {
  static owner<counted> from(typed_heap& things, std::uint64_t n) { return make<counted>(things, n); }
  static std::uint64_t to(const owner<counted>& o) { return o ? o->number() : 0; }  // 0: there was no memory
};

template <class T>
class vector_model_test : public typed_fixture {
 protected:
  void run(int steps, bool may_fail) {
    std::mt19937_64 random(seed());
    {
      heap_vector<T> v(*things);
      std::vector<std::uint64_t> oracle;
      for (int i = 0; i < steps; ++i) {
        step(random, v, oracle, may_fail);
        if (HasFatalFailure()) return;
        h->move_everything();
        ASSERT_EQ(v.size(), oracle.size());
        for (std::size_t j = 0; j < oracle.size(); ++j) ASSERT_EQ(convert<T>::to(v[j]), oracle[j]) << "step " << i;
        if (i % 64 == 0) h->verify();
      }
    }
    EXPECT_EQ(counted::alive, 0);
  }

 private:
  // What an element is, which may be empty if there is no memory for it.
  static T element(typed_heap& things, std::uint64_t& number) {
    T made = convert<T>::from(things, number);
    number = convert<T>::to(made);
    return made;
  }
  void step(std::mt19937_64& random, heap_vector<T>& v, std::vector<std::uint64_t>& oracle, bool may_fail) {
    std::uint64_t number = random() % 1'000'000 + 1;
    const std::size_t at = oracle.empty() ? 0 : random() % oracle.size();
    const auto place = oracle.begin() + static_cast<std::ptrdiff_t>(at);
    const unsigned what = random() % 100;
    if (what < 45) {
      T made = element(*things, number);
      const bool done = v.push_back(std::move(made));
      ASSERT_TRUE(done || may_fail);
      if (done) oracle.push_back(number);
    } else if (what < 60) {
      T made = element(*things, number);
      const bool done = v.insert(at, std::move(made));
      ASSERT_TRUE(done || may_fail);
      if (done) oracle.insert(place, number);
    } else if (what < 80) {
      if (oracle.empty()) return;
      v.erase(at);
      oracle.erase(place);
    } else if (what < 85) {
      if (oracle.empty()) return;
      v.pop_back();
      oracle.pop_back();
    } else if (what < 90) {
      if (oracle.empty()) return;
      T made = element(*things, number);
      v[at] = std::move(made);
      *place = number;
    } else if (what < 94) {
      ASSERT_TRUE(v.reserve(oracle.size() + random() % 50) || may_fail);
    } else if (what < 97) {
      ASSERT_TRUE(v.shrink_to_fit() || may_fail);
    } else if (what < 99) {
      heap_vector<T> other(std::move(v));
      h->move_everything();
      v = std::move(other);
    } else if (oracle.size() > 150) {
      v.clear();
      oracle.clear();
    }
  }
};

using elements = ::testing::Types<std::uint64_t, std::uint32_t, counted, std::string, owner<counted>>;
TYPED_TEST_SUITE(vector_model_test, elements);

TYPED_TEST(vector_model_test, random_operations_agree_with_std_vector) { this->run(1500, false); }

TYPED_TEST(vector_model_test, random_operations_in_a_full_heap_agree_with_std_vector) {
  this->make_heap(mib);
  const typename TestFixture::ballast small(*this->h, 256);
  this->run(1500, true);
}

template <class Types>
class map_model_test : public typed_fixture {
 protected:
  using K = typename Types::first_type;
  using V = typename Types::second_type;

  void run(int steps, bool may_fail) {
    std::mt19937_64 random(seed());
    {
      heap_map<K, V> m(*things);
      std::unordered_map<std::uint64_t, std::uint64_t> oracle;
      for (int i = 0; i < steps; ++i) {
        step(random, m, oracle, may_fail, i / 300 % 2 == 0 ? 60 : 25);
        if (HasFatalFailure()) return;
        h->move_everything();
        ASSERT_EQ(m.size(), oracle.size());
        if (i % 16 == 0) compare(m, oracle);
        if (HasFatalFailure()) return;
        if (i % 64 == 0) h->verify();
      }
    }
    EXPECT_EQ(counted::alive, 0);
  }

 private:
  void compare(heap_map<K, V>& m, const std::unordered_map<std::uint64_t, std::uint64_t>& oracle) {
    std::size_t seen = 0;
    for (const auto& e : m) {
      const auto known = oracle.find(convert<K>::to(e.key));
      ASSERT_NE(known, oracle.end());
      ASSERT_EQ(convert<V>::to(e.value), known->second);
      ++seen;
    }
    ASSERT_EQ(seen, oracle.size());
    for (std::uint64_t key = 1; key <= keys; ++key) {
      const V* found = m.find(convert<K>::from(*things, key));
      const auto known = oracle.find(key);
      ASSERT_EQ(found != nullptr, known != oracle.end());
      if (found != nullptr) {
        ASSERT_EQ(convert<V>::to(*found), known->second);
      }
    }
  }
  void step(std::mt19937_64& random, heap_map<K, V>& m, std::unordered_map<std::uint64_t, std::uint64_t>& oracle,
            bool may_fail, unsigned adding) {
    const std::uint64_t number = random() % keys + 1;
    const unsigned what = random() % 100;
    if (what < adding) {
      V value = convert<V>::from(*things, random() % 1'000'000 + 1);
      const std::uint64_t as_number = convert<V>::to(value);
      const bool assign = random() % 2 == 0;
      const auto known = oracle.find(number);
      K key = convert<K>::from(*things, number);
      const auto result =
          assign ? m.insert_or_assign(std::move(key), std::move(value)) : m.insert(std::move(key), std::move(value));
      ASSERT_TRUE(result.value != nullptr || (may_fail && known == oracle.end()));
      if (result.value == nullptr) return;
      ASSERT_EQ(result.is_new, known == oracle.end());
      if (result.is_new || assign) oracle[number] = as_number;
      ASSERT_EQ(convert<V>::to(*result.value), oracle[number]);
    } else if (what < 90) {
      ASSERT_EQ(m.erase(convert<K>::from(*things, number)), oracle.erase(number) == 1);
    } else if (what < 93) {
      ASSERT_TRUE(m.reserve(oracle.size() + random() % 50) || may_fail);
    } else if (what < 96) {
      ASSERT_TRUE(m.shrink_to_fit() || may_fail);
    } else if (what < 99) {
      heap_map<K, V> other(std::move(m));
      h->move_everything();
      m = std::move(other);
    } else if (random() % 4 == 0) {
      m.clear();
      oracle.clear();
    }
  }

  static constexpr std::uint64_t keys = 250;
};

using pairs = ::testing::Types<std::pair<std::uint64_t, std::uint64_t>, std::pair<std::uint32_t, counted>,
                               std::pair<counted, std::string>, std::pair<std::string, owner<counted>>>;
TYPED_TEST_SUITE(map_model_test, pairs);

TYPED_TEST(map_model_test, random_operations_agree_with_std_unordered_map) { this->run(3000, false); }

TYPED_TEST(map_model_test, random_operations_in_a_full_heap_agree_with_std_unordered_map) {
  this->make_heap(mib);
  const typename TestFixture::ballast small(*this->h, 256);
  this->run(3000, true);
}

}  // namespace
}  // namespace scoot::testing
