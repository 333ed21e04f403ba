// SPDX-License-Identifier: MIT
//
// Goal: whatever the OS refuses costs an answer that says so, and never content: the chunk is kept, or it is lost and
// said to be. Method: a scenario through everything a region does, run again and again with the Nth call of the OS
// failing, until none fails; and the refusals that there are in practice: no purging at all, and locked memory.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <string>

#include "purgeable/region.hpp"
#include "purgeable/trial.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t chunk_bytes = 32 * kib;

// Ends injection however the scope is left.
struct injection {
  explicit injection(std::uint64_t n) { os::fail_nth_call(n); }
  injection(const injection&) = delete;
  injection& operator=(const injection&) = delete;
  ~injection() { os::fail_nth_call(0); }
};

// What the child returned, or -1 if it did not end by itself.
int in_a_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) std::_Exit(work());
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// A region whose chunks are filled, offered, pinned, read, purged, swept and freed in turn. Says what was wrong with
// any answer, empty if nothing was; refusals are no wrong.
class scenario {
 public:
  explicit scenario(bool guarded) : guarded_(guarded) {}

  std::string run() {
    region_ = make_region(chunk_bytes, chunks, guarded_);
    if (region_ == nullptr) return "";
    for (int round = 0; round < 4 && wrong_.empty(); ++round) {
      for (std::uint32_t i = 0; i < chunks; ++i) take();
      for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
        if (seeds_[chunk] != 0) use(chunk, round);
      }
      std::array<lost_range, 3> lost{};
      for (int i = 0; i < 3; ++i) (void)region_->sweep(lost, 2 * chunk_bytes);
      for (std::uint32_t chunk = round % 2U; chunk < chunks; chunk += 2) {
        if (seeds_[chunk] == 0) continue;
        region_->free(chunk);
        seeds_[chunk] = 0;
      }
    }
    for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
      if (seeds_[chunk] != 0) region_->free(chunk);
    }
    const purgeable_stats stats = region_->stats();
    expect(stats.chunks + stats.offered_bytes + stats.touched_bytes + stats.purged_bytes + stats.pins == 0,
           "something is left");
    return wrong_;
  }

 private:
  static constexpr std::uint32_t chunks = 4;

  void expect(bool right, const char* what) {
    if (!right && wrong_.empty()) wrong_ = what;
  }

  void take() {
    const std::uint32_t chunk = region_->allocate();
    if (chunk == purgeable::no_chunk) return;
    expect(seeds_[chunk] == 0, "a chunk was allocated twice");
    const char* const data = region_->data(chunk);
    expect(data[0] == 0 && data[chunk_bytes - 1] == 0, "a new chunk is not zero");
    seeds_[chunk] = ++last_seed_;
    fill(region_->data(chunk), chunk_bytes, seeds_[chunk]);
  }

  void use(std::uint32_t chunk, int round) {
    const std::uint64_t seed = seeds_[chunk];
    const offer_status offered = region_->offer(chunk, chunk_bytes);
    expect(offered == offer_status::offered || offered == offer_status::refused,
           "an offer was neither made nor refused");
    const chunk_state state = region_->state(chunk).state;
    expect(offered == offer_status::offered || round > 0 || state == chunk_state::kept, "a refused offer was noted");
    if (region_->pin(chunk, 4096, 8192) == presence::present) {
      purge(*region_, chunk, chunk_bytes);
      expect(intact(region_->data(chunk) + 4096, 4096, 8192, seed), "pinned bytes were lost");
      region_->unpin(chunk);
    } else {
      expect(state != chunk_state::kept, "kept bytes were lost");
    }
    std::array<char, chunk_bytes> copy{};
    if (region_->read_if_present(chunk, 0, chunk_bytes, copy.data()) == presence::present) {
      expect(intact(copy.data(), 0, chunk_bytes, seed), "bytes were read that are not what was written");
    } else {
      expect(region_->state(chunk).lost_bytes != 0, "lost, but nothing is");
    }
  }

  const bool guarded_;
  const one_processor here_;
  std::unique_ptr<purgeable> region_;
  std::array<std::uint64_t, chunks> seeds_{};
  std::uint64_t last_seed_ = 0;
  std::string wrong_;
};

using purgeable_os_failure = purgeable_test;

class purgeable_os_failure_anywhere : public purgeable_test, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(region, purgeable_os_failure_anywhere, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "guarded" : "plain"; });

TEST_P(purgeable_os_failure_anywhere, loses_nothing_silently) {
  std::uint64_t n = 1;
  for (;; ++n) {
    const std::uint64_t before = os::calls_made();
    {
      const injection failing(n);
      scenario all(GetParam());
      ASSERT_EQ(all.run(), "") << "with call " << n << " of the OS failing";
    }
    if (os::calls_made() - before < n) break;
    ASSERT_LT(n, 2000U);
  }
  EXPECT_GT(n, 50U) << "the scenario calls the OS too seldom to test anything";
}

