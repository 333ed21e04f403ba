// SPDX-License-Identifier: MIT
//
// Many copies of one trace at once: each begins a little after the one before, and is dealt a stretch of operations at
// a time in turn, as the requests of a server would be. A copy that has ended frees what is left of it.
//
//     copy 0   |-----stretches of operations-----|free the rest
//     copy 1       |---------------------------------|
//     copy 2           |---------------------------------|
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "trace.hpp"

namespace bench {

inline constexpr std::size_t replay_stretch = 256;  // operations

// Calls each(copy, operation) for all operations of all copies in order, and ended(copy) after the last of a copy.
template <class Each, class Ended>
void replay_schedule(const trace& t, std::uint32_t copies, Each each, Ended ended) {
  const std::size_t stretches = (t.size() + replay_stretch - 1) / replay_stretch;
  const auto start_of = [&](std::uint32_t copy) {
    return static_cast<std::size_t>(static_cast<std::uint64_t>(copy) * stretches / copies);
  };
  std::uint32_t first = 0;  // copies before this one have ended
  for (std::size_t step = 0; first < copies; ++step) {
    for (std::uint32_t copy = first; copy < copies && start_of(copy) <= step; ++copy) {
      const std::size_t stretch = step - start_of(copy);
      const trace_operation* at = t.begin() + stretch * replay_stretch;
      const trace_operation* end = t.begin() + std::min(t.size(), (stretch + 1) * replay_stretch);
      for (; at < end; ++at) each(copy, *at);
      if (stretch + 1 < stretches) continue;
      ended(copy);
      first = copy + 1;
    }
  }
}

}  // namespace bench
