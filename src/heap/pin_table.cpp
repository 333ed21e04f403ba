// SPDX-License-Identifier: MIT
#include "heap/pin_table.hpp"

#include <cstring>

#include "heap/pool.hpp"

namespace scoot {

pin_table::~pin_table() { pool_.metadata_free(entries_, bytes()); }

std::size_t pin_table::home_of(const void* block) const noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(block) >> 3;
  return static_cast<std::size_t>((static_cast<std::uint64_t>(address) * 0x9e3779b97f4a7c15U) >> 32) & (capacity_ - 1);
}

pin_table::entry* pin_table::find(const void* block) const noexcept {
  std::size_t at = home_of(block);
  while (entries_[at].block != nullptr && entries_[at].block != block) at = (at + 1) & (capacity_ - 1);
  return entries_ + at;
}

bool pin_table::grow() noexcept {
  const std::size_t capacity = capacity_ == 0 ? 16 : capacity_ * 2;
  auto* entries = static_cast<entry*>(pool_.metadata_allocate(capacity * sizeof(entry)));
  if (entries == nullptr) return false;
  std::memset(static_cast<void*>(entries), 0, capacity * sizeof(entry));
  entry* old = entries_;
  const std::size_t old_capacity = capacity_;
  entries_ = entries;
  capacity_ = capacity;
  for (std::size_t i = 0; i < old_capacity; ++i) {
    if (old[i].block != nullptr) *find(old[i].block) = old[i];
  }
  pool_.metadata_free(old, old_capacity * sizeof(entry));
  return true;
}

std::uint32_t pin_table::add(const void* block, const char* holder) noexcept {
  entry* e = capacity_ == 0 ? nullptr : find(block);
  if (e == nullptr || e->block == nullptr) {
    if (2 * (used_ + 1) > capacity_) {
      if (!grow()) return 0;
      e = find(block);
    }
    *e = {block, holder, now(), 0};
    ++used_;
  }
  return ++e->pins;
}

std::int64_t pin_table::remove(const void* block) noexcept {
  if (used_ == 0) return -1;
  entry* e = find(block);
  if (e->block == nullptr) return -1;
  if (--e->pins != 0) return static_cast<std::int64_t>(e->pins);
  --used_;
  // Knuth, The Art of Computer Programming 6.4, algorithm R: move back what the gap would cut off.
  auto gap = static_cast<std::size_t>(e - entries_);
  for (std::size_t at = (gap + 1) & (capacity_ - 1); entries_[at].block != nullptr; at = (at + 1) & (capacity_ - 1)) {
    const std::size_t home = home_of(entries_[at].block);
    if (((at - home) & (capacity_ - 1)) >= ((at - gap) & (capacity_ - 1))) {
      entries_[gap] = entries_[at];
      gap = at;
    }
  }
  entries_[gap] = {nullptr, nullptr, 0, 0};
  return 0;
}

bool pin_table::contains(const void* block) const noexcept { return used_ != 0 && find(block)->block != nullptr; }

const pin_table::entry* pin_table::look_up(const void* block) const noexcept {
  if (used_ == 0) return nullptr;
  const entry* e = find(block);
  return e->block == nullptr ? nullptr : e;
}

}  // namespace scoot
