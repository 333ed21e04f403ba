// SPDX-License-Identifier: MIT
//
// Goal: in checked builds misuse aborts with a message that says what was wrong. Method: death tests. Release builds
// have nothing to test: misuse is undefined there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "base/check.hpp"
#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {
namespace {

#if SCOOT_CHECK_LEVEL >= 1

// What every failed check prints first.
constexpr const char* message = "scoot: .+:[0-9]+: ";

class misuse_death_test : public heap_fixture {
 protected:
  void SetUp() override {
    make(8 * mib);
    for (std::size_t size : {8U, 100U, 5000U, 20000U, 40000U, 200000U}) {
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
  }
};

TEST_F(misuse_death_test, free_of_a_pointer_to_the_stack) {
  int local = 0;
  EXPECT_DEATH(h->free(&local), message);
}

TEST_F(misuse_death_test, free_of_a_pointer_from_malloc) {
  void* foreign = std::malloc(100);
  EXPECT_DEATH(h->free(foreign), message);
  std::free(foreign);
}

TEST_F(misuse_death_test, free_of_a_pointer_into_the_middle_of_a_block) {
  for (std::byte* block : blocks.at) {
    EXPECT_DEATH(h->free(block + 1), message);
    EXPECT_DEATH(h->free(block + h->usable_size(block) / 2), message);
  }
}

TEST_F(misuse_death_test, free_of_a_pointer_behind_the_last_block) {
  void* end = blocks.at[2] + 64 * h->usable_size(blocks.at[2]);
  EXPECT_DEATH(h->free(end), message);
}

TEST_F(misuse_death_test, double_free_of_a_block_of_any_size) {
  for (std::size_t i = 0; i < blocks.at.size(); i += 2) {
    EXPECT_DEATH(
        {
          h->free(blocks.at[i]);
          h->free(blocks.at[i]);
        },
        message);
  }
}

TEST_F(misuse_death_test, double_free_of_the_last_block_there_was) {
  EXPECT_DEATH(
      {
        for (std::byte* block : blocks.at) h->free(block);
        h->free(blocks.at.back());
      },
      message);
}

TEST_F(misuse_death_test, free_of_a_block_of_another_heap) {
  const auto other = heap::create(*pool);
  ASSERT_NE(other, nullptr);
  for (std::byte* block : blocks.at) EXPECT_DEATH(other->free(block), message);
}

TEST_F(misuse_death_test, free_of_a_pinned_block) {
  for (std::byte* block : blocks.at) {
    EXPECT_DEATH(
        {
          if (h->pin(block)) h->free(block);
        },
        message);
  }
}

TEST_F(misuse_death_test, unpin_of_a_block_without_a_pin) { EXPECT_DEATH(h->unpin(blocks.at[0]), message); }

TEST_F(misuse_death_test, one_unpin_too_many) {
  EXPECT_DEATH(
      {
        if (h->pin(blocks.at[0])) h->unpin(blocks.at[0]);
        h->unpin(blocks.at[0]);
      },
      message);
}

TEST_F(misuse_death_test, pin_of_a_foreign_pointer) {
  int local = 0;
  EXPECT_DEATH((void)h->pin(&local), message);
}

TEST_F(misuse_death_test, pin_of_a_freed_block) {
  EXPECT_DEATH(
      {
        h->free(blocks.at[2]);
        (void)h->pin(blocks.at[2]);
      },
      message);
}

TEST_F(misuse_death_test, usable_size_of_a_foreign_pointer) {
  int local = 0;
  EXPECT_DEATH((void)h->usable_size(&local), message);
}

TEST_F(misuse_death_test, allocation_of_an_unregistered_kind) {
  EXPECT_DEATH((void)h->allocate(kind{}, 8), message);
  EXPECT_DEATH((void)h->allocate(kind{77}, 8), message);
}

// A mover that calls its own heap in one of the ways there are.
struct intruder {
  heap* h = nullptr;
  kind k;
  void* other = nullptr;
  void (*intrude)(intruder&) = nullptr;

  static verdict move(void* context, void*, void*, std::size_t) noexcept {
    auto* self = static_cast<intruder*>(context);
    self->intrude(*self);
    return verdict::keep;
  }
};

constexpr struct {
  const char* name;
  void (*call)(intruder&);
} intrusions[] = {
    {"allocate", [](intruder& i) { (void)i.h->allocate(i.k, 8); }},
    {"free", [](intruder& i) { i.h->free(i.other); }},
    {"pin", [](intruder& i) { (void)i.h->pin(i.other); }},
    {"unpin", [](intruder& i) { i.h->unpin(i.other); }},
    {"add_kind", [](intruder& i) { (void)i.h->add_kind({}); }},
    {"compact", [](intruder& i) { i.h->compact(); }},
    {"release", [](intruder& i) { (void)i.h->release(1); }},
    {"move_everything", [](intruder& i) { i.h->move_everything(); }},
};

TEST_F(misuse_death_test, mover_that_enters_its_own_heap_is_told_how) {
  intruder in;
  in.h = h.get();
  in.other = blocks.at[2];
  in.k = h->add_kind({"intruder", 8, &intruder::move, &in});
  void* block = h->allocate(in.k, 50);
  ASSERT_NE(block, nullptr);
  for (const auto& each : intrusions) {
    in.intrude = each.call;
    const std::string expected = std::string(each.name) + " called by the mover of kind 'intruder' in its own heap";
    EXPECT_DEATH(h->move_everything(), expected) << each.name;
  }
}

TEST_F(misuse_death_test, mover_may_ask_its_own_heap_and_use_another) {
  static std::unique_ptr<heap> another;
  another = heap::create(*pool);
  intruder in;
  in.h = h.get();
  in.k = h->add_kind({"asker", 8, &intruder::move, &in});
  in.other = h->allocate(in.k, 50);
  ASSERT_NE(in.other, nullptr);
  in.intrude = [](intruder& i) {
    EXPECT_GE(i.h->usable_size(i.other), 50U);
    EXPECT_GT(i.h->stats().blocks, 0U);
    const kind plain = another->add_kind({});
    another->free(another->allocate(plain, 30));
    another->compact();
  };
  h->move_everything();
  EXPECT_GT(h->stats().blocks_kept, 0U) << "the mover was asked";
  another.reset();
}

TEST_F(misuse_death_test, destruction_of_a_pool_that_still_has_heaps) { EXPECT_DEATH(pool.reset(), message); }

TEST_F(misuse_death_test, none_of_it_happens_in_correct_use) {
  for (std::byte* block : blocks.at) {
    ASSERT_TRUE(h->pin(block));
    h->unpin(block);
  }
  h->move_everything();
  blocks.free_all(*h);
  h->verify();
}

#else

TEST(misuse_death_test, needs_a_build_with_checks) { GTEST_SKIP() << "SCOOT_CHECK_LEVEL is 0"; }

#endif

}  // namespace
}  // namespace scoot::testing
