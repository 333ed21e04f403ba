// SPDX-License-Identifier: MIT
//
// pmr: a std::pmr::memory_resource of blocks that are never moved, in a heap and so under its pool's budget.
//
//     scoot::fixed_resource fixed(*heap);
//     std::pmr::unordered_map<int, std::pmr::string> names(&fixed);
//
// For a program's fixed structures, so that they count against the same budget as what moves. Alignments up to 4096.
//
// Failure: std::pmr asks that allocate throws std::bad_alloc when there is no memory, so it does: the one function of
// this library that throws. A program built without exceptions may include this header and use the resource; an
// exhausted budget ends it then, as the container it is in could not go on. try_allocate answers null instead.
// Addresses: of its blocks, none is ever invalidated; but allocating invalidates those of other, unpinned blocks of the
// heap. Blocks that stay put keep pages from being given back: give the resource a heap of its own where there are
// many. Ownership: the heap must outlive the resource, and the resource what was allocated. Threads: as the heap.
#pragma once

#include <cstddef>
#include <memory_resource>

#include "scoot/export.h"
#include "scoot/heap.hpp"

namespace scoot {

// See the top of this file.
class SCOOT_EXPORT fixed_resource final : public std::pmr::memory_resource {
 public:
  // Registers up to 10 kinds with the heap, one for each alignment, when it first needs them. All resources of a heap
  // share them; they go with the last one.
  explicit fixed_resource(heap& blocks) noexcept;
  fixed_resource(const fixed_resource&) = delete;
  fixed_resource& operator=(const fixed_resource&) = delete;
  ~fixed_resource() override;

  // As allocate, but null if there is no memory or the alignment is above 4096. To be given back by deallocate.
  // Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] void* try_allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) noexcept;

  // The heap that the blocks are in.
  [[nodiscard]] heap& blocks() const noexcept { return heap_; }

 private:
  static constexpr std::size_t kinds = 10;

  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override;

  heap& heap_;
  kind kinds_[kinds];  // by logarithm of the alignment, from 8
};

}  // namespace scoot
