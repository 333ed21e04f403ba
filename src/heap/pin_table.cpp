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

pin_table::entry* pin_table::next(const entry* of) const noexcept {
  const void* block = of->block;
  auto at = static_cast<std::size_t>(of - entries_);
  do {
    at = (at + 1) & (capacity_ - 1);
  } while (entries_[at].block != nullptr && entries_[at].block != block);
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
  // From a free entry on, so that those of one block come in their order.
  std::size_t first = 0;
  while (first != old_capacity && old[first].block != nullptr) ++first;
  for (std::size_t i = 1; i < old_capacity; ++i) {
    const entry& e = old[(first + i) & (old_capacity - 1)];
    if (e.block == nullptr) continue;
    entry* to = find(e.block);
    while (to->block != nullptr) to = next(to);
    *to = e;
  }
  pool_.metadata_free(old, old_capacity * sizeof(entry));
  return true;
}

pin_table::added pin_table::add(const void* block, const char* holder) noexcept {
  entry* e = capacity_ == 0 ? nullptr : find(block);
  const bool known = e != nullptr && e->block != nullptr;
  while (e != nullptr && e->block != nullptr) {
    if (e->holder == holder || std::strcmp(e->holder, holder) == 0) {
      ++e->pins;
      return added::further;
    }
    e = next(e);
  }
  if (2 * (used_ + 1) > capacity_) {
    if (!grow()) return added::no_memory;
    e = find(block);
    while (e->block != nullptr) e = next(e);
  }
  *e = {block, holder, now(), 1};
  ++used_;
  if (known) return added::further;
  ++blocks_;
  return added::first;
}

pin_table::removed pin_table::remove(const void* block, const char* holder) noexcept {
  if (used_ == 0) return removed::none;
  entry* const first = find(block);
  entry* found = nullptr;
  for (entry* e = first; e->block != nullptr; e = next(e)) {
    const bool right = holder == nullptr ? *e->holder == '\0' : std::strcmp(e->holder, holder) == 0;
    if (right || holder == nullptr) found = e;
    if (right) break;
  }
  if (found == nullptr) return removed::none;
  if (--found->pins != 0) return removed::other;
  const bool last = found == first && next(first)->block == nullptr;
  erase(found);
  if (!last) return removed::other;
  --blocks_;
  return removed::last;
}

void pin_table::erase(entry* e) noexcept {
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
}

bool pin_table::contains(const void* block) const noexcept { return used_ != 0 && find(block)->block != nullptr; }

const pin_table::entry* pin_table::look_up(const void* block, std::uint32_t* pins) const noexcept {
  if (used_ == 0) return nullptr;
  const entry* const first = find(block);
  if (first->block == nullptr) return nullptr;
  if (pins != nullptr) {
    *pins = 0;
    for (const entry* e = first; e->block != nullptr; e = next(e)) *pins += e->pins;
  }
  return first;
}

}  // namespace scoot
