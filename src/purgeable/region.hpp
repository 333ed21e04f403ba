// SPDX-License-Identifier: MIT
//
// region: the purgeable memory behind purgeable.hpp.
//
//     metadata, which a forked child reads as zeros:  |living|chunk_record x n|page note x n x pages a chunk|
//     memory, which a forked child does not have:     |chunk 0|chunk 1|...usable...|...reserved...|
//
// A chunk's word says everything that pins have to know, so that a pin is one addition:
//
//     bits  63..24       23..22   21          20     19        18          17..0
//           pins ever    0        condemned   busy   offered   allocated   pins in force
//
//     free        nothing                       kept       allocated
//     offering    allocated, busy [, offered]   offered    allocated, offered
//     condemned   condemned [, offered], pins   releasing  busy
//
// Whoever pins adds one first, and only then looks at what the word was. So an offer, which needs a word without pins
// to begin (compare and swap to busy), either sees the pin or is seen by it; the pin then waits until the offer is
// made, because a page that is marked before and offered after would be lost under the pin. free() leaves a pinned
// chunk condemned; the pin that takes the count to zero releases it, after winning a compare and swap to busy, since a
// pin that only came to see that the chunk is gone can take the count to zero again.
//
// A page note says how to tell whether an offered OS page is still there:
//
//     0 not offered   1 all zero   2 all zero and gone   3 lost, to be reported   4 lost and reported
//     bit 15 set: bits 13..0 are the witness, the index of a 4-byte word that is not zero
//     bit 14 set besides: touched, that is written to since it was offered, so that the kernel keeps it
//
// Notes change from a witness (or all zero) to touched or gone at most once between two offers: what touches finds the
// page there or not, and whoever else looks finds the same, because after the first touch the kernel lets it be.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "os/purge.hpp"
#include "scoot/purgeable.hpp"

namespace scoot::purging {

inline constexpr std::uint64_t pins_mask = (std::uint64_t{1} << 18) - 1;
inline constexpr std::uint64_t pins_full = purgeable::pins_max;  // a bit: so many pins, or more
inline constexpr std::uint64_t allocated = std::uint64_t{1} << 18;
inline constexpr std::uint64_t offered = std::uint64_t{1} << 19;
inline constexpr std::uint64_t busy = std::uint64_t{1} << 20;
inline constexpr std::uint64_t condemned = std::uint64_t{1} << 21;
inline constexpr std::uint64_t state_mask = allocated | offered | busy | condemned;
inline constexpr unsigned pins_ever_shift = 24;
inline constexpr std::uint64_t one_pin = 1 | std::uint64_t{1} << pins_ever_shift;

inline constexpr std::uint16_t note_none = 0;
inline constexpr std::uint16_t note_zero = 1;
inline constexpr std::uint16_t note_zero_gone = 2;
inline constexpr std::uint16_t note_lost = 3;
inline constexpr std::uint16_t note_lost_reported = 4;
inline constexpr std::uint16_t note_touched = 1U << 14;
inline constexpr std::uint16_t note_witness = 1U << 15;
inline constexpr std::uint16_t note_index_mask = note_touched - 1;

// What this note is without `touched`.
[[nodiscard]] constexpr std::uint16_t untouched(std::uint16_t note) noexcept {
  return static_cast<std::uint16_t>(note & ~note_touched);
}
// Whether the page may be there or not.
[[nodiscard]] constexpr bool in_doubt(std::uint16_t note) noexcept {
  return note == note_zero || (note & (note_witness | note_touched)) == note_witness;
}
[[nodiscard]] constexpr bool is_lost(std::uint16_t note) noexcept {
  return note == note_lost || note == note_lost_reported;
}

// One to a cache line, so that pins of different chunks do not disturb each other. Zeros, as the OS gives them, are a
// record that was never used.
struct alignas(64) chunk_record {
  std::atomic<std::uint64_t> word{0};
  std::atomic<std::uint32_t> offered_pages{0};
  std::atomic<std::uint32_t> touched_pages{0};
  std::atomic<std::uint32_t> purged_pages{0};  // known to be
  std::atomic<std::uint32_t> lost_pages{0};
  std::atomic<std::uint32_t> unreported_pages{0};  // of the lost ones
  std::uint32_t next_free = 0;                     // under the region's lock
  bool needs_discard = false;                      // the OS refused to take its memory back; of whoever has it in hand
};
static_assert(sizeof(chunk_record) == 64);

class region final : public purgeable {
 public:
  region(std::size_t chunk_bytes, std::uint32_t chunks, purge_support support) noexcept;
  ~region();

