// SPDX-License-Identifier: MIT
//
// cold_tier: what a shard evicted, packed together in memory that the kernel may take back whenever it likes.
//
//     log of chunks:  oldest | 17 | 18 | 19 | 20 | open (a buffer in the heap)
//                            `----purgeable-----'
//     place, 32 bits:  | number of the chunk, its lower bits | offset in the chunk / 8, never 0 |
//
// Items come in the order in which they were evicted, so chunks are as old as what is in them. A full buffer is copied
// to a fresh chunk and offered at once: memory that was offered before keeps its age in the kernel's lists. Nothing is
// ever changed in a chunk. An item that is wanted again is copied out, the first time to be shown, then to be hot, and
// its entry erased; at the ceiling the oldest chunk is dropped, with all that is left in it. A key is in one tier only:
// whoever makes a hot item of it erases it here.
//
// Reading leaves an OS page young in the kernel's eyes, so that it would rather purge others: the unread, which are
// still wanted, before those whose items were just copied out. So chunks that were read are offered again, in steps;
// that makes their pages old, and leaves them where they are in the kernel's lists.
//
// What is read was checked: the region says whether the bytes were still there after they were copied, and key and
// lengths must agree. Expiry, flags, unique and notes are in the item as they were when it was hot.
//
// Memory: index, list of chunks and the open buffer are blocks of the shard's heap, and so within the hot budget; the
// chunks are not. Only start() and fit() allocate. Threads: the shard's lock. Failure: a tier that has no room for an
// item does not take it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "cache/cold_index.hpp"
#include "cache/item.hpp"
#include "cache/name.hpp"
#include "scoot/cache.hpp"
#include "scoot/heap.hpp"
#include "scoot/purgeable.hpp"

namespace scoot::caching {

// What the cold tiers of all shards share.
struct cold_options {
  std::size_t chunk_bytes = 0;                              // a power of two, 16 KiB to 1 MiB
  std::size_t address_bytes = 0;                            // of a shard: the most that its ceiling can be
  const std::atomic<std::size_t>* ceiling_bytes = nullptr;  // of a shard, now
  const std::atomic<bool>* closed = nullptr;                // take nothing, memory is short
  std::atomic<std::size_t>* purged_bytes = nullptr;         // a sum of what is found to be purged
  std::size_t index_bytes_max = 0;                          // of a shard
  bool keep_refused = false;                                // for tests: keep chunks that the kernel does not want
};

class cold_tier {
 public:
  // Null if there is no memory or address space. Blocks of `fixed` must have alignment 64 and no mover.
  [[nodiscard]] static std::unique_ptr<cold_tier> create(heap& h, kind fixed, const cold_options& options) noexcept;
  ~cold_tier();
  cold_tier(const cold_tier&) = delete;
  cold_tier& operator=(const cold_tier&) = delete;

  // Takes a copy of an item whose key is not here. False: it is not taken.
  bool add(name n, item it) noexcept;

  struct found {
    cold_index::entry entry = 0;
    std::size_t bytes = 0;  // of the item
    std::uint32_t expires_at = expires_never;
    bool used = false;  // note_used() was called of it
    [[nodiscard]] explicit operator bool() const noexcept { return entry != 0; }
  };
  [[nodiscard]] found find(std::string_view key, name n) noexcept;

  // Copies the item that was found to `to`, which has room for its bytes. False: it is gone since, and `to` undefined.
  [[nodiscard]] bool copy(const found& f, std::string_view key, void* to) noexcept;

  // Notes that what was found was read, if it is still there.
  void note_used(const found& f) noexcept;

  // Removes what was found, if it is still there.
  void erase(const found& f) noexcept;

  void prefetch(name n) const noexcept { index_.prefetch(cold_index::hash_of(n)); }

  // Everything is gone from now on; the memory is given back in steps.
  void clear() noexcept;

  // Shows what is there, copies of it that may be written to, in the order in which it came, and whether note_used()
  // was called; then everything is gone. A chunk's memory is given back once what is in it was shown.
  using taker = void (*)(void* context, item it, bool used);
  void hand_over(taker take, void* context) noexcept;

  // Grows or shrinks the index and the list of chunks by so many steps. Invalidates: addresses of movable blocks.
  [[nodiscard]] bool wants_to_fit() const noexcept;
  // What fit() would allocate first; 0: nothing.
  [[nodiscard]] std::size_t fit_bytes() const noexcept;
  // False if nothing was done.
  bool fit(unsigned steps) noexcept;

  // One bounded step of giving back what was dropped, keeping to the ceiling, offering again what was read, and finding
  // out what the kernel purged.
  // True if more is left.
  bool maintain() noexcept;

  // Tells of so many chunks of the region from number `from` on; returns where to go on, 0 at the end.
  using visitor = void (*)(void* context, const cold_chunk_view& chunk) noexcept;
  std::uint32_t look(std::uint32_t from, std::uint32_t most, visitor visit, void* context) const noexcept;

