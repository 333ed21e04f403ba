// SPDX-License-Identifier: MIT
#include "cache/pins.hpp"

#include <cstring>

#include "base/check.hpp"

namespace scoot::caching {

std::size_t pins::home_of(const void* block) const noexcept {
  const auto bits = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(block));
  return static_cast<std::size_t>(bits * 0x9e3779b97f4a7c15u >> 32) & (slots_ - 1);
}

std::size_t pins::position_of(const void* block) const noexcept {
  std::size_t at = home_of(block);
  while (table_[at].block != nullptr && table_[at].block != block) at = (at + 1) & (slots_ - 1);
  return at;
}

bool pins::grow() noexcept {
  const std::size_t slots = slots_ == 0 ? 8 : slots_ * 2;
  auto* table = static_cast<entry*>(heap_.allocate(fixed_, slots * sizeof(entry)));
  if (table == nullptr) return false;
  std::memset(table, 0, slots * sizeof(entry));
  entry* const old = table_;
  const std::size_t old_slots = slots_;
  table_ = table;
  slots_ = slots;
  for (std::size_t i = 0; i < old_slots; ++i) {
    if (old[i].block != nullptr) table_[position_of(old[i].block)] = old[i];
  }
  heap_.free(old);
  return true;
}

bool pins::add(void* block) noexcept {
  entry& e = table_[position_of(block)];
  if (e.block == nullptr) {
    if (!heap_.pin(block, "reader")) return false;
    e = {block, 0, false};
    ++used_;
  }
  ++e.count;
  return true;
}

bool pins::release(void* block) noexcept {
  std::size_t at = position_of(block);
  SCOOT_CHECK(1, table_[at].block == block, "block %p is not pinned", block);
  if (--table_[at].count != 0) return false;
  const bool gone = table_[at].gone;
  heap_.unpin(block, "reader");
  --used_;
  // Closes the gap: whatever follows in the same run and may stand here moves up.
  for (std::size_t next = (at + 1) & (slots_ - 1); table_[next].block != nullptr; next = (next + 1) & (slots_ - 1)) {
    const std::size_t home = home_of(table_[next].block);
    if (((next - home) & (slots_ - 1)) < ((next - at) & (slots_ - 1))) continue;
    table_[at] = table_[next];
    at = next;
  }
  table_[at] = {};
  if (used_ == 0) {
    heap_.free(table_);
    table_ = nullptr;
    slots_ = 0;
  }
  return gone;
}

bool pins::abandon(void* block) noexcept {
  if (!is_pinned(block)) return false;
  table_[position_of(block)].gone = true;
  return true;
}

}  // namespace scoot::caching
