// SPDX-License-Identifier: MIT
//
// Goal: the space bounds of docs/design/bounds.md hold against programs made to break them, from 1 MiB to 1 GiB live,
// in a few mappings. Method: each program plays three times: with a compaction at the end of every round, after which
// the heap must be dense; without any, when all that was ever held must stay near the most that was live; and under a
// budget with room for little more than what is live, when nothing may be refused. At 1 GiB two of them play once,
// which takes some 10 s of processor time; all do, at all sizes, if SCOOT_TEST_LONG is set.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "directory.hpp"
#include "opponent.hpp"

namespace scoot::testing {
namespace {

using round_end = std::function<void(const char*)>;

struct program {
  const char* name;
  void (*play)(opponent& o, std::size_t smallest, const round_end& end);
  bool large = false;     // with blocks of the large space only
  bool at_a_gib = false;  // in ordinary runs
};

// --- The programs ---------------------------------------------------------------------------------------------------

// Whether a block of `size` bytes covers an address that is `residue` modulo `period`.
bool covers(std::uintptr_t address, std::size_t size, std::uintptr_t residue, std::size_t period) {
  const std::uintptr_t offset = (address - residue) % period;
  return offset == 0 || offset + size > period;
}

// P_R of J. M. Robson, Bounds for some functions concerning dynamic storage allocation, JACM 21 (1974): the worst that
// a program can do to an allocator that moves nothing. Round i frees every block that does not stand in the way of
// blocks of 2^i at addresses of the residue chosen, and fills up with blocks of 2^i.
void robson(opponent& o, std::size_t smallest, std::size_t largest, const round_end& end) {
  std::uintptr_t residue = 0;
  for (std::size_t size = smallest; size <= largest; size *= 2) {
    if (size != smallest) {
      std::uint64_t obstructed[2] = {0, 0};
      for (std::size_t i = 0; i < o.blocks().at.size(); ++i) {
        if (!o.is_live(i)) continue;
        for (std::size_t choice = 0; choice < 2; ++choice) {
          if (covers(o.address(i), o.asked(i), residue + choice * size / 2, size))
            obstructed[choice] += size - o.asked(i);
        }
      }
      if (obstructed[1] > obstructed[0]) residue += size / 2;
      for (std::size_t i = 0; i < o.blocks().at.size(); ++i) {
        if (o.is_live(i) && !covers(o.address(i), o.asked(i), residue, size)) o.free(i);
      }
      o.renumber();
    }
    while (o.allocate(size)) {
    }
    end("robson");
  }
}

void robson_small(opponent& o, std::size_t smallest, const round_end& end) { robson(o, smallest, 8 * kib, end); }

void robson_large(opponent& o, std::size_t, const round_end& end) {
  robson(o, 16 * kib, o.pool().page_bytes() / 2, end);
}

// Of each aligned stretch of so many bytes one block survives, the first; then come blocks that fit in no hole.
void survivors(opponent& o, std::size_t smallest, std::size_t stretch, const round_end& end) {
  for (std::size_t size = smallest; size <= 8 * kib; size = size * 2 + 8) {
    while (o.allocate(size)) {
    }
    std::uintptr_t last = ~std::uintptr_t{0};
    for (std::size_t i : o.by_address()) {
      const std::uintptr_t of = o.address(i) / stretch;
      if (of == last) o.free(i);
      last = of;
    }
    o.renumber();
    end("survivors");
  }
}

void survivor_per_os_page(opponent& o, std::size_t smallest, const round_end& end) {
  survivors(o, smallest, os_page, end);
}

void survivor_per_page(opponent& o, std::size_t smallest, const round_end& end) {
  survivors(o, smallest, o.pool().page_bytes(), end);
}

// The oldest blocks make room for ever new sizes, each too large for the holes left behind, or each a little smaller.
void ramp(opponent& o, std::size_t smallest, bool up, const round_end& end) {
  std::vector<std::size_t> sizes;
  for (std::size_t size = smallest; size <= 8 * kib; size += size / 12 + 8) sizes.push_back(size);
  if (!up) std::reverse(sizes.begin(), sizes.end());
  std::size_t oldest = 0;
  for (std::size_t n = 0; n < sizes.size(); ++n) {
    for (std::size_t bytes = 0; bytes < o.live_max() / 8; bytes += sizes[n]) {
      while (!o.allocate(sizes[n])) {
        if (o.live() + sizes[n] <= o.live_max()) return;  // refused
        while (!o.is_live(oldest)) ++oldest;
        o.free(oldest);
      }
    }
    if (n % 8 != 7) continue;
    o.renumber();
    oldest = 0;
    end("ramp");
  }
}

void ramp_up(opponent& o, std::size_t smallest, const round_end& end) { ramp(o, smallest, true, end); }
void ramp_down(opponent& o, std::size_t smallest, const round_end& end) { ramp(o, smallest, false, end); }

// Grows to the limit and shrinks to a tenth, with another size each time; what survives is chosen at random.
void sawtooth(opponent& o, std::size_t smallest, const round_end& end) {
  for (std::size_t tooth = 0; tooth < 6; ++tooth) {
    const std::size_t size = smallest + 331 * tooth;
    while (o.allocate(size)) {
    }
    end("top of the tooth");
    for (std::size_t i = 0; i < o.blocks().at.size(); ++i) {
      if (o.is_live(i) && o.next() % 10 != 0) o.free(i);
    }
    o.renumber();
    end("foot of the tooth");
  }
}

// Sizes drawn anew each round from a narrow band that wanders, freed at random: holes of every size, few that fit.
void wandering_sizes(opponent& o, std::size_t smallest, const round_end& end) {
  for (std::size_t mean = smallest; mean <= 4 * kib; mean = mean * 3 / 2 + 24) {
    for (std::size_t i = 0; i < o.blocks().at.size(); ++i) {
      if (o.is_live(i) && o.next() % 2 == 0) o.free(i);
    }
    o.renumber();
    while (o.allocate(mean / 2 + 8 + o.next() % mean)) {
    }
    end("wandering");
  }
}

// The same with blocks of the large space, and of those most are freed.
void wandering_large(opponent& o, std::size_t, const round_end& end) {
  const std::size_t largest = o.pool().page_bytes() / 2;
  for (std::size_t mean = 10 * kib; mean < largest * 2 / 3; mean = mean * 3 / 2) {
    for (std::size_t i = 0; i < o.blocks().at.size(); ++i) {
      if (o.is_live(i) && o.next() % 8 != 0) o.free(i);
    }
    o.renumber();
    end("thinned out");
    while (o.allocate(mean / 2 + o.next() % mean)) {
    }
    end("wandering");
  }
}

// Every second block of a large size survives, and the next size is a little too large for the holes in between.
void survivors_large(opponent& o, std::size_t, const round_end& end) {
  for (std::size_t size = 9 * kib; size <= o.pool().page_bytes() / 2; size += size / 6 + 16) {
    while (o.allocate(size)) {
    }
    bool stays = false;
    for (std::size_t i : o.by_address()) {
      stays = !stays;
      if (!stays) o.free(i);
    }
    o.renumber();
    end("survivors");
  }
}

constexpr program programs[] = {{"robson", robson_small, false, true},
                                {"robson_large", robson_large, true},
                                {"survivors_large", survivors_large, true},
                                {"survivor_per_os_page", survivor_per_os_page},
                                {"survivor_per_page", survivor_per_page},
                                {"ramp_up", ramp_up},
                                {"ramp_down", ramp_down},
                                {"sawtooth", sawtooth},
                                {"wandering_sizes", wandering_sizes},
                                {"wandering_large", wandering_large, true, true}};

// --- The bounds -----------------------------------------------------------------------------------------------------

struct arena {
  const program* played;
  std::size_t live_max;
};

std::vector<arena> arenas(std::size_t largest) {
  bool a_gib = largest == 256 * mib;
  if (long_form()) largest = 1024 * mib;
  if (sizeof(void*) == 4) largest = std::min(largest, 64 * mib);  // the larger half of an address space
  if (address_sanitized || thread_sanitized || moves_everything()) largest = 16 * mib;
  a_gib = a_gib && largest == 256 * mib;
  std::vector<arena> all;
  for (const program& p : programs) {
    for (std::size_t size : {mib, 16 * mib, 64 * mib, 256 * mib, 1024 * mib}) {
      if (size <= largest || (size == 1024 * mib && a_gib && p.at_a_gib)) all.push_back({&p, size});
    }
  }
  return all;
}

std::string name_of(const ::testing::TestParamInfo<arena>& each) {
  return std::string(each.param.played->name) + "_" + std::to_string(each.param.live_max / mib) + "_MiB";
}

// Few blocks suffice to attack a small heap; large ones begin with larger blocks, to end in time.
std::size_t smallest_for(std::size_t live_max) { return std::clamp<std::size_t>(live_max / (128 * kib), 16, 1024); }

class adversary : public ::testing::TestWithParam<arena> {
 protected:
  // Plays against a heap with that budget and hands the opponent on, with all blocks checked.
  void play(std::size_t budget_bytes, const std::function<void(opponent&, const char*)>& end) {
    const arena& at = GetParam();
    o = std::make_unique<opponent>(budget_bytes, at.live_max);
    ASSERT_TRUE(o->ready());
    const std::size_t mappings_before = mappings();
    std::size_t mappings_most = 0;
    at.played->play(*o, smallest_for(at.live_max), [&](const char* when) {
      end(*o, when);
      mappings_most = std::max(mappings_most, mappings());
    });
    EXPECT_LE(mappings_most, mappings_before + 40);
    EXPECT_EQ(o->refused(), 0U);
    if (!moves_everything()) {
      EXPECT_EQ(o->overspent(), 0U);
    }
    EXPECT_TRUE(o->blocks().all_intact());
    o->get_heap().verify();
    EXPECT_GE(o->live_peak(), at.live_max - (at.played->large ? 128 : 8) * kib) << "the program must use what it may";
  }

