// SPDX-License-Identifier: MIT
//
// A pool, a heap and a typed_heap for each test; types that notice when they are used at the wrong address or destroyed
// twice; numbers from a seed.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "scoot/heap.hpp"
#include "scoot/owner.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;

inline std::uint64_t seed() {
  const char* text = std::getenv("SCOOT_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

class typed_fixture : public ::testing::Test {
 protected:
  void SetUp() override { make_heap(32 * mib); }
  void TearDown() override {
    if (!things) return;
    things->verify();
    EXPECT_EQ(things->live(), 0U) << "an owner or a container leaked a block";
  }
  void make_heap(std::size_t budget) {
    things.reset();
    h.reset();
    page_pool_options options;
    options.budget_bytes = budget;
    pool = page_pool::create(options);
    ASSERT_NE(pool, nullptr);
    h = heap::create(*pool);
    ASSERT_NE(h, nullptr);
    things.emplace(*h);
    ASSERT_TRUE(*things);
  }
  // The same, and every allocation while there are few blocks moves all that may move.
  void make_restless_heap() {
    ASSERT_EQ(setenv("SCOOT_MOVE_EVERYTHING", "1", 1), 0);
    make_heap(32 * mib);
    ASSERT_EQ(unsetenv("SCOOT_MOVE_EVERYTHING"), 0);
  }
  // Allocates blocks of `size`, then of half of it and so on, until the heap has no room even for the smallest; gives
  // everything back on destruction.
  class ballast {
   public:
    ballast(heap& filled, std::size_t size) : heap_(filled) {
      const kind k = filled.add_kind({"ballast", 8, nullptr, nullptr});
      EXPECT_TRUE(k);
      for (; k && size >= sizeof(void*); size /= 2) {
        while (void* block = filled.allocate(k, size)) {
          *static_cast<void**>(block) = first_;
          first_ = block;
        }
      }
    }
    ballast(const ballast&) = delete;
    ballast& operator=(const ballast&) = delete;
    ~ballast() {
      while (first_ != nullptr) heap_.free(std::exchange(first_, *static_cast<void**>(first_)));
    }

   private:
    heap& heap_;
    void* first_ = nullptr;
  };

  std::unique_ptr<page_pool> pool;
  std::unique_ptr<heap> h;
  std::optional<typed_heap> things;
};

// Knows its own address, so that it can't be moved as bytes; counts itself.
class counted {
 public:
  static inline std::ptrdiff_t alive = 0;

  counted() noexcept : counted(0) {}
  explicit counted(std::uint64_t number) noexcept : self_(this), number_(number) { ++alive; }
  counted(counted&& other) noexcept : self_(this), number_(other.number()) {
    ++alive;
    other.number_ = ~std::uint64_t{0};
  }
  counted& operator=(counted&& other) noexcept {
    number_ = other.number();
    return *this;
  }
  ~counted() {
    check();
    self_ = nullptr;
    --alive;
  }
  [[nodiscard]] std::uint64_t number() const noexcept {
    check();
    return number_;
  }
  friend bool operator==(const counted& a, const counted& b) noexcept { return a.number() == b.number(); }

 private:
  void check() const noexcept {
    if (self_ != this) std::abort();
  }

  const counted* self_;
  std::uint64_t number_;
};

}  // namespace scoot::testing

template <>
struct std::hash<scoot::testing::counted> {
  std::size_t operator()(const scoot::testing::counted& c) const noexcept { return c.number(); }
};
