// SPDX-License-Identifier: MIT
//
// Which slot sizes have a shelf.
//
// A shelf costs half an OS page above its top, and its bookkeeping. A size of which there are few blocks is cheaper
// served by the next larger shelf, which costs rounding. So compact() closes a shelf when rounding its blocks up costs
// less than a fifth of an OS page, and an allocation opens one again when rounding has come to cost more than a whole
// one: how many shelves there are to a doubling follows from what is in the heap. Then it joins tops: the blocks on a
// shelf's last OS page go above the top of a somewhat larger shelf where there is room for all of them. That takes a
// third off what is above the tops, which is why so little rounding is worth a shelf.
//
//     size classes   .. 301-304  305-308  309-312  313-316  317-320 ..
//     shelf                304      |        +--------+--------+-> 320     (312 and 316 are closed)
//
// A closed shelf serves no allocations. compact() moves its blocks into the shelf that serves them now, as far as pins,
// movers and the effort let it; the others stay until they are freed. Then it is taken apart.
//
// Sizes between two slots of a small heap (size_class.hpp) get a shelf by the same rule, at three OS pages of rounding:
// then it is worth the holes it will have, too. In 64 MiB of blocks of 90 bytes that is most of them.
//
// Doing so all the time was tried: in a heap of 64 MiB where blocks come and go, 190 shelves instead of 315 went
// through the kernel a fifth more often and held as much, since fewer shelves have fewer holes to spare.
#include <algorithm>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

constexpr std::size_t magazine_bytes_max = std::size_t{16} << 10;
constexpr std::size_t fine_worth = 3;           // OS pages of rounding
constexpr std::uint32_t rounding_part_max = 8;  // of a size, what rounding may add to it
constexpr std::int32_t rounding_unit = 16;      // rounding is averaged in 1/16 bytes
constexpr std::int32_t rounding_samples_min = 8;
constexpr std::int32_t rounding_samples_max = 32;

// The largest slot that the blocks of a shelf may be moved to, however often they are.
std::size_t largest_for(const shelf& s) noexcept { return s.smallest_slot + s.smallest_slot / rounding_part_max; }

}  // namespace

void heap_impl::open_shelf(shelf& s) noexcept {
  s.closed = false;
  s.rounding = s.rounding_samples = 0;
  s.parked_max =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(magazine_bytes_max / s.slot, 2, shelf::magazine_slots));
}

// The smallest class that an open shelf serves. It serves all from there to its own.
std::size_t heap_impl::lowest_class(const shelf& s) const noexcept {
  const kind_entry& entry = *kinds_[s.kind];
  std::size_t lowest = s.size_class;
  for (std::size_t c = lowest; c != 0 && (entry.of_class(c) == nullptr || entry.of_class(c) == &s); --c) {
    if (entry.of_class(c) != nullptr) lowest = c;
  }
  return lowest;
}

// Has `to` serve what `from` serves of the classes up to `last`, and those in between that nothing serves yet. If it is
// null, nothing does.
void heap_impl::route(const shelf& from, std::size_t last, shelf* to) noexcept {
  for (std::size_t c = lowest_class(from); c <= last; ++c) kinds_[from.kind]->of_class(c) = to;
}

// Whether `larger`, the next shelf that stays open, could serve what this one serves, and costs less rounding than it
// saves.
bool heap_impl::is_cheaper(const shelf& s, const shelf& larger) const noexcept {
  if (!s.movable || s.blocks() == 0 || s.blocks() * (larger.slot - s.slot) >= os_page_ / 5) return false;
  if (larger.slot > largest_for(s)) return false;
  return std::none_of(s.pages, s.pages + s.page_count, [](const page_info* page) { return page->pins != 0; });
}

// Calls visit(shelf, larger one) for each shelf that should be closed, from large to small, so that no block moves
// twice and none is rounded up by more than one shelf's worth.
template <class Visit>
void heap_impl::visit_closable(Visit visit) const noexcept {
  for (std::uint32_t k = 0; k < kind_count_; ++k) {
    shelf* larger = nullptr;
    for (std::size_t c = kinds_[k] == nullptr ? 0 : size_class_count - 1; c != 0; --c) {
      shelf* s = kinds_[k]->of_class(c);
      if (s == nullptr || s->size_class != c) continue;
      if (larger != nullptr && is_cheaper(*s, *larger)) {
        visit(*s, *larger);
      } else {
        larger = s;
      }
    }
  }
}

void heap_impl::close_shelves() noexcept {
  visit_closable([this](shelf& s, shelf& larger) {
    larger.smallest_slot = std::min(larger.smallest_slot, s.smallest_slot);
    route(s, larger.size_class - std::size_t{1}, &larger);
    larger.serves_others = true;
    s.closed = true;
    s.parked_max = 1;
    return_parked(s, 0);
  });
}

// What closing shelves would gain and move beyond what is forecast of them already. Their blocks also fill holes that
// pins strand in the larger shelf.
void heap_impl::forecast_closing(forecast& f) const noexcept {
  const shelf* into = nullptr;
  std::size_t stranded = 0;
  visit_closable([&](const shelf& s, const shelf& larger) {
    if (into != &larger) {
      into = &larger;
      stranded = 0;
      const auto add = [](void* sum, const pin_info& pin) { *static_cast<std::size_t*>(sum) += pin.stranded_bytes; };
      visit_pins_of(larger, add, &stranded);
    }
    forecast open;
    forecast_shelf(s, open);
    std::size_t resident = 0;
    for (std::uint32_t i = 0; i < s.page_count; ++i) resident += s.pages[i]->resident_bytes();
    const std::size_t needed = static_cast<std::size_t>(s.blocks()) * larger.slot;
    const std::size_t filled = std::min(needed, stranded);
    stranded -= filled;
    const std::size_t gain = resident - std::min(resident, needed) + filled;
    f.bytes_to_gain += gain - std::min(gain, open.bytes_to_gain);
    const std::size_t moved = static_cast<std::size_t>(s.blocks()) * s.slot;
    f.bytes_to_move += moved - std::min(moved, open.bytes_to_move);
  });
}

