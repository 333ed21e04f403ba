// SPDX-License-Identifier: MIT
//
// What memcached's meta and binary commands ask of a shard beyond the plain operations: uniques that are compared,
// given or chosen on any command, items made by a read, stale items and who is told to store them anew.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "cache/shard.hpp"

namespace scoot::caching {

// ---- uniques ------------------------------------------------------------------------------------------------------

namespace {

// Above all that are counted, and below 2^53, as far as numbers of JavaScript are exact.
constexpr std::uint64_t derived_unique = std::uint64_t{1} << 52;

}  // namespace

// An item without a field for it has a unique by what it holds, for those who ask while there is no memory for more: it
// changes whenever flags or value do, and when the item becomes stale.
[[gnu::noinline]] std::uint64_t shard::unique_of(item it) const noexcept {
  if (it.has_cas_field()) return it.cas();
  const std::string_view key = it.key();  // and the value behind it
  const std::uint64_t stale = it.has_notes_field() ? it.notes() & item::note_stale : 0;
  const std::uint64_t seed = options_.seed + ((std::uint64_t{it.flags()} + 1) * 2 + stale) * 0x9e3779b97f4a7c15u;
  return derived_unique | hash_of({key.data(), key.size() + it.value_bytes()}, seed) >> 12;
}

bool shard::has_unique(item it, std::uint64_t unique) const noexcept {
  if (!it.has_cas_field() && (unique < derived_unique || unique >= 2 * derived_unique)) return false;
  return unique_of(it) == unique;
}

// ---- reading ------------------------------------------------------------------------------------------------------

progress shard::get_meta(const hashed_key& k, const read_options& options, visitor visit, void* context,
                         cache_status& status) noexcept {
  const meta_read& meta = *options.meta;
  constexpr std::size_t names_bytes = name_lists::names_per_chunk * 5;
  if (options.touch && !room_for_expiry(k, *options.touch)) return out_of_memory(names_bytes);
  if (meta.create && !lists_.reserve(3) && !find_live(k)) return out_of_memory(names_bytes);
  const bool may_pin = options.pinned != nullptr && pins_.reserve();
  status = cache_status::not_found;
  slot s = find_to_read(k);
  if (!s && cold_ != nullptr && recall(k, s) == progress::more_room) return progress::more_room;
  const bool created = !s && meta.create;
  if (created && !lists_.reserve(3)) return out_of_memory(names_bytes);  // it was there a moment ago
  bool wins = created;
  const std::uint32_t now = options_.time->now();
  item_view seen;
  if (s) {
    const item it = s.get();
    const item_fields has = it.fields();
    const unsigned notes = it.notes();
    const std::uint32_t expired_at = it.expires_at();
    const std::uint32_t ends_at = options.touch && meta.recache_after_touch ? *options.touch : expired_at;
    const bool early = meta.recache && ends_at != expires_never && ends_at < *meta.recache;
    wins = !meta.unnoticed && (notes & item::note_won) == 0 && ((notes & item::note_stale) != 0 || early);
    if (in_need_ && !has.notes) wins = false;  // of which nobody else would know
    const item_fields add{false, options.touch && *options.touch != expires_never && !has.expiry,
                          options.cas && !has.cas && !cramped(), !has.notes && (wins || (meta.idle && !cramped()))};
    if (add.expiry || add.cas || add.notes) {
      if (add_fields(k, add, s) == progress::more_room) return progress::more_room;
      if (!s) return get_meta(k, options, visit, context, status);  // it expired meanwhile
    }
    if (options.touch) set_expiry(s.get(), k.called, *options.touch);
    seen = view_meta(s.get(), now);
    if (options.cas) seen.cas = unique_of(s.get());
    seen.expired_at = expired_at;
  } else if (created) {
    if (create_empty(k, options) == progress::more_room) return progress::more_room;
    s = find(k);
    seen = s.get().view();
    seen.binary_key = meta.binary_key;
    seen.created = true;
  }
  const bool counted = !meta.unnoticed, used = counted && meta.use;
  if (counted) ++(options.touch ? counts_.touches : counts_.gets);
  if (!s) return progress::finished;
  item it = s.get();
  seen.wins = wins;
  if (it.has_notes_field()) {
    if (wins) it.set_notes(it.notes() | item::note_won);
    if (used) it.set_used_at(now);
  }
  if (used) it.note_read();
  if (!created && counted) ++(options.touch ? counts_.touch_hits : counts_.get_hits);
  if (may_pin && seen.value.size() >= options.pin_bytes_min) pin(it, seen, options);
  visit(context, seen);
  status = cache_status::ok;
  return progress::finished;
}

item_view shard::view_meta(item it, std::uint32_t now) noexcept {
  item_view seen = it.view();
  const unsigned notes = it.notes();
  seen.read = it.was_read();
  seen.stale = (notes & item::note_stale) != 0;
  seen.won = (notes & item::note_won) != 0;
  seen.binary_key = (notes & item::note_binary_key) != 0;
  seen.idle_known = it.has_notes_field();
  if (seen.idle_known) seen.idle_s = now - std::min(now, it.used_at());
  return seen;
}

// The empty item that a read makes, so that others know that it is being filled.
progress shard::create_empty(const hashed_key& k, const read_options& options) noexcept {
  const meta_read& meta = *options.meta;
  const std::uint32_t expires_at = options.touch && !meta.create_prevails ? *options.touch : *meta.create;
  const item_fields fields{false, expires_at != expires_never, options.cas || meta.create_cas != 0, true};
  void* const block = allocate(item::bytes_for(k.key.size(), 0, fields));
  if (block == nullptr) return progress::more_room;
  item it(block);
  it.format(k.key, 0, fields);
  if (fields.expiry) it.set_expires_at(expires_at);
  if (fields.cas) it.set_cas(meta.create_cas != 0 ? meta.create_cas : next_cas());
  it.set_notes(item::note_won | (meta.binary_key ? item::note_binary_key : 0));
  it.set_used_at(options_.time->now());
  if (install(k, it) == progress::more_room) {
    heap_->free(block);
    return progress::more_room;
  }
  return progress::finished;
}

// ---- storing ------------------------------------------------------------------------------------------------------

progress shard::store_meta(const hashed_key& k, std::string_view value, const store_options& options, void* ready,
                           cache_status& status) noexcept {
  const store_extras& extras = *options.extras;
  const bool extends = options.mode == store_mode::append || options.mode == store_mode::prepend;
  store_options as = options;
  unsigned notes = 0;
  slot s = find_live(k);
  if (extends) {
    if (!s && extras.create) {
      status = cache_status::ok;
      as.mode = store_mode::set;
      ready = nullptr;  // the caller keeps the block of an append
    } else if (s && extras.expect && *extras.expect != 0 && !has_unique(s.get(), *extras.expect)) {
      ++counts_.cas_badval;
      status = cache_status::exists;
    } else {
      status = s ? cache_status::ok : cache_status::not_stored;
    }
  } else if (s && options.mode == store_mode::compare_and_swap && extras.invalidate &&
             !has_unique(s.get(), options.cas) &&
             options.cas <
                 (s.get().has_cas_field() ? s.get().cas() : options_.cas->load(std::memory_order_relaxed) + 1)) {
    // An item without a unique was stored since the unique that is compared was given, if that ever was.
    const item old = s.get();
    as.expires_at = old.expires_at();
    notes = item::note_stale | (old.notes() & item::note_won);
    if (ready != nullptr) item(ready).set_expires_at(as.expires_at);
    status = cache_status::ok;
  } else {
    status = condition(s, options);
  }
  if (status != cache_status::ok) {
    ++counts_.sets;
    return progress::finished;
  }
  const progress done = extends && s ? extend(k, value, as, status) : put(k, s, value, as, ready);
  if (done == progress::more_room || status != cache_status::ok) return done;
  s = find(k);
  if (notes != 0) s.get().set_notes(s.get().notes() | notes);
  if (extras.stored != nullptr) *extras.stored = {s.get().cas(), s.get().value_bytes()};
  return done;
}

// ---- removing -----------------------------------------------------------------------------------------------------

progress shard::remove(const hashed_key& k, const remove_options& options, cache_status& status) noexcept {
  step();
  const bool keeps_it = options.keep_stale || options.drop_value;
  if (keeps_it && options.expires_at && !room_for_expiry(k, *options.expires_at)) {
    return out_of_memory(name_lists::names_per_chunk * 5);
  }
  slot s;
  if (find_or_recall(k, s) == progress::more_room) return progress::more_room;
  if (!s || ((options.compare || options.cas != 0) && !has_unique(s.get(), options.cas))) {
    ++counts_.deletes;
    status = s ? cache_status::exists : cache_status::not_found;
    return progress::finished;
  }
  if (!keeps_it) {
    ++counts_.deletes;
    ++counts_.delete_hits;
    remove(s, cause::deleted);
    status = cache_status::ok;
    return progress::finished;
  }
  if (options.drop_value && empty(k, options, s) == progress::more_room) return progress::more_room;
  if (options.keep_stale && s) {
    const item_fields has = s.get().fields();
    const item_fields add{false, options.expires_at && *options.expires_at != expires_never && !has.expiry,
                          options.new_cas != 0 && !has.cas, !has.notes};
    if (add.expiry || add.cas || add.notes) {
      if (add_fields(k, add, s) == progress::more_room) return progress::more_room;
    }
    if (s) {
      item it = s.get();
      if (options.expires_at) set_expiry(it, k.called, *options.expires_at);
      it.set_notes((it.notes() | item::note_stale) & ~item::note_won);
      if (it.has_cas_field()) it.set_cas(options.new_cas != 0 ? options.new_cas : next_cas());
    }
  }
  if (options.drop_value && s) {
    ++counts_.deletes;
    ++counts_.delete_hits;
  }
  status = s ? cache_status::ok : cache_status::not_found;  // it may have expired at this very moment
  return progress::finished;
}

// Replaces the value by nothing. On `finished` s is the item, or empty if it expired meanwhile.
progress shard::empty(const hashed_key& k, const remove_options& options, slot& s) noexcept {
  const item_fields had = s.get().fields();
  const std::uint32_t expires_at = options.expires_at.value_or(expires_never);
  const item_fields fields{options.flags != 0, expires_at != expires_never, had.cas || options.new_cas != 0, had.notes};
  void* block = nullptr;
  if (const progress made = allocate_replacement(k, 0, fields, s, block); block == nullptr) return made;
  const item old = s.get();
  item it(block);
  copy_fields(old, it);
  if (fields.flags) it.set_flags(options.flags);
  if (fields.expiry) it.set_expires_at(expires_at);
  if (fields.notes) it.set_notes(old.notes() & item::note_binary_key);
  if (fields.cas) it.set_cas(options.new_cas != 0 ? options.new_cas : old.cas());
  take_over(s, it);
  s = find(k);
  return progress::finished;
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------

// What comes before the sum. `done` if there will be none, and the result is filled in.
progress shard::prepare_arithmetic(const hashed_key& k, const arithmetic_options& options, slot& s,
                                   arithmetic_result& result, bool& done) noexcept {
  constexpr std::size_t names_bytes = name_lists::names_per_chunk * 5;
  if (options.touch && !room_for_expiry(k, *options.touch)) return out_of_memory(names_bytes);
  if (options.create && !lists_.reserve(3) && !find_live(k)) return out_of_memory(names_bytes);
  s = find_live(k);
  if (!s) {
    done = options.create.has_value();
    if (done && !lists_.reserve(3)) return out_of_memory(names_bytes);
    return done ? create_number(k, options, result) : progress::finished;
  }
  // As in memcached that an empty value is no number counts more.
  if (options.cas != 0 && s.get().value_bytes() != 0 && !has_unique(s.get(), options.cas)) {
    ++counts_.cas_badval;
    result.status = cache_status::exists;
    done = true;
    return progress::finished;
  }
  result.expired_at = s.get().expires_at();
  const item_fields has = s.get().fields();
  const item_fields add{false, options.touch && *options.touch != expires_never && !has.expiry,
                        ((options.give_cas && !cramped()) || options.new_cas != 0) && !has.cas, false};
  return add.expiry || add.cas ? add_fields(k, add, s) : progress::finished;
}

progress shard::create_number(const hashed_key& k, const arithmetic_options& options,
                              arithmetic_result& result) noexcept {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, options.initial).ptr;
  store_extras extras;
  extras.give_cas = options.give_cas;
  extras.new_cas = options.new_cas;
  extras.binary_key = options.binary_key;
  store_options as;
  as.mode = store_mode::add;
  as.expires_at = *options.create;
  as.extras = &extras;
  if (put(k, {}, {digits, static_cast<std::size_t>(end - digits)}, as, nullptr) == progress::more_room) {
    return progress::more_room;
  }
  ++(options.decrement ? counts_.decrements : counts_.increments);
  result.status = cache_status::ok;
  result.value = options.initial;
  result.expired_at = *options.create;
  arithmetic_options made = options;
  made.touch.reset();  // its expiry is that of `create`
  report_arithmetic(k, made, result);
  return progress::finished;
}

void shard::report_arithmetic(const hashed_key& k, const arithmetic_options& options,
                              arithmetic_result& result) noexcept {
  const slot s = find(k);
  if (options.touch) set_expiry(s.get(), k.called, *options.touch);
  result.cas = options.give_cas ? unique_of(s.get()) : s.get().cas();
  result.expires_at = s.get().expires_at();
}

}  // namespace scoot::caching