  std::unique_ptr<opponent> o;
};

class adversary_to_compaction : public adversary {};

TEST_P(adversary_to_compaction, leaves_the_heap_dense_whatever_came_before) {
  play(2 * GetParam().live_max, [](opponent& by, const char* when) {
    by.get_heap().compact();
    const heap_stats s = by.get_heap().stats();
    EXPECT_LE(s.held_bytes, space_bound(by.usable_sizes(), by.pool().page_bytes()))
        << when << ": " << s.live_bytes << " live in " << s.shelves << " shelves";
  });
}

INSTANTIATE_TEST_SUITE_P(programs, adversary_to_compaction, ::testing::ValuesIn(arenas(256 * mib)), name_of);

class adversary_to_the_waste_target : public adversary {};

TEST_P(adversary_to_the_waste_target, never_makes_the_heap_hold_more_than_was_ever_live_and_the_target) {
  play(2 * GetParam().live_max, [](opponent&, const char*) {});
  EXPECT_EQ(o->compactions(), 0U);
  const page_pool_stats s = o->pool().stats();
  const std::size_t bound = standing_bound(o->live_peak(), o->get_heap().stats().shelves, s);
  // In the large space nothing more is proven than that it uses its holes; this much is measured.
  EXPECT_LE(s.held_bytes_peak, bound + (GetParam().played->large ? o->live_peak() / 6 : 0));
  // For what a shelf grows by, others come down by twice as much and a block: docs/design/bounds.md, "Work".
  if (!moves_everything()) {
    EXPECT_LE(o->blocks().bytes_moved, 3 * o->asked_ever());
  }
}

INSTANTIATE_TEST_SUITE_P(programs, adversary_to_the_waste_target, ::testing::ValuesIn(arenas(64 * mib)), name_of);

class adversary_to_the_budget : public adversary {};

// The budget has room for what is live and what the bound grants besides: so nothing is ever refused.
TEST_P(adversary_to_the_budget, is_served_as_long_as_the_bound_fits_the_budget) {
  const std::size_t live_max = GetParam().live_max;
  constexpr std::size_t shelves = 260;  // the most that any of the programs uses
  play(live_max + live_max / 16 + shelves * 3 * os_page + mib, [](opponent&, const char*) {});
  EXPECT_LE(o->get_heap().stats().shelves, shelves);
}

INSTANTIATE_TEST_SUITE_P(programs, adversary_to_the_budget, ::testing::ValuesIn(arenas(64 * mib)), name_of);

}  // namespace
}  // namespace scoot::testing
