// SPDX-License-Identifier: MIT
#include "purgeable/trial.hpp"

#include <cstring>

#include "os/os.hpp"
#include "os/purge.hpp"
#include "purgeable/touch.hpp"

namespace scoot::purging {

namespace {

// Memory that is offered, written to in part, and reclaimed at once: what is left must be what was written.
purge_support try_out(char* pages, std::size_t count) noexcept {
  const std::size_t page = os::page_bytes();
  for (int round = 0; round < 4; ++round) {
    std::memset(pages, 0x5c, count * page);
    if (!os::offer(pages, count * page)) return purge_support::refused;
    const auto word_of = [&](std::size_t i) { return reinterpret_cast<std::uint32_t*>(pages + i * page); };
    for (std::size_t i = 0; i < count; i += 2) {
      if (write_back(word_of(i)) != 0x5c5c5c5c) return purge_support::accepted;  // purged already
    }
    const bool asked = os::reclaim(pages, count * page);
    std::size_t gone = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t now = read_word(word_of(i));
      if (now != 0x5c5c5c5c && (i % 2 == 0 || now != 0)) return purge_support::refused;
      gone += now == 0 ? 1U : 0U;
    }
    if (gone != 0) return purge_support::seen;
    if (!asked) return purge_support::accepted;
    // The kernel finds pages by lists that a processor fills a batch at a time: try again with new ones.
    if (!os::give_back(pages, count * page)) return purge_support::refused;
  }
  return purge_support::accepted;
}

}  // namespace

purge_support try_out_kernel() noexcept {
  const std::size_t bytes = 16 * os::page_bytes();
  char* const pages = os::reserve(bytes, os::page_bytes());
  if (pages == nullptr) return purge_support::refused;
  os::unlock(pages, bytes);
  purge_support found = purge_support::refused;
  if (os::make_usable(pages, bytes) && os::keep_from_children(pages, bytes)) found = try_out(pages, 16);
  os::unreserve(pages, bytes);
  return found;
}

}  // namespace scoot::purging