  void add_stats(cold_stats& sum) const noexcept;
  void reset_stats() noexcept { counts_ = {}; }
  cold_stats& counts() noexcept { return counts_; }

  // For tests.
  void verify() noexcept;
  template <class Visit>
  void for_each_key(Visit&& visit) noexcept {
    index_.for_each([&](cold_index::entry e, bool) {
      unsigned char bytes[peek_bytes_max];
      const item it = peek(cold_index::place_of(e), key_bytes_max, bytes);
      if (it) visit(it.key());
    });
  }
  [[nodiscard]] purgeable& region() noexcept { return *region_; }
  bool seal() noexcept;  // the open buffer becomes a chunk; false: it was empty or is lost

 private:
  static constexpr std::size_t granule = 8;
  static constexpr std::size_t header_bytes_max = 29;
  static constexpr std::uint64_t taken_by_kernel = ~std::uint64_t{0};  // in numbers_: no chunk since then
  static constexpr std::size_t peek_bytes_max = header_bytes_max + key_bytes_max;

  struct chunk {
    std::uint32_t number = purgeable::no_chunk;  // in the region; no_chunk: given back
    std::uint32_t used = 0;                      // bytes
    std::uint32_t items = 0;                     // in the index
    bool read = false;                           // since it was offered
    std::uint64_t gone = 0;                      // a bit for each 64th of the chunk that was purged
  };

  cold_tier(heap& h, kind fixed, const cold_options& options) noexcept;
  [[nodiscard]] bool start() noexcept;

  [[nodiscard]] chunk& nth(std::uint64_t number) const noexcept { return chunks_[number & (capacity_ - 1)]; }
  [[nodiscard]] std::uint64_t number_of(std::uint32_t place) const noexcept {
    return first_ + (((place >> offset_bits_) - first_) & number_mask_);
  }
  [[nodiscard]] std::size_t offset_of(std::uint32_t place) const noexcept {
    return (place & ((std::uint32_t{1} << offset_bits_) - 1)) * granule;
  }
  [[nodiscard]] std::uint64_t bit_of(std::size_t offset) const noexcept {
    return std::uint64_t{1} << (offset * 64 / options_.chunk_bytes);
  }
  [[nodiscard]] cold_index::entry* find_again(const found& f) noexcept;
  [[nodiscard]] bool dead(std::uint32_t place) const noexcept;
  [[nodiscard]] bool bury(std::uint32_t place) noexcept;
  void forget(std::uint32_t place) noexcept;
  void lose(std::uint32_t place) noexcept;
  [[nodiscard]] item peek(std::uint32_t place, std::size_t key_bytes, unsigned char* bytes) noexcept;
  [[nodiscard]] bool read(std::uint32_t place, std::size_t bytes, void* to) noexcept;
  [[nodiscard]] std::size_t room_of(std::uint32_t place) const noexcept;

  void drop_oldest() noexcept;
  void drop_one() noexcept;
  void give_back(chunk& c) noexcept;
  bool give_back_dropped(unsigned chunks_max) noexcept;
  [[nodiscard]] std::uint32_t take_chunk() noexcept;
  void open_next() noexcept;
  [[nodiscard]] std::uint64_t chunks_max() const noexcept;
  [[nodiscard]] bool list_is_short() const noexcept;
  [[nodiscard]] std::uint64_t parts_used(const chunk& c) const noexcept;
  [[nodiscard]] cold_chunk_view view_of(std::uint32_t number) const noexcept;
  void note_lost(const lost_range& range) noexcept;
  [[nodiscard]] bool grow_list() noexcept;
  void sweep_purged() noexcept;
  void offer_read() noexcept;

  heap& heap_;
  const kind fixed_;
  const cold_options options_;
  std::unique_ptr<purgeable> region_;
  cold_index index_;
  unsigned char* buffer_ = nullptr;
  std::size_t used_ = granule;        // of the buffer
  chunk* chunks_ = nullptr;           // by number, a ring; that of open_ counts the buffer's items
  std::uint64_t* numbers_ = nullptr;  // by number in the region: the chunk's number in the log
  std::size_t capacity_ = 0;          // of both; a power of two
  // dropped_ <= first_ <= open_: chunks before first_ are dropped and wait to be given back; open_ is the buffer's.
  std::uint64_t dropped_ = 0, first_ = 0, open_ = 0;
  std::uint64_t look_ = 0;   // the chunk at which offer_read() goes on
  std::size_t held_ = 0;     // chunks of the region
  std::uint32_t known_ = 0;  // no chunk of the region from this number on was ever used
  std::size_t items_ = 0;
  unsigned offset_bits_ = 0;
  std::uint64_t number_mask_ = 0;
  unsigned fit_wait_ = 0;
  bool refused_ = false;  // by the kernel
  cold_stats counts_;     // of events only
};

}  // namespace scoot::caching
