// SPDX-License-Identifier: MIT
#include "heap/pool.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/shadow.hpp"
#include "os/os.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

namespace {

constexpr std::size_t page_bytes_min = std::size_t{64} << 10;
constexpr std::size_t page_bytes_largest = std::size_t{1} << 20;
// Address space to reserve for each byte of the budget, so that runs of pages are found side by side. Address space
// itself is scarce where pointers have 32 bits.
constexpr double address_per_budget = sizeof(std::size_t) > 4 ? 4 : 1.25;
constexpr std::size_t usable_step_pages = 64;  // 64 infos fill one OS page
constexpr std::size_t table_sweep_pages = 16;
constexpr unsigned asks_between_refusals = 64;  // for address space that the OS has refused
constexpr std::size_t trim_step_bytes = std::size_t{64} << 10;

// 64 KiB up to a budget of 48 MiB, and twice as much for every four times the budget. A shelf's last page is not full:
// with small pages it shares an OS page table with more others, with large ones full pages waste less at their ends.
std::size_t default_page_bytes(std::size_t budget_bytes) noexcept {
  const unsigned exponent = base::log2_floor(std::max(budget_bytes / 3 * 4, std::size_t{1} << 24));
  return std::min(page_bytes_min << (exponent - 24) / 2, page_bytes_largest);
}

std::size_t address_for(std::size_t budget_bytes) noexcept {
  return static_cast<std::size_t>(address_per_budget * static_cast<double>(budget_bytes));
}

std::size_t info_bytes_of(std::size_t pages) noexcept {
  return base::round_up(pages * sizeof(page_info), os::page_bytes());
}

std::size_t shelf_bytes_of(std::size_t pages) noexcept {
  return base::round_up(pages * sizeof(shelf*), os::page_bytes());
}

std::size_t bits_bytes_of(std::size_t pages) noexcept {
  return base::round_up(2 * ((pages + 63) / 64) * sizeof(std::uint64_t), os::page_bytes());
}

// The first set bit from `from` on, or `end`.
std::size_t next_set(const std::uint64_t* words, std::size_t from, std::size_t end) noexcept {
  for (std::size_t word = from / 64; word * 64 < end; ++word) {
    std::uint64_t bits = words[word];
    if (word == from / 64) bits &= ~std::uint64_t{0} << (from % 64);
    if (bits != 0) return std::min(end, word * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
  }
  return end;
}

}  // namespace

page_pool_impl::page_pool_impl(std::size_t budget_bytes, std::size_t page_bytes,
                               std::size_t metadata_reserve_bytes) noexcept
    : page_shift_(base::log2_floor(page_bytes)),
      idle_bytes_max_(std::max(page_bytes, budget_bytes / 512)),
      budget_(budget_bytes),
      arena_(budget_, metadata_reserve_bytes) {}

page_pool_impl::~page_pool_impl() {
  SCOOT_CHECK(1, !has_heaps(), "page pool destroyed while it still has heaps");
  for (std::size_t i = 0; i < region_count_; ++i) {
    base::show(regions_[i].base, regions_[i].usable_pages << page_shift_);
    os::unreserve(regions_[i].base, regions_[i].bytes);
    os::unreserve(reinterpret_cast<char*>(regions_[i].infos), regions_[i].info_bytes);
  }
}

// Address space for a region. The first must not take the last there is: metadata and the program need some too.
char* page_pool_impl::reserve_pages(std::size_t bytes, bool first) noexcept {
  char* got = os::reserve(bytes, bytes_per_page());
  if (got == nullptr || !first) return got;
  const std::size_t spare_bytes = base::round_up(arena_.reserve_bytes() + bytes / 64, os::page_bytes());
  if (char* spare = os::reserve(spare_bytes, os::page_bytes())) {
    os::unreserve(spare, spare_bytes);
    return got;
  }
  os::unreserve(got, bytes);
  return nullptr;
}

bool page_pool_impl::add_region(std::size_t bytes, std::size_t bytes_min) noexcept {
  const std::size_t count = region_count_.load(std::memory_order_relaxed);
  if (count == regions_max) return false;
  const std::size_t page = bytes_per_page();
  bytes_min = base::round_up(std::max(bytes_min, page), page);
  bytes = base::round_up(std::max(bytes, bytes_min), page);
  char* base_address = nullptr;
  while ((base_address = reserve_pages(bytes, count == 0)) == nullptr) {
    if (bytes == bytes_min) {
      if (count != 0 && bytes <= regions_[0].bytes / 32) refusals_to_come_ = asks_between_refusals;
      return false;
    }
    bytes = std::max(base::round_down(bytes / 8 * 7, page), bytes_min);
  }
  region& r = regions_[count];
  r.pages = bytes >> page_shift_;
  r.info_bytes = info_bytes_of(r.pages) + shelf_bytes_of(r.pages) + bits_bytes_of(r.pages);
  const std::size_t bits_bytes = bits_bytes_of(r.pages);
  char* infos = os::reserve(r.info_bytes, os::page_bytes());
  if (infos == nullptr || !os::make_usable(infos, r.info_bytes) || !charge_locked(bits_bytes)) {
    if (infos != nullptr) os::unreserve(infos, r.info_bytes);
    os::unreserve(base_address, bytes);
    return false;
  }
  info_charged_ += bits_bytes;
  r.base = base_address;
  r.bytes = bytes;
  r.infos = reinterpret_cast<page_info*>(infos);
  r.shelves = reinterpret_cast<shelf**>(infos + info_bytes_of(r.pages));
  r.free_bits = reinterpret_cast<std::uint64_t*>(infos + info_bytes_of(r.pages) + shelf_bytes_of(r.pages));
  r.idle_bits = r.free_bits + (r.pages + 63) / 64;
  r.usable_pages = r.free_hint = 0;
  for (std::size_t i = 0; i < r.pages; ++i) base::set_bit(r.free_bits, i);
  region_count_.store(count + 1, std::memory_order_release);
  return true;
}

bool page_pool_impl::charge(std::size_t bytes) noexcept {
  if (budget_.charge(bytes)) return true;
  const std::scoped_lock lock(mutex_);
  return charge_locked(bytes);
}

std::size_t page_pool_impl::make_room(std::size_t bytes) noexcept {
  const std::size_t given = trim_locked(bytes, 0);
  trimmed_for_room_.fetch_add(given, std::memory_order_relaxed);
  return given;
}

bool page_pool_impl::charge_locked(std::size_t bytes) noexcept {
  while (!budget_.charge(bytes)) {
    if (bytes > budget_.limit() || (make_room(bytes) == 0 && arena_.trim() == 0)) return false;
  }
  return true;
}

std::size_t page_pool_impl::room() const noexcept {
  const std::size_t held = budget_.held();
  const std::size_t limit = budget_.limit();
  return held < limit ? limit - held : 0;
}

bool page_pool_impl::extend_usable(region& r, std::size_t pages) noexcept {
  while (r.usable_pages < pages) {
    const std::size_t step = std::min(usable_step_pages, r.pages - r.usable_pages);
    const std::size_t info_bytes = base::round_up(step * sizeof(page_info), os::page_bytes()) +
                                   shelf_bytes_of(r.usable_pages + step) - shelf_bytes_of(r.usable_pages);
    if (!charge_locked(info_bytes)) return false;
    if (!os::make_usable(r.base + (r.usable_pages << page_shift_), step << page_shift_)) {
      budget_.uncharge(info_bytes);
      return false;
    }
    info_charged_ += info_bytes;
    base::hide(r.base + (r.usable_pages << page_shift_), step << page_shift_);
    for (std::size_t i = r.usable_pages; i < r.usable_pages + step; ++i) {
      ::new (r.infos + i) page_info{};
      r.infos[i].base = r.base + (i << page_shift_);
    }
    r.usable_pages += step;
  }
  return true;
}

// Gives what is known of the pages behind the last one in use back, when a heap has become small.
void page_pool_impl::retract_usable(region& r) noexcept {
  std::size_t used = r.usable_pages;
  while (used != 0 && base::test_bit(r.free_bits, used - 1) && !base::test_bit(r.idle_bits, used - 1)) --used;
  const std::size_t begin = base::round_up(used, usable_step_pages);
  if (begin >= r.usable_pages || usable_step_pages * sizeof(page_info) % os::page_bytes() != 0) return;
  const std::size_t info_bytes = info_bytes_of(r.usable_pages - begin);
  const std::size_t shelf_bytes = shelf_bytes_of(r.usable_pages) - shelf_bytes_of(begin);
  char* shelves = reinterpret_cast<char*>(r.shelves) + shelf_bytes_of(begin);
  if (shelf_bytes != 0 && !os::give_back(shelves, shelf_bytes)) return;
  if (!os::give_back(reinterpret_cast<char*>(r.infos + begin), info_bytes)) return;
  base::show(r.base + (begin << page_shift_), (r.usable_pages - begin) << page_shift_);
  budget_.uncharge(info_bytes + shelf_bytes);
  info_charged_ -= info_bytes + shelf_bytes;
  r.usable_pages = begin;
}

page_info* page_pool_impl::take_from(region& r, std::size_t index) noexcept {
  page_info* page = r.infos + index;
  base::clear_bit(r.free_bits, index);
  if (base::test_bit(r.idle_bits, index)) {
    base::clear_bit(r.idle_bits, index);
    idle_.fetch_sub(page->resident_bytes(), std::memory_order_relaxed);
  }
  ++pages_in_use_;
  return page;
}

page_info* page_pool_impl::take(bool resident_first) noexcept {
  const std::scoped_lock lock(mutex_);
  const std::size_t count = region_count_.load(std::memory_order_relaxed);
  if (resident_first && idle_bytes() != 0) {
    for (std::size_t i = 0; i < count; ++i) {
      region& r = regions_[i];
      const std::size_t index = next_set(r.idle_bits, 0, r.usable_pages);
      if (index < r.usable_pages) return take_from(r, index);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    region& r = regions_[i];
    const std::size_t index = next_set(r.free_bits, r.free_hint, r.pages);
    r.free_hint = index;
    if (index == r.pages) continue;
    if (!extend_usable(r, index + 1)) return nullptr;
    return take_from(r, index);
  }
  if (refusals_to_come_ != 0) {
    --refusals_to_come_;
    return nullptr;
  }
  if (!add_region(regions_[0].bytes / 4, regions_[0].bytes / 32)) return nullptr;
  region& r = regions_[count];
  return extend_usable(r, 1) ? take_from(r, 0) : nullptr;
}

// Of the idle pages the one with least to give back or to make resident if so much of it is wanted; null if that is no
// less than all of it.
page_info* page_pool_impl::take_idle_for(std::size_t bytes) noexcept {
  region* in = nullptr;
  std::size_t best = 0;
  std::size_t best_off = bytes;
  for (std::size_t i = 0; i < region_count_.load(std::memory_order_relaxed); ++i) {
    region& r = regions_[i];
    for (std::size_t at = next_set(r.idle_bits, 0, r.usable_pages); at < r.usable_pages;
         at = next_set(r.idle_bits, at + 1, r.usable_pages)) {
      const page_info& page = r.infos[at];
      const std::size_t there = page.resident_begin == 0 ? page.resident_end : 0;
      const std::size_t off = there > bytes ? there - bytes : bytes - there;
      if (off >= best_off) continue;
      in = &r;
      best = at;
      best_off = off;
    }
  }
  return in == nullptr ? nullptr : take_from(*in, best);
}

page_info* page_pool_impl::take_run(std::size_t run, std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  if (run == 1 && idle_bytes() != 0) {
    if (page_info* page = take_idle_for(bytes)) return page;
  }
  for (bool added = false;; added = true) {
    const std::size_t count = region_count_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) {
      region& r = regions_[i];
      std::size_t begin = next_set(r.free_bits, r.free_hint, r.pages);
      for (std::size_t end = begin; end < r.pages;) {
        if (!base::test_bit(r.free_bits, end)) {
          begin = end = next_set(r.free_bits, end, r.pages);
          continue;
        }
        if (++end - begin < run) continue;
        if (!extend_usable(r, end)) return nullptr;
        for (std::size_t k = begin; k < end; ++k) take_from(r, k);
        return r.infos + begin;
      }
    }
    if (added || !add_region(run << page_shift_, run << page_shift_)) return nullptr;
  }
}

void page_pool_impl::note_free(const region& r, std::uint32_t* costs) const noexcept {
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = next_set(r.free_bits, 0, r.pages); i < r.pages; i = next_set(r.free_bits, i + 1, r.pages)) {
    costs[i] = 0;
  }
}

