// SPDX-License-Identifier: MIT
//
// `scoot-bench replay`: a recorded trace over one allocator. Every block is written whole when it is allocated or
// grows, and checked when it is resized or freed.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>

#include "clock.hpp"
#include "heap_child.hpp"
#include "process_memory.hpp"
#include "replay_schedule.hpp"
#include "trace.hpp"

namespace bench {
namespace {

constexpr std::uint32_t size_min = sizeof(std::uint32_t);  // the mover needs the id
constexpr std::size_t budget_more = std::size_t{4} << 20;  // for small traces
constexpr double full_enough = 0.5;                        // of the peak: samples with less live do not count

template <class Allocator>
class replay {
 public:
  replay(const child_options& o, const trace& t) : options_(o), trace_(t), slots_(t.slots()) {
    const std::size_t count = std::size_t{o.copies} * slots_;
    void* p = mmap(nullptr, std::max<std::size_t>(count, 1) * sizeof(block_entry), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || count > std::numeric_limits<std::uint32_t>::max())
      block_table::fail("no memory for the tables", 0);
    madvise(p, count * sizeof(block_entry), MADV_HUGEPAGE);
    std::memset(p, 0, count * sizeof(block_entry));
    entries_ = static_cast<block_entry*>(p);
    forecast();
    held_bytes();  // what the first look costs is not the allocator's
    baseline_ = held_bytes();
    scoot_setup setup = o.setup;
    setup.budget = static_cast<std::size_t>(options_.volume * static_cast<double>(live_peak_)) + budget_more;
    allocator_.emplace(setup, entries_);
  }

  void run() {
    sample_step_ = std::max<std::uint64_t>(total_ / options_.samples, 1);
    const std::uint64_t start = cpu_ns();
    replay_schedule(
        trace_, options_.copies, [&](std::uint32_t copy, const trace_operation& o) { operate(copy, o); },
        [&](std::uint32_t copy) {
          for (std::uint32_t slot = 0; slot < slots_; ++slot)
            if (entries_[id_of(copy, slot)].block != nullptr) free_one(id_of(copy, slot));
        });
    cpu_ns_ = cpu_ns() - start - sampling_ns_;
    allocator_->give_back();
    left_ = held_now();
    if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  }

  void report() const {
    const double ops = static_cast<double>(done_);
    const double n = static_cast<double>(std::max<std::uint64_t>(counted_, 1));
    std::printf("utilisation_mean %.6f\nutilisation_worst %.6f\nutilisation_end %.6f\n", sum_ / n, worst_, last_);
    std::printf("peak_bytes %zu\npeak_live_bytes %zu\nleft_bytes %zu\n", held_max_, live_peak_, left_);
    std::printf("cpu_ns_per_op %.3f\noperations %.0f\n", static_cast<double>(cpu_ns_) / ops, ops);
    std::printf("moved_bytes %zu\n", allocator_->bytes_moved());
    std::printf(
        "moved_bytes_per_allocated_byte %.6f\n",
        static_cast<double>(allocator_->bytes_moved()) / static_cast<double>(std::max<std::uint64_t>(allocated_, 1)));
    std::printf("retries %llu\nverified 1\n", static_cast<unsigned long long>(retries_));
  }

 private:
  [[nodiscard]] std::uint32_t id_of(std::uint32_t copy, std::uint32_t slot) const noexcept {
    return copy * slots_ + slot;
  }
  static std::uint32_t size_of(const trace_operation& o) noexcept {
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(o.size, size_min));
  }
  static unsigned char pattern(std::uint32_t id) noexcept { return static_cast<unsigned char>(id * 0x9e3779b1U >> 24); }

  // Walks through without an allocator: how much will be live, and how many operations there will be.
  void forecast() {
    std::size_t live = 0;
    const auto put = [&](std::uint32_t id, std::uint32_t size) {
      live = live - entries_[id].size + size;
      entries_[id].size = size;
      live_peak_ = std::max(live_peak_, live);
      ++total_;
    };
    replay_schedule(
        trace_, options_.copies,
        [&](std::uint32_t copy, const trace_operation& o) {
          if (o.size > std::numeric_limits<std::uint32_t>::max()) block_table::fail("a block of 4 GiB or more", o.slot);
          put(id_of(copy, o.slot), o.kind == trace_operation::what::free ? 0 : size_of(o));
        },
        [&](std::uint32_t copy) {
          for (std::uint32_t slot = 0; slot < slots_; ++slot)
            if (entries_[id_of(copy, slot)].size != 0) put(id_of(copy, slot), 0);
        });
  }

