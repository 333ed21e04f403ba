// SPDX-License-Identifier: MIT
#include "heap/move_history.hpp"

#include <algorithm>

#include "heap/pool.hpp"

namespace scoot {

namespace {

constexpr std::size_t bytes_min = std::size_t{1} << 10;
constexpr std::size_t bytes_max = std::size_t{256} << 10;

bool covers(const past_move& move, const void* address) noexcept {
  return static_cast<std::size_t>(static_cast<const char*>(address) - move.from) < move.bytes;
}

}  // namespace

move_history::~move_history() { pool_.metadata_free(ring_, bytes()); }

void move_history::begin() noexcept {
  const std::size_t wanted = std::clamp(pool_.get_budget().limit() / 1024, bytes_min, bytes_max);
  ring_ = static_cast<past_move*>(pool_.metadata_allocate(wanted));
  if (ring_ != nullptr) capacity_ = wanted / sizeof(past_move);
}

void move_history::note(const past_move& move) noexcept {
  ++noted_;
  if (capacity_ == 0) return;
  past_move& place = ring_[(noted_ - 1) % capacity_];
  place = move;
  place.order = noted_;
}

void move_history::forget(std::uint8_t kind) noexcept {
  for (std::size_t i = 0; i < std::min<std::uint64_t>(noted_, capacity_); ++i) {
    if (ring_[i].kind == kind) ring_[i].bytes = 0;  // it covers no address
  }
}

const past_move* move_history::find(const void* address, std::uint64_t order) const noexcept {
  const past_move* found = nullptr;
  for (std::size_t i = 0; i < std::min<std::uint64_t>(noted_, capacity_); ++i) {
    const past_move& m = ring_[i];
    if (m.order < order && covers(m, address) && (found == nullptr || m.order > found->order)) found = &m;
  }
  return found;
}

const past_move* move_history::find_after(const void* address, std::uint64_t order) const noexcept {
  const past_move* found = nullptr;
  for (std::size_t i = 0; i < std::min<std::uint64_t>(noted_, capacity_); ++i) {
    const past_move& m = ring_[i];
    if (m.order > order && covers(m, address) && (found == nullptr || m.order < found->order)) found = &m;
  }
  return found;
}

}  // namespace scoot