TEST_F(purgeable_os_failure, of_an_offer_leaves_the_chunk_kept_and_counted_as_ours) {
  const auto region = make_region(chunk_bytes, 2);
  ASSERT_NE(region, nullptr);
  const std::uint32_t chunk = region->allocate();
  fill(region->data(chunk), chunk_bytes, 1);
  {
    const injection failing(1);
    EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::refused);
  }
  EXPECT_EQ(region->state(chunk).state, chunk_state::kept);
  EXPECT_EQ(region->stats().kept_bytes, chunk_bytes);
  EXPECT_EQ(region->stats().offered_bytes, 0U);
  EXPECT_EQ(region->stats().touched_bytes, 0U);
  EXPECT_EQ(region->stats().offers_refused, 1U);
  purge(*region, chunk, chunk_bytes);
  EXPECT_TRUE(intact(region->data(chunk), 0, chunk_bytes, 1));
  region->data(chunk)[0] = 'x';  // still the owner's to write to
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  {
    const injection failing(1);
    EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::refused);
  }
  EXPECT_EQ(region->state(chunk).touched_bytes, chunk_bytes);  // the earlier offer was undone
  purge(*region, chunk, chunk_bytes);
  EXPECT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  region->unpin(chunk);
}

TEST_F(purgeable_os_failure, of_giving_memory_back_never_hands_out_what_was_offered_before) {
  const auto region = make_region(chunk_bytes, 1);
  ASSERT_NE(region, nullptr);
  const std::uint32_t chunk = region->allocate();
  fill(region->data(chunk), chunk_bytes, 1);
  ASSERT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  {
    const injection failing(1);
    region->free(chunk);
  }
  {
    const injection failing(1);
    EXPECT_EQ(region->allocate(), purgeable::no_chunk);
  }
  ASSERT_EQ(region->allocate(), chunk);
  EXPECT_EQ(region->data(chunk)[0], 0);
}

// The trial of what the kernel does, with each of its calls failing: never more is claimed than was seen.
TEST_F(purgeable_os_failure, in_the_trial_claims_nothing_that_was_not_seen) {
  const one_processor here;
  std::array<int, 3> found{};
  for (std::uint64_t n = 1;; ++n) {
    ASSERT_LT(n, 100U);
    const std::uint64_t before = os::calls_made();
    const injection failing(n);
    const purge_support support = purging::try_out_kernel();
    ++found[static_cast<std::size_t>(support)];
    if (os::calls_made() - before < n) {
      EXPECT_EQ(support, purge_support::seen);
      break;
    }
  }
  EXPECT_EQ(found[static_cast<std::size_t>(purge_support::refused)], 4);   // reserve, make usable, children, offer
  EXPECT_EQ(found[static_cast<std::size_t>(purge_support::accepted)], 1);  // reclaim
}

TEST(purgeable_without_support, keeps_what_is_offered_and_says_so) {
  purging::region region(chunk_bytes, 4, purge_support::refused);
  ASSERT_TRUE(region.reserve(false));
  purgeable& p = region;
  const std::uint32_t chunk = p.allocate();
  ASSERT_NE(chunk, purgeable::no_chunk);
  fill(p.data(chunk), chunk_bytes, 1);
  EXPECT_EQ(p.offer(chunk, chunk_bytes), offer_status::refused);
  EXPECT_EQ(p.state(chunk).state, chunk_state::kept);
  EXPECT_EQ(p.stats().offers_refused, 1U);
  EXPECT_EQ(p.stats().kept_bytes, chunk_bytes);
  purge(p, chunk, chunk_bytes);
  std::array<char, chunk_bytes> copy{};
  EXPECT_EQ(p.read_if_present(chunk, 0, chunk_bytes, copy.data()), presence::present);
  EXPECT_TRUE(intact(copy.data(), 0, chunk_bytes, 1));
  EXPECT_EQ(p.pin(chunk, 0, chunk_bytes), presence::present);
  p.unpin(chunk);
  std::array<lost_range, 2> lost{};
  EXPECT_EQ(p.sweep(lost, SIZE_MAX).ranges, 0U);
  p.free(chunk);
}

TEST_F(purgeable_os_failure, of_locked_memory_refuses_the_offer) {
  if (sanitized) GTEST_SKIP() << "sanitizers do nothing when memory is locked";
  const auto region = make_region(chunk_bytes, 2);
  ASSERT_NE(region, nullptr);
  const std::uint32_t chunk = region->allocate();
  fill(region->data(chunk), chunk_bytes, 1);
  if (mlock(region->data(chunk), chunk_bytes) != 0) GTEST_SKIP() << "locking memory is not permitted";
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::refused);
  EXPECT_EQ(region->state(chunk).state, chunk_state::kept);
  ASSERT_EQ(munlock(region->data(chunk), chunk_bytes), 0);
  // Half of it locked: the kernel may have taken the other half before it came to that.
  ASSERT_EQ(mlock(region->data(chunk) + chunk_bytes / 2, chunk_bytes / 2), 0);
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::refused);
  purge(*region, chunk, chunk_bytes / 2);
  EXPECT_EQ(region->pin(chunk, 0, chunk_bytes), presence::present);
  EXPECT_TRUE(intact(region->data(chunk), 0, chunk_bytes, 1));
  region->unpin(chunk);
  ASSERT_EQ(munlock(region->data(chunk), chunk_bytes), 0);
}

