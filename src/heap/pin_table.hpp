// SPDX-License-Identifier: MIT
//
// pin_table: how many pins each pinned block has, since when, and who asked first. Open addressing by address, at most
// half full, no tombstones; empty heaps and heaps without pins hold nothing. Blocks carry no header, and few are pinned
// at a time: hence a table.
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
    const char* holder;   // of the first pin in force
    std::uint32_t since;  // when that came, see now()
    std::uint32_t pins;
  };
  static constexpr unsigned time_shift = 24;  // times are in units of 2^24 ns, 17 ms: they last for two years

  [[nodiscard]] static std::uint32_t now() noexcept {
    return static_cast<std::uint32_t>(os::coarse_now_ns() >> time_shift);
  }

  // Adds a pin; the block's pins now, or 0 if there is no memory.
  [[nodiscard]] std::uint32_t add(const void* block, const char* holder) noexcept;
  // Takes a pin away; the pins left, or -1 if the block had none.
  std::int64_t remove(const void* block) noexcept;
  [[nodiscard]] bool contains(const void* block) const noexcept;
  // What is known of a block's pins; null if it has none.
  [[nodiscard]] const entry* look_up(const void* block) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return used_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return capacity_ * sizeof(entry); }

 private:
  [[nodiscard]] std::size_t home_of(const void* block) const noexcept;
  [[nodiscard]] entry* find(const void* block) const noexcept;  // its entry, or the free one where it belongs
  bool grow() noexcept;

  page_pool_impl& pool_;
  entry* entries_ = nullptr;
  std::size_t capacity_ = 0;  // 0 or a power of two
  std::size_t used_ = 0;
};

}  // namespace scoot
