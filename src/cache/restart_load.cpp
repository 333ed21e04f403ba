// SPDX-License-Identifier: MIT
//
// Making a cache from a restart file.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "cache/cache_impl.hpp"
#include "cache/restart.hpp"

namespace scoot::caching {

namespace {

constexpr std::size_t batch = 16;   // items whose memory is asked for at once
constexpr unsigned vain_max = 256;  // items without room, one after the other, until no more are tried

void add(const restart_report& one, restart_report& sum) noexcept {
  sum.items += one.items;
  sum.item_bytes += one.item_bytes;
  sum.cold_items += one.cold_items;
  sum.expired_items += one.expired_items;
  sum.dropped_items += one.dropped_items;
  sum.damaged_chunks += one.damaged_chunks;
}

// A time that was noted then; 0 is none.
std::uint32_t shifted(std::uint32_t at, std::int64_t shift) noexcept {
  if (at == 0) return 0;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(std::int64_t{at} + shift, 1, UINT32_MAX));
}

void shift_times(item it, std::int64_t shift) noexcept {
  if (shift == 0) return;
  if (it.has_expiry_field()) it.set_expires_at(shifted(it.expires_at(), shift));
  if (it.has_notes_field()) it.set_used_at(shifted(it.used_at(), shift));
}

}  // namespace

// ---- what a shard does ----------------------------------------------------------------------------------------------

shard::taken shard::take_in(const taken_in& one, bool first_to_leave) noexcept {
  if (!lists_.reserve(3)) return taken::no_room;
  if (index_.wants_to_grow()) (void)fit_index(2);
  const std::size_t bytes = item(one.from).bytes();
  void* const block = heap_->allocate(items_, bytes);
  if (block == nullptr) return taken::no_room;
  std::memcpy(block, one.from.block(), bytes);
  item it(block);
  if (!index_.insert(one.k.called, it, epoch_)) {
    heap_->free(block);
    return taken::no_room;
  }
  ++in_epoch_[epoch_];
  if (first_to_leave) it.set_mark(lists_.push(eviction::small, one.k.called));
  policy_.added(static_cast<eviction::queue>(it.mark() & 1), bytes);
  item_bytes_ += it.key_bytes() + it.value_bytes();
  shift_times(it, one.shift);
  if (it.has_expiry_field()) {
    ++expiring_;
    if (it.expires_at() != expires_never) file(it, one.k.called);
  }
  return taken::stored;
}

shard::taken shard::take_in_cold(const taken_in& one) noexcept {
  if (find(one.k) || cold_->find(one.k.key, one.k.called)) return taken::there_already;
  (void)fit_cold(4);
  item it = one.from;
  const bool used = it.uses() != 0;
  it.set_uses(0);
  shift_times(it, one.shift);
  if (!cold_->add(one.k.called, it)) return taken::no_room;
  if (used) {
    if (const cold_tier::found f = cold_->find(one.k.key, one.k.called)) cold_->note_used(f);
  }
  return taken::stored;
}

bool shard::queue(name n, std::uint8_t mark) noexcept {
  if (n.tag == 0 || !lists_.reserve(1)) return false;  // no item has such a name
  const slot s = find_queued({n, mark});
  if (s) s.get().set_mark(lists_.push(mark & 1, n));
  return static_cast<bool>(s);
}

void shard::queue_all() noexcept {
  for (std::size_t at = 0;;) {
    at = index_.walk(at, 1, [&](slot s) {
      if (!lists_.reserve(1)) return;  // such an item leaves by expiry and deletion only
      item it = s.get();
      it.set_mark(lists_.push(it.mark() & 1, index_.name_of(it)));
    });
    if (at == 0) return;
  }
}

namespace {

// A set of names that answers yes to all that are in it, and to few others. B. Bloom, "Space/time trade-offs in hash
// coding with allowable errors", CACM 1970; the bits of a name are in one cache line.
class name_filter {
 public:
  [[nodiscard]] bool start(std::size_t names) noexcept {
    lines_ = std::bit_ceil(names / 48 + 1);
    words_.reset(new (std::nothrow) std::uint64_t[lines_ * 8]());
    return words_ != nullptr;
  }
  void add(order_entry entry) noexcept {
    const spot s(*this, entry.bits);
    for (unsigned i = 0; i < probes; ++i) s.line[s.word(i)] |= s.bit(i);
  }
  [[nodiscard]] bool has(order_entry entry) const noexcept {
    const spot s(*this, entry.bits);
    bool all = true;
    for (unsigned i = 0; i < probes; ++i) all = all && (s.line[s.word(i)] & s.bit(i)) != 0;
    return all;
  }

