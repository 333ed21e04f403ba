// SPDX-License-Identifier: MIT
//
// Goal: what purgeable.hpp promises of chunks, offers, pins, reads, sweeps and counts. Method: the kernel is asked to
// purge our own pages, which it does at once, and what each function says is compared with what must be gone.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>

#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t chunk_bytes = 64 * kib;

class chunk_test : public purgeable_test {
 protected:
  void make(bool guarded) {
    purgeable_test::SetUp();
    if (IsSkipped()) return;
    region = make_region(chunk_bytes, 16, guarded);
    ASSERT_NE(region, nullptr);
    if (guarded && !region->stats().guarded) GTEST_SKIP() << "no userfaultfd, or not all that is needed of it";
    chunk = region->allocate();
    ASSERT_NE(chunk, purgeable::no_chunk);
    fill(region->data(chunk), chunk_bytes, 1);
  }
  [[nodiscard]] presence read(std::size_t offset, std::size_t bytes) {
    copy.assign(bytes, 'x');
    return region->read_if_present(chunk, offset, bytes, copy.data());
  }
  const one_processor here;
  const std::size_t page = os::page_bytes();
  const std::size_t pages = chunk_bytes / os::page_bytes();
  std::unique_ptr<purgeable> region;
  std::uint32_t chunk = 0;
  std::vector<char> copy;
};

// Guarded regions answer as all do.
class purgeable_chunk : public chunk_test, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override { make(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(region, purgeable_chunk, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "guarded" : "plain"; });

class guarded_chunk : public chunk_test {
 protected:
  void SetUp() override { make(true); }
};

TEST(purgeable_region, refuses_options_out_of_range) {
  EXPECT_EQ(make_region(64 * kib, 0), nullptr);
  EXPECT_EQ(make_region(purgeable::chunk_bytes_min / 2, 4), nullptr);
  EXPECT_EQ(make_region(purgeable::chunk_bytes_max * 2, 1), nullptr);
  EXPECT_EQ(make_region(96 * kib, 4), nullptr);
  purgeable_options huge;
  huge.bytes_max = SIZE_MAX;
  EXPECT_EQ(purgeable::create(huge), nullptr);
  EXPECT_NE(make_region(purgeable::chunk_bytes_min, 1), nullptr);
  EXPECT_NE(make_region(purgeable::chunk_bytes_max, 2), nullptr);
}

TEST(purgeable_region, hands_out_every_chunk_once_and_zero_filled) {
  const auto region = make_region(chunk_bytes, 200);
  ASSERT_NE(region, nullptr);
  for (int round = 0; round < 3; ++round) {
    std::set<std::uint32_t> chunks;
    for (int i = 0; i < 200; ++i) {
      const std::uint32_t chunk = region->allocate();
      ASSERT_NE(chunk, purgeable::no_chunk);
      EXPECT_TRUE(chunks.insert(chunk).second);
      char* const data = region->data(chunk);
      EXPECT_TRUE(std::all_of(data, data + chunk_bytes, [](char c) { return c == 0; }));
      std::memset(data, 'a', chunk_bytes);
      EXPECT_EQ(region->state(chunk).state, chunk_state::kept);
    }
    EXPECT_EQ(region->allocate(), purgeable::no_chunk);
    EXPECT_EQ(region->stats().chunks, 200U);
    EXPECT_EQ(region->stats().kept_bytes, 200 * chunk_bytes);
    for (const std::uint32_t chunk : chunks) region->free(chunk);
    EXPECT_EQ(region->stats().chunks, 0U);
  }
}

TEST(purgeable_region, knows_nothing_of_chunks_that_are_not_allocated) {
  const auto region = make_region(chunk_bytes, 4);
  ASSERT_NE(region, nullptr);
  char byte = 0;
  const std::uint32_t freed = region->allocate();
  region->free(freed);
  for (const std::uint32_t chunk : {freed, 3U, 4U, purgeable::no_chunk}) {
    EXPECT_EQ(region->pin(chunk, 0, 1), presence::absent);
    EXPECT_EQ(region->read_if_present(chunk, 0, 1, &byte), presence::absent);
    EXPECT_EQ(region->offer(chunk, 1), offer_status::absent);
    EXPECT_EQ(region->state(chunk).state, chunk_state::free);
    EXPECT_EQ(region->state(chunk).pins, 0U);
  }
  EXPECT_EQ(region->stats().pins, 0U);
}

TEST_P(purgeable_chunk, stays_as_it_is_until_it_is_offered) {
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(0, chunk_bytes), presence::present);
  EXPECT_TRUE(intact(copy.data(), 0, chunk_bytes, 1));
  EXPECT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  region->unpin(chunk);
  EXPECT_EQ(region->state(chunk).state, chunk_state::kept);
}