// Moves blocks of a closed shelf to the one that serves them, as far as pins, movers and the budget let it. False: the
// work is spent.
bool heap_impl::drain(shelf& s, work_left& work) noexcept {
  shelf*& into = kinds_[s.kind]->of_class(s.size_class);
  if (into == nullptr) {  // that was taken apart
    open_shelf(s);
    into = &s;
    return true;
  }
  settle(*into);
  lower(s, ~std::size_t{0}, work, into);
  trim_top(*into);
  return s.blocks() == 0 || s.stuck || work.allows(into->slot);
}

// The blocks on the last OS page of a shelf that could all move: without them it is given back. 0: there are none such.
std::uint32_t heap_impl::blocks_to_join(const shelf& s) const noexcept {
  const page_info* top = s.top();
  if (!s.movable || s.closed || s.stuck || s.stays_apart || s.slot > os_page_ || s.withdrawn != 0 || top == nullptr ||
      top->pins != 0)
    return 0;
  const auto used = static_cast<std::size_t>(s.bump - top->base);
  if (used == top->start()) return 0;
  const std::size_t kept = std::max(base::round_down(used - 1, os_page_), top->start());
  return static_cast<std::uint32_t>((used - kept + s.slot - 1) / s.slot);
}

// Of the somewhat larger shelves the one whose top leaves least room above `blocks` blocks more. Null: none has it.
shelf* heap_impl::closest_room(const shelf& s, std::uint32_t blocks) const noexcept {
  const kind_entry& entry = *kinds_[s.kind];
  const std::size_t slot_max = largest_for(s);
  shelf* best = nullptr;
  std::size_t least = ~std::size_t{0};
  for (std::size_t c = s.size_class + std::size_t{1}; c < size_class_count; ++c) {
    if (size_of_class(c) > slot_max) break;
    shelf* larger = entry.of_class(c);
    if (larger == nullptr || larger->size_class != c || larger == &s) continue;
    const auto above = static_cast<std::size_t>(larger->limit - larger->bump);
    const std::size_t room = above + static_cast<std::size_t>(larger->holes) * larger->slot;
    const std::size_t needed = std::size_t{blocks} * larger->slot;
    if (room < needed || room - needed >= least) continue;
    least = room - needed;
    best = larger;
  }
  return best;
}

// A shelf's last OS page is half full on average. Where what is on it fits above the top of a somewhat larger shelf, in
// memory that is resident anyway, the OS page is worth more than the rounding. False: the work is spent.
bool heap_impl::join_tops(work_left& work) noexcept {
  for (std::uint32_t k = 0; k < kind_count_; ++k) {
    for (std::size_t c = 1; kinds_[k] != nullptr && c < size_class_count; ++c) {
      shelf* s = kinds_[k]->of_class(c);
      if (s == nullptr || s->size_class != c) continue;
      const std::uint32_t blocks = blocks_to_join(*s);
      shelf* larger = blocks != 0 && s->holes + s->parked == 0 ? closest_room(*s, blocks) : nullptr;
      if (larger == nullptr) continue;
      if (!work.allows(std::size_t{blocks} * larger->slot)) return false;
      settle(*larger);
      const std::uint64_t kept = blocks_kept_;
      asking_once_ = true;  // a refusal ends it
      larger->smallest_slot = std::min(larger->smallest_slot, s->smallest_slot);
      lower(*s, std::size_t{blocks} * s->slot, work, larger);
      asking_once_ = false;
      trim_top(*s);
      s->stays_apart |= blocks_kept_ != kept;
    }
  }
  return true;
}

// Called with a sample of what a shelf that serves others is asked for. Returns the shelf that is to serve it: if
// rounding costs too much by now, the size gets one of its own. One that only large heaps have by themselves must be
// worth its holes, too.
shelf* heap_impl::note_rounding(shelf& s, std::size_t size) noexcept {
  const std::size_t alignment = kind_infos_[s.kind].options.alignment;
  const std::size_t slot = slot_size_of(size_class_of(size), alignment, page_bytes_, spacing::fine);
  const auto rounding = static_cast<std::int32_t>(s.slot - slot) * rounding_unit;
  s.rounding_samples = std::min(s.rounding_samples + 1, rounding_samples_max);
  s.rounding += (rounding - s.rounding) / s.rounding_samples;
  if (s.rounding_samples < rounding_samples_min || rounding == 0 || rounding < s.rounding) return &s;
  const bool usual = slot_size_of(size_class_of(size), alignment, page_bytes_) == slot;
  const std::size_t worth = usual ? os_page_ : fine_worth * os_page_;
  if (static_cast<std::uint64_t>(s.rounding) * s.blocks() / rounding_unit < worth) return &s;
  const std::size_t size_class = size_class_of(slot);
  const auto is_it = [&](const shelf* each) { return each->closed && each->kind == s.kind && each->slot == slot; };
  shelf** found = std::find_if(shelves_.begin(), shelves_.end(), is_it);
  shelf* own = found != shelves_.end() ? *found : new_shelf(s.kind, slot);
  if (own == nullptr) return &s;
  open_shelf(*own);
  route(s, size_class, own);
  own->serves_others = true;
  s.rounding = s.rounding_samples = 0;
  return own;
}

}  // namespace scoot
