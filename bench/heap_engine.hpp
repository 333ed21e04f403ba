// SPDX-License-Identifier: MIT
//
// Runs phases of a heap workload over one allocator and measures them.
//
// A phase is a loop of operations, each of which is one allocate (with its payload written) or one free (a sample of
// them verified first). After each phase all blocks are verified, untimed. What is measured:
// - CPU time of the whole loop (process CPU clock), less what sampling cost.
// - Every operation by itself, from before the allocator is called until the payload is written (allocate) or the
//   allocator returned (free). A free whose block was just verified is in the pauses but not in the mean. The time is
//   CPU time: by the tick counter where an operation is so short that it can't have lost the core, by the thread's CPU
//   clock where it is long. The clock is too slow to be read twice an operation, so it is read now and then between
//   two operations, and the ticks since then are counted on: that is CPU time as long as there was no gap in them.
// - What the process holds above the baseline, some dozens of times a phase.
// How samples count is up to the phase, see `counting`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <vector>

#include "allocators.hpp"
#include "clock.hpp"
#include "heap_table.hpp"
#include "process_memory.hpp"
#include "random.hpp"
#include "tools/histogram.hpp"

namespace bench {

using tools::histogram;

enum class counting : unsigned char {
  peak_only,  // samples count for the peak only: the heap is being filled or emptied
  plateau,    // live bytes stay at the target: every sample counts, as live / held
  refill,     // live bytes climb back to the target: worst = target / most held; steady = the sample at the end
  result,     // only the sample at the end counts, as steady and as worst
};

enum class victim : unsigned char { oldest, random, mixed };  // mixed: every other one of each

struct phase_result {
  const char* name = "";
  std::uint64_t operations = 0;
  std::uint64_t cpu_ns = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t moved_bytes = 0;
  std::size_t live_end = 0;
  std::size_t held_end = 0;
  std::size_t held_max = 0;
  double steady = 0;  // mean over the samples that count; 0: none
  double worst = 0;   // 0: none
};

// Sums over all phases of a run.
struct run_totals {
  std::uint64_t operations = 0;
  std::uint64_t cpu_ns = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t timed_operations = 0;
  std::uint64_t timed_ticks = 0;
  std::uint64_t preempted = 0;
  std::uint64_t retries = 0;
  std::uint64_t give_back_wall_ns = 0;
  double steady_sum = 0;
  std::uint64_t steady_samples = 0;
  double worst = 0;
  std::size_t peak = 0;
  double metadata_part = 0;  // most bookkeeping / live bytes of the samples that count for steady
};

template <class Allocator>
class heap_engine {
 public:
  struct setup {
    std::size_t target_bytes = 0;  // live bytes when full
    std::size_t capacity = 0;      // of the table
    std::uint64_t seed = 1;
    unsigned samples = 48;           // a phase
    std::uint32_t verify_every = 8;  // of the blocks freed, one in so many is verified before
    bool damage = false;             // spoil a byte of a block, to see that it is noticed
    scoot_setup scoot;
  };

  explicit heap_engine(const setup& s)
      : table_(s.capacity),
        random_(s.seed),
        target_(s.target_bytes),
        samples_per_phase_(s.samples),
        verify_limit_(UINT32_MAX / s.verify_every),
        damage_(s.damage) {
    phases_.reserve(16);
    held_bytes();  // what the first look costs is not the allocator's
    baseline_ = held_bytes();
    allocator_.emplace(s.scoot, table_.entries());
    read_clock();
  }

  // Allocates until the live bytes reach the target.
  void fill(const char* name, const size_distribution& sizes, counting how) {
    begin(name, how, target_ - std::min(target_, table_.live_bytes()));
    while (table_.live_bytes() < target_) allocate_one(sizes.draw(random_));
    end();
  }

  // Frees victims until at most `part` of the target is live.
  void empty(const char* name, double part) {
    const auto keep = static_cast<std::size_t>(part * static_cast<double>(target_));
    begin(name, counting::peak_only, table_.live_bytes() - std::min(keep, table_.live_bytes()));
    while (table_.live_bytes() > keep) free_one(table_.random(random_));
    end();
  }

