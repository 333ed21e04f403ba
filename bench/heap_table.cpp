// SPDX-License-Identifier: MIT
#include "heap_table.hpp"

#include <sys/mman.h>

#include <bit>
#include <cstdio>
#include <cstdlib>

namespace bench {
namespace {

template <class T>
T* map_touched(std::size_t count) noexcept {
  void* p = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) block_table::fail("no memory for the tables", 0);
  madvise(p, count * sizeof(T), MADV_HUGEPAGE);  // keeps the harness's cache and TLB misses out of the figures
  std::memset(p, 0xff, count * sizeof(T));
  return static_cast<T*>(p);
}

}  // namespace

block_table::block_table(std::size_t capacity) noexcept
    : capacity_(capacity),
      mask_(std::bit_ceil(capacity) - 1),
      entries_(map_touched<block_entry>(capacity)),
      order_(map_touched<std::uint32_t>(mask_ + 1)),
      spare_(map_touched<std::uint32_t>(capacity)),
      spares_(capacity) {
  for (std::size_t i = 0; i < capacity; ++i) spare_[i] = static_cast<std::uint32_t>(capacity - 1 - i);
}

block_table::~block_table() {
  munmap(entries_, capacity_ * sizeof *entries_);
  munmap(order_, (mask_ + 1) * sizeof *order_);
  munmap(spare_, capacity_ * sizeof *spare_);
}

void block_table::fail(const char* what, std::uint32_t id) noexcept {
  std::fprintf(stderr, "scoot-bench: %s (block %u)\n", what, id);
  std::_Exit(3);
}

}  // namespace bench
