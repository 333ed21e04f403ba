// SPDX-License-Identifier: MIT
//
// Size classes: which slot size serves a block of a given size.
//
//     size   1 .. 1024    multiples of 4                        class 1 .. 256
//            .. 2048      multiples of 8                        class 257 .. 384
//     above               64 steps to each doubling (< 1.6 %)   class 385 .. 512, up to 8 KiB
//
// A class is what is cheap to find from a size. Several share a slot size where finer ones would not pay or the kind's
// alignment asks for more. Finer slots cost a shelf more: half an OS page above its top, its bookkeeping, and holes to
// spare. So how fine they are follows from the size of the heap, as that of its pages does:
//
//     slots in steps of      to 256   to 1 KiB   to 2 KiB   above
//     pages of 256 KiB on      8          8         16        1/64     small blocks are many: kinds aligned to 4 or
//     less
//                              4          8          8        1/64     have these
//     smaller pages            8          8         16        1/32    finer where a size is frequent: spacing.cpp
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/bits.hpp"

namespace scoot {

inline constexpr std::size_t small_size_max = 1024;
inline constexpr std::size_t fine_size_max = 256;
inline constexpr std::size_t fine_page_bytes_min = std::size_t{256} << 10;
inline constexpr std::size_t middle_size_max = 2048;
inline constexpr std::size_t slot_size_max = 8192;
inline constexpr std::size_t size_class_count = 513;

// The class of a size from 1 to slot_size_max.
[[nodiscard]] constexpr std::size_t size_class_of(std::size_t size) noexcept {
  if (size <= small_size_max) return (size + 3) / 4;
  if (size <= middle_size_max) return 128 + (size + 7) / 8;
  const unsigned exponent = base::log2_floor(size - 1);  // 2^exponent < size <= 2^(exponent + 1)
  return 384 + (exponent - 11) * 64 + ((size - 1) >> (exponent - 6)) - 63;
}

// The largest size of a class.
[[nodiscard]] constexpr std::size_t size_of_class(std::size_t size_class) noexcept {
  if (size_class <= 256) return size_class * 4;
  if (size_class <= 384) return (size_class - 128) * 8;
  const std::size_t floor = middle_size_max << (size_class - 385) / 64;
  return floor + ((size_class - 385) % 64 + 1) * (floor / 64);
}

enum class spacing : bool { coarse, fine };

// The slot size for the blocks of a class: itself the largest size of a class. As fine as pages of that size suggest,
// or as fine as any are.
[[nodiscard]] constexpr std::size_t slot_size_of(std::size_t size_class, std::size_t alignment, std::size_t page_bytes,
                                                 spacing asked = spacing::coarse) noexcept {
  const std::size_t size = size_of_class(size_class);
  const bool large_heap = page_bytes >= fine_page_bytes_min || asked == spacing::fine;
  const bool fine = large_heap && alignment <= 4;
  std::size_t step = size <= (fine ? fine_size_max : small_size_max) ? 8 : 16;
  if (fine) step /= 2;
  if (!large_heap && size > middle_size_max) step = (std::size_t{1} << base::log2_floor(size - 1)) / 32;
  return base::round_up(size, std::max(alignment, step));
}

static_assert(size_class_of(1) == 1 && size_class_of(4) == 1 && size_class_of(5) == 2);
static_assert(size_class_of(1024) == 256 && size_class_of(1025) == 257 && size_of_class(257) == 1032);
static_assert(size_class_of(2048) == 384 && size_class_of(2049) == 385 && size_of_class(385) == 2080);
static_assert(size_class_of(slot_size_max) == size_class_count - 1 && size_of_class(512) == slot_size_max);

}  // namespace scoot
