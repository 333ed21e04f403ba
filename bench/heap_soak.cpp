// SPDX-License-Identifier: MIT
//
// `scoot-bench soak`: the heap under a load that shifts at random, cycle after cycle. Each cycle goes through a phase
// of its own (other sizes, other order of freeing, sometimes nearly empty in between, sometimes compacted), and then
// comes back to the same load: all blocks replaced by ones of the reference sizes. What is held for that load must not
// depend on how long the heap has lived.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "heap_child.hpp"
#include "heap_engine.hpp"

namespace bench {
namespace {

constexpr double reference_mean = 300;
constexpr double mean_min = 40;  // of any load
constexpr double mean_max = 8000;
constexpr std::size_t cycles_max = 1U << 20;
constexpr std::size_t cycles_min = 7;  // the first is not counted; three at each end are compared
constexpr std::uint64_t progress_ns = 10'000'000'000U;
constexpr std::uint64_t progress_terminal_ns = 500'000'000U;

// A number in [0, 1).
double part(random_source& random) { return static_cast<double>(random.next() >> 11) * 0x1p-53; }

// Between low and high, all orders of magnitude alike.
double scale(random_source& random, double low, double high) { return low * std::pow(high / low, part(random)); }

size_distribution random_sizes(random_source& random) {
  const double mean = scale(random, mean_min, mean_max);
  switch (random.below(3)) {
    case 0:
      return size_distribution::lognormal(std::max(mean, 1.5 * mean_min), 0.5 + part(random));
    case 1:
      return size_distribution::uniform(size_distribution::size_min, static_cast<std::uint32_t>(2 * mean));
    default: {
      const auto size = static_cast<std::uint32_t>(mean);
      return size_distribution::uniform(size, size);
    }
  }
}

double median(std::vector<float> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return static_cast<double>(values[values.size() / 2]);
}

class soak {
 public:
  using engine = heap_engine<scoot_allocator>;

  explicit soak(const child_options& o) : options_(o), random_(o.seed), begin_(wall_ns()) {
    bloats_.assign(cycles_max, 0);  // touched before the heap is there
    engine::setup setup;
    setup.target_bytes = o.live_bytes;
    setup.capacity = static_cast<std::size_t>(static_cast<double>(o.live_bytes) / mean_min * 1.2) + 4096;
    setup.seed = o.seed;
    setup.samples = o.samples;
    setup.verify_every = o.verify_every;
    setup.scoot = o.setup;
    engine_ = new engine(setup);
  }

  int run() {
    const auto reference = size_distribution::lognormal(reference_mean, 1);
    const double end_s = options_.seconds;
    while ((seconds() < end_s || cycles_ < cycles_min) && cycles_ < cycles_max) {
      shift();
      engine_->fill("reference", reference, counting::peak_only);
      engine_->replace("reference", reference, victim::oldest, 1.1);
      engine_->replace("reference", reference, victim::random, 0.5);
      if (options_.damage) leak();
      bloats_[cycles_++] = static_cast<float>(engine_->bloat());
      for (const phase_result& p : engine_->phases())
        if (p.steady > 0 && p.allocated_bytes != 0) worst_ = std::min(worst_, p.worst);
      engine_->forget_phases();
      show_progress();
    }
    report();
    engine_->finish();
    std::printf("verified 1\n");
    return 0;
  }

 private:
  static constexpr victim victims[] = {victim::oldest, victim::random, victim::mixed};

  [[nodiscard]] double seconds() const { return static_cast<double>(wall_ns() - begin_) / 1e9; }

  void shift() {
    if (random_.below(3) == 0) engine_->empty("empty", 0.05 + 0.85 * part(random_));
    if (random_.below(4) == 0) engine_->give_back("give back");
    const size_distribution sizes = random_sizes(random_);
    engine_->fill("fill", sizes, counting::peak_only);
    engine_->replace("shift", sizes, victims[random_.below(3)], 0.3 + 1.5 * part(random_));
    if (random_.below(8) == 0) {
      engine_->empty("empty", 0.02);
      engine_->give_back("give back");
    }
  }

  // Loses one part in 32 of the live bytes, as a heap would that leaks.
  void leak() const {
    const std::size_t bytes = options_.live_bytes / 32;
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) block_table::fail("no memory to lose", 0);
    std::memset(p, 1, bytes);
  }

  // Medians of the first and of the last third of the cycles, the very first apart.
  [[nodiscard]] double third(bool last) const {
    const std::size_t n = cycles_ - 1;
    const std::size_t length = std::max<std::size_t>(n / 3, 1);
    const auto from = bloats_.begin() + static_cast<std::ptrdiff_t>(last ? cycles_ - length : 1);
    return median(std::vector<float>(from, from + static_cast<std::ptrdiff_t>(length)));
  }

  void show_progress() {
    static const bool terminal = isatty(STDERR_FILENO) != 0;
    const std::uint64_t now = wall_ns();
    if (cycles_ < 2 || now - shown_ < (terminal ? progress_terminal_ns : progress_ns)) return;
    shown_ = now;
    std::fprintf(stderr, "%ssoak %.1f of %.1f min  cycle %zu  bloat %.3f (first %.3f, last %.3f)%s",
                 terminal ? "\r\033[K" : "", seconds() / 60, options_.seconds / 60, cycles_,
                 static_cast<double>(bloats_[cycles_ - 1]), third(false), third(true), terminal ? "" : "\n");
  }

  void report() const {
    if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
    const run_totals& t = engine_->totals();
    const double us = engine_->scale().ns_per_tick() / 1000;
    const auto first = bloats_.begin() + 1;
    const auto last = bloats_.begin() + static_cast<std::ptrdiff_t>(cycles_);
    std::printf("cycles %zu\nseconds %.1f\n", cycles_, seconds());
    std::printf("bloat_first %.6f\nbloat_last %.6f\n", third(false), third(true));
    std::printf("bloat_min %.6f\nbloat_max %.6f\n", static_cast<double>(*std::min_element(first, last)),
                static_cast<double>(*std::max_element(first, last)));
    std::printf("utilisation_worst %.6f\n", worst_);
    std::printf("operations %llu\n", static_cast<unsigned long long>(t.operations));
    std::printf("retries %llu\n", static_cast<unsigned long long>(t.retries));
    std::printf("cpu_ns_per_op %.3f\n", static_cast<double>(t.cpu_ns) / static_cast<double>(t.operations));
    std::printf("moved_bytes_per_allocated_byte %.6f\n",
                static_cast<double>(engine_->allocator().bytes_moved()) / static_cast<double>(t.allocated_bytes));
    std::printf("pause_us_p9999 %.3f\n", static_cast<double>(engine_->pauses().quantile(0.9999)) * us);
    std::printf("pause_us_max %.3f\n", static_cast<double>(engine_->pauses().max()) * us);
  }

  const child_options& options_;
  random_source random_;
  std::uint64_t begin_;
  std::uint64_t shown_ = 0;
  std::vector<float> bloats_;
  std::size_t cycles_ = 0;
  double worst_ = 1;  // utilisation while blocks are replaced
  engine* engine_;
};

}  // namespace

int run_heap_soak(const child_options& options) { return (new soak(options))->run(); }

}  // namespace bench
