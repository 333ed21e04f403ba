// SPDX-License-Identifier: MIT
//
// Giving so many bytes back, in the order of what it costs the program: idle pages nothing, compaction some processor
// time, eviction blocks.
#include <algorithm>

#include "heap/heap_impl.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

constexpr std::size_t step_bytes_min = std::size_t{64} << 10;  // a compaction looks at every shelf: make it worth it

// When an effort's time is over; 0: never.
std::uint64_t deadline_of(const effort& e) noexcept {
  if (e.time_max == std::chrono::nanoseconds::max()) return 0;
  return os::now_ns() + static_cast<std::uint64_t>(std::max<std::int64_t>(e.time_max.count(), 0));
}

std::chrono::nanoseconds time_until(std::uint64_t deadline_ns) noexcept {
  if (deadline_ns == 0) return std::chrono::nanoseconds::max();
  const std::uint64_t now = os::now_ns();
  return std::chrono::nanoseconds(now < deadline_ns ? static_cast<std::int64_t>(deadline_ns - now) : 0);
}

}  // namespace

// Asks the owner until about so many bytes are free, or it has no more. Returns the usable bytes freed.
std::size_t heap_impl::evict_some(std::size_t bytes, const release_options& options,
                                  std::uint64_t deadline_ns) noexcept {
  std::size_t evicted = 0;
  while (options.evict != nullptr && evicted < bytes && time_until(deadline_ns).count() != 0) {
    const std::size_t freed = options.evict(options.context, bytes - evicted);
    if (freed == 0) break;
    evicted += freed;
  }
  return evicted;
}

release_result heap_impl::release_bytes(std::size_t bytes, const release_options& options) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_mover("release");
  release_result done;
  const std::uint64_t deadline_ns = deadline_of(options.limit);
  const std::uint64_t trimmed = trimmed_bytes_;
  const std::uint64_t grown = grown_bytes_;
  const auto given_back =
      [&] {  // net of what compaction takes to have where to move to; what evicting gives counts too
        const std::uint64_t given = trimmed_bytes_ - trimmed;
        return static_cast<std::size_t>(given - std::min(given, grown_bytes_ - grown));
      };
  trimmed_bytes_ += pool_.trim_some(bytes, 0);
  std::size_t slack = step_bytes_min;
  for (;;) {
    done.bytes_given_back = given_back();
    if (done.bytes_given_back >= bytes) break;
    const std::size_t wanted = bytes - done.bytes_given_back;
    const std::size_t moves_left = options.limit.bytes_max - std::min(done.bytes_moved, options.limit.bytes_max);
    // A byte moved gives back at least one, and more where holes are many: so a part at a time.
    const std::size_t moves = std::min(moves_left, wanted / 4 + slack);
    const compaction c = compact_all({moves, time_until(deadline_ns)});
    done.bytes_given_back = given_back();
    done.bytes_moved += c.bytes_moved;
    done.blocks_dropped += c.blocks_dropped;
    if (done.bytes_given_back >= bytes) break;
    const bool late = time_until(deadline_ns).count() == 0;
    if (c.why == stop_reason::effort_spent || late) {
      done.why = stop_reason::effort_spent;
      if (moves == moves_left || late) return done;
      if (c.bytes_moved == 0 && c.blocks_dropped == 0) slack *= 4;  // a block larger than that is next
      continue;
    }
    // What is wasted has been given back, or stays.
    const std::size_t evicted =
        evict_some(std::max(bytes - done.bytes_given_back, step_bytes_min), options, deadline_ns);
    done.bytes_evicted += evicted;
    if (evicted != 0) continue;
    done.why = c.why == stop_reason::done ? stop_reason::nothing_to_gain : c.why;
    return done;
  }
  done.why = stop_reason::done;
  return done;
}

}  // namespace scoot
