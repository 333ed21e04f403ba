// SPDX-License-Identifier: MIT
//
// Goal: what builds with checks notice of a program or a mover that breaks its side of the contract: dead memory
// touched, bytes written behind a block, movers that do not move. Method: death tests; and the model under redzones, to
// see that nothing is noticed that is not there.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "base/check.hpp"
#include "directory.hpp"
#include "heap_model.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"
#include "scoot/scoot.h"

namespace scoot::testing {
namespace {

TEST(contract, a_waste_target_that_is_none_makes_no_heap) {
  const auto pool = page_pool::create({4 * mib, 0, 0});
  ASSERT_NE(pool, nullptr);
  for (const double target : {-0.001, -std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_EQ(heap::create(*pool, {.waste_target = target}), nullptr) << target;
    const scoot_heap_options in_c = {target, 0, {}};
    EXPECT_EQ(scoot_heap_create(reinterpret_cast<scoot_pool*>(pool.get()), &in_c), nullptr) << target;
  }
}

// Under the undefined behaviour sanitizer, what overflows is found here.
TEST(contract, the_greatest_limits_there_are_are_none) {
  constexpr std::size_t greatest = std::numeric_limits<std::size_t>::max();
  for (const double target : {1e-300, 1.0, 1e300, std::numeric_limits<double>::infinity()}) {
    const auto pool = page_pool::create({4 * mib, 64 * kib, 0});
    ASSERT_NE(pool, nullptr);
    const auto h = heap::create(*pool, {target, greatest});
    ASSERT_NE(h, nullptr);
    directory blocks;
    const kind k = blocks.add_kind(*h);
    ASSERT_TRUE(k);
    while (blocks.allocate(*h, k, 300) >= 0) {
    }
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (i % 4 != 0) blocks.free(*h, i);
    }
    // The budget is full: such a block gets room only by moving many times its size.
    for (int i = 0; i < 50000; ++i) ASSERT_GE(blocks.allocate(*h, k, 16), 0) << i;
    for (int i = 0; i < 40; ++i) ASSERT_GE(blocks.allocate(*h, k, 25000), 0) << i;
    EXPECT_EQ(h->allocate(k, greatest), nullptr);
    EXPECT_TRUE(blocks.all_intact());
    h->verify();
  }
}

#if SCOOT_CHECK_LEVEL >= 2

constexpr std::size_t all_sizes[] = {8, 100, 5000, 20000, 40000, 200000};

// What is set in the environment when a heap is created.
struct environment {
  const char* name;
  environment(const char* variable, const char* value) : name(variable) { setenv(variable, value, 1); }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  ~environment() { unsetenv(name); }
};

class contract_death_test : public heap_fixture {
 protected:
  void make_some() {
    make(8 * mib);
    for (std::size_t size : all_sizes) {
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
      ASSERT_GE(blocks.allocate(*h, k, size), 0);
    }
  }

  static verdict allocate_in_mover(void* context, void*, void*, std::size_t) noexcept {
    auto* self = static_cast<contract_death_test*>(context);
    (void)self->h->allocate(self->k, 8);
    return verdict::keep;
  }
  static verdict add_kind_in_mover(void* context, void*, void*, std::size_t) noexcept {
    (void)static_cast<contract_death_test*>(context)->h->add_kind({});
    return verdict::keep;
  }
  static verdict pin_in_mover(void* context, void* from, void*, std::size_t) noexcept {
    (void)static_cast<contract_death_test*>(context)->h->pin(from);
    return verdict::keep;
  }