TEST_P(purgeable_chunk, can_be_read_while_it_is_offered_and_not_purged) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  EXPECT_EQ(region->state(chunk).state, chunk_state::offered);
  for (std::size_t offset = 0; offset < chunk_bytes; offset += 5000) {
    const std::size_t bytes = std::min<std::size_t>(5000, chunk_bytes - offset);
    EXPECT_EQ(read(offset, bytes), presence::present);
    EXPECT_TRUE(intact(copy.data(), offset, bytes, 1));
  }
  EXPECT_EQ(region->state(chunk).touched_bytes, 0U);
  EXPECT_EQ(region->stats().resident_offered_bytes, chunk_bytes);
}

TEST_P(purgeable_chunk, is_lost_to_reads_and_pins_once_it_was_purged) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(100, 8), presence::lost);
  EXPECT_EQ(region->pin(chunk, 2 * page, 8), presence::lost);
  EXPECT_EQ(region->pin(chunk, 2 * page, 8), presence::lost);
  EXPECT_EQ(region->state(chunk).pins, 0U);
  EXPECT_EQ(region->state(chunk).lost_bytes, 2 * page);
  EXPECT_EQ(region->state(chunk).state, chunk_state::partly_purged);
  EXPECT_EQ(region->stats().lost_accesses, 3U);
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  EXPECT_EQ(read(100, 8), presence::lost);
}

TEST_P(purgeable_chunk, keeps_what_is_pinned_and_loses_the_rest) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(chunk, 3 * page + 8, page), presence::present);  // parts of two pages
  EXPECT_EQ(region->state(chunk).touched_bytes, 2 * page);
  EXPECT_EQ(region->state(chunk).pins, 1U);
  purge(*region, chunk, chunk_bytes);
  EXPECT_TRUE(intact(region->data(chunk) + 3 * page, 3 * page, 2 * page, 1));
  EXPECT_EQ(region->pin(chunk, 3 * page, 2 * page), presence::present);
  region->unpin(chunk);
  EXPECT_EQ(region->pin(chunk, 2 * page, 2 * page), presence::lost);
  EXPECT_EQ(region->pin(chunk, 4 * page, page + 1), presence::lost);
  region->unpin(chunk);
  EXPECT_EQ(region->state(chunk).pins, 0U);
}

TEST_P(purgeable_chunk, is_not_offered_while_it_is_pinned) {
  ASSERT_EQ(region->pin(chunk, 0, 1), presence::present);
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::pinned);
  region->unpin(chunk);
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(chunk, 0, 1), presence::present);
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::pinned);
  region->unpin(chunk);
}

TEST_P(purgeable_chunk, offered_again_may_lose_what_a_pin_had_saved) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  region->unpin(chunk);
  EXPECT_EQ(region->stats().touched_bytes, chunk_bytes);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(0, chunk_bytes), presence::present);
  EXPECT_TRUE(intact(copy.data(), 0, chunk_bytes, 1));
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  EXPECT_EQ(region->stats().touched_bytes, 0U);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(0, chunk_bytes), presence::lost);
}

TEST_P(purgeable_chunk, of_zeros_is_never_lost) {
  std::memset(region->data(chunk), 0, chunk_bytes);
  region->data(chunk)[5 * page + 4095] = 1;
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(0, 5 * page), presence::present);
  EXPECT_TRUE(std::all_of(copy.begin(), copy.end(), [](char c) { return c == 0; }));
  EXPECT_EQ(region->pin(chunk, 6 * page, 3 * page), presence::present);
  region->unpin(chunk);
  EXPECT_EQ(read(5 * page, 1), presence::lost);
  EXPECT_EQ(region->state(chunk).lost_bytes, page);
}

