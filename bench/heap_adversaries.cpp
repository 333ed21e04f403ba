// SPDX-License-Identifier: MIT
//
// Programs that are made to waste memory: they look at the addresses of their blocks and keep those alive that obstruct
// most. Measured is the most held / the most live.
//
// robson       Robson's program P_R (J. M. Robson, "Bounds for some functions concerning dynamic storage allocation",
//              J. ACM 21, 1974), which forces every allocator that does not move to hold about 1/2 log2(n) times what
//              is live, n being the largest size over the smallest. Fill with blocks of the smallest size. For each
//              size s, doubling: a block is kept if it covers an address congruent to f modulo s, where f is the last
//              f, or that and s / 2 more, whichever leaves more free space that is no use for blocks of s; all others
//              are freed; fill up with blocks of s.
// survivors-C  For each size, doubling, up to C: fill up with it, then keep one block of each stretch of C bytes and
//              free all others. With C = 4 KiB every OS page keeps a block.
// pinned-C     The same with survivors that are pinned, which a program should not do.
//
// Where blocks move, the program looks at the addresses anew before it decides.
#include <sys/mman.h>

#include <bit>
#include <cstdio>
#include <cstring>
#include <optional>

#include "clock.hpp"
#include "heap_child.hpp"
#include "process_memory.hpp"

namespace bench {
namespace {

constexpr std::uint32_t size_min = 16;
constexpr std::uint32_t robson_size_max = 64U << 10;
constexpr unsigned samples_a_fill = 8;

template <class T>
T* map_touched(std::size_t count) {
  void* p = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) block_table::fail("no memory for the tables", 0);
  madvise(p, count * sizeof(T), MADV_HUGEPAGE);
  std::memset(p, 0, count * sizeof(T));
  return static_cast<T*>(p);
}

// A set of stretches of address space, by number.
class stretch_set {
 public:
  explicit stretch_set(std::size_t stretches_max)
      : capacity_(std::bit_ceil(2 * stretches_max)), slots_(map_touched<std::uintptr_t>(capacity_)) {}

  // False if it is there already.
  bool insert(std::uintptr_t stretch) {
    std::size_t at = static_cast<std::size_t>(stretch * 0x9e3779b97f4a7c15U >> 20) & (capacity_ - 1);
    while (slots_[at] != 0) {
      if (slots_[at] == stretch) return false;
      at = (at + 1) & (capacity_ - 1);
    }
    if (++used_ > capacity_ - capacity_ / 4) block_table::fail("blocks in more stretches than was thought possible", 0);
    slots_[at] = stretch;
    return true;
  }

  void clear() {
    std::memset(slots_, 0, capacity_ * sizeof *slots_);
    used_ = 0;
  }

 private:
  std::size_t capacity_;
  std::uintptr_t* slots_;
  std::size_t used_ = 0;
};

template <class Allocator>
class adversary {
 public:
  explicit adversary(const child_options& o)
      : live_max_(o.live_bytes),
        capacity_(o.live_bytes / size_min + 1),
        entries_(map_touched<block_entry>(capacity_)),
        kept_(stretches_max(o)) {
    held_bytes();  // what the first look costs is not the allocator's
    baseline_ = held_bytes();
    allocator_.emplace(o.setup, entries_);
  }

  void robson() {
    fill(size_min);
    std::uintptr_t f = 0;
    for (std::uint32_t size = 2 * size_min; size <= robson_size_max; size *= 2) {
      if (obstruction(f + size / 2, size) > obstruction(f, size)) f += size / 2;
      for (std::uint32_t id = 0; id < ids_; ++id)
        if (entries_[id].block != nullptr && !occupies(entries_[id], f, size)) free_one(id);
      fill(size);
    }
  }

  void survivors(std::size_t stretch, bool pinned) {
    for (std::uint32_t size = size_min; size <= stretch; size *= 2) {
      fill(size);
      kept_.clear();
      for (std::uint32_t id = 0; id < ids_; ++id) {
        block_entry& e = entries_[id];
        if (e.block == nullptr) continue;
        const bool first = kept_.insert(reinterpret_cast<std::uintptr_t>(e.block) / stretch);
        if (e.nonce == pin_mark) continue;
        if (!first) {
          free_one(id);
        } else if (pinned) {
          if (!allocator_->pin(e.block)) block_table::fail("no memory to note a pin", id);
          e.nonce = pin_mark;
        }
      }
    }
  }

