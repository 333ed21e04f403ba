// SPDX-License-Identifier: MIT
//
// Goal: an owner that was copied as bytes, overwritten, or whose memory went without its destructor is found by
// typed_heap::verify, by the next move of its object or when it goes itself, with a message that says what there is to
// say; and correct programs pass verify whatever they do. Method: death tests, one for each way to lose an owner; and a
// program with owners in every sort of place, verified at every step.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "scoot/containers.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/handle.hpp"
#include "scoot/owner.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

struct point {
  int x;
  int y;
};

// Names its kind, so that messages can be told apart.
struct planet {
  counted c;
  owner<point> moon;
  explicit planet(std::uint64_t n) noexcept : c(n) {}
};

}  // namespace
}  // namespace scoot::testing

template <>
inline constexpr const char* scoot::kind_name<scoot::testing::planet> = "planet";

namespace scoot::testing {
namespace {

class verify_test : public typed_fixture {};

TEST_F(verify_test, nothing_is_wrong_in_a_program_that_moves_owners_about) {
  std::mt19937_64 random(seed());
  std::vector<owner<planet>> on_the_free_store;
  std::array<owner<planet>, 8> here;
  heap_vector<owner<planet>> in_a_block(*things);
  heap_map<int, owner<point[]>> arrays(*things);
  handle_table<planet> handles(*things);
  things->verify();
  for (std::uint64_t i = 0; i < 400; ++i) {
    owner<planet> made = make<planet>(*things, i);
    made->moon = make<point>(*things, 1, 2);
    switch (random() % 5) {
      case 0:
        on_the_free_store.push_back(std::move(made));
        break;
      case 1:
        here[random() % here.size()] = std::move(made);
        break;
      case 2:
        ASSERT_TRUE(in_a_block.push_back(std::move(made)));
        break;
      case 3:
        (void)handles.insert(std::move(made));
        break;
      default:
        ASSERT_TRUE(arrays.insert(static_cast<int>(i), make_array<point>(*things, random() % 9000)).is_new);
        if (!in_a_block.empty()) in_a_block.erase(random() % in_a_block.size());
        break;
    }
    if (random() % 8 == 0) h->move_everything();
    if (random() % 16 == 0) h->compact();
    things->verify();
  }
}

TEST_F(verify_test, holds_for_several_typed_heaps_of_one_heap_and_their_other_blocks) {
  typed_heap others(*h);
  const kind plain = h->add_kind({"plain", 8, nullptr, nullptr});
  void* block = h->allocate(plain, 100);
  std::memset(block, 0x77, 100);
  const owner<point> a = make<point>(*things, 1, 2);
  const owner<point> b = make<point>(others, 1, 2);
  things->verify();
  others.verify();
  h->free(block);
}

struct made_and_verified {
  explicit made_and_verified(typed_heap& things) { things.verify(); }
  made_and_verified(made_and_verified&&) noexcept {}
};

TEST_F(verify_test, takes_no_offence_at_an_object_that_is_being_made) {
  const owner<made_and_verified> made = make<made_and_verified>(*things, *things);
  EXPECT_TRUE(made);
  things->verify();
}

TEST_F(verify_test, visits_each_block_of_a_kind_once) {
  std::vector<owner<planet>> planets;
  for (std::uint64_t i = 0; i < 1000; ++i) planets.push_back(make<planet>(*things, i));
  for (std::size_t i = 0; i < planets.size(); i += 3) planets[i].reset();
  std::size_t alive = 0;
  for (const owner<planet>& p : planets) alive += p ? 1 : 0;
  const kind planet_kind = explain(*h, planets[1].get()).of;
  struct sums {
    std::size_t blocks = 0;
    std::size_t bytes = 0;
    std::uintptr_t mixed = 0;
  } seen, expected;
  const auto add = [](void* context, void* block, std::size_t bytes) noexcept {
    auto& to = *static_cast<sums*>(context);
    ++to.blocks;
    to.bytes += bytes;
    to.mixed ^= reinterpret_cast<std::uintptr_t>(block);
  };
  visit_blocks(*h, planet_kind, add, &seen);
  for (const owner<planet>& p : planets) {
    if (p) add(&expected, const_cast<void*>(explain(*h, p.get()).block), h->usable_size(explain(*h, p.get()).block));
  }
  EXPECT_EQ(seen.blocks, alive);
  EXPECT_EQ(seen.bytes, expected.bytes);
  EXPECT_EQ(seen.mixed, expected.mixed);
  EXPECT_EQ(seen.bytes, stats_of(*h, planet_kind).live_bytes);
  visit_blocks(*h, kind{}, add, &seen);
  EXPECT_EQ(seen.blocks, alive) << "a kind that is none has no blocks";
}

// --- Forgotten owners ------------------------------------------------------------------------------------------------

using verify_death_test = verify_test;

// An owner in memory that no destructor looks after.
struct raw_place {
  alignas(owner<planet>) std::byte bytes[sizeof(owner<planet>)];
  owner<planet>* put(owner<planet>&& from) { return ::new (static_cast<void*>(bytes)) owner<planet>(std::move(from)); }
};

TEST_F(verify_death_test, an_owner_whose_memory_was_overwritten) {
  EXPECT_DEATH(
      {
        raw_place place;
        place.put(make<planet>(*things, 1U));
        std::memset(place.bytes, 0x41, sizeof place.bytes);
        things->verify();
      },
      "verify: the block at 0x[0-9a-f]+ of kind 'planet', [0-9]+ bytes, has lost its owner .*: 0x[0-9a-f]+, where that "
      "was, points to 0x(4141)+, which is no owner of anything");
}

TEST_F(verify_death_test, an_owner_whose_memory_was_zeroed) {
  EXPECT_DEATH(
      {
        raw_place place;
        place.put(make<planet>(*things, 1U));
        std::memset(place.bytes, 0, sizeof place.bytes);
        things->verify();
      },
      "has lost its owner .*where that was, is an empty owner, or zeros");
}

TEST_F(verify_death_test, an_owner_whose_memory_is_unmapped) {
  EXPECT_DEATH(
      {
        void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        static_cast<raw_place*>(page)->put(make<planet>(*things, 1U));
        munmap(page, 4096);
        things->verify();
      },
      "has lost its owner .*where that was, is no memory any more");
}

TEST_F(verify_death_test, an_owner_that_was_copied_as_bytes_and_its_place_used_again) {
  EXPECT_DEATH(
      {
        raw_place first;
        raw_place second;
        raw_place kept;
        first.put(make<planet>(*things, 1U));
        second.put(make<planet>(*things, 2U));
        std::memcpy(kept.bytes, first.bytes, sizeof kept.bytes);
        std::memcpy(first.bytes, second.bytes, sizeof first.bytes);
        things->verify();
      },
      "has lost its owner .*points to 0x[0-9a-f]+, the owner of another block");
}

#if SCOOT_CHECK_LEVEL >= 2
TEST_F(verify_death_test, an_owner_in_a_block_that_was_freed_by_hand) {
  EXPECT_DEATH(
      {
        const kind raw = h->add_kind({"raw", 8, nullptr, nullptr});
        auto* place = static_cast<raw_place*>(h->allocate(raw, sizeof(raw_place)));
        place->put(make<planet>(*things, 1U));
        h->free(place);
        things->verify();
      },
      "has lost its owner .*where that was, .*freed slot, kept for the next allocation.*kind 'raw'");
}
#endif

#if SCOOT_CHECK_LEVEL >= 1
// Says of itself that its bytes are all there is to it, although it has an owner.
struct liar {
  owner<planet> hidden;
};

}  // namespace
}  // namespace scoot::testing

