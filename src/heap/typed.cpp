// SPDX-License-Identifier: MIT
//
// The part of owner.hpp that does not depend on the type.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.hpp"
#include "os/os.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/owner.hpp"

namespace scoot {

namespace {

constexpr std::uint32_t numbers_max = std::uint32_t{1} << detail::heap_number_bits;

// Typed heaps by number, for owners have no room for a pointer. 0 is no number. Half a MiB of address space, of which
// an OS page is resident for each 512 typed heaps.
std::atomic<typed_heap*> heaps[numbers_max];

// Numbers are taken in turn, so that one comes back late, and finding a free one takes few steps.
std::uint16_t take_number(typed_heap* self) noexcept {
  static std::atomic<std::uint32_t> turn{0};
  for (std::uint32_t i = 0; i < numbers_max; ++i) {
    const std::uint32_t number = (turn.fetch_add(1, std::memory_order_relaxed) + 1) % numbers_max;
    typed_heap* free = nullptr;
    if (number != 0 && heaps[number].load(std::memory_order_relaxed) == nullptr &&
        heaps[number].compare_exchange_strong(free, self, std::memory_order_acq_rel)) {
      return static_cast<std::uint16_t>(number);
    }
  }
  return 0;
}

std::uint64_t address_bits(const void* address) noexcept {
  return std::uint64_t{reinterpret_cast<std::uintptr_t>(address)} << detail::heap_number_bits;
}

// --- What became of an owner -----------------------------------------------------------------------------------------

// In words, what is at an address that a block takes for its owner's. `heap` is that of the block.
struct owner_text {
  char text[400];

  owner_text(const heap& h, const void* owner) noexcept {
    detail::owner_word word;
    const char* what = ", which is no owner of anything";
    char holds[120];
    if (!os::read_if_there(owner, &word, sizeof word)) {
      std::snprintf(holds, sizeof holds, "is no memory any more");
    } else if (word.bits == 0) {
      std::snprintf(holds, sizeof holds, "is an empty owner, or zeros");
    } else {
      const auto object = static_cast<std::uintptr_t>(word.bits >> detail::heap_number_bits);
      const auto* at = reinterpret_cast<const void*>(object);
      if (explain(h, at).what == place::live) what = ", the owner of another block";
      std::snprintf(holds, sizeof holds, "points to %p%s", at, what);
    }
    // An owner in a block of the same heap may have moved with it: the heap knows more of that.
    const explanation of = explain(h, owner);
    const bool ours = of.what != place::foreign;
    std::snprintf(text, sizeof text, "%p, where that was, %s%s%s", owner, holds, ours ? "; " : "", ours ? of.text : "");
  }
};

struct block_check {
  const typed_heap& home;
  const detail::type_record& record;
  std::size_t blocks;
};

void check_owner_of(void* context, void* block, std::size_t bytes) noexcept {
  auto& check = *static_cast<block_check*>(context);
  ++check.blocks;
  if (check.record.move == nullptr) return;  // no object, and so no owner
  const detail::owner_word* owner = static_cast<detail::block_header*>(block)->owner;
  if (owner == nullptr) return;  // its object is being made or destroyed
  const std::uint64_t right = address_bits(static_cast<std::byte*>(block) + check.record.alignment);
  detail::owner_word word;
  if (os::read_if_there(owner, &word, sizeof word) && word.bits == (right | check.home.number())) return;
  base::fail(
      __FILE__, __LINE__,
      "verify: the block at %p of kind '%s', %zu bytes, has lost its owner (overwritten, copied as bytes, or its "
      "memory given back without its destructor): %s",
      block, check.record.name, bytes, owner_text(check.home.blocks(), owner).text);
}

// The first block that still has an owner, for a message.
void note_block(void* context, void* block, std::size_t bytes) noexcept {
  auto& text = *static_cast<char(*)[160]>(context);
  const detail::owner_word* owner = static_cast<detail::block_header*>(block)->owner;
  if (text[0] != '\0' || owner == nullptr) return;
  std::snprintf(text, sizeof text, "; one is at %p, %zu bytes, its owner at %p", block, bytes,
                static_cast<const void*>(owner));
}

}  // namespace

namespace detail {

typed_heap& heap_of(std::uint64_t owner_bits) noexcept {
  typed_heap* home = heaps[owner_bits % numbers_max].load(std::memory_order_acquire);
  SCOOT_CHECK(1, home != nullptr, "an owner outlived its typed_heap, or was overwritten");
  return *home;
}

void fail_unknown_owner(const owner_word* owner, const block_header* header) noexcept {
  const owner_word* known = header->owner;
  base::fail(__FILE__, __LINE__,
             "an owner at %p is moved or destroyed that its block at %p knows nothing of: it was copied as bytes, or "
             "the block is another's now. The block's owner is at %p",
             static_cast<const void*>(owner), static_cast<const void*>(header), static_cast<const void*>(known));
}

void release_block(std::uint64_t owner_bits, void* block) noexcept { heap_of(owner_bits).free_block(block); }

void finish_move(void* from, void* to) noexcept {
  owner_word* owner = static_cast<block_header*>(from)->owner;
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    // An object lies at most its alignment behind the start of its block.
    const auto object = static_cast<std::uintptr_t>(owner->bits >> heap_number_bits);
    const std::uintptr_t offset = object - reinterpret_cast<std::uintptr_t>(from);
    SCOOT_CHECK(1, owner->bits != 0 && offset >= sizeof(block_header) && offset <= 4096,
                "the owner at %p of the block at %p does not point to it: overwritten, freed or copied as bytes",
                static_cast<void*>(owner), from);
  }
  static_cast<block_header*>(to)->owner = owner;
  owner->bits += address_bits(to) - address_bits(from);
}

verdict move_bytes(void* /*context*/, void* from, void* to, std::size_t size) noexcept {
  if (static_cast<block_header*>(from)->owner == nullptr) return verdict::keep;
  std::memcpy(to, from, size);
  finish_move(from, to);
  return verdict::moved;
}

}  // namespace detail

