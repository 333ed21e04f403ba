// SPDX-License-Identifier: MIT
//
// metadata_arena: memory for the bookkeeping of a page pool and its heaps, charged to the budget like everything else.
//
// Sizes are rounded to 64 bytes, above 1 KiB to a quarter of a doubling; freed memory is kept by size for reuse. Kept
// apart from the pages because it never moves, and so that the bookkeeping of many pages shares few cache and TLB
// lines.
//
// Threads: guarded by the pool's lock. Failure: null. Memory returned is not cleared.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot {

class budget;

class metadata_arena {
 public:
  // Prepares to charge to the budget, in steps of `reserve_bytes` of address space. Holds nothing yet.
  metadata_arena(budget& charged, std::size_t reserve_bytes) noexcept
      : budget_(charged), reserve_bytes_(reserve_bytes) {}
  ~metadata_arena();
  metadata_arena(const metadata_arena&) = delete;
  metadata_arena& operator=(const metadata_arena&) = delete;

  // Memory aligned to 64 bytes.
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;
  void free(void* memory, std::size_t bytes) noexcept;

  // Charged to the budget by the arena, free lists included.
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_; }
  [[nodiscard]] std::size_t reserve_bytes() const noexcept { return reserve_bytes_; }

 private:
  struct free_node {
    free_node* next;
  };
  struct chunk {
    char* base;
    std::size_t bytes;
  };
  static constexpr std::size_t class_count = 16 + 4 * 30;
  static constexpr std::size_t chunks_max = 64;
  // Freed memory from this size on does not stay resident, but for the OS page that links it.
  static constexpr std::size_t give_back_bytes_min = std::size_t{128} << 10;

  static std::size_t class_of(std::size_t bytes) noexcept;
  static std::size_t class_bytes(std::size_t size_class) noexcept;
  void* bump(std::size_t bytes) noexcept;
  bool add_chunk(std::size_t bytes_min) noexcept;

  budget& budget_;
  std::size_t reserve_bytes_;
  std::size_t held_ = 0;
  char* next_ = nullptr;     // first byte never handed out, in the newest chunk
  char* charged_ = nullptr;  // charged up to here
  char* usable_ = nullptr;   // made usable up to here
  char* end_ = nullptr;
  free_node* free_[class_count] = {};
  chunk chunks_[chunks_max] = {};
  std::size_t chunk_count_ = 0;
};

}  // namespace scoot
