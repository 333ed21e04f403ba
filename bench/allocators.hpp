// SPDX-License-Identifier: MIT
//
// What the heap benchmarks compare: Scoot through its public header, and whatever malloc the process was started
// with. Both offer the same calls:
//
//     void* allocate(size)   null when there is no memory
//     void free(block)
//     void give_back()       ask for unused memory to go back to the OS, in the allocator's own way
//     bytes_moved()          by which the mover moved blocks, counted in the mover itself
//     metadata_bytes()       held for bookkeeping outside of blocks' pages, where the allocator says so
//     pin(block)             keeps the block where it is, which a malloc does anyway
//     allocate_aligned(size, log2), reallocate(entry, size)   for replay; reallocate keeps entry.block up to date
//
// A malloc peer runs in a process of its own with LD_PRELOAD; `peers` says how each is named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "heap_table.hpp"
#include "scoot/heap.hpp"

namespace bench {

struct peer {
  std::string_view name;
  const char* library;  // for LD_PRELOAD; empty: none
  const char* symbol;   // which only this allocator has
};

inline constexpr peer peers[] = {
    {"glibc", "", ""},
    {"jemalloc", "libjemalloc.so.2", "mallctl"},
    {"mimalloc", "libmimalloc.so.2", "mi_collect"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "MallocExtension_ReleaseFreeMemory"},
};

// The name of the malloc that this process runs on, found by the symbols it exports.
std::string_view running_malloc() noexcept;

// How Scoot is set up; sizes in bytes.
struct scoot_setup {
  std::size_t budget = 0;
  double waste_target = 0;  // see heap_options
  std::size_t move_bytes_max = 0;
  std::size_t alignment = 8;  // of blocks of which no other is asked for
};

class malloc_allocator {
 public:
  explicit malloc_allocator(const scoot_setup& /*unused*/, block_entry* /*unused*/) noexcept {}
  [[nodiscard]] void* allocate(std::size_t size) noexcept { return std::malloc(size); }
  void free(void* block) noexcept { std::free(block); }
  void give_back() noexcept;
  [[nodiscard]] std::size_t bytes_moved() const noexcept { return 0; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return 0; }
  [[nodiscard]] bool pin(void* /*unused*/) noexcept { return true; }
  [[nodiscard]] void* allocate_aligned(std::size_t size, unsigned log2) noexcept;
  // False, and no change, if there is no memory.
  [[nodiscard]] bool reallocate(block_entry& entry, std::uint32_t size) noexcept;
  void describe() const noexcept {}
};

// Each block starts with its id (see block_table), by which the mover finds the one pointer to it.
class scoot_allocator {
 public:
  // Aborts if the heap cannot be made.
  scoot_allocator(const scoot_setup& setup, block_entry* entries) noexcept;
  [[nodiscard]] void* allocate(std::size_t size) noexcept { return heap_->allocate(kind_, size); }
  void free(void* block) noexcept { heap_->free(block); }
  void give_back() noexcept;
  [[nodiscard]] std::size_t bytes_moved() const noexcept { return mover_.bytes; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return pool_->stats().metadata_bytes; }
  [[nodiscard]] bool pin(void* block) noexcept { return heap_->pin(block); }
  // Alignments have kinds of their own, made when first asked for; above 4096, the most that a kind can have, as 4096.
  [[nodiscard]] void* allocate_aligned(std::size_t size, unsigned log2) noexcept;
  [[nodiscard]] bool reallocate(block_entry& entry, std::uint32_t size) noexcept;
  void describe() const noexcept;  // the heap's own statistics, to stderr

 private:
  struct mover_context {
    block_entry* entries = nullptr;
    std::size_t bytes = 0;
  };
  static scoot::verdict move(void* context, void* from, void* to, std::size_t size) noexcept;

  mover_context mover_;
  std::unique_ptr<scoot::page_pool> pool_;
  std::unique_ptr<scoot::heap> heap_;
  scoot::kind kind_;
  scoot::kind aligned_kinds_[13];
};

}  // namespace bench