std::size_t page_pool_impl::list_use(std::size_t first, page_content* out, std::size_t room) const noexcept {
  const std::scoped_lock lock(mutex_);
  std::size_t told = 0;
  const std::size_t count = region_count_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count && told < room; ++i) {
    const region& r = regions_[i];
    if (first >= r.pages) {
      first -= r.pages;
      continue;
    }
    const std::size_t end = i + 1 < count ? r.pages : r.usable_pages;  // the rest of the last one was never used
    for (; first < end && told < room; ++first) {
      const bool free = base::test_bit(r.free_bits, first);
      const bool idle = base::test_bit(r.idle_bits, first);
      out[told++] = !free ? page_content::used : idle ? page_content::idle : page_content::unused;
    }
    first = 0;
  }
  return told;
}

std::size_t page_pool_impl::free_pages() const noexcept {
  const std::scoped_lock lock(mutex_);
  std::size_t pages = 0;
  for (std::size_t i = 0; i < region_count_; ++i) pages += regions_[i].pages;
  return pages - pages_in_use_;
}

std::size_t page_pool_impl::usable_pages(const region& r) const noexcept {
  const std::scoped_lock lock(mutex_);
  return r.usable_pages;
}

bool page_pool_impl::claim(const region& r, std::size_t begin, std::size_t count, const std::uint32_t* costs) noexcept {
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < count; ++i) {
    if (costs[i] == 0 && !base::test_bit(r.free_bits, begin + i)) return false;
  }
  region& own = region_of(r.infos);
  if (!extend_usable(own, begin + count)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (costs[i] == 0) take_from(own, begin + i);
  }
  return true;
}

