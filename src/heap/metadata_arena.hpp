// SPDX-License-Identifier: MIT
//
// metadata_arena: memory for the bookkeeping of a page pool and its heaps, charged to the budget like everything else.
//
//     chunk   |what is known of each OS page|slab of 448 B|run run run|free|slab of 64 B|...never used...|
//
// Small sizes share slabs: an OS page, or above 1 KiB two, cut into slots of one size. Larger ones are runs of whole OS
// pages. An empty slab and a freed run go back to the OS, but for a few OS pages that stay for the next to come. Kept
// apart from the heap's pages because what is in use here does not move by itself, and so that the bookkeeping of many
// pages shares few cache and TLB lines.
//
// Threads: guarded by the pool's lock. Failure: null. Memory returned is not cleared.
// Source: slabs as in Bonwick, "The Slab Allocator" (1994), with what is known of a slab outside of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot {

class budget;

class metadata_arena {
 public:
  // Prepares to charge to the budget, in chunks of `reserve_bytes` of address space. Holds nothing yet.
  metadata_arena(budget& charged, std::size_t reserve_bytes) noexcept
      : budget_(charged), reserve_bytes_(reserve_bytes) {}
  ~metadata_arena();
  metadata_arena(const metadata_arena&) = delete;
  metadata_arena& operator=(const metadata_arena&) = delete;

  // Memory aligned to 64 bytes.
  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;
  // Null is ignored. `bytes` as it was allocated.
  void free(void* memory, std::size_t bytes) noexcept;

  // For whoever can move his bookkeeping: memory of the same size in a slab that is fuller than that of `memory`, so
  // that this one may run empty. Null if there is none, or the size has no slabs.
  [[nodiscard]] void* allocate_denser(const void* memory, std::size_t bytes) noexcept;

  // Gives what is free and still resident back to the OS. Returns the bytes.
  std::size_t trim() noexcept;

  // Charged to the budget by the arena: OS pages that may be resident.
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_; }
  // Of that, free slots of slabs.
  [[nodiscard]] std::size_t free_slot_bytes() const noexcept { return free_slot_bytes_; }
  [[nodiscard]] std::size_t reserve_bytes() const noexcept { return reserve_bytes_; }

 private:
  enum class page_state : std::uint8_t { absent, idle, used };  // free; free but resident; in a slab or run
  // What is known of an OS page; of a slab, by its first one.
  struct page_entry {
    page_entry* next;  // among the slabs of the class that have free slots
    page_entry* prev;
    std::uint16_t used;        // slots
    std::uint16_t fresh;       // slots from here on were never used
    std::uint16_t first_free;  // slot + 1, linked through the first bytes of each; 0: none below fresh
    std::uint8_t slab_class;
    page_state state;
  };
  struct chunk {
    char* base;
    page_entry* entries;
    std::size_t bytes;
    std::size_t pages;
    std::size_t high;    // no page from here on was ever used
    std::size_t usable;  // pages made usable
    std::size_t hint;    // no free page below
  };
  static constexpr std::size_t chunks_max = 64;
  static constexpr std::size_t small_max = 1024;      // multiples of 64 up to here
  static constexpr std::size_t slab_size_max = 2048;  // quarters of a doubling up to here; larger ones are runs
  static constexpr std::size_t class_count = 16 + 4;
  static constexpr std::size_t idle_pages_max = 8;

  static std::size_t class_of(std::size_t bytes) noexcept;
  static std::size_t class_bytes(std::size_t slab_class) noexcept;
  static std::size_t slab_pages(std::size_t slab_class) noexcept;
  static std::size_t slots_of(std::size_t slab_class) noexcept;
  [[nodiscard]] chunk& chunk_of(const void* memory) noexcept;
  [[nodiscard]] static char* address_of(const chunk& in, std::size_t page) noexcept;
  [[nodiscard]] page_entry* slab_of(const void* memory) noexcept;
  [[nodiscard]] char* slab_base(page_entry* slab) noexcept;
  void link(page_entry* slab) noexcept;
  void unlink(page_entry* slab) noexcept;
  page_entry* new_slab(std::size_t slab_class) noexcept;
  void* take_slot(page_entry* slab) noexcept;
  char* take_pages(std::size_t count) noexcept;
  char* take_pages_of(chunk& in, std::size_t count) noexcept;
  void give_pages(char* first, std::size_t count) noexcept;
  bool add_chunk(std::size_t pages_min) noexcept;
  bool raise(chunk& in, std::size_t pages) noexcept;

  budget& budget_;
  std::size_t reserve_bytes_;
  std::size_t held_ = 0;
  std::size_t free_slot_bytes_ = 0;
  std::size_t idle_pages_ = 0;
  page_entry* open_[class_count] = {};  // slabs with free slots
  chunk chunks_[chunks_max] = {};
  std::size_t chunk_count_ = 0;
};

}  // namespace scoot
