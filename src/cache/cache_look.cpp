// SPDX-License-Identifier: MIT
//
// What a cache tells those who look at it while it works: the chunks of its cold tier, and what is pinned.
#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "cache/cache_impl.hpp"

namespace scoot {

using caching::cache_impl;
using caching::shard;

namespace {

constexpr std::uint32_t chunks_a_visit = 256;
constexpr std::size_t pins_a_shard = 64;
constexpr std::size_t holders_a_shard = 16;

cache_impl& impl_of(cache* c) noexcept { return *static_cast<cache_impl*>(c); }

bool strands_more(const pin_info& a, const pin_info& b) noexcept { return a.stranded_bytes > b.stranded_bytes; }

// Adds to the line of the same holder, or to the last one if there is no room for more.
void merge(std::span<pin_holder> lines, std::size_t& used, const pin_holder& one) noexcept {
  const auto end = lines.begin() + static_cast<std::ptrdiff_t>(used);
  auto at = std::find_if(lines.begin(), end,
                         [&](const pin_holder& line) { return std::strcmp(line.holder, one.holder) == 0; });
  if (at == end && used < lines.size()) {
    *at = {.holder = one.holder};
    ++used;
  } else if (at == end) {
    at = end - 1;
    at->holder = "...";
  }
  at->blocks += one.blocks;
  at->bytes += one.bytes;
  at->age_ns_max = std::max(at->age_ns_max, one.age_ns_max);
  at->stranded_bytes += one.stranded_bytes;
}

}  // namespace

std::uint64_t cache::visit_cold_erased(std::uint64_t cursor, erased_cold_visitor visit, void* context) noexcept {
  constexpr unsigned position_bits = 32;
  cache_impl& impl = impl_of(this);
  struct visited {
    erased_cold_visitor visit;
    void* context;
    unsigned number;
  } one{visit, context, static_cast<unsigned>(cursor >> position_bits)};
  if (one.number >= impl.shards()) return 0;
  shard& s = impl.nth(one.number);
  std::uint32_t next = 0;
  {
    const std::lock_guard guard(s.lock());
    next = s.look_at_cold(
        static_cast<std::uint32_t>(cursor), chunks_a_visit,
        [](void* c, const cold_chunk_view& chunk) noexcept {
          const auto& v = *static_cast<const visited*>(c);
          v.visit(v.context, v.number, chunk);
        },
        &one);
  }
  if (next != 0) return std::uint64_t{one.number} << position_bits | next;
  return one.number + 1 < impl.shards() ? std::uint64_t{one.number + 1} << position_bits : 0;
}

std::size_t cache::list_pins(std::span<cache_pin> room) noexcept {
  cache_impl& impl = impl_of(this);
  std::size_t count = 0, used = 0;
  for (unsigned i = 0; i < impl.shards(); ++i) {
    std::array<pin_info, pins_a_shard> pins;
    std::size_t here = 0;
    {
      const std::lock_guard guard(impl.nth(i).lock());
      if (impl.nth(i).has_pins()) here = impl.nth(i).list_pins(pins);
    }
    count += here;
    // The worst of what is there and of what comes.
    for (std::size_t p = 0; p < std::min(here, pins.size()); ++p) {
      if (used < room.size()) {
        room[used++] = {i, pins[p]};
      } else if (auto least = std::max_element(
                     room.begin(), room.end(),
                     [](const cache_pin& a, const cache_pin& b) { return strands_more(a.pin, b.pin); });
                 least != room.end() && strands_more(pins[p], least->pin)) {
        *least = {i, pins[p]};
      }
    }
  }
  std::stable_sort(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(used),
                   [](const cache_pin& a, const cache_pin& b) { return strands_more(a.pin, b.pin); });
  return count;
}

std::size_t cache::list_pin_holders(std::span<pin_holder> room) noexcept {
  cache_impl& impl = impl_of(this);
  std::size_t used = 0;
  if (room.empty()) return 0;
  for (unsigned i = 0; i < impl.shards(); ++i) {
    std::array<pin_holder, holders_a_shard> holders;
    std::size_t here = 0;
    {
      const std::lock_guard guard(impl.nth(i).lock());
      if (impl.nth(i).has_pins()) here = impl.nth(i).list_pin_holders(holders);
    }
    for (std::size_t h = 0; h < here; ++h) merge(room, used, holders[h]);
  }
  std::sort(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(used),
            [](const pin_holder& a, const pin_holder& b) { return a.stranded_bytes > b.stranded_bytes; });
  return used;
}

}  // namespace scoot
