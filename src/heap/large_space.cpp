// SPDX-License-Identifier: MIT
#include "heap/large_space.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/bits.hpp"
#include "base/check.hpp"

namespace scoot {

namespace {

constexpr std::size_t granule = sizeof(chunk);

}  // namespace

large_space::list_index large_space::list_of(std::size_t bytes) noexcept {
  const unsigned exponent = base::log2_floor(bytes);
  const auto step = static_cast<unsigned>((bytes - (std::size_t{1} << exponent)) >> (exponent - 5));
  return {exponent - exponent_min, step};
}

void large_space::link(chunk* c) noexcept {
  const list_index at = list_of(c->bytes);
  auto* node = static_cast<free_chunk*>(c);
  node->next_free = lists_[at.exponent][at.step];
  node->prev_free = nullptr;
  if (node->next_free != nullptr) node->next_free->prev_free = node;
  lists_[at.exponent][at.step] = node;
  node->listed = true;
  step_bits_[at.exponent] |= 1U << at.step;
  exponent_bits_ |= 1U << at.exponent;
}

void large_space::unlink(chunk* c) noexcept {
  const list_index at = list_of(c->bytes);
  auto* node = static_cast<free_chunk*>(c);
  if (node->next_free != nullptr) node->next_free->prev_free = node->prev_free;
  if (node->prev_free != nullptr) {
    node->prev_free->next_free = node->next_free;
  } else {
    lists_[at.exponent][at.step] = node->next_free;
    if (node->next_free == nullptr) {
      step_bits_[at.exponent] &= ~(1U << at.step);
      if (step_bits_[at.exponent] == 0) exponent_bits_ &= ~(1U << at.exponent);
    }
  }
  node->listed = false;
}

// Where the block's chunk would begin in a free chunk: at its start, or far enough on that a free chunk fits before it.
char* large_space::place(chunk* c, std::size_t alignment) noexcept {
  char* begin = reinterpret_cast<char*>(c);
  if (alignment <= granule) return begin;
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  std::uintptr_t payload = base::round_up(address + granule, alignment);
  while (payload - granule != address && payload - granule - address < chunk_bytes_min) payload += alignment;
  return begin + (payload - granule - address);
}

bool large_space::fits(chunk* c, std::size_t payload_bytes, std::size_t alignment) noexcept {
  const char* begin = place(c, alignment);
  const char* end = reinterpret_cast<char*>(c) + c->bytes;
  return begin < end && static_cast<std::size_t>(end - begin) >= granule + base::round_up(payload_bytes, granule);
}

chunk* large_space::find(std::size_t payload_bytes, std::size_t alignment) const noexcept {
  const std::size_t need = granule + base::round_up(payload_bytes, granule);
  // The list that holds `need` itself has chunks on either side of it: the smallest that fits of the first few.
  list_index at = list_of(need);
  chunk* best = nullptr;
  unsigned looked = 0;
  for (free_chunk* c = lists_[at.exponent][at.step]; c != nullptr && looked < closer_fits_max;
       c = c->next_free, ++looked) {
    if ((best == nullptr || c->bytes < best->bytes) && fits(c, payload_bytes, alignment)) best = c;
  }
  if (best != nullptr) return best;
  // Any chunk of a later list fits, but for alignment: then one that is larger by it fits for sure.
  const std::size_t sure = alignment <= granule ? need : need + alignment + chunk_bytes_min;
  at = list_of(sure);
  std::uint32_t step_mask = at.step + 1 < steps ? step_bits_[at.exponent] & (~0U << (at.step + 1)) : 0;
  if (step_mask == 0) {
    const std::uint32_t exponent_mask = exponent_bits_ & (~0U << (at.exponent + 1));
    if (exponent_mask == 0) return nullptr;
    at.exponent = static_cast<unsigned>(std::countr_zero(exponent_mask));
    step_mask = step_bits_[at.exponent];
  }
  chunk* found = lists_[at.exponent][std::countr_zero(step_mask)];
  return fits(found, payload_bytes, alignment) ? found : nullptr;
}

std::size_t large_space::resident_need(const page_info* page, chunk* found, std::size_t payload_bytes,
                                       std::size_t alignment, std::size_t page_bytes) noexcept {
  const auto begin = static_cast<std::size_t>(place(found, alignment) - page->base);
  // The free chunk behind it needs its tag and links.
  const std::size_t end = begin + granule + base::round_up(payload_bytes, granule) + chunk_bytes_min;
  return std::min(end, page_bytes);
}

void large_space::set_bytes(const page_info* page, chunk* c, std::size_t bytes, std::size_t page_bytes) noexcept {
  c->bytes = static_cast<std::uint32_t>(bytes);
  if (chunk* after = next(page, c, page_bytes)) after->prev_bytes = c->bytes;
}

chunk* large_space::take(page_info* page, chunk* found, std::size_t payload_bytes, std::size_t alignment,
                         std::size_t page_bytes) noexcept {
  unlink(found);
  const std::size_t need = granule + base::round_up(payload_bytes, granule);
  char* begin = place(found, alignment);
  std::size_t whole = found->bytes;
  chunk* taken = found;
  if (const auto before = static_cast<std::size_t>(begin - reinterpret_cast<char*>(found)); before != 0) {
    taken = ::new (begin) chunk{};
    taken->prev_bytes = static_cast<std::uint32_t>(before);
    found->bytes = static_cast<std::uint32_t>(before);
    whole -= before;
    link(found);
  }
  taken->free = taken->marked = false;
  taken->usable = static_cast<std::uint32_t>(need - granule);
  if (whole - need >= chunk_bytes_min) {
    chunk* rest = ::new (begin + need) chunk{};
    rest->free = true;
    rest->prev_bytes = static_cast<std::uint32_t>(need);
    set_bytes(page, rest, whole - need, page_bytes);
    taken->bytes = static_cast<std::uint32_t>(need);
    link(rest);
  } else {
    set_bytes(page, taken, whole, page_bytes);
  }
  page->live_bytes += taken->bytes;
  return taken;
}

void large_space::give(page_info* page, chunk* freed, std::size_t page_bytes) noexcept {
  page->live_bytes -= freed->bytes;
  std::size_t bytes = freed->bytes;
  if (chunk* after = next(page, freed, page_bytes); after != nullptr && after->free) {
    if (after->listed) unlink(after);
    bytes += after->bytes;
  }
  if (freed->prev_bytes != 0) {
    auto* before = reinterpret_cast<chunk*>(reinterpret_cast<char*>(freed) - freed->prev_bytes);
    if (before->free) {
      if (before->listed) unlink(before);
      bytes += before->bytes;
      freed = before;
    }
  }
  freed->free = true;
  set_bytes(page, freed, bytes, page_bytes);
  if (!page->evacuating) link(freed);
}

void large_space::add(page_info* page, std::size_t page_bytes) noexcept {
  page->position = pages_.add(page);
  page->live_bytes = 0;
  page->evacuating = false;
  chunk* c = ::new (page->base) chunk{};
  c->free = true;
  c->bytes = static_cast<std::uint32_t>(page_bytes);
  link(c);
}

void large_space::remove(page_info* page, std::size_t page_bytes) noexcept {
  for (chunk* c = first(page); c != nullptr; c = next(page, c, page_bytes)) {
    if (c->listed) unlink(c);
  }
  if (page_info* moved = pages_.remove(page->position)) moved->position = page->position;
}

void large_space::set_evacuating(page_info* page, bool evacuating, std::size_t page_bytes) noexcept {
  page->evacuating = evacuating;
  for (chunk* c = first(page); c != nullptr; c = next(page, c, page_bytes)) {
    if (!c->free) continue;
    if (evacuating) {
      unlink(c);
    } else {
      link(c);
    }
  }
}

void large_space::verify(const page_info* page, std::size_t page_bytes) const noexcept {
  std::size_t offset = 0;
  std::size_t before = 0;
  std::size_t live = 0;
  bool before_free = false;
  for (chunk* c = first(page); c != nullptr; c = next(page, c, page_bytes)) {
    if (c->bytes < chunk_bytes_min || c->bytes % granule != 0 || offset + c->bytes > page_bytes ||
        c->prev_bytes != before || (c->free && before_free) || c->listed != (c->free && !page->evacuating)) {
      base::fail(__FILE__, __LINE__, "large space: broken tag at offset %zu of page %p", offset,
                 static_cast<const void*>(page->base));
    }
    const std::size_t touched = offset + (c->free ? chunk_bytes_min : c->bytes);
    if (touched > page->resident_end) base::fail(__FILE__, __LINE__, "large space: block beyond what is charged");
    if (!c->free) live += c->bytes;
    before = c->bytes;
    before_free = c->free;
    offset += c->bytes;
  }
  if (offset != page_bytes || live != page->live_bytes) base::fail(__FILE__, __LINE__, "large space: broken sums");
}

}  // namespace scoot
