// SPDX-License-Identifier: MIT
//
// opponent: a heap under attack by a program that knows all addresses, and the bound that the heap must keep.
//
// Programs play through the public API alone: they allocate, free, and read addresses, which they follow because their
// mover reports every move (directory). What is live at once stays within a limit, as in Robson's papers; the question
// is what the heap holds for it. docs/design/bounds.md derives the bounds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "directory.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {

inline constexpr std::size_t os_page = 4096;

// What a heap may hold for `blocks` (usable size -> how many) after compaction, with nothing pinned or refused, all of
// one kind aligned to 8. docs/design/bounds.md, "After compaction".
inline std::size_t space_bound(const std::map<std::size_t, std::size_t>& blocks, std::size_t page_bytes) {
  const std::size_t slot_max = std::min<std::size_t>(8192, page_bytes / 16);
  std::size_t bytes = 0;
  std::size_t large_bytes = 0;
  std::size_t large_largest = 0;
  for (const auto& [size, count] : blocks) {
    if (size <= slot_max) {
      const std::size_t slots = page_bytes / size;
      bytes += count * size + count / slots * (page_bytes % size) + size + 3 * os_page;
    } else if (size <= page_bytes / 2) {
      large_bytes += count * size;
      large_largest = std::max(large_largest, size);
    } else {
      bytes += count * ((size + os_page - 1) / os_page * os_page);
    }
  }
  if (large_bytes == 0) return bytes;
  return bytes + large_bytes + large_bytes / 32 + (large_bytes / (page_bytes - large_largest) + 3) * os_page;
}

// What a pool with one heap may ever have held while at most `live` usable bytes were live, if nothing was ever pinned
// or refused and no compact() ran. docs/design/bounds.md, "At any time".
inline std::size_t standing_bound(std::size_t live, std::size_t shelves, const page_pool_stats& pool) {
  constexpr std::size_t tolerated = 2 * mib;
  const std::size_t target = std::max({live / 127, 64 * kib + shelves * os_page, tolerated});
  const std::size_t tails = live / 16;  // a page has at least 16 slots, and an end too short for one more
  const std::size_t idle = std::max(pool.page_bytes, pool.budget_bytes / 512) + 64 * kib;
  return live + target + target / 4 + tails + shelves * 8 * os_page + 64 * kib + idle + pool.metadata_bytes;
}

class opponent {
 public:
  // A heap with a budget of `budget_bytes` for a program that has at most `live_max` usable bytes at once.
  opponent(std::size_t budget_bytes, std::size_t live_max, const heap_options& options = {})
      : options_(options), live_max_(live_max), pool_(page_pool::create({budget_bytes, 0, 0})) {
    heap_ = pool_ == nullptr ? nullptr : heap::create(*pool_, options);
    if (heap_ != nullptr) kind_ = blocks_.add_kind(*heap_);
  }

  [[nodiscard]] bool ready() const { return bool{kind_}; }
  [[nodiscard]] heap& get_heap() { return *heap_; }
  [[nodiscard]] page_pool& pool() { return *pool_; }
  [[nodiscard]] directory& blocks() { return blocks_; }
  [[nodiscard]] std::size_t live_max() const { return live_max_; }
  [[nodiscard]] std::size_t live() const { return live_; }
  [[nodiscard]] std::uint64_t asked_ever() const { return asked_ever_; }
  [[nodiscard]] std::size_t live_peak() const { return live_peak_; }
  // Times that an allocation was refused though compact() had run before it; programs go on without the block.
  [[nodiscard]] std::size_t refused() const { return refused_; }

  // Times that an allocation had to be tried again after compact().
  [[nodiscard]] std::size_t compactions() const { return compactions_; }

  // Allocations that moved more than they may.
  [[nodiscard]] std::size_t overspent() const { return overspent_; }

  // False if that would be more than live_max, or the heap refused.
  bool allocate(std::size_t size) {
    if (live_ + size > live_max_) return false;
    if (!allocate_once(size)) {
      heap_->compact();
      ++compactions_;
      if (!allocate_once(size)) {
        ++refused_;
        return false;
      }
    }
    asked_ever_ += size;
    live_ += heap_->usable_size(blocks_.at.back());
    live_peak_ = std::max(live_peak_, live_);
    return true;
  }

  void free(std::size_t index) {
    live_ -= heap_->usable_size(blocks_.at[index]);
    blocks_.free(*heap_, index);
  }

  [[nodiscard]] bool is_live(std::size_t index) const { return blocks_.at[index] != nullptr; }
  [[nodiscard]] std::uintptr_t address(std::size_t index) const {
    return reinterpret_cast<std::uintptr_t>(blocks_.at[index]);
  }
  [[nodiscard]] std::size_t asked(std::size_t index) const {
    std::uint32_t size = 0;
    std::memcpy(&size, blocks_.at[index] + sizeof size, sizeof size);
    return size;
  }

  // Live blocks by address.
  [[nodiscard]] std::vector<std::size_t> by_address() const {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < blocks_.at.size(); ++i) {
      if (is_live(i)) all.push_back(i);
    }
    std::sort(all.begin(), all.end(), [this](std::size_t a, std::size_t b) { return blocks_.at[a] < blocks_.at[b]; });
    return all;
  }

  // Numbers live blocks anew, oldest first, so that a long game needs no long table.
  void renumber() {
    std::size_t to = 0;
    for (std::size_t from = 0; from < blocks_.at.size(); ++from) {
      if (!is_live(from)) continue;
      if (to != from) blocks_.rename(from, to);
      ++to;
    }
    blocks_.at.resize(to);
  }

  [[nodiscard]] std::map<std::size_t, std::size_t> usable_sizes() const {
    std::map<std::size_t, std::size_t> sizes;
    for (const std::byte* block : blocks_.at) {
      if (block != nullptr) ++sizes[heap_->usable_size(block)];
    }
    return sizes;
  }

  [[nodiscard]] std::uint64_t next() { return (random_ = random_ * 6364136223846793005U + 1442695040888963407U) >> 33; }

 private:
  bool allocate_once(std::size_t size) {
    const std::size_t moved = blocks_.bytes_moved;
    const bool got = blocks_.allocate(*heap_, kind_, size) >= 0;
    if (blocks_.bytes_moved - moved > options_.move_bytes_max + size) ++overspent_;
    return got;
  }

  heap_options options_;
  std::size_t live_max_;
  std::uint64_t asked_ever_ = 0;
  std::size_t live_ = 0;
  std::size_t live_peak_ = 0;
  std::size_t refused_ = 0;
  std::size_t compactions_ = 0;
  std::size_t overspent_ = 0;
  std::uint64_t random_ = 42;
  directory blocks_;
  std::unique_ptr<page_pool> pool_;
  std::unique_ptr<heap> heap_;
  kind kind_;
};

}  // namespace scoot::testing
