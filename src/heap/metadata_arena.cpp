// SPDX-License-Identifier: MIT
#include "heap/metadata_arena.hpp"

#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "heap/budget.hpp"
#include "os/os.hpp"

namespace scoot {

namespace {

constexpr std::size_t medium_slab_bytes = std::size_t{8} << 10;
constexpr std::size_t cache_line = 64;
constexpr std::size_t usable_step_bytes = std::size_t{256} << 10;
constexpr int denser_slabs_max = 64;  // looked at for one that is fuller

}  // namespace

metadata_arena::~metadata_arena() {
  for (std::size_t i = 0; i < chunk_count_; ++i) os::unreserve(chunks_[i].base, chunks_[i].bytes);
  budget_.uncharge(held_);
}

// --- Sizes ----------------------------------------------------------------------------------------------------------

std::size_t metadata_arena::class_of(std::size_t bytes) noexcept {
  if (bytes <= small_max) return (bytes + 63) / 64 - (bytes != 0 ? 1 : 0);
  const unsigned exponent = base::log2_floor(bytes - 1);
  const std::size_t floor = std::size_t{1} << exponent;
  const std::size_t step = floor / 4;
  return 15 + (exponent - 10) * 4 + (bytes - floor + step - 1) / step;
}

std::size_t metadata_arena::class_bytes(std::size_t slab_class) noexcept {
  if (slab_class < 16) return (slab_class + 1) * 64;
  const std::size_t floor = std::size_t{1024} << ((slab_class - 16) / 4);
  return floor + ((slab_class - 16) % 4 + 1) * (floor / 4);
}

std::size_t metadata_arena::slab_pages(std::size_t slab_class) noexcept {
  return slab_class < 4 ? 1 : std::max<std::size_t>(1, medium_slab_bytes / os::page_bytes());
}

std::size_t metadata_arena::slots_of(std::size_t slab_class) noexcept {
  return slab_pages(slab_class) * os::page_bytes() / class_bytes(slab_class);
}

// --- Slabs ----------------------------------------------------------------------------------------------------------

metadata_arena::chunk& metadata_arena::chunk_of(const void* memory) noexcept {
  std::size_t i = chunk_count_ - 1;
  const auto* at = static_cast<const char*>(memory);
  while (static_cast<std::size_t>(at - chunks_[i].base) >= chunks_[i].bytes) --i;
  return chunks_[i];
}

char* metadata_arena::address_of(const chunk& in, std::size_t page) noexcept {
  return in.base + in.bytes - (in.pages - page) * os::page_bytes();
}

// Entries of all pages of a slab name its first one.
metadata_arena::page_entry* metadata_arena::slab_of(const void* memory) noexcept {
  const chunk& in = chunk_of(memory);
  page_entry* entry =
      in.entries + static_cast<std::size_t>(static_cast<const char*>(memory) - address_of(in, 0)) / os::page_bytes();
  return entry - entry->fresh * (entry->slab_class == class_count);
}

// Where a slab's first slot is. Slabs differ in it as far as their slots leave room (slab colouring, Bonwick 1994):
// what is touched most of many shelves is at the beginning of their slots, and would be in few of the processor's cache
// sets.
char* metadata_arena::slab_base(page_entry* slab) noexcept {
  const chunk& in = chunk_of(slab);
  const auto page = static_cast<std::size_t>(slab - in.entries);
  const std::size_t room = slab_pages(slab->slab_class) * os::page_bytes() % class_bytes(slab->slab_class);
  return address_of(in, page) + page % (room / cache_line + 1) * cache_line;
}

void metadata_arena::link(page_entry* slab) noexcept {
  page_entry*& first = open_[slab->slab_class];
  slab->next = first;
  slab->prev = nullptr;
  if (first != nullptr) first->prev = slab;
  first = slab;
}

void metadata_arena::unlink(page_entry* slab) noexcept {
  (slab->prev != nullptr ? slab->prev->next : open_[slab->slab_class]) = slab->next;
  if (slab->next != nullptr) slab->next->prev = slab->prev;
}

metadata_arena::page_entry* metadata_arena::new_slab(std::size_t slab_class) noexcept {
  char* memory = take_pages(slab_pages(slab_class));
  if (memory == nullptr) return nullptr;
  const chunk& in = chunk_of(memory);
  page_entry* slab = in.entries + static_cast<std::size_t>(memory - address_of(in, 0)) / os::page_bytes();
  for (std::size_t i = 0; i < slab_pages(slab_class); ++i) {
    slab[i].slab_class = class_count;  // not the first of its slab, which is `fresh` entries before
    slab[i].fresh = static_cast<std::uint16_t>(i);
  }
  slab->used = slab->fresh = slab->first_free = 0;
  slab->slab_class = static_cast<std::uint8_t>(slab_class);
  link(slab);
  free_slot_bytes_ += slots_of(slab_class) * class_bytes(slab_class);
  return slab;
}

void* metadata_arena::take_slot(page_entry* slab) noexcept {
  const std::size_t bytes = class_bytes(slab->slab_class);
  char* base = slab_base(slab);
  char* slot = nullptr;
  if (slab->first_free != 0) {
    slot = base + (slab->first_free - std::size_t{1}) * bytes;
    std::memcpy(&slab->first_free, slot, sizeof(slab->first_free));
  } else {
    slot = base + slab->fresh++ * bytes;
  }
  free_slot_bytes_ -= bytes;
  if (++slab->used == slots_of(slab->slab_class)) unlink(slab);
  return slot;
}

void* metadata_arena::allocate(std::size_t bytes) noexcept {
  if (bytes > slab_size_max) return take_pages((bytes + os::page_bytes() - 1) / os::page_bytes());
  const std::size_t slab_class = class_of(bytes);
  page_entry* slab = open_[slab_class];
  if (slab == nullptr) slab = new_slab(slab_class);
  return slab == nullptr ? nullptr : take_slot(slab);
}

void metadata_arena::free(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  if (bytes > slab_size_max) {
    give_pages(static_cast<char*>(memory), (bytes + os::page_bytes() - 1) / os::page_bytes());
    return;
  }
  page_entry* slab = slab_of(memory);
  const std::size_t slot_bytes = class_bytes(slab->slab_class);
  const std::size_t slots = slots_of(slab->slab_class);
  char* base = slab_base(slab);
  const auto slot = static_cast<std::size_t>(static_cast<char*>(memory) - base) / slot_bytes;
  std::memcpy(memory, &slab->first_free, sizeof(slab->first_free));
  slab->first_free = static_cast<std::uint16_t>(slot + 1);
  free_slot_bytes_ += slot_bytes;
  if (slab->used-- == slots) link(slab);
  if (slab->used != 0) return;
  unlink(slab);
  free_slot_bytes_ -= slots * slot_bytes;
  give_pages(address_of(chunk_of(slab), static_cast<std::size_t>(slab - chunk_of(slab).entries)),
             slab_pages(slab->slab_class));
}

void* metadata_arena::allocate_denser(const void* memory, std::size_t bytes) noexcept {
  if (bytes > slab_size_max) return nullptr;
  const page_entry* own = slab_of(memory);
  page_entry* best = nullptr;
  int looked_at = 0;
  for (page_entry* slab = open_[own->slab_class]; slab != nullptr && looked_at < denser_slabs_max; slab = slab->next) {
    ++looked_at;
    const bool denser = slab->used > own->used || (slab->used == own->used && slab < own);
    if (slab != own && denser && (best == nullptr || slab->used > best->used)) best = slab;
  }
  // The last slab of a size is hardly ever full: a slot of a larger size that nothing else takes serves too.
  for (std::size_t c = own->slab_class + std::size_t{1}; best == nullptr && c < class_count; ++c) {
    if (class_bytes(c) > 2 * bytes) break;
    best = open_[c];
  }
  return best == nullptr ? nullptr : take_slot(best);
}

// --- OS pages -------------------------------------------------------------------------------------------------------

bool metadata_arena::add_chunk(std::size_t pages_min) noexcept {
  if (chunk_count_ == chunks_max) return false;
  const std::size_t page = os::page_bytes();
  const auto bytes_for = [page](std::size_t pages) {
    return pages * page + base::round_up(pages * sizeof(page_entry), page);
  };
  const std::size_t bytes_min = bytes_for(pages_min);
  for (std::size_t bytes = std::max(reserve_bytes_, bytes_min);; bytes = std::max(bytes / 4, bytes_min)) {
    bytes = base::round_up(bytes, page);
    if (char* got = os::reserve(bytes, page)) {
      std::size_t pages = bytes / (page + sizeof(page_entry));
      while (bytes_for(pages + 1) <= bytes) ++pages;
      if (!os::make_usable(got, bytes - pages * page)) {
        os::unreserve(got, bytes);
        return false;
      }
      chunks_[chunk_count_++] = {got, reinterpret_cast<page_entry*>(got), bytes, pages, 0, 0, 0};
      return true;
    }
    if (bytes <= bytes_min) return false;
  }
}

// Brings what is known of the pages up to `pages`, and makes these usable.
bool metadata_arena::raise(chunk& in, std::size_t pages) noexcept {
  if (pages > in.usable) {
    const std::size_t step =
        base::round_up((pages - in.usable) * os::page_bytes(), usable_step_bytes) / os::page_bytes();
    const std::size_t grow = std::min(step, in.pages - in.usable);
    if (!os::make_usable(address_of(in, in.usable), grow * os::page_bytes())) return false;
    in.usable += grow;
  }
  const auto entries_end = [](std::size_t n) { return base::round_up(n * sizeof(page_entry), os::page_bytes()); };
  if (pages > in.high) {
    const std::size_t growth = entries_end(pages) - entries_end(in.high);
    if (growth != 0 && !budget_.charge(growth)) return false;
    held_ += growth;
    in.high = pages;
  }
  return true;
}

char* metadata_arena::take_pages_of(chunk& in, std::size_t count) noexcept {
  while (in.hint < in.high && in.entries[in.hint].state == page_state::used) ++in.hint;
  std::size_t first = in.hint;
  for (std::size_t at = first; at < first + count && at < in.high; ++at) {
    if (in.entries[at].state == page_state::used) first = at + 1;
  }
  if (first + count > in.pages || !raise(in, std::max(in.high, first + count))) return nullptr;
  const auto is_idle = [](const page_entry& e) { return e.state == page_state::idle; };
  const auto idle = static_cast<std::size_t>(std::count_if(in.entries + first, in.entries + first + count, is_idle));
  const std::size_t growth = (count - idle) * os::page_bytes();
  if (growth != 0 && !budget_.charge(growth)) return nullptr;
  held_ += growth;
  idle_pages_ -= idle;
  for (std::size_t i = 0; i < count; ++i) in.entries[first + i].state = page_state::used;
  return address_of(in, first);
}

char* metadata_arena::take_pages(std::size_t count) noexcept {
  for (std::size_t i = 0; i < chunk_count_; ++i) {
    if (char* got = take_pages_of(chunks_[i], count)) return got;
    if (chunks_[i].pages - chunks_[i].high >= count) return nullptr;  // there is room: it was the budget, or the OS
  }
  return add_chunk(count) ? take_pages_of(chunks_[chunk_count_ - 1], count) : nullptr;
}

std::size_t metadata_arena::trim() noexcept {
  const std::size_t before = held_;
  for (std::size_t i = 0; i < chunk_count_ && idle_pages_ != 0; ++i) {
    const chunk& in = chunks_[i];
    for (std::size_t at = in.hint; at < in.high && idle_pages_ != 0; ++at) {
      if (in.entries[at].state != page_state::idle) continue;
      if (!os::give_back(address_of(in, at), os::page_bytes())) return before - held_;
      in.entries[at].state = page_state::absent;
      budget_.uncharge(os::page_bytes());
      held_ -= os::page_bytes();
      --idle_pages_;
    }
  }
  return before - held_;
}

void metadata_arena::give_pages(char* first, std::size_t count) noexcept {
  chunk& in = chunk_of(first);
  const auto index = static_cast<std::size_t>(first - address_of(in, 0)) / os::page_bytes();
  in.hint = std::min(in.hint, index);
  const std::size_t bytes = count * os::page_bytes();
  const bool keep = idle_pages_ + count <= idle_pages_max;
  const bool gone = !keep && os::give_back(first, bytes);  // what the OS refuses stays charged, for the next to take
  if (gone) {
    budget_.uncharge(bytes);
    held_ -= bytes;
  } else {
    idle_pages_ += count;
  }
  for (std::size_t i = 0; i < count; ++i) in.entries[index + i].state = gone ? page_state::absent : page_state::idle;
}

}  // namespace scoot