  // A heap with one block of a kind with this mover.
  void* make_one(mover move, std::size_t size = 100) {
    make(8 * mib);
    const kind other = h->add_kind({"broken", 8, move, this});
    void* block = h->allocate(other, size);
    std::memset(block, 1, size);
    return block;
  }
};

void throw_something() { throw std::runtime_error("from a mover"); }

verdict forget_to_copy(void*, void*, void*, std::size_t) noexcept { return verdict::moved; }

TEST_F(contract_death_test, a_mover_that_wrote_nothing_and_says_moved) {
  for (std::size_t size : all_sizes) {
    make_one(&forget_to_copy, size);
    EXPECT_DEATH(h->move_everything(), "the mover of kind 'broken' says it moved .* and wrote nothing there") << size;
  }
}

TEST_F(contract_death_test, a_mover_whose_block_looks_like_the_pattern_is_believed) {
  for (unsigned char fill : {0xcb, 0xdd, 0xfd, 0x00}) {
    void* block = make_one([](void*, void* from, void* to, std::size_t size) noexcept {
      std::memcpy(to, from, size);
      return verdict::moved;
    });
    std::memset(block, fill, h->usable_size(block));
    EXPECT_EQ(h->move_everything(), 1U);
  }
}

TEST_F(contract_death_test, a_mover_with_an_answer_that_is_none) {
  make_one([](void*, void* from, void* to, std::size_t size) noexcept {
    std::memcpy(to, from, size);
    return static_cast<verdict>(7);
  });
  EXPECT_DEATH(h->move_everything(), "the mover of kind 'broken' answered 7, which is no verdict");
}

TEST_F(contract_death_test, a_mover_that_allocates_is_named_with_what_it_was_moving) {
  make_one(&contract_death_test::allocate_in_mover);
  EXPECT_DEATH(h->move_everything(),
               "allocate called by the mover of kind 'broken' in its own heap, while it moves 0x");
}

TEST_F(contract_death_test, a_mover_that_adds_a_kind) {
  make_one(&contract_death_test::add_kind_in_mover);
  EXPECT_DEATH(h->move_everything(), "add_kind called by the mover of kind 'broken'");
}

TEST_F(contract_death_test, a_mover_that_throws_ends_the_program) {
  make_one([](void*, void*, void*, std::size_t) noexcept {
    throw_something();
    return verdict::keep;
  });
  EXPECT_DEATH(h->move_everything(), "from a mover");
}

TEST_F(contract_death_test, a_mover_that_pins) {
  make_one(&contract_death_test::pin_in_mover);
  EXPECT_DEATH(h->move_everything(), "pin called by the mover of kind 'broken'");
}

scoot_verdict throw_from_c(void*, void*, void*, size_t) { throw std::runtime_error("no"); }

TEST_F(contract_death_test, a_mover_of_the_c_api_that_throws_is_named) {
  scoot_pool_options options = {};
  options.budget_bytes = 4 * mib;
  scoot_pool* c_pool = scoot_pool_create(&options);
  scoot_heap* c_heap = scoot_heap_create(c_pool, nullptr);
  scoot_kind_options kind_options = {};
  kind_options.name = "thrower";
  kind_options.move = &throw_from_c;
  ASSERT_NE(scoot_allocate(c_heap, scoot_heap_add_kind(c_heap, &kind_options), 50), nullptr);
  EXPECT_DEATH(scoot_move_everything(c_heap), "a mover threw an exception");
  scoot_heap_destroy(c_heap);
  scoot_pool_destroy(c_pool);
}

// --- Dead memory -----------------------------------------------------------------------------------------------------

// AddressSanitizer stops the touch itself; without it, verify finds what was written.
constexpr const char* touch_message =
    address_sanitized ? "use-after-poison" : "written after the block was freed or had moved";

TEST_F(contract_death_test, a_write_after_free) {
  make_some();
  for (std::size_t i = 0; i < 4; ++i) {  // slots: other freed memory goes to the OS, or carries links
    EXPECT_DEATH(
        {
          volatile std::byte* stale = blocks.at[i];
          blocks.free(*h, i);
          stale[5] = std::byte{1};
          h->verify();
        },
        touch_message);
  }
}

TEST_F(contract_death_test, a_write_after_a_move) {
  make(8 * mib);
  for (int i = 0; i < 100; ++i) ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  EXPECT_DEATH(
      {
        blocks.free(*h, 0);
        volatile std::byte* stale = blocks.at[99];
        h->move_everything();
        std::size_t freed = 0;
        while (freed + 1 < blocks.at.size() && blocks.at[freed + 1] != stale) ++freed;
        if (freed + 1 < blocks.at.size()) blocks.free(*h, freed + 1);  // another block is there now
        stale[5] = std::byte{1};
        h->verify();
      },
      touch_message);
}

TEST_F(contract_death_test, what_verify_says_of_a_written_hole_names_the_move) {
  if (address_sanitized) GTEST_SKIP() << "the sanitizer reports the write itself";
  make(8 * mib);
  ASSERT_GE(blocks.allocate(*h, k, 100), 0);
  EXPECT_DEATH(
      {
        volatile std::byte* stale = blocks.at[0];
        h->move_everything();
        stale[20] = std::byte{1};
        h->verify();
      },
      "byte 20 was written.* moved from 0x.* to 0x.* in compaction 1 by kind 'directory'");
}

#if defined(__SANITIZE_ADDRESS__)
TEST_F(contract_death_test, reads_of_freed_moved_and_fresh_memory_are_reported) {
  make_some();
  for (std::size_t i = 0; i < blocks.at.size(); i += 2) {
    EXPECT_DEATH(
        {
          volatile std::byte* stale = blocks.at[i];
          blocks.free(*h, i);
          (void)stale[i < 4 ? 5 : 40];  // a hole of the large space begins with links
        },
        "use-after-poison")
        << i;
  }
  EXPECT_DEATH(
      {
        for (std::size_t other : {8U, 9U, 11U}) blocks.free(*h, other);  // runs that would come here
        volatile std::byte* stale = blocks.at[10];
        h->move_everything();
        (void)stale[5];
      },
      "use-after-poison");
  volatile std::byte* above = blocks.at[2] + 40 * 104;
  EXPECT_DEATH((void)above[0], "use-after-poison");
  volatile std::byte* behind = blocks.at[1] + 8;  // two slots of 8 bytes, and nothing else
  EXPECT_DEATH((void)behind[0], "use-after-poison");
}
#endif

// --- Redzones --------------------------------------------------------------------------------------------------------

constexpr const char* overflow_message =
    address_sanitized ? "use-after-poison" : "bytes behind its [0-9]+ usable ones were written";

TEST_F(contract_death_test, writes_behind_a_block_are_found_when_it_is_freed_moved_or_verified) {
  const environment redzones("SCOOT_REDZONE", "16");
  make_some();
  for (std::size_t i = 0; i < blocks.at.size(); i += address_sanitized ? 5 : 1) {  // its reports take long
    const std::size_t usable = h->usable_size(blocks.at[i]);
    for (int what = 0; what < 3; ++what) {
      EXPECT_DEATH(
          {
            volatile std::byte* block = blocks.at[i];
            block[usable + static_cast<std::size_t>(what) * 5] = std::byte{7};
            if (what == 0) blocks.free(*h, i);
            if (what == 1) h->move_everything();
            if (what == 2) h->verify();
          },
          overflow_message)
          << i << ' ' << what;
    }
  }
  EXPECT_TRUE(blocks.all_intact());
}

TEST_F(contract_death_test, a_mover_that_copies_too_much) {
  const environment redzones("SCOOT_REDZONE", "8");
  make_one([](void*, void* from, void* to, std::size_t size) noexcept {
    std::memcpy(to, from, size);
    static_cast<volatile char*>(to)[size] = 1;
    return verdict::moved;
  });
  EXPECT_DEATH(h->move_everything(), address_sanitized ? "use-after-poison" : "move to.* were written");
}

TEST_F(contract_death_test, redzones_are_no_part_of_what_a_block_holds) {
  const environment redzones("SCOOT_REDZONE", "32");
  make(8 * mib);
  for (std::size_t size : all_sizes) {
    ASSERT_GE(blocks.allocate(*h, k, size), 0);
    EXPECT_GE(h->usable_size(blocks.at.back()), size);
    EXPECT_LE(h->usable_size(blocks.at.back()), size + size / 32 + 40);
  }
  std::size_t usable = 0;
  for (const std::byte* block : blocks.at) usable += h->usable_size(block);
  EXPECT_EQ(h->stats().live_bytes, usable);
  EXPECT_EQ(h->allocate(k, ~std::size_t{0} - 8), nullptr);
}

TEST_F(contract_death_test, none_of_it_is_seen_in_correct_use_with_redzones) {
  const environment redzones("SCOOT_REDZONE", "24");
  model_options options;
  options.pool_options = {6 * mib, 64 * kib, 0};
  options.verify_every = 16;
  heap_model m(options);
  ASSERT_EQ(m.failure(), "");
  m.expect_os_failures();  // a block takes more of the budget than the model knows
  std::mt19937_64 random(3);
  for (int i = 0; i < 1500; ++i) {
    operation o;
    o.code = static_cast<op_code>(random() % (static_cast<unsigned>(op_code::last) + 1));
    if (o.code == op_code::set_budget) continue;
    o.a = static_cast<std::uint32_t>(random());
    o.b = static_cast<std::uint32_t>(random());
    ASSERT_TRUE(m.apply(o)) << to_string(o) << ": " << m.failure();
  }
  ASSERT_GT(m.blocks_moved(), 1000U);
  ASSERT_TRUE(m.free_all()) << m.failure();
}

#else

TEST(contract_death_test, needs_a_build_with_costly_checks) { GTEST_SKIP() << "SCOOT_CHECK_LEVEL is below 2"; }

#endif

}  // namespace
}  // namespace scoot::testing
