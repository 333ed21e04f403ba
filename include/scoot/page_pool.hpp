// SPDX-License-Identifier: MIT
//
// page_pool: all memory that a set of heaps holds, as fixed-size pages under one budget.
//
//     address space reserved once          budget: ceiling of the bytes held
//     |page 0|page 1|page 2|....unused....|        |== pages, by OS page touched ==|= metadata =|
//
// The pool reserves address space, which costs nothing, and hands out pages aligned to their size (64 KiB to 1 MiB, by
// budget). What it charges against the budget is what can be resident: the OS pages of its pages that were touched, and
// every byte of its own metadata. Pages that come back are kept resident and handed out again first, because a round
// trip through the kernel costs 3 to 5 times a copy of the page; they go back to the OS when the budget needs them, or
// on trim().
//
// Ownership: heaps keep a plain pointer to their pool; the pool must outlive them (a checked build aborts otherwise).
// Threads: every function may be called from any thread.
// fork(): the child has pools and heaps as they were, its own from then on; copies of what either writes are the
// kernel's and charged to no budget. With threads: only if no other one was inside a function of a pool or heap when it
// forked. mlockall(MCL_FUTURE) before a pool is made locks of it what is touched, no more, and memory is given back as
// ever (kernels from 5.18 on; older ones take none back, and it stays charged); its address space counts against the
// limit on locked memory. MCL_CURRENT makes resident what pools have not touched yet, which is charged to no budget.
// Failure: exhaustion is a null or false result; the process is never aborted for it, and nothing throws.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "scoot/export.h"

namespace scoot {

// What a pool is made with.
struct page_pool_options {
  std::size_t budget_bytes = 0;   // ceiling of everything held, metadata included; page_pool::budget_bytes_min to _max
  std::size_t page_bytes = 0;     // power of two, 64 KiB to 1 MiB; 0: chosen from the budget
  std::size_t address_bytes = 0;  // address space to reserve; 0: four times the budget (1.25 where pointers have 32
                                  // bits), or as much as can be had
};

// What a pool holds.
struct page_pool_stats {
  std::size_t budget_bytes = 0;  // the ceiling in force
  std::size_t held_bytes =
      0;  // charged now: OS pages that may be resident, and metadata; above the budget only after it was cut
  std::size_t held_bytes_peak = 0;  // most ever charged
  std::size_t metadata_bytes = 0;   // the part of held_bytes that is the pool's and the heaps' own bookkeeping
  std::size_t idle_bytes = 0;       // the part of held_bytes in resident pages that no heap uses (hysteresis)
  std::size_t page_bytes = 0;       // size of a page
  std::size_t pages = 0;            // pages in use by heaps
  std::size_t address_bytes = 0;    // address space reserved
};

// The pool; see the top of this file.
class SCOOT_EXPORT page_pool {
 public:
  static constexpr std::size_t budget_bytes_min = std::size_t{1} << 20;
  static constexpr std::size_t budget_bytes_max = std::size_t{1} << (sizeof(std::size_t) > 4 ? 46 : 31);

  // A pool with the given budget. Null if the options are out of range, or the OS refuses the address space.
  [[nodiscard]] static std::unique_ptr<page_pool> create(const page_pool_options& options) noexcept;

  page_pool(const page_pool&) = delete;
  page_pool& operator=(const page_pool&) = delete;
  static void operator delete(page_pool* self, std::destroying_delete_t) noexcept;  // gives everything back to the OS

  // The size of a page in bytes. Constant for the life of the pool.
  [[nodiscard]] std::size_t page_bytes() const noexcept;

  // Changes the budget. A cut below held_bytes frees only idle pages by itself: allocations then fail until the heaps'
  // owners freed and compacted enough. False, and no change, if bytes is out of range or more address space is needed
  // and refused; while that is found out, other threads may already charge against the larger budget.
  [[nodiscard]] bool set_budget(std::size_t bytes) noexcept;

  // Gives idle pages back to the OS until at most keep_bytes of them are left. Returns the bytes given back.
  std::size_t trim(std::size_t keep_bytes = 0) noexcept;

  [[nodiscard]] page_pool_stats stats() const noexcept;  // what it holds and did

  // page_pool_stats::held_bytes alone, without a lock.
  [[nodiscard]] std::size_t held_bytes() const noexcept;

  ~page_pool() = default;  // does nothing: delete is the operator above

 protected:
  page_pool() = default;
};

}  // namespace scoot
