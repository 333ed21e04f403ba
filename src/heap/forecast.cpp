// SPDX-License-Identifier: MIT
//
// What compact() would gain and cost.
#include <algorithm>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

// OS pages without blocks in the pages of a shelf: those between blocks, and those above the last one of a page.
std::size_t heap_impl::withdrawable(const shelf& s) const noexcept {
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    std::uint32_t above = s.fresh_of(page);
    const std::size_t end = s.next_live_below(page, above) ? page->start() + (above + std::size_t{1}) * s.slot : 0;
    const std::size_t kept = std::max<std::size_t>(base::round_up(end, os_page_), page->resident_begin);
    for (std::size_t at = page->resident_begin; at < kept; at += os_page_) {
      const auto os_page = static_cast<std::uint32_t>(at >> s.os_page_shift);
      if (s.is_vacant(page, os_page) && !base::test_bit(s.missing_map(page), os_page)) bytes += os_page_;
    }
    bytes += page->resident_end - kept;
  }
  return bytes;
}

// What is resident of withdrawn slots, and behind the last slot of pages that have some. (The top's is slack.)
std::size_t heap_impl::beside_missing(const shelf& s) const noexcept {
  if (s.withdrawn == 0) return 0;
  std::size_t bytes = static_cast<std::size_t>(s.withdrawn) * s.slot;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    bytes -= page->missing_bytes();
    if (page->withdrawn == 0 || page == s.top() || page->pins != 0) continue;
    bytes += page->resident_end - page->start() - std::size_t{s.fresh_of(page)} * s.slot;
  }
  return bytes;
}

void heap_impl::forecast_shelf(const shelf& s, forecast& f) const noexcept {
  std::size_t partial_live = 0;
  const std::size_t waste = partial_waste(s, partial_live);
  if (worth_joining(waste, partial_live)) {
    f.bytes_to_gain += base::round_down(waste, os_page_);
    f.bytes_to_move += partial_live;
  }
  const std::size_t gain = gain_of(s) + beside_missing(s);
  if (gain < os_page_) return;
  if (!s.movable) {
    f.bytes_to_gain += withdrawable(s);
    return;
  }
  f.bytes_to_gain += gain;
  const std::uint64_t holes = s.holes + s.parked;
  f.bytes_to_move += static_cast<std::size_t>(std::min(holes, s.blocks())) * s.slot;
}

// Whether moving the blocks of a closed shelf to the one that serves them takes no more than it gives back: beside a
// pin, or where that one has to grow by two OS pages for a block, it does.
bool heap_impl::gains_by_draining(const shelf& s) const noexcept {
  const shelf* into = kinds_[s.kind]->of_class(s.size_class);
  if (into == nullptr) return true;
  std::size_t resident = 0;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    if (s.pages[i]->pins != 0) return false;
    resident += s.pages[i]->resident_bytes();
  }
  const std::size_t needed = static_cast<std::size_t>(s.blocks()) * into->slot;
  const std::size_t room =
      static_cast<std::size_t>(into->holes) * into->slot + static_cast<std::size_t>(into->limit - into->bump);
  if (needed <= room) return true;
  const std::size_t crossing = into->withdrawn != 0 || into->page_count == 0 ? os_page_ : 0;
  return base::round_up(needed - room, os_page_) + crossing <= resident;
}

forecast heap_impl::make_forecast() const noexcept {
  forecast f;
  for (const shelf* s : shelves_) forecast_shelf(*s, f);
  forecast_closing(f);
  std::size_t live = 0;
  std::size_t resident = 0;
  for (const large_page* in : large_.pages()) {
    if (in->fixed != 0) {
      f.bytes_to_gain += vacant_bytes(in);
      continue;
    }
    live += large_space::live_bytes(in);
    resident += in->page->resident_bytes();
  }
  const std::size_t needed = base::round_up(live, os_page_);
  if (resident > needed) {
    f.bytes_to_gain += resident - needed;
    f.bytes_to_move += std::min(live, resident - needed);
  }
  std::size_t stranded = 0;
  visit_pins([](void* sum, const pin_info& pin) { *static_cast<std::size_t*>(sum) += pin.stranded_bytes; }, &stranded);
  f.bytes_to_gain -= std::min(stranded, f.bytes_to_gain);
  f.bytes_to_gain += pool_.idle_bytes();
  return f;
}

}  // namespace scoot
