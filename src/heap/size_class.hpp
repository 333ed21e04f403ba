// SPDX-License-Identifier: MIT
//
// Size classes: which slot size serves a block of a given size.
//
//     size   1 .. 1024    multiples of 8                       class 1 .. 128
//     above               64 steps to each doubling (< 1.6 %)  class 129 .. 320, up to 8 KiB
#pragma once

#include <cstddef>

#include "base/bits.hpp"

namespace scoot {

inline constexpr std::size_t small_size_max = 1024;
inline constexpr std::size_t slot_size_max = 8192;
inline constexpr std::size_t size_class_count = 321;

// The class of a size from 1 to slot_size_max.
[[nodiscard]] constexpr std::size_t size_class_of(std::size_t size) noexcept {
  if (size <= small_size_max) return (size + 7) / 8;
  const unsigned exponent = base::log2_floor(size - 1);  // 2^exponent < size <= 2^(exponent + 1)
  const std::size_t floor = std::size_t{1} << exponent;
  const std::size_t step = floor / 64;
  return 128 + (exponent - 10) * 64 + (size - floor + step - 1) / step;
}

// The largest size of a class.
[[nodiscard]] constexpr std::size_t size_of_class(std::size_t size_class) noexcept {
  if (size_class <= 128) return size_class * 8;
  const std::size_t doubling = (size_class - 129) / 64;
  const std::size_t floor = small_size_max << doubling;
  return floor + ((size_class - 129) % 64 + 1) * (floor / 64);
}

static_assert(size_class_of(1) == 1 && size_class_of(8) == 1 && size_class_of(9) == 2);
static_assert(size_class_of(1024) == 128 && size_class_of(1025) == 129 && size_of_class(129) == 1040);
static_assert(size_class_of(slot_size_max) == size_class_count - 1 && size_of_class(320) == slot_size_max);

}  // namespace scoot
