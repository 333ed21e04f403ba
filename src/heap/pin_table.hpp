// SPDX-License-Identifier: MIT
//
// pin_table: how many pins each pinned block has, from whom and since when. Open addressing by address, with an entry
// for each holder of a block, at most half full, no tombstones; empty heaps and heaps without pins hold nothing. Blocks
// carry no header, and few are pinned at a time: hence a table.
//
// Of the entries of one block, which a search meets in turn, the first is that of the holder who has had it pinned
// longest: new ones come behind it, and neither growing nor closing gaps changes their order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/os.hpp"

namespace scoot {

class page_pool_impl;

class pin_table {
 public:
  explicit pin_table(page_pool_impl& pool) noexcept : pool_(pool) {}
  ~pin_table();
  pin_table(const pin_table&) = delete;
  pin_table& operator=(const pin_table&) = delete;

  struct entry {
    const void* block;
    const char* holder;
    std::uint32_t since;  // when the first of his pins in force came, see now()
    std::uint32_t pins;   // of his
  };
  static constexpr unsigned time_shift = 24;  // times are in units of 2^24 ns, 17 ms: they last for two years

  [[nodiscard]] static std::uint32_t now() noexcept {
    return static_cast<std::uint32_t>(os::coarse_now_ns() >> time_shift);
  }

  enum class added : std::uint8_t { no_memory, first, further };
  // Adds a pin: the first of this block, or a further one.
  [[nodiscard]] added add(const void* block, const char* holder) noexcept;
  enum class removed : std::uint8_t { none, last, other };
  // Takes a pin of a holder, compared as text, away; of whom it does not matter if that is null: an unnamed one, or
  // the holder's that came last. Whether it was the block's last one; none: there is no such pin.
  removed remove(const void* block, const char* holder) noexcept;
  [[nodiscard]] bool contains(const void* block) const noexcept;
  // The holder who has had the block pinned longest, and all pins of the block; null if it has none.
  [[nodiscard]] const entry* look_up(const void* block, std::uint32_t* pins = nullptr) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return blocks_; }  // blocks with pins
  [[nodiscard]] std::size_t bytes() const noexcept { return capacity_ * sizeof(entry); }

 private:
  [[nodiscard]] std::size_t home_of(const void* block) const noexcept;
  // Its first entry, or the free one where it belongs.
  [[nodiscard]] entry* find(const void* block) const noexcept;
  // The next of the same block, or the free one where that belongs.
  [[nodiscard]] entry* next(const entry* of) const noexcept;
  void erase(entry* e) noexcept;
  bool grow() noexcept;

  page_pool_impl& pool_;
  entry* entries_ = nullptr;
  std::size_t capacity_ = 0;  // 0 or a power of two
  std::size_t used_ = 0;      // entries
  std::size_t blocks_ = 0;    // of so many blocks
};

}  // namespace scoot