TEST_F(purgeable_os_failure, where_all_memory_is_locked_regions_are_not) {
  if (sanitized) GTEST_SKIP() << "sanitizers do nothing when memory is locked";
  constexpr int not_permitted = 100;
  // In a child: what is locked from now on stays locked in this process otherwise.
  const int answer = in_a_child([] {
    const one_processor here;
    if (mlockall(MCL_FUTURE) != 0) return not_permitted;
    const auto region = make_region(chunk_bytes, 2);
    if (region == nullptr) return 1;
    const std::uint32_t chunk = region->allocate();
    fill(region->data(chunk), chunk_bytes, 1);
    if (region->offer(chunk, chunk_bytes) != offer_status::offered) return 2;
    purge(*region, chunk, chunk_bytes);
    return region->pin(chunk, 0, 8) == presence::lost ? 0 : 3;
  });
  if (answer == not_permitted) GTEST_SKIP() << "locking memory is not permitted";
  EXPECT_EQ(answer, 0);
}

TEST_F(purgeable_os_failure, a_forked_child_has_no_region_and_does_no_harm_to_the_parents) {
  const one_processor here;
  auto region = make_region(chunk_bytes, 4);
  ASSERT_NE(region, nullptr);
  const std::uint32_t offered = region->allocate();
  const std::uint32_t kept = region->allocate();
  fill(region->data(offered), chunk_bytes, 1);
  fill(region->data(kept), chunk_bytes, 2);
  ASSERT_EQ(region->offer(offered, chunk_bytes), offer_status::offered);
  ASSERT_EQ(region->pin(offered, 0, 4096), presence::present);
  EXPECT_EQ(in_a_child([&] {
              char byte = 0;
              if (region->pin(kept, 0, 1) != presence::absent) return 1;
              if (region->read_if_present(offered, 0, 1, &byte) != presence::absent) return 2;
              if (region->offer(kept, chunk_bytes) != offer_status::absent) return 3;
              if (region->allocate() != purgeable::no_chunk) return 4;
              if (region->state(kept).state != chunk_state::free) return 5;
              std::array<lost_range, 2> lost{};
              if (region->sweep(lost, SIZE_MAX).bytes_examined != 0) return 6;
              // What the child puts where the region was is the child's.
              void* const mine = mmap(region->data(0), 4 * chunk_bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
              if (mine == MAP_FAILED) return 7;
              std::memset(mine, 'm', 4 * chunk_bytes);
              region.reset();
              if (static_cast<char*>(mine)[2 * chunk_bytes] != 'm') return 8;
              // And it can have a region of its own.
              const auto own = make_region(chunk_bytes, 1);
              if (own == nullptr) return 9;
              const std::uint32_t chunk = own->allocate();
              fill(own->data(chunk), chunk_bytes, 3);
              if (own->offer(chunk, chunk_bytes) != offer_status::offered) return 10;
              return intact(own->data(chunk), 0, chunk_bytes, 3) ? 0 : 11;
            }),
            0);
  EXPECT_EQ(region->state(offered).pins, 1U);
  // A page that a child shared could not be purged.
  purge(*region, offered, chunk_bytes);
  EXPECT_EQ(region->pin(offered, 4096, 4096), presence::lost);
  EXPECT_TRUE(intact(region->data(offered), 0, 4096, 1));
  EXPECT_TRUE(intact(region->data(kept), 0, chunk_bytes, 2));
  region->unpin(offered);
}

TEST_F(purgeable_os_failure, while_a_child_lives_the_parents_pages_can_still_be_purged) {
  const one_processor here;
  const auto region = make_region(chunk_bytes, 1);
  ASSERT_NE(region, nullptr);
  const std::uint32_t chunk = region->allocate();
  fill(region->data(chunk), chunk_bytes, 1);
  int wait_for[2];
  ASSERT_EQ(pipe(wait_for), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(wait_for[1]);
    char byte = 0;
    (void)!read(wait_for[0], &byte, 1);
    std::_Exit(0);
  }
  close(wait_for[0]);
  EXPECT_EQ(region->offer(chunk, chunk_bytes), offer_status::offered);
  purge(*region, chunk, chunk_bytes);
  std::array<lost_range, 2> lost{};
  EXPECT_EQ(region->sweep(lost, SIZE_MAX).bytes_purged, chunk_bytes);
  close(wait_for[1]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace scoot::testing
