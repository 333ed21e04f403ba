// SPDX-License-Identifier: MIT
//
// eviction: the policy that chooses what leaves the cache; this file is all of it.
//
//     new -> [ small, 10 % of the bytes ] -- used since? --> [ main ] -- used? one use less, to the back of main
//                         | no                                  | no
//                         v                                     v
//                      evicted, its tag is kept as a ghost      evicted
//     new, but its ghost is there -> [ main ]
//
// S3-FIFO (J. Yang et al., SOSP 2023), counted in bytes. A hit only raises the item's counter of uses, to 3. Ghosts are
// 16-bit tags in lines of 32, first in first out within a line, about as many as there are items; a line with no room
// for all forgets the oldest.
//
// The policy owns no queue: the shard keeps the names (lists 0 and 1), asks which to take the next name from and what
// to do with the item. Another policy replaces this class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cache/index.hpp"

namespace scoot::caching {

class eviction {
 public:
  enum queue : unsigned { small = 0, main = 1 };
  enum class verdict : unsigned char { evict, to_main, again };

  // The queue for a new item.
  [[nodiscard]] queue choose_queue(index& table, name n) const noexcept {
    std::uint16_t* const line = table.ghost_line(n.place);
    for (unsigned i = 0; i < index::ghosts_per_line; ++i) {
      if (line[i] == n.tag) {
        line[i] = 0;
        return main;
      }
    }
    return small;
  }

  void added(queue q, std::size_t bytes) noexcept { bytes_[q] += bytes; }
  void removed(queue q, std::size_t bytes) noexcept { bytes_[q] -= bytes; }

  // The queue to take the next candidate from, given which are empty.
  [[nodiscard]] queue next_queue(bool small_empty, bool main_empty) const noexcept {
    if (small_empty || main_empty) return small_empty ? main : small;
    return bytes_[small] >= (bytes_[small] + bytes_[main]) / 10 ? small : main;
  }

  // What to do with the oldest item of the queue, whose counter is updated.
  [[nodiscard]] verdict judge(queue q, item it) const noexcept {
    const unsigned uses = it.uses();
    if (q == small) {
      if (uses == 0) return verdict::evict;
      it.set_uses(0);
      return verdict::to_main;
    }
    if (uses == 0) return verdict::evict;
    it.set_uses(uses - 1);
    return verdict::again;
  }

  // The item was evicted from that queue.
  void evicted(queue q, index& table, name n) noexcept {
    if (q == main) return;
    std::uint16_t* const line = table.ghost_line(n.place);
    std::memmove(line + 1, line, (index::ghosts_per_line - 1) * sizeof *line);
    line[0] = n.tag;
  }

  [[nodiscard]] std::size_t bytes(queue q) const noexcept { return bytes_[q]; }

 private:
  std::size_t bytes_[2] = {};
};

}  // namespace scoot::caching