  // Frees victims and allocates in their place until `volume` times the target has been allocated.
  void replace(const char* name, const size_distribution& sizes, victim who, double volume) {
    const auto work = static_cast<std::uint64_t>(volume * static_cast<double>(target_));
    begin(name, counting::plateau, 2 * work);
    bool oldest = who == victim::oldest;
    while (now_.allocated_bytes < work) {
      if (table_.live_bytes() < target_) {
        allocate_one(sizes.draw(random_));
      } else {
        free_one(oldest ? table_.oldest() : table_.random(random_));
        if (who == victim::mixed) oldest = !oldest;
      }
    }
    end();
  }

  // Asks the allocator for the memory back.
  void give_back(const char* name) {
    begin(name, counting::result, 1);
    const std::uint64_t start = wall_ns();
    allocator_->give_back();
    totals_.give_back_wall_ns += wall_ns() - start;
    end();
  }

  // Frees every block, untimed and verified.
  void finish() {
    while (table_.live_blocks() != 0) {
      table_.verify(table_.oldest());
      allocator_->free(table_.entry(table_.oldest()).block);
      table_.remove_oldest();
    }
  }

  // Held / live now.
  [[nodiscard]] double bloat() const {
    const std::size_t all = held_bytes();
    return static_cast<double>(all - std::min(all, baseline_)) / static_cast<double>(table_.live_bytes());
  }

  // What a long run needs now and then; the totals stay.
  void forget_phases() noexcept { phases_.clear(); }

  [[nodiscard]] const std::vector<phase_result>& phases() const noexcept { return phases_; }
  [[nodiscard]] const run_totals& totals() const noexcept { return totals_; }
  [[nodiscard]] const histogram& pauses() const noexcept { return pauses_; }
  [[nodiscard]] const tick_scale& scale() const noexcept { return scale_; }
  [[nodiscard]] const Allocator& allocator() const noexcept { return *allocator_; }
  [[nodiscard]] std::size_t target() const noexcept { return target_; }

 private:
  static constexpr std::uint64_t suspicious_ticks = 10'000;   // 3 to 5 us: enough for a switch to another process
  static constexpr std::uint64_t clock_age_ticks = 1U << 20;  // about 0.4 ms

  void allocate_one(std::uint32_t size) {
    const std::uint32_t id = table_.next_id();
    const std::uint64_t start = operation_begins();
    void* block = allocator_->allocate(size);
    if (block == nullptr) [[unlikely]]
      block = retry(size);
    block_table::write_payload(block, id, table_.nonce(), size);
    operation_done(start, ticks(), true);
    table_.add(block, size);
    now_.allocated_bytes += size;
    progress(size);
  }

  // The victim must be the oldest in the table (random() sees to it).
  void free_one(std::uint32_t id) {
    const block_entry e = table_.entry(id);
    // Verifying pulls the block into the cache, which an allocator may profit from that writes into free blocks. So it
    // is done for a sample only, and those frees are not timed by themselves.
    const bool verify = e.nonce * 0x9e3779b1U <= verify_limit_;
    if (verify) table_.verify(id);
    const std::uint64_t start = operation_begins();
    allocator_->free(e.block);
    operation_done(start, ticks(), !verify);
    table_.remove_oldest();
    progress(e.size);
  }

  // The budget was full for what one operation may do about it. The header's advice is to compact and try again.
  [[gnu::noinline]] void* retry(std::uint32_t size) {
    ++totals_.retries;
    allocator_->give_back();
    void* block = allocator_->allocate(size);
    if (block == nullptr) {
      allocator_->describe();
      block_table::fail("out of memory, even after compaction", 0);
    }
    return block;
  }

  std::uint64_t operation_begins() noexcept {
    const std::uint64_t now = ticks();
    if (now - gap_end_ <= suspicious_ticks && now - clock_ticks_ <= clock_age_ticks) [[likely]]
      return now;
    read_clock();
    return ticks();
  }

  void read_clock() noexcept {
    clock_ns_ = thread_cpu_ns();
    clock_ticks_ = gap_end_ = ticks();
  }

  void operation_done(std::uint64_t start, std::uint64_t stop, bool cold) noexcept {
    ++now_.operations;
    std::uint64_t took = stop - start;
    if (took > suspicious_ticks) [[unlikely]] {
      const double cpu = static_cast<double>(thread_cpu_ns() - clock_ns_) / scale_.ns_per_tick();
      const double before = static_cast<double>(start - clock_ticks_);
      const auto cpu_ticks = static_cast<std::uint64_t>(std::max(cpu - before, 0.0));
      if (cpu_ticks + suspicious_ticks / 2 < took) ++totals_.preempted;
      took = std::min(took, cpu_ticks);
      read_clock();
    } else {
      gap_end_ = stop;
    }
    const std::uint64_t net = took - std::min(took, scale_.overhead());
    pauses_.add(net);
    if (cold || verify_limit_ == UINT32_MAX) {
      totals_.timed_ticks += net;
      ++totals_.timed_operations;
    }
  }

