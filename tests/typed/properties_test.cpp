// SPDX-License-Identifier: MIT
//
// Goal: as typed_model_test.cpp's for containers, and for handles, by sequences that RapidCheck shrinks to the shortest
// that goes wrong. Method: each operation on ours and on what the standard has, with all blocks moved or a compaction
// now and then.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scoot/containers.hpp"
#include "scoot/handle.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

struct step {
  unsigned code;
  std::uint32_t a;
  std::uint32_t b;
};
std::ostream& operator<<(std::ostream& out, const step& s) { return out << s.code << '(' << s.a << ", " << s.b << ')'; }

constexpr unsigned codes = 12;

std::vector<step> arbitrary_steps() {
  const auto one = rc::gen::build<step>(rc::gen::set(&step::code, rc::gen::inRange(0U, codes)),
                                        rc::gen::set(&step::a, rc::gen::arbitrary<std::uint32_t>()),
                                        rc::gen::set(&step::b, rc::gen::arbitrary<std::uint32_t>()));
  return *rc::gen::scale(3.0, rc::gen::container<std::vector<step>>(one));
}

struct world {
  std::unique_ptr<page_pool> pool = page_pool::create({4 * mib, 0, 0});
  std::unique_ptr<heap> h = heap::create(*pool);
  typed_heap things{*h};

  // What any step may be followed by.
  void stir(const step& s) {
    if (s.b % 2 == 0) h->move_everything();
    if (s.b % 16 == 1) h->compact();
  }
};

RC_GTEST_PROP(typed_properties, a_heap_vector_does_what_a_vector_does, ()) {
  world w;
  {
    heap_vector<counted> v(w.things);
    std::vector<std::uint64_t> oracle;
    for (const step& s : arbitrary_steps()) {
      const std::size_t size = oracle.size();
      const auto at = static_cast<std::ptrdiff_t>(size == 0 ? 0 : s.a % size);
      const auto i = static_cast<std::size_t>(at);
      switch (s.code) {
        case 0:
          if (size != 0) v.erase(i), oracle.erase(oracle.begin() + at);
          break;
        case 1:
          if (size != 0) v.pop_back(), oracle.pop_back();
          break;
        case 2:
          RC_ASSERT(v.insert(i, counted(s.b)));
          oracle.insert(oracle.begin() + at, s.b);
          break;
        case 3:
          RC_ASSERT(v.shrink_to_fit());
          break;
        case 4:
          RC_ASSERT(v.resize(s.a % 50));
          oracle.resize(s.a % 50);
          break;
        case 5:
          if (size != 0) RC_ASSERT(v.take_back().number() == oracle.back()), oracle.pop_back();
          break;
        case 6: {
          heap_vector<counted> other(std::move(v));
          RC_ASSERT(v.empty());
          v = std::move(other);
          break;
        }
        default:
          RC_ASSERT(v.emplace_back(s.b));
          oracle.push_back(s.b);
      }
      w.stir(s);
      RC_ASSERT(v.size() == oracle.size());
      const heap_vector<counted>& read = v;
      std::size_t n = 0;
      for (const counted& c : read) RC_ASSERT(c.number() == oracle[n++]);
    }
  }
  w.things.verify();
  RC_ASSERT(counted::alive == 0);
}

RC_GTEST_PROP(typed_properties, a_heap_map_does_what_an_unordered_map_does, ()) {
  world w;
  {
    heap_map<std::uint64_t, counted> m(w.things);
    std::unordered_map<std::uint64_t, std::uint64_t> oracle;
    for (const step& s : arbitrary_steps()) {
      const std::uint64_t key = s.a % 64;
      switch (s.code) {
        case 0:
          RC_ASSERT(m.erase(key) == (oracle.erase(key) == 1));
          break;
        case 1: {
          const auto taken = m.take(key);
          RC_ASSERT(taken.has_value() == oracle.contains(key));
          if (taken) RC_ASSERT(taken->number() == oracle[key]);
          oracle.erase(key);
          break;
        }
        case 2:
          RC_ASSERT(m.insert_or_assign(key, counted(s.b)).is_new == !oracle.contains(key));
          oracle[key] = s.b;
          break;
        case 3:
          RC_ASSERT(m.shrink_to_fit());
          break;
        case 4:
          for (auto at = m.begin(); at != m.end();) {
            if (at->key % 3 != s.a % 3) {
              ++at;
              continue;
            }
            oracle.erase(at->key);
            at = m.erase(at);
          }
          RC_ASSERT(m.size() == oracle.size());
          break;
        case 5: {
          heap_map<std::uint64_t, counted> other(std::move(m));
          RC_ASSERT(m.empty());
          m = std::move(other);
          break;
        }
        default:
          RC_ASSERT(m.insert(key, counted(s.b)).is_new == oracle.try_emplace(key, s.b).second);
      }
      w.stir(s);
      const heap_map<std::uint64_t, counted>& read = m;
      RC_ASSERT(read.size() == oracle.size());
      std::size_t met = 0;
      for (const auto& e : read) {
        ++met;
        RC_ASSERT(oracle.contains(e.key) && oracle[e.key] == e.value.number());
      }
      RC_ASSERT(met == oracle.size());
      for (std::uint64_t k = 0; k < 64; ++k) RC_ASSERT((read.find(k) != nullptr) == oracle.contains(k));
    }
  }
  w.things.verify();
  RC_ASSERT(counted::alive == 0);
}

RC_GTEST_PROP(typed_properties, a_handle_gives_its_object_until_that_is_gone, ()) {
  world w;
  {
    handle_table<counted> t(w.things);
    std::vector<std::pair<handle<counted>, std::uint64_t>> live;
    std::vector<handle<counted>> stale;
    for (const step& s : arbitrary_steps()) {
      const std::size_t i = live.empty() ? 0 : s.a % live.size();
      if (s.code < 4 && !live.empty()) {
        if (s.code < 2) {
          RC_ASSERT(t.destroy(live[i].first));
        } else {
          RC_ASSERT(t.take(live[i].first)->number() == live[i].second);
        }
        stale.push_back(live[i].first);
        live[i] = live.back();
        live.pop_back();
      } else if (s.code == 4 && !live.empty()) {
        owner<counted> out = t.take(live[i].first);
        stale.push_back(std::exchange(live[i].first, t.insert(std::move(out))));
      } else {
        live.emplace_back(t.make(s.b), s.b);
        RC_ASSERT(static_cast<bool>(live.back().first));
      }
      w.stir(s);
      RC_ASSERT(t.size() == live.size());
      for (const auto& known : live) RC_ASSERT(t.get(known.first)->number() == known.second);
      for (const handle<counted> gone : stale) RC_ASSERT(t.get(gone) == nullptr);
    }
  }
  w.things.verify();
  RC_ASSERT(counted::alive == 0);
}

}  // namespace
}  // namespace scoot::testing
