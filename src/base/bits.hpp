// SPDX-License-Identifier: MIT
//
// Arithmetic on sizes and alignments that are powers of two.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace scoot::base {

[[nodiscard]] constexpr std::size_t round_up(std::size_t value, std::size_t power_of_two) noexcept {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

[[nodiscard]] constexpr std::size_t round_down(std::size_t value, std::size_t power_of_two) noexcept {
  return value & ~(power_of_two - 1);
}

// floor(log2(value)); value must not be 0.
[[nodiscard]] constexpr unsigned log2_floor(std::uint64_t value) noexcept {
  return static_cast<unsigned>(std::bit_width(value)) - 1;
}

[[nodiscard]] inline bool test_bit(const std::uint64_t* words, std::size_t bit) noexcept {
  return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

inline void set_bit(std::uint64_t* words, std::size_t bit) noexcept {
  words[bit / 64] |= std::uint64_t{1} << (bit % 64);
}

inline void clear_bit(std::uint64_t* words, std::size_t bit) noexcept {
  words[bit / 64] &= ~(std::uint64_t{1} << (bit % 64));
}

}  // namespace scoot::base