region& page_pool_impl::region_of(const page_info* page) noexcept {
  std::size_t i = 0;
  while (!(page >= regions_[i].infos && page < regions_[i].infos + regions_[i].pages)) ++i;
  return regions_[i];
}

void page_pool_impl::put_back(page_info* page) noexcept {
  region& r = region_of(page);
  const auto index = static_cast<std::size_t>(page - r.infos);
  page->use = page_use::free;
  page->owner = nullptr;
  base::hide(page->base, bytes_per_page());
  r.shelves[index] = nullptr;
  base::set_bit(r.free_bits, index);
  r.free_hint = std::min(r.free_hint, index);
  if (page->resident_bytes() != 0) {
    base::set_bit(r.idle_bits, index);
    idle_.fetch_add(page->resident_bytes(), std::memory_order_relaxed);
  }
  --pages_in_use_;
}

void page_pool_impl::give(page_info* page) noexcept {
  const std::scoped_lock lock(mutex_);
  put_back(page);
}

void page_pool_impl::set_shelf(const page_info* page, shelf* s) noexcept {
  region& r = region_of(page);
  r.shelves[page - r.infos] = s;
}

std::size_t page_pool_impl::give_run(page_info* first, std::size_t count, std::size_t keep_bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < count; ++i) put_back(first + i);
  // A run is as large as the work of giving it back: at once, unlike single pages.
  return trim_locked(static_cast<std::size_t>(-1), std::max<std::size_t>(keep_bytes, idle_bytes_max_));
}

