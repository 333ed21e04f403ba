// SPDX-License-Identifier: MIT
//
// eviction: the policy that chooses what leaves the cache; this file is all of it.
//
//     new -> [ small, 10 % of the bytes ] -- used since? --> [ main ] -- uses left for its size? --> to its back again
//                         | no                                  | no
//                         v                                     v
//                      evicted, its tag is kept as a ghost   evicted, likewise
//     new, but its ghost is there -> [ main ]
//
// S3-FIFO (J. Yang et al., SOSP 2023), counted in bytes. A hit only raises the item's counter of uses, to 3, and so
// does a store over it. A round through main costs an item as many of its uses as it has times the mean size, so that
// what stays is what is used most for its bytes, as in GreedyDual-Size (P. Cao, S. Irani, USITS 1997). Ghosts are
// 16-bit tags in lines of 32, first in first out within a line, about as many as there are items; a line with no room
// for all forgets the oldest. What leaves main because it expired or was deleted leaves a ghost, too: its key earned
// its place, and comes back to it.
//
// The policy owns no queue: the shard keeps the names (lists 0 and 1), asks which to take the next name from and what
// to do with the item. Another policy replaces this class.
#pragma once

#include <algorithm>
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

  void added(queue q, std::size_t bytes) noexcept {
    bytes_[q] += bytes;
    ++items_[q];
  }
  void removed(queue q, std::size_t bytes) noexcept {
    bytes_[q] -= bytes;
    --items_[q];
  }

  // The queue to take the next candidate from, given which are empty.
  [[nodiscard]] queue next_queue(bool small_empty, bool main_empty) const noexcept {
    if (small_empty || main_empty) return small_empty ? main : small;
    return bytes_[small] >= (bytes_[small] + bytes_[main]) / 10 ? small : main;
  }

  // What to do with the oldest item of the queue, whose counter is updated.
  [[nodiscard]] verdict judge(queue q, item it) noexcept {
    const unsigned uses = it.uses();
    if (q == small) {
      if (uses == 0) return verdict::evict;
      it.set_uses(0);
      return verdict::to_main;
    }
    const unsigned price = uses == 0 ? 1 : price_of_round(it.bytes());
    if (uses < price) return verdict::evict;
    it.set_uses(uses - price);
    return verdict::again;
  }

  // The item was evicted, or it left main because it expired or was deleted: its key is remembered.
  void remember(index& table, name n) noexcept {
    std::uint16_t* const line = table.ghost_line(n.place);
    std::memmove(line + 1, line, (index::ghosts_per_line - 1) * sizeof *line);
    line[0] = n.tag;
  }

  [[nodiscard]] std::size_t bytes(queue q) const noexcept { return bytes_[q]; }
  [[nodiscard]] std::size_t items(queue q) const noexcept { return items_[q]; }
  [[nodiscard]] std::size_t items() const noexcept { return items_[small] + items_[main]; }

 private:
  static constexpr std::size_t bytes_besides = 16;  // of an item: its entry in the index, its name, its ghost

  // Size to mean size, rounded up or down so that it is right on average. Even the smallest pays a quarter, or main
  // would be slow to forget it; a full counter is enough for any.
  [[nodiscard]] unsigned price_of_round(std::size_t bytes) noexcept {
    const std::size_t count = items();
    const std::uint64_t all = bytes_[small] + bytes_[main] + count * bytes_besides;
    const std::uint64_t sixteenths =
        std::uint64_t{bytes + bytes_besides} * 16 * count / std::max<std::uint64_t>(all, 1);
    dither_ += 0x9e3779b9;  // multiples of the golden ratio: evenly spread
    return static_cast<unsigned>(std::clamp<std::uint64_t>(sixteenths, 4, item::uses_max * 16) + (dither_ >> 28)) >> 4;
  }

  std::size_t bytes_[2] = {};
  std::size_t items_[2] = {};
  std::uint32_t dither_ = 0;
};

}  // namespace scoot::caching