  void operate(std::uint32_t copy, const trace_operation& o) {
    const std::uint32_t id = id_of(copy, o.slot);
    switch (o.kind) {
      case trace_operation::what::allocate:
        allocate_one(id, size_of(o), o.alignment_log2);
        break;
      case trace_operation::what::reallocate:
        resize_one(id, size_of(o));
        break;
      case trace_operation::what::free:
        free_one(id);
        break;
    }
  }

  void allocate_one(std::uint32_t id, std::uint32_t size, unsigned alignment_log2) {
    const auto get = [&] {
      return alignment_log2 == 0 ? allocator_->allocate(size) : allocator_->allocate_aligned(size, alignment_log2);
    };
    void* block = get();
    if (block == nullptr) {
      make_room();
      block = get();
      if (block == nullptr) fail_for_room(id);
    }
    entries_[id].block = static_cast<unsigned char*>(block);
    entries_[id].size = size;
    std::memset(block, pattern(id), size);
    std::memcpy(block, &id, sizeof id);
    live_ += size;
    allocated_ += size;
    operation_done();
  }

  void resize_one(std::uint32_t id, std::uint32_t size) {
    block_entry& e = entries_[id];
    verify(id);
    const std::uint32_t before = e.size;
    if (!allocator_->reallocate(e, size)) {
      make_room();
      if (!allocator_->reallocate(e, size)) fail_for_room(id);
    }
    if (size > before) std::memset(e.block + before, pattern(id), size - before);
    live_ = live_ - before + size;
    allocated_ += size > before ? size - before : 0;
    operation_done();
  }

  void free_one(std::uint32_t id) {
    verify(id);
    block_entry& e = entries_[id];
    allocator_->free(e.block);
    e.block = nullptr;
    live_ -= e.size;
    operation_done();
  }

  void verify(std::uint32_t id) const {
    const block_entry& e = entries_[id];
    if (std::memcmp(e.block, &id, sizeof id) != 0 || (e.size > size_min && e.block[e.size - 1] != pattern(id)))
      block_table::fail("a block does not hold what was written", id);
  }

  void make_room() {
    ++retries_;
    allocator_->give_back();
  }

  [[noreturn]] void fail_for_room(std::uint32_t id) const {
    allocator_->describe();
    block_table::fail("out of memory, even after compaction", id);
  }

  [[nodiscard]] std::size_t held_now() const {
    const std::size_t all = held_bytes();
    return all - std::min(all, baseline_);
  }

  void operation_done() {
    if (++done_ % sample_step_ != 0) return;
    const std::uint64_t start = cpu_ns();
    const std::size_t held = std::max<std::size_t>(held_now(), 1);
    held_max_ = std::max(held_max_, held);
    if (static_cast<double>(live_) >= full_enough * static_cast<double>(live_peak_)) {
      last_ = static_cast<double>(live_) / static_cast<double>(held);
      worst_ = counted_ == 0 ? last_ : std::min(worst_, last_);
      sum_ += last_;
      ++counted_;
    }
    if (isatty(STDERR_FILENO) != 0)
      std::fprintf(stderr, "\r\033[Kreplay %.*s  %s  %d %%", static_cast<int>(options_.file.size()),
                   options_.file.data(), options_.scoot ? "scoot" : running_malloc().data(),
                   static_cast<int>(100 * done_ / total_));
    sampling_ns_ += cpu_ns() - start;
  }

  const child_options& options_;
  const trace& trace_;
  std::uint32_t slots_;
  block_entry* entries_ = nullptr;
  std::size_t baseline_ = 0;
  std::optional<Allocator> allocator_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t sample_step_ = 1;
  std::uint64_t cpu_ns_ = 0;
  std::uint64_t sampling_ns_ = 0;
  std::uint64_t allocated_ = 0;
  std::uint64_t retries_ = 0;
  std::size_t live_ = 0;
  std::size_t live_peak_ = 0;
  std::size_t held_max_ = 0;
  std::size_t left_ = 0;
  std::uint64_t counted_ = 0;
  double sum_ = 0;
  double worst_ = 0;
  double last_ = 0;
};

template <class Allocator>
int run(const child_options& o, const trace& t) {
  auto& r = *new replay<Allocator>(o, t);
  r.run();
  r.report();
  return 0;
}

}  // namespace

int run_heap_replay(const child_options& options) {
  static trace t;
  std::string error;
  if (!t.load(std::string(options.file), error)) {
    std::fprintf(stderr, "scoot-bench: %s: %s\n", std::string(options.file).c_str(), error.c_str());
    return 3;
  }
  return options.scoot ? run<scoot_allocator>(options, t) : run<malloc_allocator>(options, t);
}

}  // namespace bench
