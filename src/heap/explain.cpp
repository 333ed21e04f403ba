// SPDX-License-Identifier: MIT
//
// What an address is, for people (explain) and for the checks of what callers hand in.
#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

// --- Finding ---------------------------------------------------------------------------------------------------------

heap_impl::location heap_impl::locate_in_shelf(const page_info* page, const char* address) const noexcept {
  const auto* s = static_cast<const shelf*>(page->owner);
  if (std::find(shelves_.begin(), shelves_.end(), s) == shelves_.end()) return {place::other_heap};
  location l{place::gap};
  l.kind = s->kind;
  if (address < page->base + page->start()) return l;
  const std::uint32_t index = s->slot_index(page, address);
  if (index >= s->capacity_of(page)) return l;
  l.start = s->slot_address(page, index);
  l.bytes = s->slot;
  if (index >= s->fresh_of(page)) {
    l.what = place::fresh;
  } else if (s->is_parked(l.start)) {
    l.what = place::parked;
  } else {
    l.what = base::test_bit(page->hole_map, index) ? place::hole : place::live;
  }
  return l;
}

heap_impl::location heap_impl::locate_in_large(const page_info* page, const char* address) const noexcept {
  const large_page* in = page->large;
  const auto at = static_cast<std::uint32_t>(static_cast<std::size_t>(address - page->base) / large_space::granule);
  const large_block* first = in->blocks();
  const large_block* last = first + in->count;
  const large_block* after =
      std::upper_bound(first, last, at, [](std::uint32_t value, const large_block& b) { return value < b.begin; });
  std::uint32_t begin = 0;
  if (after != first) {
    const large_block& b = after[-1];
    if (at < b.end()) {
      return {place::live, b.kind, large_space::address(in, b.begin), b.size * large_space::granule};
    }
    begin = b.end();
  }
  const char* end = after != last ? large_space::address(in, after->begin) : page->base + page->resident_end;
  if (address >= end) return {place::fresh};
  const char* start = large_space::address(in, begin);
  return {place::hole, kind{}.index, start, static_cast<std::size_t>(end - start)};
}

heap_impl::location heap_impl::locate(const void* at) const noexcept {
  const page_info* page = page_of(at);
  if (page == nullptr) return {};
  const auto* address = static_cast<const char*>(at);
  switch (page->use) {
    case page_use::free:
      return {place::idle};
    case page_use::shelf:
      return locate_in_shelf(page, address);
    case page_use::large:
      return page->owner == this ? locate_in_large(page, address) : location{place::other_heap};
    default:
      break;
  }
  if (page->owner != this) return {place::other_heap};
  while (page->use == page_use::run_body) --page;
  if (address >= page->base + page->run_bytes) return {place::gap, page->kind};
  return {place::live, page->kind, page->base, page->run_bytes};
}

void* heap_impl::find_block(const void* address) const noexcept {
  if (page_of(address) == nullptr) return nullptr;
  const location l = locate(address);
  return l.what == place::live ? const_cast<char*>(l.start) : nullptr;
}

// --- Explaining ------------------------------------------------------------------------------------------------------

namespace {

// Text that ends where its room does.
class sentence {
 public:
  template <std::size_t N>
  explicit sentence(char (&room)[N]) noexcept : at_(room), left_(N) {}

  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) noexcept {
    va_list arguments;
    va_start(arguments, format);
    const int wanted = std::vsnprintf(at_, left_, format, arguments);
    va_end(arguments);
    const std::size_t used = std::min(static_cast<std::size_t>(std::max(wanted, 0)), left_ - 1);
    at_ += used;
    left_ -= used;
  }

 private:
  char* at_;
  std::size_t left_;
};

const char* phrase_of(place what) noexcept {
  switch (what) {
    case place::foreign:
      return "outside every page of this pool";
    case place::live:
      return "a live block";
    case place::hole:
      return "in a hole, freed memory";
    case place::parked:
      return "in a freed slot, kept for the next allocation";
    case place::fresh:
      return "in fresh memory, not in use";
    case place::gap:
      return "beside the blocks of a page";
    case place::idle:
      return "in a page that no heap uses, freed already or never allocated";
    case place::other_heap:
      return "in a page of another heap";
  }
  return "?";
}

}  // namespace

void heap_impl::trace(explanation& e, const void* address) const noexcept {
  const past_move* m = history_.find(address);
  if (m == nullptr) return;
  e.compaction = m->number;
  const auto step = [](const past_move& move, const char* at) {
    return move.to == nullptr ? nullptr : move.to + (at - move.from);
  };
  const char* at = step(*m, static_cast<const char*>(address));
  e.moved_to = at;
  while (at != nullptr) {
    m = history_.find_after(at, m->order);
    if (m == nullptr) break;
    at = step(*m, at);
  }
  e.now_at = at;
}

explanation heap_impl::describe(const void* address) const noexcept {
  const location l = locate(address);
  explanation e;
  e.what = l.what;
  e.of = kind{l.kind};
  if (l.kind != kind{}.index) e.kind_name = kind_infos_[l.kind].options.name;
  e.block = l.start;
  e.bytes = l.what == place::live ? l.bytes - redzone() : l.bytes;
  if (l.start != nullptr) e.offset = static_cast<std::size_t>(static_cast<const char*>(address) - l.start);
  if (l.what == place::live) {
    if (const pin_table::entry* pin = pins_.look_up(l.start, &e.pins)) e.pin_holder = pin->holder;
  }
  trace(e, address);

  sentence text(e.text);
  text.add("%p is ", address);
  if (l.what == place::live && e.offset != 0) text.add("%zu bytes into ", e.offset);
  text.add("%s", phrase_of(l.what));
  if (l.start != nullptr) text.add(" of %zu bytes", e.bytes);
  if (l.what == place::live && e.offset != 0) text.add(" at %p", e.block);
  if (l.kind != kind{}.index) text.add(", kind '%.40s'", e.kind_name);
  if (e.pins != 0) text.add(", pinned %u times, longest by '%.40s'", e.pins, e.pin_holder);
  if (e.compaction != 0) {
    const past_move& m = *history_.find(address);
    const char* whose = l.what == place::live ? "; a block that was here before " : "; ";
    const char* name = kind_infos_[m.kind].options.name;
    if (m.to == nullptr) {
      text.add("%sdropped in compaction %u by kind '%.40s'", whose, m.number, name);
    } else {
      text.add("%smoved from %p to %p in compaction %u by kind '%.40s'", whose, address, e.moved_to, m.number, name);
      if (e.now_at == nullptr) text.add(", and was dropped since");
      if (e.now_at != nullptr && e.now_at != e.moved_to) text.add(", and to %p since", e.now_at);
    }
  }
  return e;
}

explanation explain(const heap& h, const void* address) noexcept {
  return static_cast<const heap_impl&>(h).describe(address);
}

// --- Checks of what callers hand in ----------------------------------------------------------------------------------

void heap_impl::check_block(const void* block, const char* what) const noexcept {
  const location l = locate(block);
  if (l.what == place::live && l.start == block) [[likely]]
    return;
  const char* offence = "not a block";
  if (l.what == place::live) offence = "not the start of a block";
  if (l.what == place::hole || l.what == place::parked) offence = "freed already";
  base::fail(__FILE__, __LINE__, "%s(%p): %s: %s", what, block, offence, describe(block).text);
}

}  // namespace scoot