  // Address space for chunks and metadata, guarded if that is wanted and can be had. False: refused.
  [[nodiscard]] bool reserve(bool guarded) noexcept;

  [[nodiscard]] std::uint32_t take() noexcept;
  void give(std::uint32_t chunk) noexcept;
  [[nodiscard]] char* address(std::uint32_t chunk) const noexcept {
    return memory_ + static_cast<std::size_t>(chunk) * chunk_bytes_;
  }
  [[nodiscard]] offer_status offer_chunk(std::uint32_t chunk, std::size_t bytes) noexcept;

  [[nodiscard]] presence add_pin(std::uint32_t chunk, std::size_t offset, std::size_t bytes) noexcept {
    constexpr std::uint64_t interesting = pins_full | allocated | offered | busy;
    const std::uint64_t was = records_[chunk].word.fetch_add(one_pin, std::memory_order_acquire);
    if ((was & interesting) == allocated) [[likely]]
      return presence::present;
    return add_pin_slow(chunk, offset, bytes, was);
  }
  void remove_pin(std::uint32_t chunk) noexcept {
    const std::uint64_t was = records_[chunk].word.fetch_sub(1, std::memory_order_release);
    if ((was & (pins_mask | condemned)) == (1 | condemned)) [[unlikely]]
      release_condemned(chunk);
  }
  [[nodiscard]] presence copy_out(std::uint32_t chunk, std::size_t offset, std::size_t bytes, void* to) noexcept;

  [[nodiscard]] chunk_info info(std::uint32_t chunk) const noexcept;
  [[nodiscard]] sweep_result sweep_chunks(std::span<lost_range> lost, std::size_t bytes_max) noexcept;
  [[nodiscard]] purgeable_stats collect() const noexcept;

  [[nodiscard]] std::uint32_t chunks_max() const noexcept { return chunks_max_; }
  [[nodiscard]] std::size_t chunk_size() const noexcept { return chunk_bytes_; }
  // Whether a pin may ask about this chunk at all.
  [[nodiscard]] bool knows(std::uint32_t chunk) const noexcept { return chunk < chunks_max_; }
  [[nodiscard]] bool allocated_now(std::uint32_t chunk) const noexcept {
    return (records_[chunk].word.load(std::memory_order_relaxed) & allocated) != 0;
  }
  [[nodiscard]] std::uint64_t pins_of(std::uint32_t chunk) const noexcept {
    return records_[chunk].word.load(std::memory_order_relaxed) & pins_mask;
  }

 private:
  using note = std::atomic<std::uint16_t>;

  // OS pages that the first so many bytes of a chunk are in.
  [[nodiscard]] std::size_t pages_until(std::size_t bytes) const noexcept {
    return (bytes + page_bytes_ - 1) / page_bytes_;
  }
  [[nodiscard]] note* notes_of(std::uint32_t chunk) const noexcept { return notes_ + chunk * pages_; }

  [[nodiscard]] presence add_pin_slow(std::uint32_t chunk, std::size_t offset, std::size_t bytes,
                                      std::uint64_t was) noexcept;
  // Waits while the chunk is offered or released, and returns the word that ended it.
  [[nodiscard]] std::uint64_t wait_until_idle(std::uint32_t chunk) const noexcept;
  // Takes away a pin of somebody who gets `answer`.
  presence answer_without_pin(std::uint32_t chunk, presence answer) noexcept;

