// SPDX-License-Identifier: MIT
//
// Kinds: registering them, sharing them, and taking them off the heap again.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

namespace {

constexpr std::size_t add_kind_bytes_min = std::size_t{64} << 10;  // moved to make room for a kind

bool is_shared_as(const kind_options& a, const kind_options& b) noexcept {
  return a.shared && b.shared && a.alignment == b.alignment && a.move == b.move && a.context == b.context &&
         std::strcmp(a.name, b.name) == 0;
}

}  // namespace

bool heap_impl::has_kind(std::uint8_t index) const noexcept { return index < kind_count_ && kinds_[index] != nullptr; }

// Room for what is known of kinds up to `index`, beside their tables, which allocate reads.
bool heap_impl::make_kind_room(std::uint32_t index) noexcept {
  if (index < kind_capacity_) return true;
  const std::uint32_t capacity = std::min<std::uint32_t>(kinds_max, 2 * kind_capacity_ + 3);
  auto* infos = static_cast<kind_info*>(pool_.metadata_allocate(capacity * sizeof(kind_info)));
  if (infos == nullptr) return false;
  std::copy(kind_infos_, kind_infos_ + kind_capacity_, infos);
  std::fill(infos + kind_capacity_, infos + capacity, kind_info{});
  pool_.metadata_free(kind_infos_, kind_capacity_ * sizeof(kind_info));
  metadata_bytes_ += (capacity - kind_capacity_) * sizeof(kind_info);
  kind_infos_ = infos;
  kind_capacity_ = capacity;
  return true;
}

kind heap_impl::new_kind(const kind_options& options) noexcept {
  const bool aligned = options.alignment != 0 && (options.alignment & (options.alignment - 1)) == 0;
  if (!aligned || options.alignment > 4096) return {};
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    check_outside_callback("add_kind");
    begin_call(move_cause::allocation);
  }
  std::uint32_t index = kind_count_;
  for (std::uint32_t i = 0; i < kind_count_; ++i) {
    if (kinds_[i] == nullptr) {
      index = std::min(index, i);
    } else if (is_shared_as(kind_infos_[i].options, options)) {
      ++kind_infos_[i].uses;
      return {static_cast<std::uint8_t>(i)};
    }
  }
  if (index == kinds_max) return {};
  work_left work{std::max(move_bytes_max_, add_kind_bytes_min), 0};
  void* memory = nullptr;
  while (!make_kind_room(index) || (memory = pool_.metadata_allocate(sizeof(kind_entry))) == nullptr) {
    if (reclaim(base::round_up(sizeof(kind_entry), os_page_), work) == 0) return {};
  }
  metadata_bytes_ += sizeof(kind_entry);
  kinds_[index] = ::new (memory) kind_entry{};
  kind_infos_[index] = {options, 0, 0, 0, 0, 1};
  kind_count_ = std::max(kind_count_, index + 1);
  return {static_cast<std::uint8_t>(index)};
}

bool heap_impl::has_blocks(std::uint8_t index) const noexcept {
  for (const shelf* s : shelves_) {
    if (s->kind == index && s->blocks() != 0) return true;
  }
  for (const large_page* in : large_.pages()) {
    const large_block* end = in->blocks() + in->count;
    if (std::any_of(in->blocks(), end, [=](const large_block& b) { return b.kind == index; })) return true;
  }
  return std::any_of(runs_.begin(), runs_.end(), [=](const page_info* first) { return first->kind == index; });
}

bool heap_impl::drop_kind(kind k) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_callback("remove_kind");
  if (!k) return true;
  SCOOT_CHECK(1, has_kind(k.index), "remove_kind: kind %u is not of this heap", unsigned{k.index});
  if (kind_infos_[k.index].uses > 1) {
    --kind_infos_[k.index].uses;
    return true;
  }
  if (has_blocks(k.index)) return false;
  for (std::uint32_t i = 0; i < shelves_.size();) {
    if (shelves_[i]->kind == k.index) {
      discard(*shelves_[i]);
    } else {
      ++i;
    }
  }
  history_.forget(k.index);
  pool_.metadata_free(kinds_[k.index], sizeof(kind_entry));
  metadata_bytes_ -= sizeof(kind_entry);
  kinds_[k.index] = nullptr;
  kind_infos_[k.index] = {};
  while (kind_count_ != 0 && kinds_[kind_count_ - 1] == nullptr) --kind_count_;
  return true;
}

kind heap_impl::kind_of_block(const void* block) const noexcept {
  if (block == nullptr) return {};
  const page_info* page = checked_page_of(block, "kind_of");
  if (page->use == page_use::shelf) return {static_cast<const shelf*>(page->owner)->kind};
  if (page->use == page_use::large) return {page->large->blocks()[large_space::index_of(page->large, block)].kind};
  return {page->kind};
}

}  // namespace scoot
