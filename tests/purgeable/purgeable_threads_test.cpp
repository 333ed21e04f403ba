// SPDX-License-Identifier: MIT
//
// Goal: under forced reclaim nothing that is pinned or was read as present is lost or torn, whatever the owner does.
// Method: threads pin and read chunks at random and compare every byte, while an owner offers, frees and fills them
// again and another thread has the kernel purge them all the time. A chunk's seed, which the owner publishes, tells its
// readers what must be in it; the seed is looked at again under the pin, as purgeable.hpp asks.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t chunk_bytes = 16 * kib;
constexpr std::uint32_t chunk_count = 24;
// At least so long, and until everything happened often enough; on a busy machine that takes longer.
constexpr auto duration_min = std::chrono::milliseconds(sanitized ? 1000 : 2000);
constexpr auto duration_max = std::chrono::seconds(60);

struct tally {
  std::atomic<std::uint64_t> pins{0}, reads{0}, lost{0}, absent{0}, offers{0}, frees{0}, ranges{0};
  std::atomic<std::uint64_t> broken{0};    // pinned or read as present, and not as it was written
  std::atomic<std::uint64_t> careless{0};  // read without asking whether it is there, and not as it was written

  [[nodiscard]] bool enough(bool with_careless) const {
    return pins > 1000 && reads > 1000 && lost > 100 && offers > 1000 && frees > 100 && ranges > 10 &&
           (careless > 10 || !with_careless);
  }
};

class race {
 public:
  // Careless readers would be stopped in guarded memory, and reported by ThreadSanitizer.
  race(purgeable& region, bool careless) : careless_(careless), region_(region) {
    for (std::uint32_t i = 0; i < chunk_count; ++i) renew(region_.allocate());
  }

  void owner() {
    std::mt19937 random(1);
    std::vector<lost_range> lost(8);
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint32_t chunk = random() % chunk_count;
      const bool there = seeds_[chunk].load(std::memory_order_relaxed) != 0;
      if (there && random() % 16 == 0) {
        seeds_[chunk].store(0, std::memory_order_seq_cst);
        region_.free(chunk);
        ++count_.frees;
        // Whichever comes, perhaps another one that was freed while it was pinned.
        for (;;) {
          const std::uint32_t next = region_.allocate();
          if (next == purgeable::no_chunk) break;
          renew(next);
        }
      } else if (there) {
        if (region_.offer(chunk, chunk_bytes) == offer_status::offered) ++count_.offers;
      }
      if (random() % 64 == 0) count_.ranges += region_.sweep(lost, chunk_bytes * 4).ranges;
    }
  }

  void reader(unsigned number) {
    std::mt19937 random(number);
    std::vector<char> copy(chunk_bytes);
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint32_t chunk = random() % chunk_count;
      const std::uint64_t seed = seeds_[chunk].load(std::memory_order_seq_cst);
      const std::size_t offset = random() % (chunk_bytes / 8) * 8;
      const std::size_t bytes = std::min<std::size_t>(random() % 700 * 8 + 8, chunk_bytes - offset);
      if (seed == 0) continue;
      const unsigned way = random() % 16;
      if (way == 0 && careless_) {
        // Shows that this test notices what purging does to those who do not ask.
        std::memcpy(copy.data(), region_.data(chunk) + offset, bytes);
        if (seeds_[chunk].load(std::memory_order_seq_cst) != seed) continue;
        if (!intact(copy.data(), offset, bytes, seed)) ++count_.careless;
      } else if (way < 8) {
        const presence answer = region_.pin(chunk, offset, bytes);
        count(answer, count_.pins);
        if (answer != presence::present) continue;
        for (int look = 0; look < 3 && seeds_[chunk].load(std::memory_order_seq_cst) == seed; ++look) {
          if (!intact(region_.data(chunk) + offset, offset, bytes, seed)) ++count_.broken;
        }
        region_.unpin(chunk);
      } else {
        const presence answer = region_.read_if_present(chunk, offset, bytes, copy.data());
        count(answer, count_.reads);
        if (answer != presence::present || seeds_[chunk].load(std::memory_order_seq_cst) != seed) continue;
        if (!intact(copy.data(), offset, bytes, seed)) ++count_.broken;
      }
    }
  }

  void reclaimer() {
    while (!stop_.load(std::memory_order_relaxed)) (void)os::reclaim(region_.data(0), chunk_bytes * chunk_count);
  }

  void run() {
    std::vector<std::thread> threads;
    threads.emplace_back([this] { owner(); });
    threads.emplace_back([this] { reclaimer(); });
    for (unsigned i = 0; i < 3; ++i) threads.emplace_back([this, i] { reader(i + 10); });
    const auto begin = std::chrono::steady_clock::now();
    const auto passed = [begin] { return std::chrono::steady_clock::now() - begin; };
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    } while (passed() < duration_min || (!enough() && passed() < duration_max));
    stop_ = true;
    for (std::thread& each : threads) each.join();
  }

  [[nodiscard]] bool enough() const { return count_.enough(careless_); }
  [[nodiscard]] const tally& counts() const { return count_; }

 private:
  void renew(std::uint32_t chunk) {
    const std::uint64_t seed = ++last_seed_;
    fill(region_.data(chunk), chunk_bytes, seed);
    seeds_[chunk].store(seed, std::memory_order_seq_cst);
  }
  void count(presence answer, std::atomic<std::uint64_t>& present) {
    if (answer == presence::present) ++present;
    if (answer == presence::lost) ++count_.lost;
    if (answer == presence::absent) ++count_.absent;
  }

  const bool careless_;
  purgeable& region_;
  std::atomic<std::uint64_t> seeds_[chunk_count] = {};
  std::uint64_t last_seed_ = 0;
  std::atomic<bool> stop_{false};
  tally count_;
};

class purgeable_threads : public purgeable_test, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(region, purgeable_threads, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "guarded" : "plain"; });

TEST_P(purgeable_threads, lose_and_tear_nothing_that_is_pinned_or_read_as_present) {
  const auto region = make_region(chunk_bytes, chunk_count, GetParam());
  ASSERT_NE(region, nullptr);
  if (GetParam() && !region->stats().guarded) GTEST_SKIP() << "no userfaultfd, or not all that is needed of it";
  race everything(*region, !GetParam() && !thread_sanitized);
  everything.run();
  const tally& n = everything.counts();
  std::printf(
      "%lu pins, %lu reads, %lu lost, %lu absent, %lu offers, %lu frees, %lu ranges swept, %lu careless reads broken\n",
      static_cast<unsigned long>(n.pins), static_cast<unsigned long>(n.reads), static_cast<unsigned long>(n.lost),
      static_cast<unsigned long>(n.absent), static_cast<unsigned long>(n.offers), static_cast<unsigned long>(n.frees),
      static_cast<unsigned long>(n.ranges), static_cast<unsigned long>(n.careless));
  EXPECT_EQ(n.broken, 0U);
  EXPECT_EQ(region->stats().pins, 0U);
  EXPECT_TRUE(everything.enough());
  for (std::uint32_t chunk = 0; chunk < chunk_count; ++chunk) {
    if (region->state(chunk).state != chunk_state::free) region->free(chunk);
  }
  const purgeable_stats stats = region->stats();
  EXPECT_EQ(stats.chunks, 0U);
  EXPECT_EQ(stats.offered_bytes, 0U);
  EXPECT_EQ(stats.touched_bytes, 0U);
  EXPECT_EQ(stats.purged_bytes, 0U);
}

}  // namespace
}  // namespace scoot::testing