TEST_P(purgeable_chunk, is_offered_only_as_far_as_it_was_asked) {
  ASSERT_EQ(region->offer(chunk, 3 * page + 1), offer_status::offered);
  EXPECT_EQ(region->state(chunk).offered_bytes, 4 * page);
  purge(*region, chunk, 4 * page);
  EXPECT_EQ(read(4 * page, chunk_bytes - 4 * page), presence::present);
  EXPECT_TRUE(intact(copy.data(), 4 * page, chunk_bytes - 4 * page, 1));
  EXPECT_EQ(read(3 * page, 8), presence::lost);
}

TEST_P(purgeable_chunk, can_be_asked_for_no_bytes) {
  ASSERT_EQ(region->offer(chunk, 0), offer_status::offered);
  EXPECT_EQ(region->state(chunk).offered_bytes, page);
  purge(*region, chunk, chunk_bytes);
  // Also where the chunk ends, behind which there is another.
  const std::uint32_t next = region->allocate();
  ASSERT_EQ(next, chunk + 1);
  for (const std::size_t offset : {std::size_t{0}, page, chunk_bytes}) {
    EXPECT_EQ(region->pin(chunk, offset, 0), presence::present);
    region->unpin(chunk);
    EXPECT_EQ(read(offset, 0), presence::present);
  }
  region->free(chunk);
  region->free(next);
  const purgeable_stats stats = region->stats();
  EXPECT_EQ(stats.offered_chunks + stats.offered_bytes + stats.chunks, 0U);
}

TEST_P(purgeable_chunk, freed_while_pinned_stays_for_its_pins_and_takes_no_more) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  ASSERT_EQ(region->pin(chunk, 0, 1), presence::present);
  region->free(chunk);
  EXPECT_EQ(region->stats().chunks, 1U);
  EXPECT_EQ(region->pin(chunk, 0, 1), presence::absent);
  EXPECT_EQ(read(0, 1), presence::absent);
  purge(*region, chunk, chunk_bytes);
  EXPECT_TRUE(intact(region->data(chunk), 0, chunk_bytes, 1));
  region->unpin(chunk);
  EXPECT_TRUE(intact(region->data(chunk), 0, chunk_bytes, 1));
  region->unpin(chunk);
  EXPECT_EQ(region->stats().chunks, 0U);
  EXPECT_EQ(region->stats().offered_bytes, 0U);
  EXPECT_EQ(region->stats().pins, 0U);
  const std::uint32_t next = region->allocate();
  EXPECT_EQ(next, chunk);
  EXPECT_EQ(region->data(next)[0], 0);
}

TEST_P(purgeable_chunk, takes_as_many_pins_as_there_may_be_and_no_more) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  for (std::uint32_t i = 0; i < purgeable::pins_max; ++i) ASSERT_EQ(region->pin(chunk, 0, 1), presence::present);
  EXPECT_EQ(region->pin(chunk, 0, 1), presence::too_many_pins);
  EXPECT_EQ(read(0, 1), presence::too_many_pins);
  EXPECT_EQ(region->state(chunk).pins, purgeable::pins_max);
  region->unpin(chunk);
  EXPECT_EQ(region->pin(chunk, 0, 1), presence::present);
  for (std::uint32_t i = 0; i < purgeable::pins_max; ++i) region->unpin(chunk);
  EXPECT_EQ(region->stats().pins, 0U);
  EXPECT_EQ(region->stats().pins_ever, purgeable::pins_max + 3U);
}

