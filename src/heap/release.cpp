// SPDX-License-Identifier: MIT
//
// Giving so many bytes back, in the order of what it costs the program: idle pages nothing, compaction some processor
// time, eviction blocks. And giving all back while the owner takes what is in it elsewhere.
#include <algorithm>

#include "base/bits.hpp"
#include "base/check.hpp"
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
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_callback("release");
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

// --- Handing over ---------------------------------------------------------------------------------------------------

// The shelf comes down over its blocks as it does where they move.
std::size_t heap_impl::hand_over_shelf(shelf& s, block_taker take, void* context) noexcept {
  return_parked(s, 0);
  unstick(s);  // what refused to move is shown like anything else
  std::size_t shown = 0;
  const page_info* page = nullptr;
  std::uint32_t ahead = 0;
  while (page_info* top = s.top()) {
    if (top != page) ahead = ~std::uint32_t{0};
    page = top;
    const std::uint32_t fresh = s.slot_index(top, s.bump);
    if (fresh == 0) {
      s.pop();
      release_shelf_page(s, top);
      trimmed_bytes_ += pool_.trim_some(~std::size_t{0}, 0);
      continue;
    }
    const std::uint32_t index = fresh - 1;
    std::size_t step = s.slot;
    if (base::test_bit(top->hole_map, index)) {
      step *= take_top_holes(s, top, index);
    } else {
      char* const block = s.slot_address(top, index);
      if (is_pinned(top, block)) {
        if (anchor(s, stop_reason::pinned)) continue;
        break;
      }
      fetch_blocks(s, top, index, ahead);
      take(context, block, s.slot - redzone());
      if constexpr (SCOOT_CHECK_LEVEL >= 2) bury(block, s.slot, "hand_over");
      --s.taken;
      ++shown;
    }
    s.bump -= step;
  }
  trim_top(s);
  settle(s);
  return shown;
}

std::size_t heap_impl::hand_over_blocks(std::uint8_t kind_index, block_taker take, void* context) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_callback("hand_over");
  const visit_scope scope(*this, "block_taker");
  victim_ = nullptr;
  std::size_t shown = 0;
  const auto show = [&](void* block, std::size_t size) {
    take(context, block, size - redzone());
    ++shown;
    if constexpr (SCOOT_CHECK_LEVEL >= 2) bury(block, size, "hand_over");
  };
  for (std::uint32_t i = 0; i < shelves_.size();) {
    shelf& s = *shelves_[i];
    if (s.kind == kind_index) shown += hand_over_shelf(s, take, context);
    if (s.kind == kind_index && s.blocks() == 0) {
      discard(s);
    } else {
      ++i;
    }
  }
  for (std::uint32_t p = large_.pages().size(); p-- > 0;) {  // a page that becomes empty leaves the list
    large_page* const in = large_.pages()[p];
    for (std::uint32_t left = in->count, i = left; i-- > 0 && left != 0;) {
      const large_block b = in->blocks()[i];
      char* const block = large_space::address(in, b.begin);
      if (b.kind != kind_index || is_pinned(in->page, block)) continue;
      show(block, b.size * large_space::granule);
      left = in->count - 1;
      free_large(in->page, block);
    }
    trimmed_bytes_ += pool_.trim_some(~std::size_t{0}, 0);
  }
  for (std::uint32_t r = runs_.size(); r-- > 0;) {
    page_info* const first = runs_[r];
    if (first->kind != kind_index || is_pinned(first, first->base)) continue;
    show(first->base, first->run_bytes);
    free_run(first);
    trimmed_bytes_ += pool_.trim_some(~std::size_t{0}, 0);
  }
  return shown;
}

}  // namespace scoot
