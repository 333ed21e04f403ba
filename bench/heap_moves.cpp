// SPDX-License-Identifier: MIT
//
// `scoot-bench moves`: what it costs the heap to move a block, beside a memcpy of the same blocks.
//
// Blocks of one size fill a heap much larger than the caches; a random half of them is freed; compact() moves a
// quarter. The mover copies the block and updates the one pointer to it, in a table. Then the heap is gone, and the
// same copies, from the same to the same places, are made by memcpy in memory that is resident: in the order in which
// the heap made them, and in random order. Before each, the caches are filled with other memory.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "clock.hpp"
#include "heap_child.hpp"

namespace bench {
namespace {

// A copy that the heap made.
struct copy {
  unsigned char* from;
  unsigned char* to;
};

struct mover_context {
  unsigned char** pointers = nullptr;  // by id: the one pointer to the block
  copy* copies = nullptr;
  std::size_t count = 0;
};

scoot::verdict move_block(void* context, void* from, void* to, std::size_t size) noexcept {
  auto* self = static_cast<mover_context*>(context);
  std::uint32_t id = 0;
  std::memcpy(&id, from, sizeof id);
  std::memcpy(to, from, size);
  self->pointers[id] = static_cast<unsigned char*>(to);
  return scoot::verdict::moved;
}

scoot::verdict record_move(void* context, void* from, void* to, std::size_t size) noexcept {
  auto* self = static_cast<mover_context*>(context);
  self->copies[self->count++] = {static_cast<unsigned char*>(from), static_cast<unsigned char*>(to)};
  return move_block(context, from, to, size);
}

template <class T>
T* map_touched(std::size_t count) {
  void* p = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) block_table::fail("no memory for the tables", 0);
  std::memset(p, 1, count * sizeof(T));
  return static_cast<T*>(p);
}

class moves_run {
 public:
  explicit moves_run(const child_options& o)
      : options_(o),
        blocks_(o.live_bytes / o.block_bytes),
        pointers_(map_touched<unsigned char*>(blocks_)),
        copies_(map_touched<copy>(blocks_ / 2 + 1)),
        other_bytes_(o.live_bytes),
        other_(map_touched<unsigned char>(other_bytes_)),
        ids_(map_touched<std::uint32_t>(blocks_)) {
    random_source random(o.seed + 1);
    for (std::size_t i = 0; i < blocks_; ++i) ids_[i] = static_cast<std::uint32_t>(i);
    for (std::size_t i = blocks_ - 1; i > 0; --i)
      std::swap(ids_[i], ids_[random.below(static_cast<std::uint32_t>(i + 1))]);
  }

  int run() {
    scoot::compaction done = compact(&move_block);
    const double ns = compact_ns_;
    if (compact(&record_move).blocks_moved != done.blocks_moved || moved_.count != done.blocks_moved)
      block_table::fail("the same compaction again was another one", 0);
    const double count = static_cast<double>(done.blocks_moved);
    const double in_order = copy_all();
    random_source random(options_.seed);
    for (std::size_t i = moved_.count - 1; i > 0; --i)
      std::swap(copies_[i], copies_[random.below(static_cast<std::uint32_t>(i + 1))]);
    const double at_random = copy_all();
    const double giving_back = give_back(done.bytes_given_back);
    std::printf("blocks_moved %zu\nbytes_moved %zu\nbytes_given_back %zu\n", done.blocks_moved, done.bytes_moved,
                done.bytes_given_back);
    std::printf("give_back_ns %.3f\n", giving_back / count);
    std::printf("move_ns %.3f\nmemcpy_random_ns %.3f\nmemcpy_in_order_ns %.3f\nverified 1\n", ns / count,
                at_random / count, in_order / count);
    return 0;
  }