TEST_F(guarded_chunk, ends_the_program_where_a_purged_page_is_touched) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  purge(*region, chunk, chunk_bytes);
  // The child of a death test would have no region: the signal is caught here.
  static sigjmp_buf back;
  static void* volatile touched;
  struct sigaction before {};
  struct sigaction catching {};
  catching.sa_flags = SA_SIGINFO;
  catching.sa_sigaction = [](int, siginfo_t* info, void*) {
    touched = info->si_addr;
    siglongjmp(back, 1);
  };
  ASSERT_EQ(sigaction(SIGBUS, &catching, &before), 0);
  volatile int caught = 0;
  for (const std::size_t offset : {std::size_t{100}, 3 * page, 5 * page}) {
    const char volatile* const at = region->data(chunk) + offset;
    if (sigsetjmp(back, 1) == 0) {
      (void)*at;
    } else {
      EXPECT_EQ(region->chunk_of(touched), chunk);
      caught = caught + 1;
    }
  }
  EXPECT_EQ(caught, 3);
  const std::uint32_t other = region->allocate();
  region->free(other);
  if (sigsetjmp(back, 1) == 0) {
    *static_cast<char volatile*>(region->data(other)) = 'x';
  } else {
    caught = caught + 1;
  }
  EXPECT_EQ(caught, 4);
  ASSERT_EQ(sigaction(SIGBUS, &before, nullptr), 0);
  EXPECT_EQ(read(100, 8), presence::lost);
  EXPECT_EQ(region->state(chunk).lost_bytes, page);
}

TEST_F(guarded_chunk, makes_system_calls_that_are_given_a_purged_page_fail) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], region->data(chunk), 8), 8);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(write(ends[1], region->data(chunk), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  close(ends[0]);
  close(ends[1]);
}

TEST_P(purgeable_chunk, of_zeros_can_be_pinned_after_a_sweep_found_it_purged) {
  std::memset(region->data(chunk), 0, chunk_bytes);
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(region->sweep({}, SIZE_MAX).bytes_purged, chunk_bytes);
  EXPECT_EQ(region->state(chunk).lost_bytes, 0U);
  EXPECT_EQ(read(page + 5, 2 * page), presence::present);
  ASSERT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  EXPECT_EQ(region->data(chunk)[3 * page], 0);
  region->unpin(chunk);
}

TEST(purgeable_region, of_many_gigabytes_costs_address_space_only) {
  rlimit address_space{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &address_space), 0);
  const bool limited = sizeof(void*) < 8 || address_space.rlim_cur != RLIM_INFINITY;
  if (limited || sanitized) GTEST_SKIP() << "too little address space";
  constexpr std::size_t chunks = std::size_t{1} << 20;
  const auto region = make_region(chunk_bytes, chunks);  // 64 GiB
  ASSERT_NE(region, nullptr);
  EXPECT_EQ(region->stats().chunks_max, chunks);
  EXPECT_LE(region->stats().metadata_bytes, chunks * (64 + 2 * chunk_bytes / os::page_bytes()) + 2 * os::page_bytes());
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint32_t chunk = region->allocate();
    ASSERT_NE(chunk, purgeable::no_chunk);
    region->data(chunk)[chunk_bytes - 1] = 'x';
  }
  const auto last = static_cast<std::uint32_t>(chunks - 1);
  EXPECT_EQ(region->pin(last, 0, 1), presence::absent);
  EXPECT_EQ(region->chunk_of(region->data(last)), last);
}

TEST(purgeable_region, tells_the_chunk_of_an_address) {
  const auto region = make_region(chunk_bytes, 3);
  ASSERT_NE(region, nullptr);
  for (std::uint32_t chunk = 0; chunk < 3; ++chunk) {
    EXPECT_EQ(region->chunk_of(region->data(chunk)), chunk);
    EXPECT_EQ(region->chunk_of(region->data(chunk) + chunk_bytes - 1), chunk);
  }
  EXPECT_EQ(region->chunk_of(region->data(0) - 1), purgeable::no_chunk);
  EXPECT_EQ(region->chunk_of(region->data(2) + chunk_bytes), purgeable::no_chunk);
  EXPECT_EQ(region->chunk_of(nullptr), purgeable::no_chunk);
}

