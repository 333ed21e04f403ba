// SPDX-License-Identifier: MIT
//
// What callers ask of a shard: get, store, touch, remove, arithmetic. Semantics are memcached 1.6's.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.hpp"
#include "cache/decimal.hpp"
#include "cache/shard.hpp"

namespace scoot::caching {

// ---- reading ------------------------------------------------------------------------------------------------------

progress shard::get(const hashed_key& k, const read_options& options, visitor visit, void* context,
                    cache_status& status) noexcept {
  check_flush();
  if (options.touch || options.cas || options.meta != nullptr) keep(k.called);
  if (options.meta != nullptr) [[unlikely]]
    return get_meta(k, options, visit, context, status);
  if (options.touch && !room_for_expiry(k, *options.touch)) return out_of_memory(name_lists::names_per_chunk * 5);
  const bool may_pin = options.pinned != nullptr && pins_.reserve();
  status = cache_status::not_found;
  slot s = find_to_read(k);
  if (!s && cold_ != nullptr) [[unlikely]] {
    if (!options.touch && !options.cas && visit_cold(k, options, visit, context, status) == progress::more_room) {
      return progress::more_room;
    }
    if (status == cache_status::ok) return progress::finished;
    if (recall(k, s) == progress::more_room) return progress::more_room;
  }
  if (s && (options.touch || options.cas)) {
    const item_fields has = s.get().fields();
    const item_fields add{false, options.touch && *options.touch != expires_never && !has.expiry,
                          options.cas && !has.cas && !cramped(), false};
    if ((add.expiry || add.cas) && add_fields(k, add, s) == progress::more_room) return progress::more_room;
    if (s && options.touch) set_expiry(s.get(), k.called, *options.touch);
  }
  ++(options.touch ? counts_.touches : counts_.gets);
  if (!s) return progress::finished;
  item it = s.get();
  it.note_read();
  if (it.has_notes_field()) [[unlikely]]
    it.set_used_at(options_.time->now());
  ++(options.touch ? counts_.touch_hits : counts_.get_hits);
  item_view view = it.view();
  if (!options.cas) {
    view.cas = 0;
  } else if (view.cas == 0) {
    view.cas = unique_of(it);
  }
  if (may_pin && view.value.size() >= options.pin_bytes_min) pin(it, view, options);
  visit(context, view);
  status = cache_status::ok;
  return progress::finished;
}

cache_status shard::get_in_need(const hashed_key& k, const read_options& options, visitor visit,
                                void* context) noexcept {
  cache_status status = cache_status::not_found;
  in_need_ = true;
  const bool done = get(k, options, visit, context, status) == progress::finished;
  in_need_ = false;
  keep_nothing();
  if (done) return status;
  return options.meta != nullptr && options.meta->create ? cache_status::no_memory : refused(k);
}

cache_status shard::refused(const hashed_key& k) noexcept {
  const bool there = find_live(k) || (cold_ != nullptr && cold_->find(k.key, k.called));
  return there ? cache_status::no_memory : cache_status::not_found;
}

// Finds the item of a get, and counts what is there but dead.
shard::slot shard::find_to_read(const hashed_key& k) noexcept {
  const slot s = find(k);
  if (!s || live(s)) return s;
  const bool flushed = s.epoch() != epoch_;
  ++(flushed ? counts_.get_flushed : counts_.get_expired);
  remove(s, flushed ? cause::flushed : cause::reclaimed);
  return {};
}

// Leaves a pin with the reader, if it can be had; pins_.reserve() came before.
void shard::pin(item it, const item_view& view, const read_options& options) noexcept {
  if (!pins_.add(it.block())) return;
  pinned_item& pinned = *options.pinned;
  pinned.cache_ = options_.owner;
  pinned.item_ = it.block();
  pinned.shard_ = options_.number;
  pinned.view_ = view;
}

// Looks for the item of a key that is not hot in the cold tier, and makes it a hot one. s is the item, or empty.
progress shard::recall(const hashed_key& k, slot& s) noexcept {
  s = {};
  const cold_tier::found f = cold_->find(k.key, k.called);
  if (!f) return progress::finished;
  if (f.expires_at != expires_never && f.expires_at <= options_.time->now()) {
    cold_->erase(f);
    ++counts_.reclaimed;
    return progress::finished;
  }
  if (!lists_.reserve(3)) return out_of_memory(name_lists::names_per_chunk * 5);
  void* const block = allocate(f.bytes);  // may evict, so that others are demoted and the oldest chunk is dropped
  if (block == nullptr) return progress::more_room;
  if (!cold_->copy(f, k.key, block)) {
    heap_->free(block);
    return progress::finished;
  }
  item it(block);
  it.set_uses(0);
  if (f.used) it.set_read(true);
  if (!add_new(k, it)) {
    heap_->free(block);
    return out_of_memory(0);
  }
  cold_->erase(f);
  ++cold_->counts().hits;
  ++cold_->counts().promotions;
  if (!lists_.reserve(3)) return out_of_memory(name_lists::names_per_chunk * 5);  // as callers have it
  s = find(k);
  return progress::finished;
}

// The first plain read of a cold item shows a copy, and leaves it where it is: most are not read again soon, and would
// only push others out of the hot tier and the log. status stays as it is if there is nothing to be shown.
progress shard::visit_cold(const hashed_key& k, const read_options& options, visitor visit, void* context,
                           cache_status& status) noexcept {
  const cold_tier::found f = cold_->find(k.key, k.called);
  if (!f || f.used || (f.expires_at != expires_never && f.expires_at <= options_.time->now())) {
    return progress::finished;
  }
  if (options.pinned != nullptr && f.bytes >= options.pin_bytes_min) return progress::finished;
  void* const block = allocate(f.bytes);
  if (block == nullptr) return progress::more_room;
  if (cold_->copy(f, k.key, block)) {
    cold_->note_used(f);
    ++cold_->counts().hits;
    ++counts_.gets;
    ++counts_.get_hits;
    item_view view = item(block).view();
    view.cas = 0;
    visit(context, view);
    status = cache_status::ok;
  }
  retire(block);
  return progress::finished;
}

progress shard::find_or_recall(const hashed_key& k, slot& s) noexcept {
  s = find_live(k);
  return s || cold_ == nullptr ? progress::finished : recall(k, s);
}

// Removes the cold item of that key; true if there was one, and it was live.
bool shard::remove_cold(const hashed_key& k) noexcept {
  if (cold_ == nullptr) return false;
  const cold_tier::found f = cold_->find(k.key, k.called);
  if (f) cold_->erase(f);
  return f && (f.expires_at == expires_never || f.expires_at > options_.time->now());
}

// ---- storing ------------------------------------------------------------------------------------------------------

// Puts `it` in the place of the item at s, of the same key: the same place in the queue and in the wheel.
void shard::take_over(slot s, item it) noexcept {
  const item old = s.get();
  const auto q = static_cast<eviction::queue>(old.mark() & 1);
  policy_.removed(q, old.bytes());
  policy_.added(q, it.bytes());
  item_bytes_ += it.value_bytes() - old.value_bytes();
  expiring_ += (it.has_expiry_field() ? 1u : 0u);
  expiring_ -= (old.has_expiry_field() ? 1u : 0u);
  it.set_mark(old.mark());
  it.set_uses(old.uses());
  const std::uint32_t expires_at = it.expires_at();
  if (expires_at != expires_never) {
    const std::uint32_t filed_for = old.expires_at();
    if (filed_for != expires_never) it.set_wheel_mark(old.wheel_mark());
    // As in set_expiry: without room for another name the old one serves on.
    const bool files = filed_for == expires_never || expires_at < filed_for;
    if (files && lists_.can_push(wheel_.list_for(expires_at))) file(it, index_.name_of(it));
  } else if (it.has_expiry_field() && old.has_expiry_field()) {
    it.set_wheel_mark(old.wheel_mark());
  }
  --in_epoch_[s.epoch()];
  ++in_epoch_[epoch_];
  index_.set(s, it, epoch_);
  retire(old.block());
}

// Makes a finished block the item of its key. Chunks for two names must be reserved. Changes nothing if the index has
// no room for it.
progress shard::install(const hashed_key& k, item it) noexcept {
  const slot s = find_live(k);
  if (s) {
    take_over(s, it);
    it.count_use();
  } else {
    if (!add_new(k, it)) return out_of_memory(0);
    (void)remove_cold(k);  // a key is in one tier only
  }
  ++counts_.items_stored;
  return progress::finished;
}

// The same where there is none. False, and nothing changed: the index has no room for it.
bool shard::add_new(const hashed_key& k, item it) noexcept {
  if (!index_.insert(k.called, it, epoch_)) return false;
  ++in_epoch_[epoch_];
  const auto q = policy_.choose_queue(index_, k.called);
  it.set_mark(lists_.push(q, k.called));
  policy_.added(q, it.bytes());
  item_bytes_ += it.key_bytes() + it.value_bytes();
  if (it.has_expiry_field()) {
    ++expiring_;
    if (it.expires_at() != expires_never) file(it, k.called);
  }
  return true;
}

void shard::fill(item it, std::string_view key, std::size_t value_bytes, const store_options& options) noexcept {
  const item_fields fields = fields_for(options);
  it.format(key, value_bytes, fields);
  if (fields.flags) it.set_flags(options.flags);
  if (fields.expiry) it.set_expires_at(options.expires_at);
  const bool extends = options.mode == store_mode::append || options.mode == store_mode::prepend;
  if (fields.cas && !extends) it.set_cas(cas_for(options));  // of what is appended only the value is of use
  if (fields.notes) {
    it.set_notes(options.extras->binary_key ? item::note_binary_key : 0);
    it.set_used_at(options_.time->now());
  }
}

// Stores the value in the old item's own block, where it fits as exactly as it would in a new one under the same shape.
bool shard::overwrite(slot s, std::string_view value, const store_options& options) noexcept {
  item it = s.get();
  item_fields fields = fields_for(options);
  // One that it has needs no memory.
  fields.cas = fields.cas || (options.mode == store_mode::compare_and_swap && it.has_cas_field());
  if (!it.has_shape(value.size(), fields) || pins_.is_pinned(it.block())) return false;
  const std::size_t old_bytes = it.bytes(), bytes = old_bytes - it.value_bytes() + value.size();
  if (bytes != old_bytes) {
    const std::size_t usable = heap_->usable_size(it.block());
    if (bytes > usable || usable - bytes >= std::max<std::size_t>(8, usable / 64)) return false;
    const auto q = static_cast<eviction::queue>(it.mark() & 1);
    policy_.removed(q, old_bytes);
    policy_.added(q, bytes);
    item_bytes_ += bytes - old_bytes;
  }
  it.set_value_bytes(value.size());
  std::memcpy(it.value(), value.data(), value.size());
  it.set_read(false);
  it.count_use();
  if (fields.flags) it.set_flags(options.flags);
  if (fields.cas) it.set_cas(cas_for(options));
  if (fields.notes) [[unlikely]] {
    it.set_notes(options.extras->binary_key ? item::note_binary_key : 0);
    it.set_used_at(options_.time->now());
  }
  if (fields.expiry) set_expiry(it, index_.name_of(it), options.expires_at);
  ++counts_.items_stored;
  return true;
}

// ok if the mode's condition holds for the live item at s (or for there being none).
cache_status shard::condition(slot s, const store_options& options) noexcept {
  switch (options.mode) {
    case store_mode::set:
      return cache_status::ok;
    case store_mode::add:
      return s ? cache_status::not_stored : cache_status::ok;
    case store_mode::replace:
    case store_mode::append:
    case store_mode::prepend:
      return s ? cache_status::ok : cache_status::not_stored;
    case store_mode::compare_and_swap:
      break;
  }
  if (!s) {
    ++counts_.cas_misses;
    return cache_status::not_found;
  }
  if (!has_unique(s.get(), options.cas)) {
    ++counts_.cas_badval;
    return cache_status::exists;
  }
  return cache_status::ok;
}

progress shard::store(const hashed_key& k, std::string_view value, const store_options& options, void* ready,
                      cache_status& status) noexcept {
  index_.prefetch_both(k.called);
  if (options.mode != store_mode::set) keep(k.called);
  step();
  if (full_ && ready == nullptr && options_.evict && !poor_) pay(k.key.size() + value.size());  // while memory answers
  if (!lists_.reserve(3)) return out_of_memory(name_lists::names_per_chunk * 5);
  if (cold_ != nullptr) {
    slot hot;
    if (options.mode != store_mode::set && find_or_recall(k, hot) == progress::more_room) return progress::more_room;
  }
  if (options.extras != nullptr) [[unlikely]]
    return store_meta(k, value, options, ready, status);
  slot s = find_live(k);
  status = condition(s, options);
  if (status != cache_status::ok) {
    ++counts_.sets;
    return progress::finished;
  }
  if (options.mode == store_mode::append || options.mode == store_mode::prepend) {
    return extend(k, value, options, status);
  }
  return put(k, s, value, options, ready);
}

// Stores the value as the item of its key, whatever is there.
progress shard::put(const hashed_key& k, slot s, std::string_view value, const store_options& options,
                    void* ready) noexcept {
  if (ready == nullptr && s && overwrite(s, value, options)) {
    counts_.cas_hits += options.mode == store_mode::compare_and_swap;
    ++counts_.sets;
    return progress::finished;
  }
  void* block = ready;
  if (block == nullptr) {
    block = allocate(item::bytes_for(k.key.size(), value.size(), fields_for(options)));
    if (block == nullptr) return progress::more_room;
    fill(item(block), k.key, value.size(), options);
    std::memcpy(item(block).value(), value.data(), value.size());
  }
  if (install(k, item(block)) == progress::more_room) {
    if (ready == nullptr) heap_->free(block);
    return progress::more_room;
  }
  if (ready != nullptr) heap_->unpin(block, "writer");
  counts_.cas_hits += options.mode == store_mode::compare_and_swap;
  ++counts_.sets;
  return progress::finished;
}

// append and prepend: the item keeps its flags and expiry.
progress shard::extend(const hashed_key& k, std::string_view value, const store_options& options,
                       cache_status& status) noexcept {
  const bool front = options.mode == store_mode::prepend;
  slot s = find(k);
  item_fields fields = s.get().fields();
  fields.cas = fields.cas || fields_for(options).cas;
  const std::size_t old_bytes = s.get().value_bytes();
  const std::size_t bytes = item::bytes_for(k.key.size(), old_bytes + value.size(), fields);
  if (bytes > options_.item_bytes_max) {
    status = cache_status::too_large;
    return progress::finished;
  }
  void* const block = allocate(bytes);
  if (block == nullptr) return progress::more_room;
  s = find_live(k);
  if (!s) {
    heap_->free(block);
    status = cache_status::not_stored;
    ++counts_.sets;
    return progress::finished;
  }
  const item old = s.get();
  item it(block);
  it.format(k.key, old_bytes + value.size(), fields);
  copy_fields(old, it);
  if (fields.cas) it.set_cas(cas_for(options));
  if (fields.notes) it.set_notes(old.notes() & item::note_binary_key);
  std::memcpy(it.value() + (front ? value.size() : 0), old.value(), old_bytes);
  std::memcpy(it.value() + (front ? 0 : old_bytes), value.data(), value.size());
  take_over(s, it);
  ++counts_.items_stored;
  ++counts_.sets;
  return progress::finished;
}

progress shard::reserve(const hashed_key& k, std::size_t value_bytes, const store_options& options,
                        void*& block) noexcept {
  step();
  block = allocate(item::bytes_for(k.key.size(), value_bytes, fields_for(options)));
  if (block == nullptr) return progress::more_room;
  if (!heap_->pin(block, "writer")) {
    heap_->free(block);
    block = nullptr;
    return progress::more_room;
  }
  fill(item(block), k.key, value_bytes, options);
  return progress::finished;
}

void shard::drop_reserved(void* block) noexcept {
  heap_->unpin(block, "writer");
  heap_->free(block);
}

// ---- the rest -----------------------------------------------------------------------------------------------------

cache_status shard::remove(const hashed_key& k) noexcept {
  step();
  ++counts_.deletes;
  if (const slot s = find_live(k)) {
    remove(s, cause::deleted);
  } else if (!remove_cold(k)) {
    return cache_status::not_found;
  }
  ++counts_.delete_hits;
  return cache_status::ok;
}

void shard::discard(const hashed_key& k) noexcept {
  if (const slot s = find_live(k)) {
    remove(s, cause::replaced);
  } else {
    (void)remove_cold(k);
  }
}

progress shard::touch(const hashed_key& k, std::uint32_t expires_at, cache_status& status) noexcept {
  check_flush();
  keep(k.called);
  if (!room_for_expiry(k, expires_at)) return out_of_memory(name_lists::names_per_chunk * 5);
  slot s;
  if (find_or_recall(k, s) == progress::more_room) return progress::more_room;
  if (s && expires_at != expires_never && !s.get().has_expiry_field() &&
      add_fields(k, {false, true, false, false}, s) == progress::more_room) {
    return progress::more_room;
  }
  ++counts_.touches;
  status = s ? cache_status::ok : cache_status::not_found;
  if (!s) return progress::finished;
  ++counts_.touch_hits;
  s.get().note_read();
  set_expiry(s.get(), k.called, expires_at);
  return progress::finished;
}

progress shard::arithmetic(const hashed_key& k, const arithmetic_options& options, arithmetic_result& result) noexcept {
  keep(k.called);
  step();
  const auto count = [&](bool hit) {
    ++(options.decrement ? counts_.decrements : counts_.increments);
    if (hit) ++(options.decrement ? counts_.decrement_hits : counts_.increment_hits);
  };
  slot s;
  if (find_or_recall(k, s) == progress::more_room) return progress::more_room;
  if (options.report) [[unlikely]] {
    bool done = false;
    if (prepare_arithmetic(k, options, s, result, done) == progress::more_room) return progress::more_room;
    if (done) return progress::finished;
  }
  if (!s) {
    count(false);
    result.status = cache_status::not_found;
    return progress::finished;
  }
  item it = s.get();
  std::uint64_t number = 0;
  if (!parse_decimal({it.value(), it.value_bytes()}, number)) {
    result.status = cache_status::not_numeric;
    return progress::finished;
  }
  if (options.decrement) {
    number -= std::min(number, options.delta);
  } else {
    number += options.delta;
  }
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  auto length = static_cast<std::size_t>(end - digits);
  if (length <= it.value_bytes() && !pins_.is_pinned(it.block())) {
    std::memcpy(it.value(), digits, length);
    std::memset(it.value() + length, ' ', it.value_bytes() - length);
    if (it.has_cas_field()) it.set_cas(options.new_cas != 0 ? options.new_cas : next_cas());
    const bool was_read = it.was_read();
    it.note_read();
    it.set_read(was_read);  // a use, but nobody was told the value
  } else {
    // Longer, or pinned and so not to be written to: a new block, padded to the length of the old value.
    bool gone = false;
    if (replace_number(k, {digits, length}, options, gone) == progress::more_room) return progress::more_room;
    if (gone) {
      count(false);
      result.status = cache_status::not_found;
      return progress::finished;
    }
  }
  count(true);
  result.status = cache_status::ok;
  result.value = number;
  if (options.report) report_arithmetic(k, options, result);
  return progress::finished;
}

progress shard::replace_number(const hashed_key& k, std::string_view digits, const arithmetic_options& options,
                               bool& gone) noexcept {
  slot s = find(k);
  const item_fields fields = s.get().fields();
  const std::size_t value_bytes = std::max(digits.size(), s.get().value_bytes());
  void* const block = allocate(item::bytes_for(k.key.size(), value_bytes, fields));
  if (block == nullptr) return progress::more_room;
  s = find(k);
  gone = !s;  // expired at this very moment, or evicted to make room
  if (gone) {
    heap_->free(block);
    return progress::finished;
  }
  const item old = s.get();
  item it(block);
  it.format(k.key, value_bytes, fields);
  copy_fields(old, it);
  if (fields.cas) it.set_cas(options.new_cas != 0 ? options.new_cas : next_cas());
  std::memset(it.value(), ' ', value_bytes);
  std::memcpy(it.value(), digits.data(), digits.size());
  // As in memcached a number that needs an item of its own is a fresh one.
  const bool fresh = digits.size() > old.value_bytes();
  it.set_read(old.was_read() && !fresh);
  if (fields.notes && fresh) it.set_notes(old.notes() & item::note_binary_key);
  take_over(s, it);
  return progress::finished;
}

}  // namespace scoot::caching
