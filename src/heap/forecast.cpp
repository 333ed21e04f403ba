// SPDX-License-Identifier: MIT
//
// What compact() would gain and cost.
#include <algorithm>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

void heap_impl::forecast_shelf(const shelf& s, forecast& f) const noexcept {
  std::size_t partial_live = 0;
  const std::size_t waste = partial_waste(s, partial_live);
  if (worth_joining(waste, partial_live)) {
    f.bytes_to_gain += base::round_down(waste, os_page_);
    f.bytes_to_move += partial_live;
  }
  const std::size_t gain = gain_of(s);
  if (gain < os_page_) return;
  if (!s.movable) {
    f.bytes_to_gain += s.slack_bytes(os_page_);
    return;
  }
  f.bytes_to_gain += gain;
  std::size_t live = 0;
  for (std::uint32_t i = 0; i < s.page_count; ++i) live += s.fresh_of(s.pages[i]);
  const auto holes = static_cast<std::size_t>(s.holes + s.parked);
  f.bytes_to_move += std::min(holes, live - holes) * s.slot;
}

forecast heap_impl::make_forecast() const noexcept {
  forecast f;
  for (const shelf* s : shelves_) forecast_shelf(*s, f);
  forecast_closing(f);
  std::size_t live = 0;
  std::size_t resident = 0;
  for (const large_page* in : large_.pages()) {
    const auto stays = [this](const large_block& b) { return kinds_[b.kind]->options.move == nullptr; };
    if (std::any_of(in->blocks(), in->blocks() + in->count, stays)) continue;
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
