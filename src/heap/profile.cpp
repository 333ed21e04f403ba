// SPDX-License-Identifier: MIT
//
// Who holds what: statistics of each kind, and what pins strand.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

// --- Kinds -----------------------------------------------------------------------------------------------------------

kind_stats heap_impl::get_kind_stats(std::uint8_t index) const noexcept {
  kind_stats s;
  if (!has_kind(index)) return s;
  const kind_info& entry = kind_infos_[index];
  s.name = entry.options.name;
  s.alignment = entry.options.alignment;
  s.movable = entry.options.move != nullptr;
  s.blocks_moved = entry.blocks_moved;
  s.bytes_moved = entry.bytes_moved;
  s.blocks_dropped = entry.blocks_dropped;
  s.blocks_kept = entry.blocks_kept;
  for (const shelf* h : shelves_) {
    if (h->kind != index) continue;
    ++s.shelves;
    for (std::uint32_t i = 0; i < h->page_count; ++i) s.held_bytes += h->pages[i]->resident_bytes();
    const auto blocks = static_cast<std::size_t>(h->blocks());
    s.blocks += blocks;
    s.live_bytes += blocks * h->slot;
    s.hole_bytes += h->hole_bytes();
  }
  for (const large_page* in : large_.pages()) {
    for (std::uint32_t i = 0; i < in->count; ++i) {
      if (in->blocks()[i].kind != index) continue;
      ++s.blocks;
      s.live_bytes += in->blocks()[i].size * large_space::granule;
      s.held_bytes += in->blocks()[i].size * large_space::granule;
    }
  }
  for (const page_info* first : runs_) {
    if (first->kind != index) continue;
    ++s.blocks;
    s.live_bytes += first->run_bytes;
    for (std::size_t i = 0; i * page_bytes_ < first->run_bytes; ++i) s.held_bytes += first[i].resident_bytes();
  }
  s.live_bytes -= s.blocks * redzone();
  struct sums {
    std::uint8_t index;
    kind_stats* s;
  } of_kind{index, &s};
  visit_pins(
      [](void* context, const pin_info& pin) {
        auto& to = *static_cast<sums*>(context);
        if (pin.of.index != to.index) return;
        ++to.s->pinned_blocks;
        to.s->stranded_bytes += pin.stranded_bytes;
      },
      &of_kind);
  return s;
}

void heap_impl::visit_kind(std::uint8_t index, block_visitor visit, void* context) const noexcept {
  const visit_scope scope(*this, "block_visitor");
  for (const shelf* s : shelves_) {
    if (s->kind != index) continue;
    for (std::uint32_t i = 0; i < s->page_count; ++i) {
      const page_info* page = s->pages[i];
      for (std::uint32_t at = 0; at < s->fresh_of(page); ++at) {
        char* slot = s->slot_address(page, at);
        if (!base::test_bit(page->hole_map, at) && !s->is_parked(slot)) visit(context, slot, s->slot - redzone());
      }
    }
  }
  for (const large_page* in : large_.pages()) {
    for (std::uint32_t i = 0; i < in->count; ++i) {
      const large_block& b = in->blocks()[i];
      if (b.kind == index) visit(context, large_space::address(in, b.begin), b.size * large_space::granule - redzone());
    }
  }
  for (const page_info* first : runs_) {
    if (first->kind == index) visit(context, first->base, first->run_bytes - redzone());
  }
}

// --- Pins ------------------------------------------------------------------------------------------------------------

pin_info heap_impl::pin_info_of(const void* block, std::size_t bytes, std::uint8_t kind_index) const noexcept {
  pin_info pin;
  const pin_table::entry& entry = *pins_.look_up(block, &pin.pins);
  pin.block = block;
  pin.bytes = bytes - redzone();
  pin.of = kind{kind_index};
  pin.kind_name = kind_infos_[kind_index].options.name;
  pin.holder = entry.holder;
  pin.age_ns = std::uint64_t{pin_table::now() - entry.since} << pin_table::time_shift;
  return pin;
}

namespace {

// The part of `bytes` that stays when blocks of `filling` bytes fill some of `all`.
std::size_t what_stays(std::size_t bytes, std::size_t all, std::size_t filling) noexcept {
  if (filling >= all) return 0;
  return static_cast<std::size_t>(static_cast<double>(bytes) * static_cast<double>(all - filling) /
                                  static_cast<double>(all));
}

// Of a hole or withdrawn slot: the bytes that lie on OS pages beside blocks.
std::size_t bytes_that_stay(const shelf& s, const page_info* page, std::uint32_t index) noexcept {
  const std::size_t begin = page->start() + std::size_t{index} * s.slot;
  std::size_t bytes = 0;
  for (std::size_t at = begin; at < begin + s.slot;) {
    const std::size_t os_page = at >> s.os_page_shift;
    const std::size_t end = std::min(begin + s.slot, (os_page + 1) << s.os_page_shift);
    if (!s.is_vacant(page, static_cast<std::uint32_t>(os_page))) bytes += end - at;
    at = end;
  }
  return bytes;
}

}  // namespace