  void report() const {
    for (std::uint32_t id = 0; id < ids_; ++id)
      if (entries_[id].block != nullptr) verify(id);
    std::printf("waste %.6f\n", static_cast<double>(held_max_) / static_cast<double>(live_peak_));
    std::printf("peak_bytes %zu\npeak_live_bytes %zu\n", held_max_, live_peak_);
    std::printf("cpu_ns_per_op %.3f\n", static_cast<double>(cpu_ns()) / static_cast<double>(operations_));
    std::printf("operations %llu\nverified 1\n", static_cast<unsigned long long>(operations_));
  }

 private:
  static constexpr std::uint32_t pin_mark = 1;

  // Blocks lie in as many stretches as are held at most. 12 times what is live is more than any allocator wastes here.
  static std::size_t stretches_max(const child_options& o) { return 12 * o.live_bytes / 4096; }

  static bool occupies(const block_entry& e, std::uintptr_t f, std::uint32_t size) {
    const auto at = reinterpret_cast<std::uintptr_t>(e.block);
    return (f - at) % size < e.size;
  }

  // Bytes that the blocks to be kept for this f make useless for blocks of this size.
  [[nodiscard]] std::uint64_t obstruction(std::uintptr_t f, std::uint32_t size) const {
    std::uint64_t sum = 0;
    for (std::uint32_t id = 0; id < ids_; ++id)
      if (entries_[id].block != nullptr && occupies(entries_[id], f, size)) sum += size - entries_[id].size;
    return sum;
  }

  void fill(std::uint32_t size) {
    const std::size_t step = std::max<std::size_t>((live_max_ - live_) / samples_a_fill, size);
    std::size_t sample_next = live_ + step;
    for (std::uint32_t id = 0; live_ + size <= live_max_; ++id) {
      while (id < ids_ && entries_[id].block != nullptr) ++id;
      if (id == capacity_) block_table::fail("more live blocks than the table was made for", id);
      allocate_one(id, size);
      if (live_ < sample_next) continue;
      sample();
      sample_next += step;
    }
    sample();
  }

  void allocate_one(std::uint32_t id, std::uint32_t size) {
    void* block = allocator_->allocate(size);
    if (block == nullptr) {
      allocator_->give_back();
      block = allocator_->allocate(size);
      if (block == nullptr) {
        allocator_->describe();
        block_table::fail("out of memory, even after compaction", id);
      }
    }
    block_table::write_payload(block, id, 0, size);
    entries_[id] = {static_cast<unsigned char*>(block), size, 0};
    if (id == ids_) ++ids_;
    live_ += size;
    ++operations_;
  }

  void free_one(std::uint32_t id) {
    block_entry& e = entries_[id];
    verify(id);
    allocator_->free(e.block);
    e.block = nullptr;
    live_ -= e.size;
    ++operations_;
  }

  void verify(std::uint32_t id) const {
    block_entry e = entries_[id];
    e.nonce = 0;
    block_table::verify_payload(e, id);
  }

  void sample() {
    const std::size_t all = held_bytes();
    held_max_ = std::max(held_max_, all - std::min(all, baseline_));
    live_peak_ = std::max(live_peak_, live_);
  }

  std::size_t live_max_;
  std::size_t capacity_;
  block_entry* entries_;
  stretch_set kept_;
  std::size_t baseline_ = 0;
  std::optional<Allocator> allocator_;
  std::uint32_t ids_ = 0;  // ids below this have been used
  std::size_t live_ = 0;
  std::size_t live_peak_ = 0;
  std::size_t held_max_ = 0;
  std::uint64_t operations_ = 0;
};

template <class Allocator>
int run(const child_options& o) {
  auto& a = *new adversary<Allocator>(o);
  if (o.workload == "robson") {
    a.robson();
  } else if (o.workload == "survivors-4K") {
    a.survivors(4U << 10, false);
  } else if (o.workload == "survivors-64K") {
    a.survivors(64U << 10, false);
  } else if (o.workload == "pinned-64K") {
    a.survivors(64U << 10, true);
  } else {
    return 2;
  }
  a.report();
  return 0;
}

}  // namespace

int run_heap_adversary(const child_options& options) {
  return options.scoot ? run<scoot_allocator>(options) : run<malloc_allocator>(options);
}

}  // namespace bench
