// SPDX-License-Identifier: MIT
//
// What an item has besides key and value: fields that it gets when they are asked for, and its expiry.
#include <cstring>
#include <utility>

#include "cache/shard.hpp"

namespace scoot::caching {

// What an item takes over from the one that it replaces, as far as it has the fields.
void shard::copy_fields(item from, item to) noexcept {
  const item_fields fields = to.fields();
  if (fields.flags) to.set_flags(from.flags());
  if (fields.expiry) to.set_expires_at(from.expires_at());
  if (fields.notes) {
    to.set_notes(from.notes());
    to.set_used_at(from.has_notes_field() ? from.used_at() : options_.time->now());
  }
}

// A block for what is to replace an item, with the key in it. The item is looked up again, since room was made for it:
// if it expired meanwhile s is empty, and there is no block.
progress shard::allocate_replacement(const hashed_key& k, std::size_t value_bytes, item_fields fields, slot& s,
                                     void*& block) noexcept {
  block = allocate(item::bytes_for(k.key.size(), value_bytes, fields));
  if (block == nullptr) return progress::more_room;
  s = find_live(k);
  if (s) {
    item(block).format(k.key, value_bytes, fields);
  } else {
    heap_->free(std::exchange(block, nullptr));
  }
  return progress::finished;
}

// Makes the item larger by the fields that are missing: where it is, if its block has so much unused, or under a new
// address. On `finished` s is the item, or empty if it expired meanwhile.
progress shard::add_fields(const hashed_key& k, item_fields add, slot& s) noexcept {
  if (add_fields_in_place(s.get(), add)) return progress::finished;
  const item_fields had = s.get().fields();
  const item_fields fields{had.flags, had.expiry || add.expiry, had.cas || add.cas, had.notes || add.notes};
  const std::size_t value_bytes = s.get().value_bytes();
  void* block = nullptr;
  if (const progress made = allocate_replacement(k, value_bytes, fields, s, block); block == nullptr) return made;
  const item old = s.get();
  item it(block);
  std::memcpy(it.value(), old.value(), value_bytes);
  copy_fields(old, it);
  if (fields.cas) it.set_cas(had.cas ? old.cas() : next_cas());
  it.set_read(old.was_read());
  take_over(s, it);
  s = find(k);
  return progress::finished;
}

// False if there is no room, or somebody reads it.
bool shard::add_fields_in_place(item it, item_fields add) noexcept {
  const item_fields had = it.fields();
  const item_fields fields{had.flags, had.expiry || add.expiry, had.cas || add.cas, had.notes || add.notes};
  const std::size_t before = it.bytes(), bytes = item::bytes_for(it.key_bytes(), it.value_bytes(), fields);
  if (bytes > heap_->usable_size(it.block()) || pins_.is_pinned(it.block())) return false;
  it.add_fields(add);
  if (fields.expiry && !had.expiry) {
    it.set_expires_at(expires_never);
    ++expiring_;
  }
  if (fields.cas && !had.cas) it.set_cas(next_cas());
  if (fields.notes && !had.notes) it.set_used_at(options_.time->now());
  const auto q = static_cast<eviction::queue>(it.mark() & 1);
  policy_.removed(q, before);
  policy_.added(q, bytes);
  return true;
}

// Files the item under its expiry in the wheel. lists_.can_push must be true of that list.
void shard::file(item it, name n) noexcept { it.set_wheel_mark(lists_.push(wheel_.list_for(it.expires_at()), n)); }

// Reserves room for the name that another expiry of the item may need. False if there is none, and it must be had: one
// that is in the wheel already stays there.
bool shard::room_for_expiry(const hashed_key& k, std::uint32_t at) noexcept {
  if (lists_.reserve(2)) return true;
  const slot s = find_live(k);
  return !s || at == expires_never || s.get().expires_at() != expires_never || lists_.can_push(wheel_.list_for(at));
}

// Gives an item that has the field another expiry. Its name in the wheel serves on if it comes up no later than the new
// expiry; and if it comes later and there is no room for another name, the item is not there from its expiry on, and
// its memory comes back when that name comes up, or somebody asks for it.
void shard::set_expiry(item it, name n, std::uint32_t at) noexcept {
  if (!it.has_expiry_field()) return;  // at is expires_never, and so it is already
  const std::uint32_t old = it.expires_at();
  it.set_expires_at(at);
  const bool files = at != expires_never && (old == expires_never || at < old);
  if (files && lists_.can_push(wheel_.list_for(at))) file(it, n);
}

}  // namespace scoot::caching
