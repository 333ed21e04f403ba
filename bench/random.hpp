// SPDX-License-Identifier: MIT
//
// Seeded random numbers and block sizes, cheap enough to be lost beside an allocation: one multiplication for a
// number, one more and a 16 KiB table for a size.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace bench {

// wyrand (Wang Yi, wyhash, public domain).
class random_source {
 public:
  explicit random_source(std::uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15U + 1) {}

  std::uint64_t next() noexcept {
    state_ += 0xa0761d6478bd642fU;
    const auto m = static_cast<unsigned __int128>(state_) * (state_ ^ 0xe7037ed1a0b428dbU);
    return static_cast<std::uint64_t>(m >> 64) ^ static_cast<std::uint64_t>(m);
  }

  // Uniform in [0, n), n below 2^32.
  std::uint32_t below(std::uint32_t n) noexcept { return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32); }

 private:
  std::uint64_t state_;
};

// A distribution of block sizes as a table of its quantiles, read with linear interpolation.
class size_distribution {
 public:
  static constexpr std::uint32_t size_min = 16;
  static constexpr std::uint32_t size_max = 64U << 10;

  static size_distribution uniform(std::uint32_t from, std::uint32_t to) noexcept {
    size_distribution d;
    for (std::size_t i = 0; i < points; ++i)
      d.table_[i] = from + static_cast<std::uint32_t>(static_cast<double>(to - from) * static_cast<double>(i) / steps);
    return d;
  }

  // Log-normal with this arithmetic mean before clipping to [size_min, clip].
  static size_distribution lognormal(double mean, double sigma, double clip = size_max) noexcept {
    size_distribution d;
    const double mu = std::log(mean) - sigma * sigma / 2;
    for (std::size_t i = 0; i < points; ++i) {
      double p = static_cast<double>(i) / steps;
      if (i == 0) p = 1e-6;
      if (i == points - 1) p = 1 - 1e-6;
      const double size = std::exp(mu + sigma * normal_quantile(p));
      d.table_[i] = size < size_min ? size_min
                    : size > clip   ? static_cast<std::uint32_t>(clip)
                                    : static_cast<std::uint32_t>(std::lround(size));
    }
    return d;
  }

  std::uint32_t draw(random_source& random) const noexcept {
    const std::uint64_t r = random.next();
    const std::size_t i = r >> 52;
    const auto fraction = static_cast<std::uint32_t>(r) >> 12;  // 20 bits
    const std::uint64_t step = table_[i + 1] - table_[i];
    return table_[i] + static_cast<std::uint32_t>((step * fraction) >> 20);
  }

  [[nodiscard]] double mean() const noexcept {
    double sum = 0;
    for (std::size_t i = 0; i + 1 < points; ++i) sum += (table_[i] + table_[i + 1]) / 2.0;
    return sum / steps;
  }

 private:
  static constexpr std::size_t points = 4097;
  static constexpr double steps = 4096;

  // By bisection of erfc: slow, exact, and called once a table entry.
  static double normal_quantile(double p) noexcept {
    double low = -8;
    double high = 8;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
    }
    return low;
  }

  std::array<std::uint32_t, points> table_{};
};

}  // namespace bench