std::size_t page_pool_impl::trim_page(page_info* page, std::size_t bytes) noexcept {
  const auto step = static_cast<std::uint32_t>(
      std::min(page->resident_bytes(), base::round_up(std::max(bytes, trim_step_bytes), os::page_bytes())));
  if (!os::give_back(page->base + page->resident_end - step, step)) return 0;
  page->resident_end -= step;
  budget_.uncharge(step);
  idle_.fetch_sub(step, std::memory_order_relaxed);
  return step;
}

std::size_t page_pool_impl::trim_locked(std::size_t bytes, std::size_t keep_bytes) noexcept {
  std::size_t given = 0;
  for (std::size_t i = region_count_.load(std::memory_order_relaxed); i-- > 0;) {
    region& r = regions_[i];
    for (std::size_t word = (r.usable_pages + 63) / 64; word-- > 0;) {  // highest address first
      while (r.idle_bits[word] != 0) {
        if (given >= bytes || idle_bytes() <= keep_bytes) return given;
        const std::size_t index = word * 64 + base::log2_floor(r.idle_bits[word]);
        const std::size_t step = trim_page(r.infos + index, std::min(bytes - given, idle_bytes() - keep_bytes));
        if (step == 0) return given;
        given += step;
        if (r.infos[index].resident_bytes() == 0) {
          r.infos[index].resident_begin = r.infos[index].resident_end = 0;
          base::clear_bit(r.idle_bits, index);
          ++pages_trimmed_;
        }
      }
    }
  }
  if (keep_bytes == 0 && pages_trimmed_ >= table_sweep_pages) give_back_tables();
  return given;
}