typed_heap::typed_heap(heap& blocks) noexcept : heap_(blocks), number_(take_number(this)) {}

typed_heap::~typed_heap() {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    char block[160] = "";
    for (std::uint32_t i = 0; live_ != 0 && i < capacity_; ++i) {
      if (entries_[i].record != nullptr) visit_blocks(heap_, entries_[i].k, &note_block, &block);
    }
    SCOOT_CHECK(1, live_ == 0, "a typed_heap goes while %zu blocks still have owners%s", live_, block);
  }
  for (std::uint32_t i = 0; i < capacity_; ++i) {
    if (entries_[i].record != nullptr) heap_.remove_kind(entries_[i].k);
  }
  heap_.free(entries_);
  heap_.remove_kind(fixed_);
  if (number_ != 0) heaps[number_].store(nullptr, std::memory_order_release);
}

void typed_heap::verify() const noexcept {
  heap_.verify();
  std::size_t blocks = 0;
  for (std::uint32_t i = 0; i < capacity_; ++i) {
    if (entries_[i].record == nullptr) continue;
    block_check check{*this, *entries_[i].record, 0};
    visit_blocks(heap_, entries_[i].k, &check_owner_of, &check);
    blocks += check.blocks;
  }
  if (fixed_) {
    block_check check{*this, detail::fixed_record, 0};
    visit_blocks(heap_, fixed_, &check_owner_of, &check);
    blocks += check.blocks - (entries_ != nullptr ? 1 : 0);
  }
  if (blocks != live_) {
    base::fail(__FILE__, __LINE__,
               "verify: %zu blocks of typed objects in the heap, but %zu were made and not given back", blocks, live_);
  }
}

void* typed_heap::allocate_block(kind k, std::size_t bytes) noexcept {
  if (number_ == 0) return nullptr;
  void* block = heap_.allocate(k, bytes);
  if (block == nullptr) return nullptr;
  if constexpr (sizeof(void*) > 4) {
    if (reinterpret_cast<std::uintptr_t>(block) >> (64 - detail::heap_number_bits) != 0) {  // more than 48 bits
      heap_.free(block);
      return nullptr;
    }
  }
  static_cast<detail::block_header*>(block)->owner = nullptr;
  ++live_;
  return block;
}

void typed_heap::free_block(void* block) noexcept {
  --live_;
  heap_.free(block);
}

// The record's entry, or the empty one where it would be. There must be entries.
typed_heap::entry* typed_heap::find(const detail::type_record& record) const noexcept {
  const auto address = std::uint64_t{reinterpret_cast<std::uintptr_t>(&record)};
  auto i = static_cast<std::uint32_t>(address * 0x9e3779b97f4a7c15U >> 32) & (capacity_ - 1);
  while (entries_[i].record != nullptr && entries_[i].record != &record) i = (i + 1) & (capacity_ - 1);
  return entries_ + i;
}

bool typed_heap::make_entry_room() noexcept {
  if (count_ * 2 < capacity_) return true;
  if (!fixed_) {
    fixed_ = heap_.add_kind({detail::fixed_record.name, detail::fixed_record.alignment, nullptr, nullptr});
    if (!fixed_) return false;
  }
  const std::uint32_t capacity = capacity_ == 0 ? 16 : capacity_ * 2;
  auto* grown = static_cast<entry*>(heap_.allocate(fixed_, capacity * sizeof(entry)));
  if (grown == nullptr) return false;
  for (std::uint32_t i = 0; i < capacity; ++i) ::new (grown + i) entry{nullptr, {}};
  entry* old = std::exchange(entries_, grown);
  const std::uint32_t old_capacity = std::exchange(capacity_, capacity);
  for (std::uint32_t i = 0; i < old_capacity; ++i) {
    if (old[i].record != nullptr) *find(*old[i].record) = old[i];
  }
  heap_.free(old);
  return true;
}

kind typed_heap::kind_of_record(const detail::type_record& record) noexcept {
  if (capacity_ != 0) {
    const entry* known = find(record);
    if (known->record != nullptr) return known->k;
  }
  if (!make_entry_room()) return {};
  if (&record == &detail::fixed_record) return fixed_;
  const kind added = heap_.add_kind({record.name, record.alignment, record.move, nullptr});
  if (added) {
    *find(record) = {&record, added};
    ++count_;
  }
  return added;
}

}  // namespace scoot