 private:
  static constexpr unsigned probes = 5;
  struct spot {
    spot(const name_filter& f, std::uint64_t entry) noexcept
        : mixed(entry * 0x9e3779b97f4a7c15u),
          line(&f.words_[(static_cast<std::size_t>(mixed >> 45) * 0x9e3779b1u & (f.lines_ - 1)) * 8]) {}
    [[nodiscard]] unsigned word(unsigned i) const noexcept { return static_cast<unsigned>(mixed >> 9 * i & 7); }
    [[nodiscard]] std::uint64_t bit(unsigned i) const noexcept {
      return std::uint64_t{1} << (mixed >> (9 * i + 3) & 63);
    }
    std::uint64_t mixed;
    std::uint64_t* line;
  };
  std::size_t lines_ = 0;
  std::unique_ptr<std::uint64_t[]> words_;
};

// The item at `at` if it is one, and ends before `end`.
item parse(char* at, const char* end) noexcept {
  constexpr std::size_t header_bytes_least = 4;
  const auto left = static_cast<std::size_t>(end - at);
  if (left < header_bytes_least) return {};
  const item it(at);
  if (it.header_bytes() > left) return {};
  if (it.key_bytes() == 0 || it.key_bytes() > key_bytes_max || it.value_bytes() > left) return {};
  if (it.bytes() > left || !it.has_shape(it.value_bytes(), it.fields())) return {};
  return it;
}

}  // namespace

// One thread's part in reading a file.
class restart_loader {
 public:
  struct plan {
    std::uint32_t now = 0;
    std::int64_t shift = 0;
    bool tight = false;
    unsigned uses_least = 0;  // tight: with more, an item is read in any case; with less in none
    double newest_part = 1;   // ... and with as many if it is among the newest
    std::size_t item_bytes_max = 0;
  };

  restart_loader(cache_impl& to, restart_reader& file, const plan& how, restart_report& report) noexcept
      : to_(to), file_(file), how_(how), report_(report) {}
  ~restart_loader() {
    if (locked_ != nullptr) locked_->lock().unlock();
  }
  restart_loader(const restart_loader&) = delete;
  restart_loader& operator=(const restart_loader&) = delete;

  // Reads all of what one shard wrote.
  void run(const std::uint32_t* chunks, std::size_t count) noexcept {
    const auto each = [&](restart_part part, auto&& use) {
      for (std::size_t i = 0; i < count; ++i) {
        const restart_chunk& c = file_.chunks()[chunks[i]];
        if (c.part == part) use(c);
      }
    };
    if (how_.tight) {
      std::size_t names = 0;
      each(restart_part::order,
           [&](const restart_chunk& c) { names += static_cast<std::size_t>(c.bytes) / order_entry::bytes; });
      filters_ = in_question_.start(names) && newest_.start(names);
      each(restart_part::hot, [&](const restart_chunk& c) { find_in_question(c); });
      each(restart_part::order, [&](const restart_chunk& c) { count_names(c); });
      each(restart_part::order, [&](const restart_chunk& c) { choose_newest(c); });
    }
    each(restart_part::hot, [&](const restart_chunk& c) { read_items(c, &restart_loader::store_hot); });
    const bool has_cold = to_.nth(0).has_cold();
    if (!has_cold) each(restart_part::cold, [&](const restart_chunk& c) { read_items(c, &restart_loader::store_old); });
    each(restart_part::order, [&](const restart_chunk& c) { queue_names(c); });
    if (has_cold) each(restart_part::cold, [&](const restart_chunk& c) { read_items(c, &restart_loader::store_cold); });
  }
  // Items that were stored, and whose names were not seen; or more, where names were lost. Stale names may count as
  // seen.
  [[nodiscard]] std::int64_t unnamed() const noexcept { return unnamed_; }

 private:
  static constexpr std::int64_t names_lost = std::int64_t{1} << 40;
  using storing = shard::taken (restart_loader::*)(const shard::taken_in&);

  void enter(shard& s) noexcept {
    if (locked_ == &s) return;
    if (locked_ != nullptr) locked_->lock().unlock();
    s.lock().lock();
    locked_ = &s;
  }

  // Reads a chunk into bytes_. One that is damaged is counted when it is asked for the last time.
  [[nodiscard]] bool fetch(const restart_chunk& c, bool last = true) noexcept {
    const auto bytes = static_cast<std::size_t>(c.bytes);
    if (bytes > room_) {
      room_ = 0;
      bytes_.reset(new (std::nothrow) char[std::max(bytes, restart_chunk_bytes)]);
      if (bytes_ != nullptr) room_ = std::max(bytes, restart_chunk_bytes);
    }
    if (bytes <= room_ && file_.read(c, bytes_.get())) return true;
    if (last) {
      ++report_.damaged_chunks;
      file_.drop(c);
    }
    return false;
  }

