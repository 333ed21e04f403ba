// SPDX-License-Identifier: MIT
//
// name: 40 bits of a key's hash, by which queues and the timing wheel refer to an item without its address.
//
//     hash   63     56           40             24              0
//           | shard |            |     tag      |    place      |     the seed is the cache's own, drawn at random
//           +-------+------------+--------------+---------------+
//                                |<----------- name ----------->|
//
// place says in which bucket of the index the item belongs, whatever the number of buckets; tag tells the items of a
// bucket apart without touching them, and is never 0. An item's second-choice place follows from its name.
#pragma once

#include <cstdint>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace scoot::caching {

struct name {
  static constexpr unsigned place_bits = 24;
  static constexpr std::uint32_t place_mask = (1u << place_bits) - 1;

  std::uint32_t place = 0;
  std::uint16_t tag = 0;

  [[nodiscard]] static name of(std::uint64_t hash) noexcept {
    const auto tag = static_cast<std::uint16_t>(hash >> place_bits);
    return {static_cast<std::uint32_t>(hash) & place_mask, tag == 0 ? std::uint16_t{1} : tag};
  }
  // All 40 of them, and back.
  [[nodiscard]] std::uint64_t bits() const noexcept { return std::uint64_t{tag} << place_bits | place; }
  [[nodiscard]] static name of_bits(std::uint64_t bits) noexcept {
    return {static_cast<std::uint32_t>(bits) & place_mask, static_cast<std::uint16_t>(bits >> place_bits)};
  }
  // The other place an item of this name may be in. Differs from `place` in bit 0, so the buckets differ, too.
  [[nodiscard]] std::uint32_t other_place() const noexcept { return place ^ difference(tag); }
  [[nodiscard]] static std::uint32_t difference(std::uint16_t tag) noexcept {
    return ((tag * 0x9e3779b1u >> 8) | 1) & place_mask;
  }
  [[nodiscard]] friend bool operator==(const name&, const name&) = default;
};

[[nodiscard]] inline std::uint64_t hash_of(std::string_view key, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(key.data(), key.size(), seed);
}

}  // namespace scoot::caching
