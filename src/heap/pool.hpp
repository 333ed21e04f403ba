// SPDX-License-Identifier: MIT
//
// page_pool_impl: the page pool behind page_pool.hpp.
//
//     region: |page_info x n|shelf x n|free bits|idle bits|       |page 0|page 1|...usable...|...reserved...|
//
// Address space comes in regions, normally one, with an array of page_info beside it, and one of what every free looks
// up, the page's shelf: eight of these share a cache line. Pages are handed out lowest
// address first, so that few OS page tables are needed. A page that comes back keeps what is resident of it ("idle")
// and is handed out before untouched ones; more than idle_bytes_max of idle memory goes back to the OS, in steps, by
// trim_some.
//
// Threads: charge, uncharge, find and the constants from any thread without a lock; the rest locks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "heap/budget.hpp"
#include "heap/metadata_arena.hpp"
#include "heap/page_info.hpp"
#include "scoot/page_pool.hpp"

namespace scoot {

struct shelf;
enum class page_content : unsigned char;

struct region {
  char* base = nullptr;
  std::size_t bytes = 0;
  page_info* infos = nullptr;
  shelf** shelves = nullptr;           // of each page in a shelf's hands, null for the others
  std::size_t info_bytes = 0;          // of the mapping that holds infos, shelves and the two bit arrays
  std::uint64_t* free_bits = nullptr;  // set: in no heap's hands
  std::uint64_t* idle_bits = nullptr;  // set: free, and something of it is resident
  std::size_t pages = 0;
  std::size_t usable_pages = 0;  // from the front
  std::size_t free_hint = 0;     // no free page before this one
};

class page_pool_impl final : public page_pool {
 public:
  static constexpr std::size_t table_span_bytes = std::size_t{2} << 20;  // of address space that a page table covers

  page_pool_impl(std::size_t budget_bytes, std::size_t page_bytes, std::size_t metadata_reserve_bytes) noexcept;
  ~page_pool_impl();

  // Reserves one more region, of `bytes` or, if so much is refused, of as much as can be had from bytes_min up.
  [[nodiscard]] bool add_region(std::size_t bytes, std::size_t bytes_min) noexcept;

  // Room in the budget; idle pages are trimmed for it. Not to be called with the lock held.
  [[nodiscard]] bool charge(std::size_t bytes) noexcept;
  void charge_held(std::size_t bytes) noexcept { budget_.charge_held(bytes); }
  void uncharge(std::size_t bytes) noexcept { budget_.uncharge(bytes); }
  [[nodiscard]] std::size_t room() const noexcept;

  // A page for a heap, with use and owner still to be set; what is resident of it is charged. Null: no address space.
  [[nodiscard]] page_info* take(bool resident_first) noexcept;
  void give(page_info* page) noexcept;
  void set_shelf(const page_info* page, shelf* s) noexcept;

  // A run of `count` pages side by side for `bytes`; the first one's info. Null: no address space.
  [[nodiscard]] page_info* take_run(std::size_t count, std::size_t bytes) noexcept;
  // Gives what is idle then beyond keep_bytes back to the OS at once. Returns the bytes.
  std::size_t give_run(page_info* first, std::size_t count, std::size_t keep_bytes) noexcept;

  // For a heap that empties a window of pages, with an entry of `costs` for each page: note_free sets those of free
  // pages to 0. claim takes the pages of 0 cost from `begin` on; false, and nothing taken, if one is not free any more.
  void note_free(const region& r, std::uint32_t* costs) const noexcept;
  [[nodiscard]] bool claim(const region& r, std::size_t begin, std::size_t count, const std::uint32_t* costs) noexcept;
  [[nodiscard]] std::size_t free_pages() const noexcept;
  [[nodiscard]] std::size_t usable_pages(const region& r) const noexcept;
  [[nodiscard]] std::size_t region_count() const noexcept { return region_count_.load(std::memory_order_acquire); }
  [[nodiscard]] const region& region_at(std::size_t i) const noexcept { return regions_[i]; }

