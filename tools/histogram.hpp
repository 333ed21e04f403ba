// SPDX-License-Identifier: MIT
//
// A log-linear histogram of ticks: 64 buckets to a doubling, so that a quantile is off by at most 1.6 %. Fixed size,
// never allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tools {

class histogram {
 public:
  void add(std::uint64_t v) noexcept {
    ++counts_[index(v)];
    ++total_;
    if (v > max_) max_ = v;
  }

  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }

  // The smallest bucket bound that at least the part q of all values does not exceed.
  [[nodiscard]] std::uint64_t quantile(double q) const noexcept {
    const double want = q * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > 0 && static_cast<double>(seen) >= want) return upper(i) < max_ ? upper(i) : max_;
    }
    return max_;
  }

 private:
  static constexpr unsigned sub_bits = 6;
  static constexpr std::size_t sub = std::size_t{1} << sub_bits;

  static std::size_t index(std::uint64_t v) noexcept {
    if (v < sub) return static_cast<std::size_t>(v);
    const unsigned top = 63U - static_cast<unsigned>(__builtin_clzll(v));
    return (top - sub_bits + 1) * sub + ((v >> (top - sub_bits)) & (sub - 1));
  }
  static std::uint64_t upper(std::size_t i) noexcept {
    if (i < sub) return i;
    const auto shift = static_cast<unsigned>(i / sub) - 1;
    return ((std::uint64_t{sub} + i % sub + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - sub_bits + 1) * sub> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace tools
