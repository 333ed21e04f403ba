// SPDX-License-Identifier: MIT
#include "purgeable/region.hpp"

#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "os/os.hpp"
#include "os/purge.hpp"
#include "purgeable/touch.hpp"

namespace scoot::purging {

namespace {

constexpr std::size_t metadata_front = 64;  // a word that is 1 in the process that made the region
constexpr std::size_t usable_step_bytes = std::size_t{4} << 20;

std::size_t metadata_size(std::uint32_t chunks, std::size_t pages) noexcept {
  const std::size_t notes = static_cast<std::size_t>(chunks) * pages * sizeof(std::uint16_t);
  return base::round_up(metadata_front + chunks * sizeof(chunk_record) + notes, os::page_bytes());
}

}  // namespace

region::region(std::size_t chunk_bytes, std::uint32_t chunks, purge_support support) noexcept
    : chunk_bytes_(chunk_bytes),
      page_bytes_(os::page_bytes()),
      pages_(chunk_bytes / os::page_bytes()),
      chunks_max_(chunks),
      purging_(support != purge_support::refused) {}

bool region::reserve(bool guarded) noexcept {
  const std::size_t bytes = chunks_max_ * chunk_bytes_;
  const std::size_t metadata = metadata_size(chunks_max_, pages_);
  memory_ = os::reserve(bytes, page_bytes_);
  if (memory_ == nullptr) return false;
  metadata_ = os::reserve(metadata, page_bytes_);
  if (metadata_ == nullptr) return false;
  metadata_bytes_ = metadata;
  if (!os::make_usable(metadata_, metadata)) return false;
  // Both or none: a child with the memory may not believe it empty, nor one without it believe it full.
  if (!os::wipe_in_children(metadata_, metadata) || !os::keep_from_children(memory_, bytes)) return false;
  os::unlock(memory_, bytes);
  if (guarded && purging_) (void)guard_.protect(memory_, bytes);
  *reinterpret_cast<std::uint64_t*>(metadata_) = 1;
  records_ = reinterpret_cast<chunk_record*>(metadata_ + metadata_front);
  notes_ = reinterpret_cast<note*>(metadata_ + metadata_front + chunks_max_ * sizeof(chunk_record));
  return true;
}

region::~region() {
  // In a child there is nothing at our addresses, or what the child put there since.
  const bool in_child = records_ != nullptr && *reinterpret_cast<const std::uint64_t*>(metadata_) != 1;
  if (SCOOT_CHECK_LEVEL >= 1 && records_ != nullptr && !in_child) {
    for (std::uint32_t chunk = 0; chunk < unused_; ++chunk) {
      SCOOT_CHECK(1, pins_of(chunk) == 0, "purgeable memory is destroyed while chunk %u is pinned", chunk);
    }
  }
  if (memory_ != nullptr && !in_child) os::unreserve(memory_, chunks_max_ * chunk_bytes_);
  if (metadata_ != nullptr) os::unreserve(metadata_, metadata_size(chunks_max_, pages_));
}

// --- chunks ---------------------------------------------------------------------------------------------------------

bool region::make_more_usable() noexcept {
  if (usable_ == chunks_max_) return false;
  const auto step = static_cast<std::uint32_t>(std::max<std::size_t>(1, usable_step_bytes / chunk_bytes_));
  const std::uint32_t count = std::min(step, chunks_max_ - usable_);
  if (!os::make_usable(address(usable_), count * chunk_bytes_)) return false;
  usable_ += count;
  return true;
}

std::uint32_t region::take() noexcept {
  const bool in_child = *reinterpret_cast<const std::uint64_t*>(metadata_) != 1;
  if (in_child) return no_chunk;
  std::uint32_t chunk = no_chunk;
  {
    const std::scoped_lock lock(mutex_);
    std::uint32_t* link = &first_free_;
    while (*link != no_chunk) {
      chunk_record& r = records_[*link];
      if (r.needs_discard) r.needs_discard = !os::give_back(address(*link), chunk_bytes_);
      if (!r.needs_discard) break;
      link = &r.next_free;
    }
    if (*link != no_chunk) {
      chunk = *link;
      *link = records_[chunk].next_free;
    } else if (unused_ < usable_ || make_more_usable()) {
      chunk = unused_++;
    } else {
      return no_chunk;
    }
  }
  if (guard_.on() && !guard_.fill_absent(address(chunk), chunk_bytes_)) {
    records_[chunk].needs_discard = true;  // a part of it may be filled
    put_on_free_list(chunk);
    return no_chunk;
  }
  chunks_.fetch_add(1, std::memory_order_relaxed);
  // Not a store: somebody may be just finding out that the chunk was free.
  records_[chunk].word.fetch_or(allocated, std::memory_order_release);
  return chunk;
}

void region::give(std::uint32_t chunk) noexcept {
  std::atomic<std::uint64_t>& word = records_[chunk].word;
  std::uint64_t was = word.load(std::memory_order_relaxed);
  for (;;) {
    SCOOT_CHECK(1, (was & allocated) != 0, "chunk %u is freed, but it is not allocated", chunk);
    if ((was & allocated) == 0) return;
    if ((was & busy) != 0) {
      was = wait_until_idle(chunk);
      continue;
    }
    const bool pinned = (was & pins_mask) != 0;
    const std::uint64_t next = pinned ? (was & ~allocated) | condemned : (was & ~state_mask) | busy;
    if (!word.compare_exchange_weak(was, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
    if (!pinned) release(chunk);
    return;
  }
}

void region::release_condemned(std::uint32_t chunk) noexcept {
  std::atomic<std::uint64_t>& word = records_[chunk].word;
  std::uint64_t was = word.load(std::memory_order_relaxed);
  do {
    if ((was & condemned) == 0 || (was & pins_mask) != 0) return;  // somebody else does it, or has yet to unpin
  } while (!word.compare_exchange_weak(was, (was & ~state_mask) | busy, std::memory_order_acq_rel,
                                       std::memory_order_relaxed));
  release(chunk);
}

void region::release(std::uint32_t chunk) noexcept {
  chunk_record& r = records_[chunk];
  const std::uint32_t pages = r.offered_pages.exchange(0, std::memory_order_relaxed);
  if (pages != 0) {
    offered_chunks_.fetch_sub(1, std::memory_order_relaxed);
    offered_pages_.fetch_sub(pages, std::memory_order_relaxed);
    forget_notes(chunk, pages);
  }
  chunks_.fetch_sub(1, std::memory_order_relaxed);
  r.needs_discard = !os::give_back(address(chunk), chunk_bytes_);
  r.word.fetch_and(~busy, std::memory_order_release);
  r.word.notify_all();
  put_on_free_list(chunk);
}

void region::put_on_free_list(std::uint32_t chunk) noexcept {
  const std::scoped_lock lock(mutex_);
  records_[chunk].next_free = first_free_;
  first_free_ = chunk;
}

// --- offers ---------------------------------------------------------------------------------------------------------

void region::note_witnesses(std::uint32_t chunk, std::uint32_t pages) noexcept {
  note* const notes = notes_of(chunk);
  for (std::uint32_t page = 0; page < pages; ++page) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(address(chunk) + page * page_bytes_);
    const std::size_t count = page_bytes_ / sizeof *words;
    std::size_t i = 0;
    while (i < count && words[i] == 0) ++i;
    notes[page].store(i == count ? note_zero : static_cast<std::uint16_t>(note_witness | i), std::memory_order_relaxed);
  }
}

void region::forget_notes(std::uint32_t chunk, std::uint32_t pages) noexcept {
  chunk_record& r = records_[chunk];
  touched_pages_.fetch_sub(r.touched_pages.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
  purged_pages_.fetch_sub(r.purged_pages.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
  r.lost_pages.store(0, std::memory_order_relaxed);
  r.unreported_pages.store(0, std::memory_order_relaxed);
  note* const notes = notes_of(chunk);
  for (std::uint32_t page = 0; page < pages; ++page) notes[page].store(note_none, std::memory_order_relaxed);
}

void region::forget_touches(std::uint32_t chunk) noexcept {
  chunk_record& r = records_[chunk];
  note* const notes = notes_of(chunk);
  const std::uint32_t pages = r.offered_pages.load(std::memory_order_relaxed);
  for (std::uint32_t page = 0; page < pages; ++page) {
    const std::uint16_t was = notes[page].load(std::memory_order_relaxed);
    if ((was & note_touched) == 0) continue;
    // What was swapped out since is dropped by an offer: have it brought in.
    (void)read_word(reinterpret_cast<const std::uint32_t*>(address(chunk) + page * page_bytes_));
    notes[page].store(untouched(was), std::memory_order_relaxed);
  }
  touched_pages_.fetch_sub(r.touched_pages.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
}

offer_status region::offer_chunk(std::uint32_t chunk, std::size_t bytes) noexcept {
  chunk_record& r = records_[chunk];
  std::uint64_t was = r.word.load(std::memory_order_relaxed);
  do {
    if ((was & allocated) == 0) return offer_status::absent;
    if (!purging_) {
      offers_refused_.fetch_add(1, std::memory_order_relaxed);
      return offer_status::refused;
    }
    if ((was & (pins_mask | busy)) != 0) return offer_status::pinned;
  } while (!r.word.compare_exchange_weak(was, was | busy, std::memory_order_acq_rel, std::memory_order_relaxed));

  const bool again = (was & offered) != 0;
  const auto pages = again ? r.offered_pages.load(std::memory_order_relaxed)
                           : static_cast<std::uint32_t>(pages_until(std::max<std::size_t>(bytes, 1)));
  if (again) {
    forget_touches(chunk);
  } else {
    note_witnesses(chunk, pages);
  }
  const bool taken = os::offer(address(chunk), pages * page_bytes_);
  (taken ? offers_ : offers_refused_).fetch_add(1, std::memory_order_relaxed);
  // A refusal may have come in the middle: make the OS keep everything. What was purged by then stays lost.
  bool keep = !taken;
  for (std::uint32_t page = 0; page < pages && !taken; ++page) keep = touch(chunk, page) && keep;
  std::uint64_t change = busy;
  if (!again && keep) {
    forget_notes(chunk, pages);
  } else if (!again) {
    change |= offered;
    r.offered_pages.store(pages, std::memory_order_relaxed);
    offered_pages_.fetch_add(pages, std::memory_order_relaxed);
    offered_chunks_.fetch_add(1, std::memory_order_relaxed);
  }
  r.word.fetch_xor(change, std::memory_order_acq_rel);
  r.word.notify_all();
  return taken ? offer_status::offered : offer_status::refused;
}

// --- pins -----------------------------------------------------------------------------------------------------------

std::uint64_t region::wait_until_idle(std::uint32_t chunk) const noexcept {
  const std::atomic<std::uint64_t>& word = records_[chunk].word;
  for (int spin = 0; spin < 64; ++spin) {
    const std::uint64_t now = word.load(std::memory_order_acquire);
    if ((now & busy) == 0) return now;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  for (;;) {
    const std::uint64_t now = word.load(std::memory_order_acquire);
    if ((now & busy) == 0) return now;
    word.wait(now, std::memory_order_relaxed);
  }
}

presence region::answer_without_pin(std::uint32_t chunk, presence answer) noexcept {
  if (answer == presence::lost) lost_accesses_.fetch_add(1, std::memory_order_relaxed);
  remove_pin(chunk);
  return answer;
}

bool region::note_gone(std::uint32_t chunk, std::size_t page, std::uint16_t seen) noexcept {
  const bool zero = seen == note_zero;
  const std::uint16_t next = zero ? note_zero_gone : note_lost;
  if (!notes_of(chunk)[page].compare_exchange_strong(seen, next, std::memory_order_acq_rel)) return false;
  chunk_record& r = records_[chunk];
  r.purged_pages.fetch_add(1, std::memory_order_relaxed);
  purged_pages_.fetch_add(1, std::memory_order_relaxed);
  purged_pages_ever_.fetch_add(1, std::memory_order_relaxed);
  if (zero) return true;
  r.lost_pages.fetch_add(1, std::memory_order_relaxed);
  r.unreported_pages.fetch_add(1, std::memory_order_relaxed);
  lost_pages_ever_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool region::touch(std::uint32_t chunk, std::size_t page) noexcept {
  note& n = notes_of(chunk)[page];
  std::uint16_t seen = n.load(std::memory_order_acquire);
  char* const at = address(chunk) + page * page_bytes_;
  if (seen == note_zero_gone && guard_.on()) return guard_.fill_absent(at, page_bytes_);
  if (!in_doubt(seen)) return !is_lost(seen);
  const std::size_t index = seen == note_zero ? 0 : seen & note_index_mask;
  const bool there = guard_.on() ? touch_guarded(at, seen)
                                 : write_back(reinterpret_cast<std::uint32_t*>(at) + index) != 0 || seen == note_zero;
  if (!there) {
    note_gone(chunk, page, seen);
    return false;
  }
  if (n.compare_exchange_strong(seen, seen | note_touched, std::memory_order_acq_rel)) {
    records_[chunk].touched_pages.fetch_add(1, std::memory_order_relaxed);
    touched_pages_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

bool region::touch_guarded(char* page, std::uint16_t seen) noexcept {
  if (os::page_guard::keep_present(page, page_bytes_)) return true;
  return seen == note_zero && guard_.fill_absent(page, page_bytes_) && os::page_guard::keep_present(page, page_bytes_);
}

bool region::look(std::uint32_t chunk, std::size_t page) noexcept {
  const std::uint16_t seen = notes_of(chunk)[page].load(std::memory_order_acquire);
  if (!in_doubt(seen)) return !is_lost(seen);
  if (seen == note_zero) return true;  // gone or not, it reads the same
  const char* const at = address(chunk) + page * page_bytes_ + (seen & note_index_mask) * sizeof(std::uint32_t);
  char byte = 0;
  const bool there = guard_.on() ? os::page_guard::copy_present(&byte, at, 1)
                                 : read_word(reinterpret_cast<const std::uint32_t*>(at)) != 0;
  if (!there) note_gone(chunk, page, seen);
  return there;
}

presence region::add_pin_slow(std::uint32_t chunk, std::size_t offset, std::size_t bytes, std::uint64_t was) noexcept {
  if ((was & pins_full) != 0) return answer_without_pin(chunk, presence::too_many_pins);
  if ((was & (allocated | busy)) == (allocated | busy)) was = wait_until_idle(chunk);
  if ((was & allocated) == 0) return answer_without_pin(chunk, presence::absent);
  if ((was & offered) == 0) return presence::present;
  for (std::size_t page = offset / page_bytes_; page < pages_until(offset + bytes); ++page) {
    if (!touch(chunk, page)) return answer_without_pin(chunk, presence::lost);
  }
  return presence::present;
}

presence region::copy_out(std::uint32_t chunk, std::size_t offset, std::size_t bytes, void* to) noexcept {
  std::uint64_t was = records_[chunk].word.fetch_add(one_pin, std::memory_order_acquire);
  if ((was & pins_full) != 0) return answer_without_pin(chunk, presence::too_many_pins);
  if ((was & (allocated | busy)) == (allocated | busy)) was = wait_until_idle(chunk);
  if ((was & allocated) == 0) return answer_without_pin(chunk, presence::absent);
  if (bytes == 0) return answer_without_pin(chunk, presence::present);  // `to` may be null
  if ((was & offered) == 0) {
    copy(to, address(chunk) + offset, bytes);
    return answer_without_pin(chunk, presence::present);
  }
  const bool whole = guard_.on() ? copy_guarded(chunk, offset, bytes, static_cast<char*>(to))
                                 : copy_offered(chunk, offset, bytes, static_cast<char*>(to));
  return answer_without_pin(chunk, whole ? presence::present : presence::lost);
}

bool region::copy_offered(std::uint32_t chunk, std::size_t offset, std::size_t bytes, char* to) noexcept {
  copy(to, address(chunk) + offset, bytes);
  // The witness is read after the bytes: still there, it was there when they were read.
  finish_reads();
  for (std::size_t page = offset / page_bytes_; page < pages_until(offset + bytes); ++page) {
    if (!look(chunk, page)) return false;
  }
  return true;
}

bool region::copy_guarded(std::uint32_t chunk, std::size_t offset, std::size_t bytes, char* to) noexcept {
  while (bytes != 0) {
    const std::size_t page = offset / page_bytes_;
    const std::size_t part = std::min(bytes, (page + 1) * page_bytes_ - offset);
    const std::uint16_t seen = notes_of(chunk)[page].load(std::memory_order_acquire);
    if (is_lost(seen)) return false;
    if (!os::page_guard::copy_present(to, address(chunk) + offset, part)) {
      if (untouched(seen) != note_zero && seen != note_zero_gone) {
        note_gone(chunk, page, seen);
        return false;
      }
      std::memset(to, 0, part);
    }
    offset += part;
    bytes -= part;
    to += part;
  }
  return true;
}

}  // namespace scoot::purging