  // Items are stored while the memory behind those that follow is on its way.
  void read_items(const restart_chunk& c, storing store) noexcept {
    if (!fetch(c)) return;
    char* at = bytes_.get();
    const char* const end = at + c.bytes;
    shard::taken_in found[2][batch];
    std::size_t counts[2] = {};
    const auto parse_some = [&](unsigned which) {
      std::size_t& count = counts[which];
      for (count = 0; count < batch && at < end; ++count) {
        const item it = parse(at, end);
        if (!it) {
          ++report_.damaged_chunks;
          at = bytes_.get() + c.bytes;
          return;
        }
        found[which][count] = {to_.hashed(it.key()), it, how_.shift};
        const hashed_key& k = found[which][count].k;
        to_.shard_of(k).prefetch_bucket(k);
        at += it.bytes();
      }
    };
    parse_some(0);
    for (unsigned which = 0; counts[which] != 0; which ^= 1) {
      parse_some(which ^ 1);
      for (std::size_t i = 0; i < counts[which]; ++i) {
        to_.shard_of(found[which][i].k).prefetch_rest(found[which][i].k);
      }
      for (std::size_t i = 0; i < counts[which]; ++i) store_one(found[which][i], store);
    }
    file_.drop(c);
  }

  void store_one(const shard::taken_in& one, storing store) noexcept {
    const item it = one.from;
    const std::uint32_t at = it.expires_at();
    if (at != expires_never && std::int64_t{at} + how_.shift <= std::int64_t{how_.now}) {
      ++report_.expired_items;
      return;
    }
    if (it.bytes() > how_.item_bytes_max || vain_ >= vain_max) {
      ++report_.dropped_items;
      return;
    }
    const std::size_t bytes = it.key_bytes() + it.value_bytes();
    enter(to_.shard_of(one.k));
    const shard::taken result = (this->*store)(one);
    vain_ = result == shard::taken::no_room ? vain_ + 1 : 0;
    if (result != shard::taken::stored) {
      ++report_.dropped_items;
      return;
    }
    ++report_.items;
    report_.item_bytes += bytes;
  }

  [[nodiscard]] shard::taken store_hot(const shard::taken_in& one) noexcept {
    if (how_.tight) {
      const unsigned uses = one.from.uses();
      if (uses < how_.uses_least) return shard::taken::there_already;
      if (uses == how_.uses_least && filters_ && !newest_.has({one.k.called, one.from.mark()})) {
        return shard::taken::there_already;
      }
    }
    const shard::taken result = locked_->take_in(one, false);
    unnamed_ += result == shard::taken::stored;
    return result;
  }
  // A cold item where there is no cold tier is the first of the others to leave.
  [[nodiscard]] shard::taken store_old(const shard::taken_in& one) noexcept {
    return how_.tight ? shard::taken::there_already : locked_->take_in(one, true);
  }
  [[nodiscard]] shard::taken store_cold(const shard::taken_in& one) noexcept {
    const shard::taken result = locked_->take_in_cold(one);
    report_.cold_items += result == shard::taken::stored;
    return result;
  }

  // Which items are in question, how many names in each queue are theirs, and which of these are the newest.
  void find_in_question(const restart_chunk& c) noexcept {
    if (!filters_ || !fetch(c, false)) return;
    const char* const end = bytes_.get() + c.bytes;
    for (char* at = bytes_.get(); at < end;) {
      const item it = parse(at, end);
      if (!it) return;
      if (it.uses() == how_.uses_least) in_question_.add({to_.hashed(it.key()).called, it.mark()});
      at += it.bytes();
    }
  }
  template <class Use>
  void each_in_question(const restart_chunk& c, const Use& use) noexcept {
    if (!filters_ || !fetch(c, false)) return;
    for (std::size_t at = 0; at + order_entry::bytes <= c.bytes; at += order_entry::bytes) {
      const order_entry entry(bytes_.get() + at);
      if (in_question_.has(entry)) use(entry, entry.mark() & 1U);
    }
  }
  void count_names(const restart_chunk& c) noexcept {
    each_in_question(c, [this](order_entry, std::size_t q) { ++names_[q]; });
  }
  void choose_newest(const restart_chunk& c) noexcept {
    each_in_question(c, [this](order_entry entry, std::size_t q) {
      if (static_cast<double>(++seen_[q]) > static_cast<double>(names_[q]) * (1 - how_.newest_part)) newest_.add(entry);
    });
  }

