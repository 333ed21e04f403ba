// SPDX-License-Identifier: MIT
//
// memory: what the cache's blocks come from; the whole difference between the contestants. With DEMO_ON_SCOOT it is a
// heap that moves blocks, and tells the cache of each; else whatever malloc the process was started with.
//
// allocate(size) is null when there is no memory. Threads: one at a time.
#pragma once

#include <cstddef>

#ifdef DEMO_ON_SCOOT
#include <cstring>
#include <memory>

#include "scoot/heap.hpp"
#else
#include <cstdlib>
#endif

namespace demo {

#ifdef DEMO_ON_SCOOT

class memory {
 public:
  // Once, before anything is allocated; blocks then belong to `cache`, whose moved() is called. False if the address
  // space is not to be had.
  template <class Cache>
  [[nodiscard]] bool open(std::size_t budget_bytes, std::size_t address_bytes, Cache& cache) noexcept {
    pool_ = scoot::page_pool::create({.budget_bytes = budget_bytes, .page_bytes = 0, .address_bytes = address_bytes});
    if (pool_ == nullptr) return false;
    heap_ = scoot::heap::create(*pool_);
    if (heap_ == nullptr) return false;
    kind_ = heap_->add_kind({.name = "item", .alignment = 8, .move = &move<Cache>, .context = &cache});
    return static_cast<bool>(kind_);
  }

  [[nodiscard]] void* allocate(std::size_t size) noexcept {
    void* const block = heap_->allocate(kind_, size);
    if (block != nullptr) return block;
    heap_->compact();  // which may do more than one allocation does by itself
    return heap_->allocate(kind_, size);
  }
  void free(void* block) noexcept { heap_->free(block); }

  [[nodiscard]] const scoot::page_pool& pool() const noexcept { return *pool_; }
  [[nodiscard]] const scoot::heap& heap() const noexcept { return *heap_; }

 private:
  template <class Cache>
  static scoot::verdict move(void* cache, void* from, void* to, std::size_t size) noexcept {
    std::memcpy(to, from, size);
    static_cast<Cache*>(cache)->moved(from, to);
    return scoot::verdict::moved;
  }

  std::unique_ptr<scoot::page_pool> pool_;
  std::unique_ptr<scoot::heap> heap_;
  scoot::kind kind_;
};

#else

class memory {
 public:
  [[nodiscard]] void* allocate(std::size_t size) noexcept { return std::malloc(size); }
  void free(void* block) noexcept { std::free(block); }
};

#endif

}  // namespace demo
