// SPDX-License-Identifier: MIT
//
// load: what a growing web site of 2003 asks of its cache, the same for everybody by its seed. Its objects differ in
// size, and what is asked for changes as the site does:
//
//     users      ########################################   a user's record, some 200 B; always the most requests
//     comments       ####################################   some 700 B
//     pages                  ####################           rendered pages, some 4 KB, until a proxy takes them
//     pictures                       ###########            some 12 KB, until they get servers of their own
//
// Sizes are log-normal, and each object has its own. Popularity is by Zipf's law, and drifts over the objects. Requests
// are gets; what is not there is stored, and so is the one in 33 that changed meanwhile, with another size.
//
// Threads: one at a time. Allocates nothing.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "random.hpp"
#include "zipf.hpp"

namespace demo {

struct object_kind {
  const char* name;
  double value_bytes;  // mean
  double sigma;        // of the sizes' logarithm
  double weight;       // of the requests, while the site has such objects
  double from, until;  // the part of the site's life in which it has
};

inline constexpr std::array<object_kind, 4> object_kinds = {{
    {"user", 200, 0.5, 60, -1, 2},
    {"comment", 700, 0.8, 25, 0.10, 2},
    {"page", 4000, 0.9, 10, 0.30, 0.80},
    {"picture", 12000, 0.6, 5, 0.52, 0.78},
}};
inline constexpr double fading = 0.04;         // the part of the site's life in which a kind comes or goes
inline constexpr double objects_size = 2;      // of all objects of a kind, for each byte that the cache may hold
inline constexpr double zipf_exponent = 0.99;  // of popularity
inline constexpr double drift = 0.5;           // of the objects, so many become popular who were not

class load {
 public:
  struct request {
    std::string_view key;           // valid until the next one
    std::uint32_t value_bytes = 0;  // if it is to be stored
    bool changed = false;           // it is, whether it is there or not
  };

  // The site is as large as a cache of `cache_bytes` can serve well, and makes `requests` in its life.
  load(std::uint64_t seed, std::size_t cache_bytes, std::uint64_t requests)
      : random_(seed), requests_(static_cast<double>(requests)) {
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      const object_kind& k = object_kinds[i];
      kinds_[i].objects = static_cast<std::size_t>(objects_size * static_cast<double>(cache_bytes) / k.value_bytes);
      kinds_[i].popularity = bench::zipf(kinds_[i].objects, zipf_exponent);
      kinds_[i].sizes = bench::size_distribution::lognormal(k.value_bytes, k.sigma);
    }
  }

  [[nodiscard]] request next() noexcept {
    const double now = static_cast<double>(made_++) / requests_;
    const std::size_t which = choose_kind(now);
    const kind_state& kind = kinds_[which];
    const auto drifted = static_cast<std::size_t>(now * drift * static_cast<double>(kind.objects));
    const std::size_t object = (kind.popularity.draw(random_) + drifted) % kind.objects;
    const int key_bytes = std::snprintf(key_, sizeof key_, "%s:%zu", object_kinds[which].name, object);
    request made;
    made.key = {key_, static_cast<std::size_t>(key_bytes)};
    made.changed = random_.below(33) == 0;
    bench::random_source own(made.changed ? random_.next() : object * object_kinds.size() + which);
    made.value_bytes = kind.sizes.draw(own);
    return made;
  }

 private:
  struct kind_state {
    std::size_t objects = 1;
    bench::zipf popularity{1, zipf_exponent};
    bench::size_distribution sizes = bench::size_distribution::uniform(16, 16);
  };

  [[nodiscard]] std::size_t choose_kind(double now) noexcept {
    std::array<double, object_kinds.size()> weights{};
    double sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const object_kind& k = object_kinds[i];
      const double here = std::fmin((now - k.from) / fading, (k.until - now) / fading);
      sum += weights[i] = k.weight * std::fmin(std::fmax(here, 0), 1);
    }
    double at = bench::uniform(random_) * sum;
    std::size_t which = 0;
    while (which + 1 < weights.size() && at >= weights[which]) at -= weights[which++];
    return which;
  }

  bench::random_source random_;
  const double requests_;
  std::uint64_t made_ = 0;
  std::array<kind_state, object_kinds.size()> kinds_;
  char key_[48] = {};
};

}  // namespace demo