  // Gives up to `bytes` of idle memory beyond keep_bytes to the OS. Returns the bytes given.
  std::size_t trim_some(std::size_t bytes, std::size_t keep_bytes) noexcept;
  // Bytes of idle memory that went to the OS to make room for what was charged, ever.
  [[nodiscard]] std::size_t trimmed_for_room() const noexcept {
    return trimmed_for_room_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool idle_excess() const noexcept { return idle_bytes() > idle_bytes_max(); }
  [[nodiscard]] std::size_t idle_bytes() const noexcept { return idle_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t idle_bytes_max() const noexcept { return idle_bytes_max_.load(std::memory_order_relaxed); }

  // The page an address lies in, or null if it is none of this pool's.
  [[nodiscard]] page_info* find(const void* address) const noexcept {
    const std::size_t count = region_count_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i) {
      const region& r = regions_[i];
      const auto offset = static_cast<std::size_t>(static_cast<const char*>(address) - r.base);
      if (offset < r.bytes) return r.infos + (offset >> page_shift_);
    }
    return nullptr;
  }

  // Pages are numbered by region and address. Regions only come, at the end.
  [[nodiscard]] std::size_t number_of(const page_info* page) const noexcept {
    std::size_t before = 0;
    const std::size_t count = region_count_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i) {
      const region& r = regions_[i];
      if (page >= r.infos && page < r.infos + r.pages) return before + static_cast<std::size_t>(page - r.infos);
      before += r.pages;
    }
    return before;
  }
  // Of the pages from `first` on, up to `room` of them, whether they are unused, idle or used. Returns how many.
  std::size_t list_use(std::size_t first, page_content* out, std::size_t room) const noexcept;

  [[nodiscard]] void* metadata_allocate(std::size_t bytes) noexcept;
  void metadata_free(void* memory, std::size_t bytes) noexcept;
  // See metadata_arena.
  [[nodiscard]] void* metadata_allocate_denser(const void* memory, std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t metadata_free_slot_bytes() const noexcept;
  std::size_t metadata_trim() noexcept;

  [[nodiscard]] std::size_t bytes_per_page() const noexcept { return std::size_t{1} << page_shift_; }
  [[nodiscard]] unsigned page_shift() const noexcept { return page_shift_; }
  [[nodiscard]] const region& first_region() const noexcept { return regions_[0]; }
  [[nodiscard]] const budget& get_budget() const noexcept { return budget_; }
  bool change_budget(std::size_t bytes) noexcept;
  [[nodiscard]] page_pool_stats get_stats() const noexcept;
  [[nodiscard]] std::size_t charged_bytes() const noexcept { return budget_.held(); }
  void heap_added() noexcept { heaps_.fetch_add(1); }
  void heap_removed() noexcept { heaps_.fetch_sub(1); }
  [[nodiscard]] bool has_heaps() const noexcept { return heaps_.load() != 0; }

 private:
  static constexpr std::size_t regions_max = 64;

  char* reserve_pages(std::size_t bytes, bool first) noexcept;
  page_info* take_from(region& r, std::size_t index) noexcept;
  page_info* take_idle_for(std::size_t bytes) noexcept;
  bool extend_usable(region& r, std::size_t pages) noexcept;
  void retract_usable(region& r) noexcept;
  void put_back(page_info* page) noexcept;
  std::size_t trim_locked(std::size_t bytes, std::size_t keep_bytes) noexcept;
  std::size_t trim_page(page_info* page, std::size_t bytes) noexcept;
  void give_back_tables() noexcept;
  bool charge_locked(std::size_t bytes) noexcept;
  std::size_t make_room(std::size_t bytes) noexcept;
  [[nodiscard]] region& region_of(const page_info* page) noexcept;

  const unsigned page_shift_;
  std::atomic<std::size_t> idle_bytes_max_;
  budget budget_;
  std::atomic<std::size_t> idle_{0};
  std::atomic<std::size_t> trimmed_for_room_{0};
  std::atomic<std::size_t> region_count_{0};
  std::atomic<std::size_t> heaps_{0};
  mutable std::mutex mutex_;
  metadata_arena arena_;
  std::size_t info_charged_ = 0;  // page_info and bit arrays, charged
  std::size_t pages_in_use_ = 0;
  unsigned refusals_to_come_ = 0;  // of pages, before the OS is asked for address space again
  std::size_t pages_trimmed_ = 0;  // wholly, since the OS's page tables for free pages were last given back
  region regions_[regions_max];
};

}  // namespace scoot
