// SPDX-License-Identifier: MIT
//
// Goal: checked builds abort with a message where purgeable memory is misused. Method: death tests, each of which makes
// its region itself, since a forked child does not have its parent's.
#include <gtest/gtest.h>

#include "support.hpp"

#if SCOOT_CHECK_LEVEL >= 1

namespace scoot::testing {
namespace {

constexpr std::size_t chunk_bytes = 64 * kib;

// `wrong` with a region and a chunk of it.
template <typename Wrong>
void misuse(const Wrong& wrong) {
  const auto region = make_region(chunk_bytes, 4);
  wrong(*region, region->allocate());
}

TEST(purgeable_misuse_death, freeing_what_is_not_allocated_aborts) {
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t chunk) {
                 region.free(chunk);
                 region.free(chunk);
               }),
               "chunk 0 is freed, but it is not allocated");
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t) { region.free(4); }), "there is no chunk 4 to free");
}

TEST(purgeable_misuse_death, unpinning_what_is_not_pinned_aborts) {
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t chunk) { region.unpin(chunk); }),
               "chunk 0 has no pin to take away");
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t) { region.unpin(purgeable::no_chunk); }), "has no pin");
}

TEST(purgeable_misuse_death, bytes_that_are_not_in_the_chunk_abort) {
  char byte = 0;
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t chunk) { (void)region.pin(chunk, chunk_bytes, 1); }),
               "1 bytes from 65536 on are not within chunk 0");
  EXPECT_DEATH(
      misuse([&](purgeable& region, std::uint32_t chunk) { (void)region.read_if_present(chunk, 2, SIZE_MAX, &byte); }),
      "are not within chunk 0");
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t chunk) { (void)region.offer(chunk, chunk_bytes + 1); }),
               "are not within chunk 0");
}

TEST(purgeable_misuse_death, destroying_a_region_with_pins_aborts) {
  EXPECT_DEATH(misuse([](purgeable& region, std::uint32_t chunk) { (void)region.pin(chunk, 0, 1); }),
               "destroyed while chunk 0 is pinned");
}

}  // namespace
}  // namespace scoot::testing

#endif
