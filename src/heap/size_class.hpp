// SPDX-License-Identifier: MIT
//
// Size classes: which slot size serves a block of a given size.
//
//     size   1 .. 1024    multiples of 4                        class 1 .. 256
//     above               64 steps to each doubling (< 1.6 %)   class 257 .. 448, up to 8 KiB
//
// A class is what is cheap to find from a size. Several share a slot size where finer ones would not pay (above 256
// bytes slots are multiples of 8) or the kind's alignment asks for more.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/bits.hpp"

namespace scoot {

inline constexpr std::size_t small_size_max = 1024;
inline constexpr std::size_t fine_size_max = 256;  // slots in steps of 4 up to here
inline constexpr std::size_t slot_size_max = 8192;
inline constexpr std::size_t size_class_count = 449;

// The class of a size from 1 to slot_size_max.
[[nodiscard]] constexpr std::size_t small_size_class_of(std::size_t size) noexcept { return (size + 3) / 4; }

[[nodiscard]] constexpr std::size_t size_class_of(std::size_t size) noexcept {
  if (size <= small_size_max) return small_size_class_of(size);
  const unsigned exponent = base::log2_floor(size - 1);  // 2^exponent < size <= 2^(exponent + 1)
  const unsigned step_shift = exponent - 6;
  return 256 + (exponent - 10) * 64 + (((size - 1) >> step_shift) - 64) + 1;
}

// The largest size of a class.
[[nodiscard]] constexpr std::size_t size_of_class(std::size_t size_class) noexcept {
  if (size_class <= 256) return size_class * 4;
  const std::size_t doubling = (size_class - 257) / 64;
  const std::size_t floor = small_size_max << doubling;
  return floor + ((size_class - 257) % 64 + 1) * (floor / 64);
}

// The slot size for the blocks of a class: itself the largest size of a class.
[[nodiscard]] constexpr std::size_t slot_size_of(std::size_t size_class, std::size_t alignment) noexcept {
  const std::size_t size = size_of_class(size_class);
  return base::round_up(size, std::max<std::size_t>(alignment, size <= fine_size_max ? 4 : 8));
}

static_assert(size_class_of(1) == 1 && size_class_of(4) == 1 && size_class_of(5) == 2);
static_assert(size_class_of(1024) == 256 && size_class_of(1025) == 257 && size_of_class(257) == 1040);
static_assert(size_class_of(slot_size_max) == size_class_count - 1 && size_of_class(448) == slot_size_max);

}  // namespace scoot