  // Copies from offered pages. False: not all of it was there.
  [[nodiscard]] bool copy_offered(std::uint32_t chunk, std::size_t offset, std::size_t bytes, char* to) noexcept;
  [[nodiscard]] bool copy_guarded(std::uint32_t chunk, std::size_t offset, std::size_t bytes, char* to) noexcept;

  // With a pin in force: makes the kernel keep a page if it is there.
  [[nodiscard]] bool touch(std::uint32_t chunk, std::size_t page) noexcept;
  // With a pin in force: whether a page was there when this was called.
  [[nodiscard]] bool look(std::uint32_t chunk, std::size_t page) noexcept;
  [[nodiscard]] bool touch_guarded(char* page, std::uint16_t seen) noexcept;
  // Notes that a page in doubt is gone. With a pin in force. False: somebody else did.
  bool note_gone(std::uint32_t chunk, std::size_t page, std::uint16_t seen) noexcept;

  // With the chunk busy: notes a witness for every page; forgets which ones were touched; forgets everything.
  void note_witnesses(std::uint32_t chunk, std::uint32_t pages) noexcept;
  void forget_touches(std::uint32_t chunk) noexcept;
  void forget_notes(std::uint32_t chunk, std::uint32_t pages) noexcept;

  void release_condemned(std::uint32_t chunk) noexcept;
  void release(std::uint32_t chunk) noexcept;  // busy and without pins
  void put_on_free_list(std::uint32_t chunk) noexcept;
  [[nodiscard]] bool make_more_usable() noexcept;  // locked

  // Pins offered chunks side by side from `first` on, as many as a sweep may examine at once. Returns how many.
  [[nodiscard]] std::uint32_t pin_for_sweep(std::uint32_t first, std::uint32_t end, std::size_t bytes_max,
                                            sweep_result& result) noexcept;
  // With a pin in force on each: asks the OS which pages are gone.
  void note_absent_pages(std::uint32_t first, std::uint32_t count, sweep_result& result) noexcept;
  // With a pin in force: writes what is lost and was not reported. False: `lost` is full, and there is more.
  [[nodiscard]] bool report_lost(std::uint32_t chunk, std::span<lost_range> lost, sweep_result& result) noexcept;

  const std::size_t chunk_bytes_;
  const std::size_t page_bytes_;
  const std::size_t pages_;  // OS pages of a chunk
  const std::uint32_t chunks_max_;
  const bool purging_;  // offers are made
  os::page_guard guard_;
  chunk_record* records_ = nullptr;
  note* notes_ = nullptr;
  char* memory_ = nullptr;
  char* metadata_ = nullptr;
  std::size_t metadata_bytes_ = 0;

  mutable std::mutex mutex_;  // guards these three, and next_free
  std::uint32_t usable_ = 0;  // chunks from the front whose memory can be touched
  std::uint32_t unused_ = 0;  // no chunk from here on was ever allocated
  std::uint32_t first_free_ = no_chunk;

  std::mutex sweep_mutex_;  // guards the next one
  std::uint32_t sweep_at_ = 0;

  std::atomic<std::uint32_t> chunks_{0};
  std::atomic<std::uint32_t> offered_chunks_{0};
  std::atomic<std::size_t> offered_pages_{0};
  std::atomic<std::size_t> touched_pages_{0};
  std::atomic<std::size_t> purged_pages_{0};
  std::atomic<std::uint64_t> offers_{0};
  std::atomic<std::uint64_t> offers_refused_{0};
  std::atomic<std::uint64_t> purged_pages_ever_{0};
  std::atomic<std::uint64_t> lost_pages_ever_{0};
  std::atomic<std::uint64_t> lost_accesses_{0};
};

}  // namespace scoot::purging
