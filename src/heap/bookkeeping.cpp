// SPDX-License-Identifier: MIT
//
// The bookkeeping of shelves: making them, their lists, taking them apart, and moving all this together.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

namespace {

constexpr int packing_passes_max = 4;
constexpr std::size_t spread_pages_min = 4;

}  // namespace

shelf* heap_impl::new_shelf(std::uint8_t kind_index, std::size_t slot) noexcept {
  if (!shelves_.make_room()) return nullptr;
  void* memory = pool_.metadata_allocate(sizeof(shelf));
  if (memory == nullptr) return nullptr;
  metadata_bytes_ += sizeof(shelf);
  auto* s = ::new (memory) shelf{};
  s->slot = s->smallest_slot = static_cast<std::uint32_t>(slot);
  s->kind = kind_index;
  s->size_class = static_cast<std::uint16_t>(size_class_of(slot));
  s->movable = kind_infos_[kind_index].options.move != nullptr;
  s->page_bytes = static_cast<std::uint32_t>(page_bytes_);
  s->os_page_shift = static_cast<std::uint8_t>(base::log2_floor(os_page_));
  s->reciprocal = ((std::uint64_t{1} << 40) + slot - 1) / slot;
  s->position = shelves_.add(s);
  open_shelf(*s);
  return s;
}

shelf* heap_impl::shelf_for(kind_entry& entry, std::uint8_t kind_index, std::size_t size) noexcept {
  const std::size_t size_class = size_class_of(size);
  if (entry.of_class(size_class) != nullptr) return entry.of_class(size_class);
  const std::size_t alignment = kind_infos_[kind_index].options.alignment;
  const std::size_t slot = slot_size_of(size_class, alignment, page_bytes_);
  shelf*& proper = entry.of_class(size_class_of(slot));
  if (proper == nullptr) proper = new_shelf(kind_index, slot);
  if (proper != nullptr && slot_size_of(size_class, alignment, page_bytes_, spacing::fine) != slot)
    proper->serves_others = true;
  entry.of_class(size_class) = proper;
  return proper;
}

namespace {

// The shelf's list of pages, and behind it a bit for each.
std::size_t page_pointers_bytes(std::uint32_t capacity) noexcept {
  return base::round_up(capacity * sizeof(page_info*), alignof(std::uint64_t));
}

std::size_t page_list_bytes(std::uint32_t capacity) noexcept {
  return page_pointers_bytes(capacity) + base::round_up(capacity, 64) / 8;
}

}  // namespace

// Room for one more page in the shelf's lists.
bool heap_impl::make_page_room(shelf& s) noexcept {
  if (s.page_count < s.page_capacity) return true;
  const std::uint32_t capacity = std::max<std::uint32_t>(7, s.page_capacity * 2 + 1);
  void* memory = pool_.metadata_allocate(page_list_bytes(capacity));
  if (memory == nullptr) return false;
  auto** pages = static_cast<page_info**>(memory);
  auto* bits = reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory) + page_pointers_bytes(capacity));
  std::memset(bits, 0, base::round_up(capacity, 64) / 8);
  if (s.page_count != 0) {
    std::memcpy(pages, s.pages, s.page_count * sizeof(page_info*));
    std::memcpy(bits, s.hole_pages, base::round_up(s.page_capacity, 64) / 8);
  }
  free_page_list(s);
  metadata_bytes_ += page_list_bytes(capacity);
  s.pages = pages;
  s.hole_pages = bits;
  s.page_capacity = capacity;
  return true;
}

void heap_impl::free_page_list(shelf& s) noexcept {
  if (s.pages == nullptr) return;
  pool_.metadata_free(s.pages, page_list_bytes(s.page_capacity));
  metadata_bytes_ -= page_list_bytes(s.page_capacity);
}

// Takes a shelf without blocks apart. What it served is unknown again, unless another shelf serves that now.
void heap_impl::discard(shelf& s) noexcept {
  return_parked(s, 0);
  while (page_info* top = s.top()) {
    s.pop();
    release_shelf_page(s, top);
  }
  settle(s);
  if (!s.closed) route(s, s.size_class, nullptr);
  if (victim_ == &s) victim_ = nullptr;
  free_page_list(s);
  if (shelf* moved = shelves_.remove(s.position)) moved->position = s.position;
  pool_.metadata_free(&s, sizeof(shelf));
  metadata_bytes_ -= sizeof(shelf);
}

// --- Moving it together ---------------------------------------------------------------------------------------------

namespace {

// A copy of the memory in a fuller slab; what it was copied from is free then. Null: it stays.
template <class T>
T* moved_denser(page_pool_impl& pool, T* memory, std::size_t bytes) noexcept {
  void* to = pool.metadata_allocate_denser(memory, bytes);
  if (to == nullptr) return nullptr;
  std::memcpy(to, static_cast<const void*>(memory), bytes);
  pool.metadata_free(memory, bytes);
  return static_cast<T*>(to);
}

}  // namespace

void heap_impl::pack_metadata_of(shelf*& each) noexcept {
  if (shelf* to = moved_denser(pool_, each, sizeof(shelf))) {
    for (shelf*& serving : kinds_[to->kind]->serving) serving = serving == each ? to : serving;
    if (victim_ == each) victim_ = to;
    each = to;
    for (std::uint32_t i = 0; i < to->page_count; ++i) {
      to->pages[i]->owner = to;
      pool_.set_shelf(to->pages[i], to);
    }
  }
  shelf& s = *each;
  if (s.pages != nullptr) {
    if (page_info** to = moved_denser(pool_, s.pages, page_list_bytes(s.page_capacity))) {
      s.pages = to;
      s.hole_pages =
          reinterpret_cast<std::uint64_t*>(reinterpret_cast<char*>(to) + page_pointers_bytes(s.page_capacity));
    }
  }
  for (std::uint32_t i = 0; i < s.page_count; ++i) {
    if (std::uint64_t* to = moved_denser(pool_, s.pages[i]->hole_map, s.hole_map_bytes())) s.pages[i]->hole_map = to;
  }
}

// What was made for many sizes and pages is spread thin over slabs when few are left. Only where that has become worse
// since the last time, for some of it may be another heap's.
void heap_impl::pack_metadata(work_left& work) noexcept {
  std::size_t spread = pool_.metadata_free_slot_bytes();
  if (spread < packed_spread_ + packed_spread_ / 4 + spread_pages_min * os_page_) {
    packed_spread_ = std::min(packed_spread_, spread);
    (void)pool_.metadata_trim();
    return;
  }
  for (int pass = 0; pass < packing_passes_max; ++pass) {
    for (shelf*& each : shelves_) {
      if (!work.on_time()) return;
      pack_metadata_of(each);
    }
    packed_spread_ = pool_.metadata_free_slot_bytes();
    if (packed_spread_ + os_page_ > spread) break;
    spread = packed_spread_;
  }
  (void)pool_.metadata_trim();
}

}  // namespace scoot