// Compaction brings tops down until a pinned block is the top of its page. The holes below are filled by the blocks of
// pages without pins, and those above the pins; of what is left of them, OS pages without a block are given back, and
// the rest is stranded.
void heap_impl::visit_pins_of(const shelf& s, pin_visitor visit, void* context) const noexcept {
  const auto is_hole = [&](const page_info* page, std::uint32_t index) {
    return base::test_bit(page->hole_map, index) || s.is_parked(s.slot_address(page, index));
  };
  std::size_t bytes_below = 0;
  std::size_t movable = 0;
  bool any = false;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    if (page->pins == 0) {
      movable += std::size_t{s.blocks_of(page)} * s.slot;
      continue;
    }
    any = true;
    bool below = false;
    for (std::uint32_t index = s.fresh_of(page); index-- > 0;) {
      const bool hole = is_hole(page, index);
      below = below || (!hole && pins_.contains(s.slot_address(page, index)));
      if (hole && below) bytes_below += bytes_that_stay(s, page, index);
      if (!hole && !below) movable += s.slot;
    }
  }
  if (!any) return;
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    const page_info* page = s.pages[i];
    if (page->pins == 0) continue;
    std::size_t below = 0;
    for (std::uint32_t index = 0; index < s.fresh_of(page); ++index) {
      const void* slot = s.slot_address(page, index);
      if (is_hole(page, index)) {
        below += bytes_that_stay(s, page, index);
      } else if (pins_.contains(slot)) {
        pin_info pin = pin_info_of(slot, s.slot, s.kind);
        if (s.movable) pin.stranded_bytes = what_stays(below, bytes_below, movable);
        visit(context, pin);
        below = 0;
      }
    }
  }
}

void heap_impl::visit_pins(pin_visitor visit, void* context) const noexcept {
  if (pins_.size() == 0) return;
  for (const shelf* s : shelves_) visit_pins_of(*s, visit, context);
  // Of a page of the large space with a pin, what lies on OS pages beside blocks stays, unless blocks of pages without
  // a pin fill it. (Where a block has no mover, it would stay without the pin.)
  const auto stays = [&](const large_page* in) { return in->page->pins != 0 && in->fixed == 0; };
  const auto strands = [&](const large_page* in) { return large_waste(in) - vacant_bytes(in); };
  std::size_t holes = 0;
  std::size_t movable = 0;
  for (const large_page* in : large_.pages()) {
    if (stays(in)) holes += strands(in);
    if (in->page->pins == 0) movable += large_space::live_bytes(in);
  }
  for (const large_page* in : large_.pages()) {
    if (in->page->pins == 0) continue;
    const std::size_t of_page = stays(in) ? strands(in) : 0;
    for (std::uint32_t i = 0; i < in->count; ++i) {
      const large_block& b = in->blocks()[i];
      const char* block = large_space::address(in, b.begin);
      if (!pins_.contains(block)) continue;
      pin_info pin = pin_info_of(block, b.size * large_space::granule, b.kind);
      if (of_page != 0) pin.stranded_bytes = what_stays(of_page / in->page->pins, holes, movable);
      visit(context, pin);
    }
  }
  for (const page_info* first : runs_) {
    if (first->pins != 0) visit(context, pin_info_of(first->base, first->run_bytes, first->kind));
  }
}

namespace {

struct pin_list {
  std::span<pin_info> room;
  std::size_t count = 0;

  static void add(void* context, const pin_info& pin) noexcept {
    auto& list = *static_cast<pin_list*>(context);
    std::size_t used = std::min(list.count++, list.room.size());
    if (used == list.room.size()) {
      if (used == 0 || list.room[used - 1].stranded_bytes >= pin.stranded_bytes) return;
      --used;
    }
    for (; used != 0 && list.room[used - 1].stranded_bytes < pin.stranded_bytes; --used) {
      list.room[used] = list.room[used - 1];
    }
    list.room[used] = pin;
  }
};

struct holder_list {
  std::span<pin_holder> room;
  std::size_t used = 0;

  static void add(void* context, const pin_info& pin) noexcept {
    auto& list = *static_cast<holder_list*>(context);
    std::size_t i = 0;
    while (i < list.used && std::strcmp(list.room[i].holder, pin.holder) != 0) ++i;
    if (i == list.room.size()) {
      if (i == 0) return;
      list.room[--i].holder = "...";
    } else if (i == list.used) {
      list.room[i] = {pin.holder, 0, 0, 0, 0};
      ++list.used;
    }
    pin_holder& line = list.room[i];
    ++line.blocks;
    line.bytes += pin.bytes;
    line.age_ns_max = std::max(line.age_ns_max, pin.age_ns);
    line.stranded_bytes += pin.stranded_bytes;
  }
};

}  // namespace

std::size_t kind_count(const heap& h) noexcept { return static_cast<const heap_impl&>(h).kinds(); }

kind_stats stats_of(const heap& h, kind k) noexcept {
  const auto& self = static_cast<const heap_impl&>(h);
  return self.get_kind_stats(k.index);
}

void visit_blocks(const heap& h, kind k, block_visitor visit, void* context) noexcept {
  const auto& self = static_cast<const heap_impl&>(h);
  if (self.has_kind(k.index)) self.visit_kind(k.index, visit, context);
}

std::size_t list_pins(const heap& h, std::span<pin_info> room) noexcept {
  pin_list list{room};
  static_cast<const heap_impl&>(h).visit_pins(&pin_list::add, &list);
  return list.count;
}

std::size_t list_pin_holders(const heap& h, std::span<pin_holder> room) noexcept {
  holder_list list{room};
  static_cast<const heap_impl&>(h).visit_pins(&holder_list::add, &list);
  const auto rest = list.used != 0 && std::strcmp(room[list.used - 1].holder, "...") == 0 ? 1 : 0;
  std::sort(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(list.used) - rest,
            [](const pin_holder& a, const pin_holder& b) { return a.stranded_bytes > b.stranded_bytes; });
  return list.used;
}

}  // namespace scoot
