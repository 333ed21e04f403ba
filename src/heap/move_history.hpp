// SPDX-License-Identifier: MIT
//
// move_history: the latest moves of a heap, for checked builds to say of a stale pointer where its block went.
//
//     ring:  |move 9|move 10|move 7|move 8|      a look-up asks all of them, latest first
//
// Its memory comes from the pool, and counts against the budget, with the first move; if there is none to be had there
// is no history. In builds without checks nothing is noted and nothing allocated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot {

class page_pool_impl;

// What a mover was called for.
enum class move_cause : std::uint8_t { allocation, compaction, test };

struct past_move {
  const char* from;
  const char* to;  // null: the mover dropped the block
  std::size_t bytes;
  std::uint64_t order;   // 1 for the heap's first move
  std::uint32_t number;  // of the compaction: calls that moved something, from 1
  std::uint8_t kind;
  move_cause cause;
};

class move_history {
 public:
  explicit move_history(page_pool_impl& pool) noexcept : pool_(pool) {}
  ~move_history();
  move_history(const move_history&) = delete;
  move_history& operator=(const move_history&) = delete;

  // Takes memory for the ring; without it, for want of room in the budget, nothing is remembered. Not at the first
  // move: then memory would be charged in the middle of a compaction.
  void begin() noexcept;

  // Notes a move; its order is set here.
  void note(const past_move& move) noexcept;

  // Forgets all moves of a kind.
  void forget(std::uint8_t kind) noexcept;

  // The latest move away from a place that this address lies in, of those before `order`; null if none is remembered.
  [[nodiscard]] const past_move* find(const void* address, std::uint64_t order = ~std::uint64_t{0}) const noexcept;
  // The earliest move away from a place that this address lies in, of those after `order`.
  [[nodiscard]] const past_move* find_after(const void* address, std::uint64_t order) const noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept { return capacity_ * sizeof(past_move); }

 private:
  page_pool_impl& pool_;
  past_move* ring_ = nullptr;
  std::size_t capacity_ = 0;
  std::uint64_t noted_ = 0;
};

}  // namespace scoot
