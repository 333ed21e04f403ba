// SPDX-License-Identifier: MIT
//
// Goal: what objects are made of may lie in blocks that the making moves. Method: a heap in which every allocation
// moves all that may move; what is left behind is poisoned.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scoot/containers.hpp"
#include "scoot/owner.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

class arguments_test : public typed_fixture {};

struct leaf {
  counted number;
  explicit leaf(std::uint64_t n) noexcept : number(n) {}
};

struct copied {
  std::uint64_t number;
  std::string text;
  owner<leaf> child;
  owner<copied> next;

  copied(const std::uint64_t& n, std::string_view t, owner<leaf>&& c, const char* tail) noexcept
      : number(n), text(std::string(t) + tail), child(std::move(c)) {}
};

TEST_F(arguments_test, arguments_may_lie_in_blocks_of_the_same_heap) {
  make_restless_heap();
  {
    const std::string longer(100, 'x');
    owner<leaf> child = make<leaf>(*things, 9U);
    const leaf* before = child.get();
    owner<copied> a = make<copied>(*things, 7U, longer, std::move(child), "+");
    ASSERT_TRUE(a);
    EXPECT_NE(a->child.get(), before) << "nothing moved";
    for (int i = 0; i < 10; ++i) {
      a = make<copied>(*things, a->number, a->text, std::move(a->child), "");
      ASSERT_TRUE(a);
      EXPECT_EQ(a->number, 7U);
      EXPECT_EQ(a->text, longer + "+");
      EXPECT_EQ(a->child->number.number(), 9U);
    }
    a->next = make<copied>(*things, 8U, "", owner<leaf>(), "");
    a = std::move(a->next);
    EXPECT_EQ(a->number, 8U);
  }
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

struct letters {
  std::uint32_t length;

  explicit letters(std::string_view text) noexcept : length(static_cast<std::uint32_t>(text.size())) {
    std::memcpy(this + 1, text.data(), text.size());
  }
  [[nodiscard]] std::string_view view() const noexcept { return {reinterpret_cast<const char*>(this + 1), length}; }
};

TEST_F(arguments_test, arguments_may_point_into_blocks_of_the_same_heap) {
  make_restless_heap();
  const std::string text = "where the text of a block is, it is copied from";
  owner<letters> a = make_with_tail<letters>(*things, text.size(), text);
  ASSERT_TRUE(a);
  for (int i = 0; i < 10; ++i) {
    const letters* before = a.get();
    a = make_with_tail<letters>(*things, text.size(), a->view());
    ASSERT_TRUE(a);
    EXPECT_NE(a.get(), before);
    EXPECT_EQ(a->view(), text);
    struct by_pointer {
      std::uint32_t length;
      explicit by_pointer(const letters* from) noexcept : length(from->length) {}
    };
    EXPECT_EQ(make<by_pointer>(*things, a.get())->length, text.size());
  }
}

TEST_F(arguments_test, arguments_are_untouched_when_there_is_no_memory) {
  make_heap(2 * mib);
  owner<leaf> child = make<leaf>(*things, 5U);
  owner<copied> a = make<copied>(*things, 7U, "", std::move(child), "");
  ASSERT_TRUE(a && a->child);
  const ballast full(*h, 4096);
  std::vector<owner<copied>> others;  // for which there was room left
  for (;;) {
    owner<copied> made = make<copied>(*things, a->number, a->text, std::move(a->child), "");
    if (!made) break;
    a->child = std::move(made->child);
    others.push_back(std::move(made));
    ASSERT_LT(others.size(), 1000U);
  }
  ASSERT_TRUE(a->child);
  EXPECT_EQ(a->child->number.number(), 5U);
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

TEST_F(arguments_test, a_vector_takes_copies_from_another_block) {
  make_restless_heap();
  heap_vector<std::uint64_t> from(*things);
  heap_vector<std::uint64_t> to(*things);
  ASSERT_TRUE(from.resize(20));
  for (std::uint64_t i = 0; i < 20; ++i) from[i] = i;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(to.append({from.data(), from.size()}));
    ASSERT_TRUE(to.shrink_to_fit());
    for (std::size_t n = 0; n < to.size(); ++n) ASSERT_EQ(to[n], n % 20);
  }
  EXPECT_EQ(h->stats().pinned_blocks, 0U);
}

}  // namespace
}  // namespace scoot::testing