template <>
inline constexpr bool scoot::bytewise_relocatable<scoot::testing::liar> = true;

namespace scoot::testing {
namespace {

TEST_F(verify_death_test, an_owner_in_a_block_that_moved_as_bytes_is_explained_by_that_move) {
  EXPECT_DEATH(
      {
        std::vector<owner<liar>> liars;
        liars.push_back(make<liar>(*things));
        liars.push_back(make<liar>(*things));
        liars[1]->hidden = make<planet>(*things, 1U);
        liars[0].reset();
        pin_guard stay(liars[1]->hidden);
        h->move_everything();
        things->verify();
      },
      "of kind 'planet', .*has lost its owner .*moved from 0x[0-9a-f]+ to 0x[0-9a-f]+ in compaction [0-9]+ by kind "
      "'bytes'");
}

TEST_F(verify_death_test, the_next_move_finds_an_overwritten_owner_too) {
  EXPECT_DEATH(
      {
        raw_place place;
        place.put(make<planet>(*things, 1U));
        std::memset(place.bytes, 0x41, sizeof place.bytes);
        h->move_everything();
      },
      "does not point to it: overwritten, freed or copied as bytes");
}

TEST_F(verify_death_test, an_owner_that_was_never_destroyed_is_named_when_its_typed_heap_goes) {
  EXPECT_DEATH(
      {
        raw_place place;
        place.put(make<planet>(*things, 1U));
        things.reset();
      },
      "a typed_heap goes while 1 blocks still have owners; one is at 0x[0-9a-f]+, [0-9]+ bytes, its owner at 0x");
}
#endif

// --- In every build: the second of two owners of one block
// ------------------------------------------------------------

constexpr const char* copied_message =
    "an owner at 0x[0-9a-f]+ is moved or destroyed that its block at 0x[0-9a-f]+ knows "
    "nothing of: it was copied as bytes";

TEST_F(verify_death_test, a_copy_of_bytes_that_is_destroyed) {
  EXPECT_DEATH(
      {
        owner<planet> right = make<planet>(*things, 1U);
        raw_place copy;
        std::memcpy(copy.bytes, static_cast<const void*>(&right), sizeof copy.bytes);
        reinterpret_cast<owner<planet>*>(copy.bytes)->reset();
      },
      copied_message);
}

TEST_F(verify_death_test, a_copy_of_bytes_that_is_moved_on) {
  EXPECT_DEATH(
      {
        owner<planet> right = make<planet>(*things, 1U);
        raw_place copy;
        std::memcpy(copy.bytes, static_cast<const void*>(&right), sizeof copy.bytes);
        const owner<planet> next = std::move(*reinterpret_cast<owner<planet>*>(copy.bytes));
      },
      copied_message);
}

}  // namespace
}  // namespace scoot::testing
