// SPDX-License-Identifier: MIT
//
// What the cache's tests share: a clock under the test's control, caches on it, and a way to their insides.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cache/cache_impl.hpp"
#include "scoot/cache.hpp"

namespace scoot::testing {

struct fake_clock {
  std::uint32_t seconds = 1'700'000'000;
  static std::uint32_t read(void* self) { return static_cast<fake_clock*>(self)->seconds; }
};

// Small, one shard, no thread, time stands still: what a test of one behaviour wants.
inline cache_options options_on(fake_clock& clock, std::size_t budget_bytes = std::size_t{8} << 20,
                                unsigned shards = 1) {
  cache_options options;
  options.budget_bytes = budget_bytes;
  options.shards = shards;
  options.maintenance_thread = false;
  options.clock = &fake_clock::read;
  options.clock_context = &clock;
  return options;
}

inline caching::cache_impl& inside(cache& c) { return static_cast<caching::cache_impl&>(c); }

inline void verify(cache& c) {
  for (unsigned i = 0; i < inside(c).shards(); ++i) {
    caching::shard& part = inside(c).nth(i);
    const std::lock_guard hold(part.lock());  // there may be a maintenance thread
    part.verify();
  }
}

inline void move_everything(cache& c) {
  for (unsigned i = 0; i < inside(c).shards(); ++i) inside(c).nth(i).move_everything();
}

// All of an item, copied.
struct copied {
  std::string value;
  std::uint32_t flags = 0;
  std::uint32_t expires_at = 0;
  std::uint64_t cas = 0;
  bool stale = false;
  bool won = false;  // somebody was told to store it anew
};

inline std::optional<copied> read(cache& c, std::string_view key, const read_options& options = {}) {
  std::optional<copied> out;
  const cache_status status = c.get(
      key,
      [&](const item_view& view) {
        out = copied{std::string(view.value), view.flags, view.expires_at, view.cas};
      },
      options);
  return status == cache_status::ok ? out : std::nullopt;
}

inline std::string value_of(cache& c, std::string_view key) {
  const auto found = read(c, key);
  return found ? found->value : "(not found)";
}

inline std::uint64_t cas_of(cache& c, std::string_view key) {
  read_options with_cas;
  with_cas.cas = true;
  const auto found = read(c, key, with_cas);
  return found ? found->cas : 0;
}

// A seeded generator whose sequence is the same on every machine.
class seeded {
 public:
  explicit seeded(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return (*this)() % n; }

 private:
  std::uint64_t state_;
};

// Bytes that depend on the seed at every place, so that a byte gone astray shows.
inline std::string patterned(std::uint64_t seed, std::size_t bytes) {
  seeded random(seed);
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(random());
  return out;
}

}  // namespace scoot::testing
