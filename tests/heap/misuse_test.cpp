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
#include "scoot/diagnosis.hpp"
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

// What is called by one that the heap shows something to, for each of these.
struct rude_visitor {
  heap* h;
  kind k;
  void* block;
  void (*intrude)(const rude_visitor&);
};

void be_rude(void* context) {
  const auto& i = *static_cast<const rude_visitor*>(context);
  i.intrude(i);
}

TEST_F(misuse_death_test, a_visitor_that_uses_the_heap_it_is_told_of_is_named) {
  static constexpr void (*ways[])(const rude_visitor&) = {
      [](const rude_visitor& i) { (void)i.h->allocate(i.k, 100); },
      [](const rude_visitor& i) { i.h->free(i.block); },
      [](const rude_visitor& i) { (void)i.h->pin(i.block); },
      [](const rude_visitor& i) { (void)i.h->compact(); },
      [](const rude_visitor& i) { (void)i.h->add_kind({"new"}); },
      [](const rude_visitor& i) { (void)i.h->remove_kind(i.k); },
      [](const rude_visitor& i) { (void)i.h->reallocate(i.k, i.block, 50000); },
  };
  for (const auto way : ways) {
    rude_visitor in{h.get(), k, blocks.at[3], way};
    EXPECT_DEATH(visit_blocks(
                     *h, k, [](void* context, void*, std::size_t) noexcept { be_rude(context); }, &in),
                 "called by a block_visitor in the heap");
    EXPECT_DEATH((void)visit_pages(
                     *h, 0, {}, [](void* context, const page_view&) noexcept { be_rude(context); }, &in),
                 "called by a page_visitor in the heap");
  }
  rude_visitor in{h.get(), k, blocks.at[3], ways[0]};
  EXPECT_DEATH(h->hand_over(
                   k, [](void* context, const void*, std::size_t) noexcept { be_rude(context); }, &in),
               "called by a block_taker in the heap");
  const auto sink = [](void* context, const char*, std::size_t) noexcept {
    be_rude(context);
    return true;
  };
  EXPECT_DEATH((void)write_snapshot(*h, sink, &in), "called by a snapshot_sink in the heap");
}

TEST_F(misuse_death_test, a_visitor_may_ask_questions_and_when_it_is_gone_the_heap_is_used_again) {
  visit_blocks(
      *h, k,
      [](void* context, void* block, std::size_t bytes) noexcept {
        const heap& of = *static_cast<const heap*>(context);
        EXPECT_EQ(of.usable_size(block), bytes);
        EXPECT_EQ(explain(of, block).what, place::live);
        visit_blocks(
            of, of.kind_of(block), [](void*, void*, std::size_t) noexcept {}, nullptr);
      },
      h.get());
  EXPECT_GE(blocks.allocate(*h, k, 100), 0);
}

TEST_F(misuse_death_test, remove_kind_of_one_that_is_not_there) {
  const kind other = h->add_kind({"other"});
  EXPECT_TRUE(h->remove_kind(other));
  EXPECT_DEATH((void)h->remove_kind(other), message);
  EXPECT_DEATH((void)h->allocate(other, 8), message);
}

TEST_F(misuse_death_test, reallocate_as_another_kind) {
  const kind other = h->add_kind({"other"});
  EXPECT_DEATH((void)h->reallocate(other, blocks.at[0], 100), message);
}

TEST_F(misuse_death_test, unpin_by_another_than_the_holder) {
  ASSERT_TRUE(h->pin(blocks.at[0], "holder"));
  EXPECT_DEATH(h->unpin(blocks.at[0], "another"), "not pinned by another");
  h->unpin(blocks.at[0], "holder");
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
