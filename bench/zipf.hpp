// SPDX-License-Identifier: MIT
//
// Popularity by Zipf's law, drawn in constant time and without a table.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "random.hpp"

namespace bench {

// Uniform in [0, 1).
inline double uniform(random_source& random) noexcept { return static_cast<double>(random.next() >> 11) * 0x1p-53; }

// Ranks 0 to n - 1 with weights (rank + 1)^-alpha, alpha >= 0, in constant time: rejection-inversion (W. Hörmann, G.
// Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", TOMACS 1996).
class zipf {
 public:
  zipf(std::size_t n, double alpha) : alpha_(alpha), n_(static_cast<double>(n)) {
    low_ = integral(1.5) - 1;
    high_ = integral(n_ + 0.5);
    squeeze_ = 2 - inverse(integral(2.5) - std::pow(2, -alpha_));
  }

  std::size_t draw(random_source& random) const {
    for (;;) {
      const double u = high_ + uniform(random) * (low_ - high_);
      const double x = inverse(u);
      const double k = std::clamp(std::floor(x + 0.5), 1.0, n_);
      if (k - x <= squeeze_ || u >= integral(k + 0.5) - std::pow(k, -alpha_)) return static_cast<std::size_t>(k) - 1;
    }
  }

 private:
  // The integral of x^-alpha from 1 to x, and its inverse; the series where 1 - alpha is close to 0.
  [[nodiscard]] double integral(double x) const {
    const double log_x = std::log(x), t = (1 - alpha_) * log_x;
    return (std::abs(t) > 1e-8 ? std::expm1(t) / t : 1 + t / 2) * log_x;
  }
  [[nodiscard]] double inverse(double y) const {
    const double t = std::max((1 - alpha_) * y, -1.0);
    return std::exp((std::abs(t) > 1e-8 ? std::log1p(t) / t : 1 - t / 2) * y);
  }

  double alpha_, n_, low_ = 0, high_ = 0, squeeze_ = 0;
};

}  // namespace bench