// The ways to ask the kernel what became of pages, each alone.
class purgeable_sweep : public chunk_test, public ::testing::WithParamInterface<os::page_census> {
 protected:
  void SetUp() override {
    make(false);
    os::limit_census(GetParam());
  }
  void TearDown() override { os::limit_census(os::page_census::scan); }
};
INSTANTIATE_TEST_SUITE_P(by, purgeable_sweep,
                         ::testing::Values(os::page_census::scan, os::page_census::table, os::page_census::mincore),
                         [](const auto& each) {
                           return each.param == os::page_census::scan    ? "scan"
                                  : each.param == os::page_census::table ? "table"
                                                                         : "mincore";
                         });

TEST_P(purgeable_sweep, tells_each_lost_page_once) {
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(chunk, 2 * page, 1), presence::present);
  ASSERT_EQ(region->pin(chunk, 7 * page, 2 * page), presence::present);
  std::array<lost_range, 16> lost{};
  sweep_result result = region->sweep(lost, SIZE_MAX);
  EXPECT_EQ(result.ranges, 0U);
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.bytes_examined, chunk_bytes);

  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(read(0, 8), presence::lost);  // found by a read first
  result = region->sweep(lost, SIZE_MAX);
  ASSERT_EQ(result.ranges, 3U);
  const std::array<std::array<std::size_t, 2>, 3> expected = {{{0, 2}, {3, 4}, {9, pages - 9}}};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(lost[i].chunk, chunk);
    EXPECT_EQ(lost[i].offset, expected[i][0] * page);
    EXPECT_EQ(lost[i].bytes, expected[i][1] * page);
  }
  EXPECT_EQ(result.bytes_purged, (pages - 4) * page);
  EXPECT_EQ(region->state(chunk).lost_bytes, (pages - 3) * page);
  EXPECT_EQ(region->stats().resident_offered_bytes, 0U);
  EXPECT_EQ(region->stats().lost_pages, pages - 3);
  EXPECT_EQ(region->sweep(lost, SIZE_MAX).ranges, 0U);
  EXPECT_EQ(region->state(chunk).pins, 2U);
  region->unpin(chunk);
  region->unpin(chunk);
}

TEST_P(purgeable_sweep, is_bounded_and_goes_on_where_it_stopped) {
  std::set<std::uint32_t> expected;
  for (int i = 0; i < 10; ++i) {
    const std::uint32_t each = region->allocate();
    fill(region->data(each), chunk_bytes, 5);
    ASSERT_EQ(region->offer(each, chunk_bytes), offer_status::offered);
    if (i % 3 == 2) continue;
    purge(*region, each, chunk_bytes);
    expected.insert(each);
  }
  for (const std::size_t room : {std::size_t{1}, std::size_t{4}}) {
    std::set<std::uint32_t> seen;
    std::vector<lost_range> lost(room);
    int sweeps = 0;
    for (bool complete = false; !complete; ++sweeps) {
      ASSERT_LT(sweeps, 20);
      const sweep_result result = region->sweep(lost, 2 * chunk_bytes);
      EXPECT_LE(result.bytes_examined, 2 * chunk_bytes);
      for (std::size_t i = 0; i < result.ranges; ++i) {
        EXPECT_TRUE(seen.insert(lost[i].chunk).second);
        EXPECT_EQ(lost[i].bytes, chunk_bytes);
      }
      complete = result.complete;
    }
    if (room == 1) {
      EXPECT_EQ(seen, expected);
      EXPECT_GE(sweeps, 5);
    } else {
      EXPECT_TRUE(seen.empty());
    }
  }
  for (const std::uint32_t each : expected) EXPECT_EQ(region->state(each).state, chunk_state::purged);
}

TEST_P(purgeable_sweep, leaves_kept_and_freed_chunks_alone) {
  const std::uint32_t other = region->allocate();
  fill(region->data(other), chunk_bytes, 2);
  ASSERT_EQ(region->offer(other, chunk_bytes), offer_status::offered);
  purge(*region, other, chunk_bytes);
  region->free(other);
  std::array<lost_range, 4> lost{};
  EXPECT_EQ(region->sweep(lost, SIZE_MAX).ranges, 0U);
  EXPECT_EQ(region->sweep(lost, SIZE_MAX).bytes_examined, 0U);
  EXPECT_EQ(region->stats().purged_pages, 0U);
}

}  // namespace
}  // namespace scoot::testing
