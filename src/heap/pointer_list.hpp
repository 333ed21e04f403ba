// SPDX-License-Identifier: MIT
//
// pointer_list: a growing array of pointers in the pool's metadata memory. Removal swaps the last one into the gap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "heap/pool.hpp"

namespace scoot {

template <class T>
class pointer_list {
 public:
  explicit pointer_list(page_pool_impl& pool) noexcept : pool_(pool) {}
  ~pointer_list() { pool_.metadata_free(items_, bytes()); }
  pointer_list(const pointer_list&) = delete;
  pointer_list& operator=(const pointer_list&) = delete;

  // Makes room for one more; false if there is no memory.
  [[nodiscard]] bool make_room() noexcept {
    if (count_ < capacity_) return true;
    const std::uint32_t capacity = std::max<std::uint32_t>(8, capacity_ * 2);
    auto** items = static_cast<T**>(pool_.metadata_allocate(capacity * sizeof(T*)));
    if (items == nullptr) return false;
    std::copy(items_, items_ + count_, items);
    pool_.metadata_free(items_, bytes());
    items_ = items;
    capacity_ = capacity;
    return true;
  }
  // Only after make_room(). Returns the position.
  std::uint32_t add(T* item) noexcept {
    items_[count_] = item;
    return count_++;
  }
  // Removes; returns the item that took its place, or null if it was the last.
  T* remove(std::uint32_t at) noexcept {
    items_[at] = items_[--count_];
    return at == count_ ? nullptr : items_[at];
  }
  [[nodiscard]] T* operator[](std::uint32_t at) const noexcept { return items_[at]; }
  [[nodiscard]] std::uint32_t size() const noexcept { return count_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return capacity_ * sizeof(T*); }
  [[nodiscard]] T** begin() const noexcept { return items_; }
  [[nodiscard]] T** end() const noexcept { return items_ + count_; }

 private:
  page_pool_impl& pool_;
  T** items_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace scoot
