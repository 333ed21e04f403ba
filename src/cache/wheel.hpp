// SPDX-License-Identifier: MIT
//
// wheel: which items may be due at which second, as lists of names; items without an expiry are not in it.
//
//     level 0   64 slots of 1 s        level 2   64 slots of 4096 s
//     level 1   64 slots of 64 s       level 3   64 slots of 2^18 s, what is later still goes to the last of them
//
// When its time comes a slot becomes part of the due list, whose names the shard looks up in bounded steps: an expired
// item goes, any other is filed again by its expiry as it is by then. So an item whose expiry is put off need not be
// filed again at once, and one entry per item suffices. An item due at t is on the due list by t.
// Source: G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, scheme 7.
#pragma once

#include <cstdint>

#include "cache/name_lists.hpp"

namespace scoot::caching {

class wheel {
 public:
  static constexpr unsigned slot_bits = 6;
  static constexpr unsigned levels = 4;
  static constexpr unsigned due_list = 2;  // after the two eviction queues
  static constexpr unsigned first_slot_list = 3;
  static constexpr unsigned list_end = first_slot_list + (levels << slot_bits);

  wheel(name_lists& lists, std::uint32_t now) noexcept : lists_(lists), tick_(now) {}

  // Where a name with that expiry is to be pushed.
  [[nodiscard]] unsigned list_for(std::uint32_t expires_at) const noexcept {
    if (expires_at <= tick_) return due_list;
    std::uint32_t distance = expires_at - tick_;
    constexpr std::uint32_t horizon = (1u << slot_bits * levels) - 1;
    if (distance > horizon) distance = horizon;
    const std::uint32_t at = tick_ + distance;
    unsigned level = 0;
    while (distance >> slot_bits * (level + 1) != 0) ++level;
    return slot_list(level, at);
  }

  // Lets time pass, at most `seconds_max` of it; true if `now` is reached.
  bool advance(std::uint32_t now, std::uint32_t seconds_max) noexcept {
    if (lists_.filed() == 0 && now > tick_) tick_ = now;
    for (; tick_ < now && seconds_max != 0; --seconds_max) {
      ++tick_;
      lists_.splice(slot_list(0, tick_), due_list);
      for (unsigned level = 1; level < levels && (tick_ & ((1u << slot_bits * level) - 1)) == 0; ++level) {
        lists_.splice(slot_list(level, tick_), due_list);
      }
    }
    return tick_ >= now;
  }

 private:
  [[nodiscard]] static unsigned slot_list(unsigned level, std::uint32_t at) noexcept {
    constexpr std::uint32_t mask = (1u << slot_bits) - 1;
    return first_slot_list + (level << slot_bits) + (at >> slot_bits * level & mask);
  }

  name_lists& lists_;
  std::uint32_t tick_;
};

}  // namespace scoot::caching
