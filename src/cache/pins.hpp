// SPDX-License-Identifier: MIT
//
// pins: which items of a shard are pinned, how often, and which of them are gone from the cache already.
//
// An item that is replaced, deleted, evicted or expires while it is pinned leaves the index at once, but its block
// stays until the last pin is given back. Open addressing by address, linear probing, at most half full; memory from
// the heap, none while nothing is pinned. Threads: the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scoot/heap.hpp"

namespace scoot::caching {

class pins {
 public:
  pins(heap& h, kind fixed) noexcept : heap_(h), fixed_(fixed) {}
  ~pins() { heap_.free(table_); }
  pins(const pins&) = delete;
  pins& operator=(const pins&) = delete;

  // Makes sure that one more block can be pinned. Invalidates: addresses of items.
  [[nodiscard]] bool reserve() noexcept { return (used_ + 1) * 2 <= slots_ || grow(); }

  // Adds a pin to a block; false if the heap could not note it. reserve() must have been called.
  [[nodiscard]] bool add(void* block) noexcept;

  // Gives a pin back; true if it was the last of a block that is gone from the cache, which the caller then frees.
  [[nodiscard]] bool release(void* block) noexcept;

  [[nodiscard]] bool is_pinned(const void* block) const noexcept {
    return used_ != 0 && table_[position_of(block)].block == block;
  }

  // The block leaves the cache. True if it is pinned, and so must not be freed now.
  [[nodiscard]] bool abandon(void* block) noexcept;

  [[nodiscard]] std::size_t count() const noexcept { return used_; }

 private:
  struct entry {
    void* block;
    std::uint32_t count;
    bool gone;
  };

  [[nodiscard]] bool grow() noexcept;
  [[nodiscard]] std::size_t home_of(const void* block) const noexcept;
  [[nodiscard]] std::size_t position_of(const void* block) const noexcept;  // of the block, or where it would go

  heap& heap_;
  kind fixed_;
  entry* table_ = nullptr;
  std::size_t slots_ = 0;  // a power of two
  std::size_t used_ = 0;
};

}  // namespace scoot::caching