// The kernel (from Linux 6.14 on) frees a page table when a range that covers it is given back at once, which the pages
// one by one never did.
void page_pool_impl::give_back_tables() noexcept {
  pages_trimmed_ = 0;
  for (std::size_t i = 0; i < region_count_.load(std::memory_order_relaxed); ++i) {
    const region& r = regions_[i];
    for (std::size_t begin = next_set(r.free_bits, 0, r.usable_pages); begin < r.usable_pages;) {
      std::size_t end = begin;
      while (end < r.usable_pages && base::test_bit(r.free_bits, end) && !base::test_bit(r.idle_bits, end)) ++end;
      const std::size_t bytes = (end - begin) << page_shift_;
      if (bytes >= table_span_bytes) (void)os::give_back(r.base + (begin << page_shift_), bytes);
      begin = next_set(r.free_bits, std::max(end, begin + 1), r.usable_pages);
    }
  }
}

std::size_t page_pool_impl::trim_some(std::size_t bytes, std::size_t keep_bytes) noexcept {
  if (idle_bytes() <= keep_bytes) return 0;
  const std::scoped_lock lock(mutex_);
  return trim_locked(bytes, keep_bytes);
}

void* page_pool_impl::metadata_allocate(std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  void* got = arena_.allocate(bytes);
  while (got == nullptr && make_room(bytes) != 0) got = arena_.allocate(bytes);
  return got;
}

void* page_pool_impl::metadata_allocate_denser(const void* memory, std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  return arena_.allocate_denser(memory, bytes);
}

std::size_t page_pool_impl::metadata_trim() noexcept {
  const std::scoped_lock lock(mutex_);
  const std::size_t before = info_charged_;
  for (std::size_t i = 0; i < region_count_; ++i) retract_usable(regions_[i]);
  return before - info_charged_ + arena_.trim();
}

std::size_t page_pool_impl::metadata_free_slot_bytes() const noexcept {
  const std::scoped_lock lock(mutex_);
  return arena_.free_slot_bytes();
}