  // The names of a shard may belong to several now, or be among others.
  void queue_names(const restart_chunk& c) noexcept {
    if (!fetch(c)) {
      unnamed_ += names_lost;
      return;
    }
    const unsigned old_shards = file_.head().shards, shards = to_.shards();
    const std::size_t count = static_cast<std::size_t>(c.bytes) / order_entry::bytes;
    const auto nth_entry = [&](std::size_t i) { return order_entry(bytes_.get() + i * order_entry::bytes); };
    for (unsigned number = c.shard & (shards - 1); number < shards; number += old_shards) {
      shard& s = to_.nth(number);
      enter(s);
      if (shards == old_shards && !how_.tight) {
        for (std::size_t i = 0; i < count; ++i) {
          unnamed_ -= s.queue_as_it_was(nth_entry(i).of(), nth_entry(i).mark());
        }
        break;
      }
      for (std::size_t i = 0; i < count; ++i) {
        if (i + 2 * batch < count) s.prefetch_both(nth_entry(i + 2 * batch).of());
        if (i + batch < count && nth_entry(i + batch).of().tag != 0)
          s.prefetch_item({{}, 0, nth_entry(i + batch).of()});
        const order_entry entry = nth_entry(i);
        unnamed_ -= s.queue(entry.of(), entry.mark());
      }
    }
    file_.drop(c);
  }

  cache_impl& to_;
  restart_reader& file_;
  const plan& how_;
  restart_report& report_;
  shard* locked_ = nullptr;
  std::unique_ptr<char[]> bytes_;
  std::size_t room_ = 0;
  name_filter in_question_, newest_;
  bool filters_ = false;
  std::uint64_t names_[2] = {}, seen_[2] = {};  // of the queues
  std::int64_t unnamed_ = 0;
  unsigned vain_ = 0;
};

namespace {

// Whether all will fit, and if not, which items are worth most: those with most uses, and of these the newest.
void plan_for(const restart_head& head, std::size_t budget_bytes, restart_loader::plan& how) noexcept {
  double bytes = 0;
  for (const std::uint64_t some : head.bytes_by_uses) bytes += static_cast<double>(some);
  const auto needed = static_cast<double>(head.held_bytes), room = static_cast<double>(budget_bytes);
  how.tight = needed > room;
  if (!how.tight) return;
  double left = bytes * room / needed * 63 / 64;  // what shards take without items is no less
  for (unsigned uses = item::uses_max;; --uses) {
    const auto some = static_cast<double>(head.bytes_by_uses[uses]);
    how.uses_least = uses;
    how.newest_part = some <= 0 ? 1 : std::min(1.0, left / some);
    if (some > left || uses == 0) return;
    left -= some;
  }
}

}  // namespace

void cache_impl::load(restart_reader& file) noexcept {
  const std::uint64_t began = boot_time_ns();
  const restart_head& head = file.head();
  restart_loader::plan how;
  how.now = clock_.now();
  const std::uint64_t boot_ns = boot_time_ns();
  how.shift = options_.clock == nullptr ? restart_shift(head, how.now, boot_ns, boot_identity()) : 0;
  how.item_bytes_max = options_.item_bytes_max;
  plan_for(head, pool_->stats().budget_bytes, how);
  restart_report& report = restarted_;
  report.outcome = restart_outcome::done;
  report.file_bytes = head.file_bytes;
  const std::int64_t down = std::int64_t{how.now} - std::int64_t{head.saved_at} - how.shift;
  report.down_s = static_cast<std::uint64_t>(std::max<std::int64_t>(down, 0));
  cas_ = head.cas;
  const std::uint32_t flush_at = shifted(head.flush_at, how.shift);
  if (flush_at != 0 && flush_at <= how.now) {  // while nobody was there
    report.expired_items = head.items;
    return;
  }
  try {
    std::vector<std::vector<std::uint32_t>> of_shard(head.shards);
    for (std::uint32_t i = 0; i < file.chunks().size(); ++i) of_shard[file.chunks()[i].shard].push_back(i);
    std::vector<restart_report> reports(head.shards);
    std::atomic<std::int64_t> unnamed{0};
    const std::size_t expected = static_cast<std::size_t>(head.hot_items) / shard_count_;
    if (!how.tight) {
      for (unsigned i = 0; i < shard_count_; ++i) nth(i).expect(expected);
    }
    on_threads(head.shards, [&](unsigned number) {
      restart_loader part(*this, file, how, reports[number]);
      part.run(of_shard[number].data(), of_shard[number].size());
      unnamed += part.unnamed();
    });
    if (unnamed > 0) {
      for (unsigned i = 0; i < shard_count_; ++i) {
        const std::lock_guard guard(nth(i).lock());
        nth(i).queue_all();
      }
    }
    for (const restart_report& one : reports) add(one, report);
  } catch (...) {
    std::snprintf(report.reason, sizeof report.reason, "there is no memory to read it");
    report.outcome = restart_outcome::refused;
  }
  if (flush_at != 0) {
    for (unsigned i = 0; i < shard_count_; ++i) {
      const std::lock_guard guard(nth(i).lock());
      nth(i).flush(flush_at);
    }
  }
  report.elapsed_us = (boot_time_ns() - began) / 1000;
}

}  // namespace scoot::caching