  void begin(const char* name, counting how, std::uint64_t work_bytes) {
    now_ = phase_result{};
    now_.name = name;
    how_ = how;
    moved_before_ = allocator_->bytes_moved();
    work_done_ = 0;
    sample_step_ = std::max<std::uint64_t>(work_bytes / samples_per_phase_, 1);
    sample_next_ = sample_step_;
    sampling_ns_ = 0;
    steady_sum_ = 0;
    steady_samples_ = 0;
    cpu_start_ = cpu_ns();
  }

  void progress(std::uint64_t bytes) {
    work_done_ += bytes;
    if (work_done_ >= sample_next_) [[unlikely]] {
      const std::uint64_t start = cpu_ns();
      take_sample(false);
      sample_next_ += sample_step_;
      sampling_ns_ += cpu_ns() - start;
    }
  }

  void take_sample(bool last) {
    const std::size_t all = held_bytes();
    const std::size_t held = std::max<std::size_t>(all - std::min(all, baseline_), 1);
    now_.held_end = held;
    now_.held_max = std::max(now_.held_max, held);
    const double live = static_cast<double>(table_.live_bytes());
    double steady = 0;
    double worst = 0;
    switch (how_) {
      case counting::peak_only:
        break;
      case counting::plateau:
        steady = worst = live / static_cast<double>(held);
        break;
      case counting::refill:
        worst = static_cast<double>(target_) / static_cast<double>(held);
        if (last) steady = live / static_cast<double>(held);
        break;
      case counting::result:
        if (last) steady = worst = live / static_cast<double>(held);
        break;
    }
    if (steady > 0) {
      steady_sum_ += steady;
      ++steady_samples_;
    }
    if (steady > 0) {
      const double metadata = static_cast<double>(allocator_->metadata_bytes());
      totals_.metadata_part = std::max(totals_.metadata_part, metadata / live);
    }
    if (worst > 0) now_.worst = now_.worst == 0 ? worst : std::min(now_.worst, worst);
  }

  void end() {
    now_.cpu_ns = cpu_ns() - cpu_start_ - sampling_ns_;
    take_sample(true);
    now_.moved_bytes = allocator_->bytes_moved() - moved_before_;
    now_.live_end = table_.live_bytes();
    if (damage_) {
      const block_entry& e = table_.entry(table_.oldest());
      e.block[e.size - 1] ^= 1;
    }
    table_.verify_all();
    if (steady_samples_ != 0) now_.steady = steady_sum_ / static_cast<double>(steady_samples_);
    totals_.operations += now_.operations;
    totals_.cpu_ns += now_.cpu_ns;
    totals_.allocated_bytes += now_.allocated_bytes;
    totals_.steady_sum += steady_sum_;
    totals_.steady_samples += steady_samples_;
    totals_.peak = std::max(totals_.peak, now_.held_max);
    if (now_.worst > 0) totals_.worst = totals_.worst == 0 ? now_.worst : std::min(totals_.worst, now_.worst);
    phases_.push_back(now_);
  }

  block_table table_;
  random_source random_;
  histogram pauses_;
  tick_scale scale_;
  std::size_t target_;
  unsigned samples_per_phase_;
  std::uint32_t verify_limit_;
  bool damage_;
  std::size_t baseline_ = 0;
  std::optional<Allocator> allocator_;
  std::vector<phase_result> phases_;
  run_totals totals_;

  // The phase that runs.
  phase_result now_;
  counting how_ = counting::peak_only;
  std::uint64_t moved_before_ = 0;
  std::uint64_t work_done_ = 0;
  std::uint64_t sample_step_ = 1;
  std::uint64_t sample_next_ = 0;
  std::uint64_t sampling_ns_ = 0;
  std::uint64_t cpu_start_ = 0;
  double steady_sum_ = 0;
  std::uint64_t steady_samples_ = 0;
  std::uint64_t gap_end_ = 0;
  std::uint64_t clock_ns_ = 0;     // the thread's CPU clock ...
  std::uint64_t clock_ticks_ = 0;  // ... when the ticks were these
};

}  // namespace bench