void page_pool_impl::metadata_free(void* memory, std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  arena_.free(memory, bytes);
}

bool page_pool_impl::change_budget(std::size_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  std::size_t address = 0;
  for (std::size_t i = 0; i < region_count_; ++i) address += regions_[i].bytes;
  const std::size_t before = budget_.limit();
  budget_.set_limit(bytes);  // first: the new region's metadata is charged too
  if (address < bytes && !add_region(address_for(bytes) - address, bytes - address)) {
    budget_.set_limit(before);
    return false;
  }
  idle_bytes_max_ = std::max(bytes_per_page(), bytes / 512);
  if (budget_.held() > bytes) trim_locked(budget_.held() - bytes, 0);
  return true;
}

page_pool_stats page_pool_impl::get_stats() const noexcept {
  const std::scoped_lock lock(mutex_);
  page_pool_stats s;
  s.budget_bytes = budget_.limit();
  s.held_bytes = budget_.held();
  s.held_bytes_peak = budget_.peak();
  s.metadata_bytes = arena_.held_bytes() + info_charged_;
  s.idle_bytes = idle_bytes();
  s.page_bytes = bytes_per_page();
  s.pages = pages_in_use_;
  for (std::size_t i = 0; i < region_count_; ++i) s.address_bytes += regions_[i].bytes;
  return s;
}

namespace {

page_pool_impl& self(page_pool& pool) noexcept { return static_cast<page_pool_impl&>(pool); }
const page_pool_impl& self(const page_pool& pool) noexcept { return static_cast<const page_pool_impl&>(pool); }

void destroy(page_pool_impl* pool) noexcept {
  pool->~page_pool_impl();
  ::operator delete(static_cast<void*>(pool));
}

}  // namespace

std::unique_ptr<page_pool> page_pool::create(const page_pool_options& options) noexcept {
  const std::size_t page = options.page_bytes != 0 ? options.page_bytes : default_page_bytes(options.budget_bytes);
  if (options.budget_bytes < budget_bytes_min || !std::has_single_bit(page) || page < page_bytes_min ||
      page > page_bytes_largest || options.budget_bytes > budget_bytes_max) {
    return nullptr;
  }
  const std::size_t metadata_reserve = std::max(options.budget_bytes / 16, std::size_t{4} << 20);
  const std::size_t wanted = options.address_bytes != 0 ? options.address_bytes : address_for(options.budget_bytes);
  for (const bool scarce : {false, true}) {
    // Each size in use has pages of its own, the last one not full: where address space is scarce, smaller ones.
    const std::size_t bytes = scarce && options.page_bytes == 0 ? std::max(page / 4, page_bytes_min) : page;
    auto* pool = new (std::nothrow) page_pool_impl(options.budget_bytes, bytes, metadata_reserve);
    if (pool == nullptr) return nullptr;
    const std::size_t most = std::max(wanted, 64 * bytes);
    if (pool->add_region(most, scarce ? std::min(options.budget_bytes / 4, wanted) : most)) {
      return std::unique_ptr<page_pool>(pool);
    }
    destroy(pool);
  }
  return nullptr;
}

void page_pool::operator delete(page_pool* pool, std::destroying_delete_t) noexcept {
  if (pool != nullptr) destroy(static_cast<page_pool_impl*>(pool));
}

std::size_t page_pool::page_bytes() const noexcept { return self(*this).bytes_per_page(); }

bool page_pool::set_budget(std::size_t bytes) noexcept {
  return bytes >= budget_bytes_min && bytes <= budget_bytes_max && self(*this).change_budget(bytes);
}

std::size_t page_pool::trim(std::size_t keep_bytes) noexcept {
  return self(*this).trim_some(static_cast<std::size_t>(-1), keep_bytes);
}

std::size_t page_pool::held_bytes() const noexcept { return self(*this).charged_bytes(); }

page_pool_stats page_pool::stats() const noexcept { return self(*this).get_stats(); }

}  // namespace scoot
