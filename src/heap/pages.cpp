// SPDX-License-Identifier: MIT
//
// The pages of a heap, a few at a time, for whoever draws them while the program runs.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"
#include "heap/page_drawing.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

namespace {

constexpr std::size_t holes_a_page = 64;  // looked at in the time that a page takes otherwise

// Where a visit is: in which of the three lists, at which entry, at which page of that.
struct position {
  enum list : unsigned { shelves, large, runs, end };
  static constexpr unsigned bits = 24;  // 2^24 pages of 64 KiB are 1 TiB

  explicit position(std::uint64_t cursor) noexcept
      : in(static_cast<unsigned>(cursor >> 2 * bits)),
        entry(static_cast<std::uint32_t>(cursor >> bits & ((1u << bits) - 1))),
        page(static_cast<std::uint32_t>(cursor & ((1u << bits) - 1))) {}
  [[nodiscard]] std::uint64_t cursor() const noexcept {
    return in == end ? 0 : std::uint64_t{in} << 2 * bits | std::uint64_t{entry} << bits | page;
  }
  void next_entry() noexcept { ++entry, page = 0; }
  void next_list() noexcept { ++in, entry = 0, page = 0; }

  unsigned in;
  std::uint32_t entry;
  std::uint32_t page;
};

}  // namespace

page_view heap_impl::view_of(const page_info* page) const noexcept {
  page_view v;
  v.number = pool_.number_of(page);
  v.address = page->base;
  v.resident_begin = page->resident_begin;
  v.resident_end = page->resident_end;
  v.missing_bytes = static_cast<std::uint32_t>(page->missing_bytes());
  v.pins = page->pins;
  v.arrivals = page->arrivals;
  v.departures = page->departures;
  return v;
}

void heap_impl::view_shelf_page(const shelf& s, const page_info* page, page_view& v, bool draw) const noexcept {
  v = view_of(page);
  v.content = page_content::shelf;
  v.of = kind{s.kind};
  v.slot_bytes = s.slot;
  v.slots = s.fresh_of(page);
  v.holes = page->holes;
  v.withdrawn = page->withdrawn;
  v.blocks = s.blocks_of(page);
  v.live_bytes = v.blocks * s.slot;
  if (!draw) return;
  page_drawing fill(page_bytes_);
  fill.add(s, page);
  std::memcpy(v.fill, fill.draw(page), page_drawing::cells);
}

void heap_impl::view_large_page(const large_page* in, page_view& v, bool draw) const noexcept {
  v = view_of(in->page);
  v.content = page_content::large;
  v.blocks = in->count;
  v.live_bytes = large_space::live_bytes(in);
  // The kind of most bytes, if there is one that has more than half; else about that.
  std::size_t lead = 0;
  for (std::uint32_t i = 0; i < in->count; ++i) {
    const large_block& b = in->blocks()[i];
    v.mixed = v.mixed || b.kind != in->blocks()[0].kind;
    if (lead == 0) v.of = kind{b.kind};
    if (b.kind == v.of.index) {
      lead += b.size;
    } else {
      lead -= std::min<std::size_t>(lead, b.size);
    }
  }
  if (!draw) return;
  page_drawing fill(page_bytes_);
  fill.add(in, os_page_);
  std::memcpy(v.fill, fill.draw(in->page), page_drawing::cells);
}

void heap_impl::view_run_page(const page_info* first, std::size_t index, page_view& v, bool draw) const noexcept {
  const page_info* page = first + index;
  v = view_of(page);
  v.content = index == 0 ? page_content::run : page_content::run_body;
  v.of = kind{first->kind};
  v.slot_bytes = first->run_bytes;
  v.blocks = index == 0 ? 1 : 0;
  v.live_bytes = std::min(page_bytes_, first->run_bytes - index * page_bytes_);
  if (!draw) return;
  page_drawing fill(page_bytes_);
  fill.add_live(0, v.live_bytes);
  std::memcpy(v.fill, fill.draw(page), page_drawing::cells);
}

std::uint64_t heap_impl::visit_some_pages(std::uint64_t cursor, const page_visit& how, page_visitor visit,
                                          void* context) const noexcept {
  position at(cursor);
  page_view v;
  std::uint64_t here = 0;
  const auto tell = [&] {
    v.cursor = here;
    if (v.of) v.kind_name = kind_infos_[v.of.index].options.name;
    visit(context, v);
    return how.draw ? 1 + v.holes / holes_a_page : 1;
  };
  for (std::size_t left = how.pages_max; at.in != position::end;) {
    here = at.cursor();
    if (left == 0) return here;
    std::size_t cost = 0;
    if (at.in == position::shelves) {
      if (at.entry >= shelves_.size()) {
        at.next_list();
        continue;
      }
      const shelf& s = *shelves_[at.entry];
      if (at.page >= s.page_count) {
        at.next_entry();
        continue;
      }
      if (at.page + 4 < s.page_count) __builtin_prefetch(s.pages[at.page + 4]);
      view_shelf_page(s, s.pages[at.page++], v, how.draw);
      cost = tell();
    } else if (at.in == position::large) {
      if (at.entry >= large_.pages().size()) {
        at.next_list();
        continue;
      }
      view_large_page(large_.pages()[at.entry], v, how.draw);
      at.next_entry();
      cost = tell();
    } else {
      if (at.entry >= runs_.size()) {
        at.next_list();
        continue;
      }
      const page_info* first = runs_[at.entry];
      if (at.page * page_bytes_ >= first->run_bytes) {
        at.next_entry();
        continue;
      }
      view_run_page(first, at.page++, v, how.draw);
      cost = tell();
    }
    left -= std::min(left, cost);
  }
  return 0;
}

std::uint64_t visit_pages(const heap& h, std::uint64_t cursor, const page_visit& how, page_visitor visit,
                          void* context) noexcept {
  const auto& self = static_cast<const heap_impl&>(h);
  const heap_impl::visit_scope scope(self, "page_visitor");
  return self.visit_some_pages(cursor, how, visit, context);
}

std::size_t list_page_use(const page_pool& pool, std::size_t first, std::span<page_content> room) noexcept {
  return static_cast<const page_pool_impl&>(pool).list_use(first, room.data(), room.size());
}

}  // namespace scoot
