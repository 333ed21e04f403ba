// SPDX-License-Identifier: MIT
//
// What has become of offered memory: the sweep, and what is counted.
#include <algorithm>

#include "base/bits.hpp"
#include "os/purge.hpp"
#include "purgeable/region.hpp"

namespace scoot::purging {

namespace {

constexpr std::uint32_t chunks_a_sweep = 1U << 16;  // looked at by one sweep, offered or not: some 100 us

}  // namespace

void region::note_absent_pages(std::uint32_t first, std::uint32_t count, sweep_result& result) noexcept {
  std::uint64_t absent[os::census_pages_max / 64];
  os::page_census way{};
  if (!os::find_absent(address(first), count * pages_, absent, way)) return;
  for (std::uint32_t chunk = first; chunk < first + count; ++chunk) {
    const std::uint32_t pages = records_[chunk].offered_pages.load(std::memory_order_relaxed);
    for (std::uint32_t page = 0; page < pages; ++page) {
      if (!base::test_bit(absent, (chunk - first) * pages_ + page)) continue;
      const std::uint16_t seen = notes_of(chunk)[page].load(std::memory_order_acquire);
      if (!in_doubt(seen)) continue;
      // mincore does not tell what is purged from what is swapped out; to read it does.
      const bool gone =
          way == os::page_census::mincore && seen != note_zero ? !look(chunk, page) : note_gone(chunk, page, seen);
      if (gone) result.bytes_purged += page_bytes_;
    }
  }
}

bool region::report_lost(std::uint32_t chunk, std::span<lost_range> lost, sweep_result& result) noexcept {
  chunk_record& r = records_[chunk];
  const std::uint32_t pages = r.offered_pages.load(std::memory_order_relaxed);
  note* const notes = notes_of(chunk);
  for (std::uint32_t page = 0; page < pages && r.unreported_pages.load(std::memory_order_relaxed) != 0;) {
    if (notes[page].load(std::memory_order_acquire) != note_lost) {
      ++page;
      continue;
    }
    if (result.ranges == lost.size()) return false;
    const std::uint32_t first = page;
    while (page < pages && notes[page].load(std::memory_order_acquire) == note_lost) {
      notes[page++].store(note_lost_reported, std::memory_order_relaxed);
    }
    r.unreported_pages.fetch_sub(page - first, std::memory_order_relaxed);
    const auto page_bytes = static_cast<std::uint32_t>(page_bytes_);
    lost[result.ranges++] = {chunk, first * page_bytes, (page - first) * page_bytes};
  }
  return true;
}

std::uint32_t region::pin_for_sweep(std::uint32_t first, std::uint32_t end, std::size_t bytes_max,
                                    sweep_result& result) noexcept {
  constexpr std::uint64_t idle_offered = allocated | offered;
  const auto count_max = static_cast<std::uint32_t>(os::census_pages_max / pages_);
  std::uint32_t count = 0;
  for (; count < count_max && first + count < end; ++count) {
    chunk_record& r = records_[first + count];
    if ((r.word.load(std::memory_order_relaxed) & state_mask) != idle_offered) break;
    const std::size_t bytes = r.offered_pages.load(std::memory_order_relaxed) * page_bytes_;
    if (result.bytes_examined != 0 && result.bytes_examined + bytes > bytes_max) break;
    // The pin keeps the chunk what it is. It asks for no bytes, so it is not one of those that pins_ever counts.
    if ((r.word.fetch_add(1, std::memory_order_acquire) & state_mask) != idle_offered) {
      remove_pin(first + count);
      break;
    }
    result.bytes_examined += bytes;
  }
  return count;
}

sweep_result region::sweep_chunks(std::span<lost_range> lost, std::size_t bytes_max) noexcept {
  const std::scoped_lock lock(sweep_mutex_);
  std::uint32_t end = 0;
  {
    const std::scoped_lock inner(mutex_);
    end = unused_;
  }
  sweep_result result;
  const std::uint32_t stop = end - sweep_at_ > chunks_a_sweep ? sweep_at_ + chunks_a_sweep : end;
  bool room = true;
  while (room && sweep_at_ < stop && (result.bytes_examined == 0 || result.bytes_examined < bytes_max)) {
    const std::uint32_t first = sweep_at_;
    const std::uint32_t count = pin_for_sweep(first, stop, bytes_max, result);
    if (count == 0) {
      // Not offered, or more than the rest of what may be examined.
      if (result.bytes_examined != 0 && (records_[first].word.load(std::memory_order_relaxed) & offered) != 0) break;
      ++sweep_at_;
      continue;
    }
    note_absent_pages(first, count, result);
    for (std::uint32_t chunk = first; chunk < first + count; ++chunk) {
      room = room && report_lost(chunk, lost, result);
      if (room) sweep_at_ = chunk + 1;
      remove_pin(chunk);
    }
  }
  if (sweep_at_ >= end) {
    sweep_at_ = 0;
    result.complete = true;
  }
  return result;
}

chunk_info region::info(std::uint32_t chunk) const noexcept {
  const chunk_record& r = records_[chunk];
  chunk_info result;
  const std::uint64_t word = r.word.load(std::memory_order_acquire);
  result.pins = static_cast<std::uint32_t>(word & pins_mask);
  if ((word & (allocated | condemned)) == 0) return result;
  result.state = chunk_state::kept;
  if ((word & offered) == 0) return result;
  const std::size_t pages = r.offered_pages.load(std::memory_order_relaxed);
  const std::size_t purged = r.purged_pages.load(std::memory_order_relaxed);
  result.offered_bytes = pages * page_bytes_;
  result.touched_bytes = r.touched_pages.load(std::memory_order_relaxed) * page_bytes_;
  result.purged_bytes = purged * page_bytes_;
  result.lost_bytes = r.lost_pages.load(std::memory_order_relaxed) * page_bytes_;
  result.state = purged == 0       ? chunk_state::offered
                 : purged == pages ? chunk_state::purged
                                   : chunk_state::partly_purged;
  return result;
}

purgeable_stats region::collect() const noexcept {
  purgeable_stats s;
  s.chunk_bytes = chunk_bytes_;
  s.page_bytes = page_bytes_;
  s.guarded = guard_.on();
  s.chunks_max = chunks_max_;
  s.metadata_bytes = metadata_bytes_;
  // One after the other, while others go on: clamped so that what is subtracted is never more than there is.
  s.chunks = chunks_.load(std::memory_order_relaxed);
  s.offered_chunks = std::min<std::size_t>(offered_chunks_.load(std::memory_order_relaxed), s.chunks);
  s.kept_bytes = (s.chunks - s.offered_chunks) * chunk_bytes_;
  s.offered_bytes = offered_pages_.load(std::memory_order_relaxed) * page_bytes_;
  s.touched_bytes = touched_pages_.load(std::memory_order_relaxed) * page_bytes_;
  s.purged_bytes = purged_pages_.load(std::memory_order_relaxed) * page_bytes_;
  s.resident_offered_bytes = s.offered_bytes - std::min(s.offered_bytes, s.touched_bytes + s.purged_bytes);
  s.offers = offers_.load(std::memory_order_relaxed);
  s.offers_refused = offers_refused_.load(std::memory_order_relaxed);
  s.purged_pages = purged_pages_ever_.load(std::memory_order_relaxed);
  s.lost_pages = lost_pages_ever_.load(std::memory_order_relaxed);
  s.lost_accesses = lost_accesses_.load(std::memory_order_relaxed);
  std::uint32_t end = 0;
  {
    const std::scoped_lock lock(mutex_);
    end = unused_;
  }
  for (std::uint32_t chunk = 0; chunk < end; ++chunk) {
    const std::uint64_t word = records_[chunk].word.load(std::memory_order_relaxed);
    s.pins += word & pins_mask;
    s.pins_ever += word >> pins_ever_shift;
  }
  return s;
}

}  // namespace scoot::purging