 private:
  // Fills a heap, frees half, compacts; compact_ns_ is the CPU time of the last.
  scoot::compaction compact(scoot::mover mover) {
    scoot::page_pool_options pool_options;
    pool_options.budget_bytes = options_.live_bytes + options_.live_bytes / 8 + (std::size_t{8} << 20);
    const auto pool = scoot::page_pool::create(pool_options);
    page_bytes_ = pool == nullptr ? 0 : pool->page_bytes();
    scoot::heap_options heap_options;
    heap_options.waste_target = 1;  // nothing moves before we ask
    const auto heap = pool == nullptr ? nullptr : scoot::heap::create(*pool, heap_options);
    moved_ = {pointers_, copies_, 0};
    scoot::kind_options kind_options;
    kind_options.move = mover;
    kind_options.context = &moved_;
    const scoot::kind kind = heap == nullptr ? scoot::kind{} : heap->add_kind(kind_options);
    if (!kind) block_table::fail("cannot make a heap", 0);
    for (std::uint32_t i = 0; i < blocks_; ++i) {
      const std::uint32_t id = ids_[i];
      void* block = heap->allocate(kind, options_.block_bytes);
      if (block == nullptr) block_table::fail("out of memory", id);
      block_table::write_payload(block, id, 0, options_.block_bytes);
      pointers_[id] = static_cast<unsigned char*>(block);
    }
    random_source random(options_.seed);
    for (std::uint32_t id = 0; id < blocks_; ++id) {
      if ((random.next() & 1) == 0) continue;
      heap->free(pointers_[id]);
      pointers_[id] = nullptr;
    }
    fill_caches();
    const std::uint64_t start = cpu_ns();
    const scoot::compaction done = heap->compact();
    compact_ns_ = static_cast<double>(cpu_ns() - start);
    for (std::uint32_t id = 0; id < blocks_; ++id)
      if (pointers_[id] != nullptr) block_table::verify_payload({pointers_[id], options_.block_bytes, 0}, id);
    return done;
  }

  // Makes the recorded copies, in memory of our own, in the order of copies_. Returns the CPU time.
  double copy_all() {
    if (arena_ == nullptr) {
      unsigned char* low = copies_[0].from;
      unsigned char* high = low;
      for (std::size_t i = 0; i < moved_.count; ++i) {
        low = std::min({low, copies_[i].from, copies_[i].to});
        high = std::max({high, copies_[i].from, copies_[i].to});
      }
      arena_ = map_touched<unsigned char>(static_cast<std::size_t>(high - low) + options_.block_bytes);
      for (std::size_t i = 0; i < moved_.count; ++i) {
        copies_[i].from = arena_ + (copies_[i].from - low);
        copies_[i].to = arena_ + (copies_[i].to - low);
      }
    }
    fill_caches();
    const std::size_t size = options_.block_bytes;
    const std::uint64_t start = cpu_ns();
    for (std::size_t i = 0; i < moved_.count; ++i) std::memcpy(copies_[i].to, copies_[i].from, size);
    return static_cast<double>(cpu_ns() - start);
  }

  // What it costs to give so many resident bytes to the OS, page by page as the pool does. Returns the CPU time.
  double give_back(std::size_t bytes) {
    unsigned char* memory = map_touched<unsigned char>(bytes);
    const std::uint64_t start = cpu_ns();
    for (std::size_t at = 0; at < bytes; at += page_bytes_)
      madvise(memory + at, std::min(page_bytes_, bytes - at), MADV_DONTNEED);
    return static_cast<double>(cpu_ns() - start);
  }

  void fill_caches() {
    unsigned sum = 0;
    for (std::size_t i = 0; i < other_bytes_; i += 64) sum += other_[i]++;
    sink_ = sum;
  }

  const child_options& options_;
  std::size_t blocks_;
  unsigned char** pointers_;
  copy* copies_;
  std::size_t other_bytes_;
  unsigned char* other_;
  std::uint32_t* ids_;  // in the order of allocation: a block's neighbour has a pointer far from its own
  unsigned char* arena_ = nullptr;
  mover_context moved_;
  std::size_t page_bytes_ = 0;
  double compact_ns_ = 0;
  volatile unsigned sink_ = 0;
};

}  // namespace

int run_moves(const child_options& options) { return (new moves_run(options))->run(); }

}  // namespace bench
