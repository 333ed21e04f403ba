// SPDX-License-Identifier: MIT
//
// Allocation and freeing.
#include <algorithm>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "heap/heap_impl.hpp"
#include "os/os.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

namespace {

constexpr std::size_t spill_pages = 4;
constexpr std::size_t spill_part_min = 4;  // 1/4 larger
constexpr std::size_t spill_part_max = 32;
constexpr unsigned settled_at_once = 2;
constexpr unsigned spills_at_once = 7;
constexpr std::size_t short_part = 8;
constexpr std::size_t owed_long = std::size_t{16} << 10;
constexpr std::size_t rest_part = 4;
constexpr std::size_t idle_step_bytes = std::size_t{64} << 10;
constexpr std::size_t colour_bytes = 4096 + 64;  // to the next TLB set and the next cache set at once

}  // namespace

heap_impl::heap_impl(page_pool_impl& pool, const heap_options& options) noexcept
    : base_(pool.first_region().base),
      bytes_(pool.first_region().bytes),
      infos_(pool.first_region().infos),
      shelf_of_page_(pool.first_region().shelves),
      page_shift_(pool.page_shift()),
      pool_(pool),
      os_page_(os::page_bytes()),
      page_bytes_(pool.bytes_per_page()),
      slot_max_(std::min(slot_size_max, page_bytes_ / 16)),
      large_max_(page_bytes_ / 2),
      waste_is_ours_(options.waste_target <= 0),
      waste_target_(options.waste_target > 0 ? std::min(options.waste_target, 1.0) : 1.0 / 128),
      move_bytes_max_(
          std::min(options.move_bytes_max, ~std::size_t{0} / 2)),  // a block is no larger than the other half
      shelves_(pool),
      runs_(pool),
      large_(pool, page_bytes_, os_page_, slot_max_ + 1),
      pins_(pool),
      history_(pool) {
  pool_.heap_added();
  if constexpr (SCOOT_CHECK_LEVEL >= 1) history_.begin();
  if constexpr (SCOOT_CHECK_LEVEL >= 2) read_environment();
}

heap_impl::~heap_impl() {
  for (shelf* s : shelves_) {
    while (page_info* top = s->top()) {
      s->pop();
      release_shelf_page(*s, top);
    }
    free_page_list(*s);
    pool_.metadata_free(s, sizeof(shelf));
  }
  while (large_.pages().size() != 0) release_large_page(large_.pages()[0]);
  while (runs_.size() != 0) free_run(runs_[0]);
  for (std::uint32_t i = 0; i < kind_count_; ++i) pool_.metadata_free(kinds_[i], sizeof(kind_entry));
  pool_.metadata_free(kind_infos_, kind_capacity_ * sizeof(kind_info));
  pool_.trim_some(~std::size_t{0}, pool_.idle_bytes_max());
  pool_.heap_removed();
}

// --- Resident memory ----------------------------------------------------------------------------------------------

// Makes [start, end) of a page ours to touch.
bool heap_impl::charge_resident(page_info* page, std::size_t end) noexcept {
  end = base::round_up(end, os_page_);
  if (end <= page->resident_end) return true;
  const std::size_t growth = end - page->resident_end;
  if (!pool_.charge(growth)) return false;
  page->resident_end = static_cast<std::uint32_t>(end);
  held_ += growth;
  grown_bytes_ += growth;
  return true;
}

// The same for what is touched soon: one call of the OS costs less than a fault for each OS page.
bool heap_impl::extend_resident(page_info* page, std::size_t end) noexcept {
  const std::size_t before = page->resident_end;
  if (!charge_resident(page, end)) return false;
  if (page->resident_end != before) os::make_resident(page->base + before, page->resident_end - before);
  return true;
}

// Gives what is resident of a page from `end` on back to the OS. False: it refused.
bool heap_impl::trim_resident(page_info* page, std::size_t end) noexcept {
  end = std::max<std::size_t>(base::round_up(end, os_page_), page->resident_begin);
  if (page->resident_end <= end) return true;
  const std::size_t gain = page->resident_end - end;
  if (!os::give_back(page->base + end, gain)) {
    os_refused_ = true;
    return false;
  }
  page->resident_end = static_cast<std::uint32_t>(end);
  held_ -= gain;
  trimmed_bytes_ += gain;
  pool_.uncharge(gain);
  return true;
}

// The same above a shelf's top.
void heap_impl::trim_top(shelf& s) noexcept {
  page_info* top = s.top();
  if (top == nullptr) return;
  (void)trim_resident(top, static_cast<std::size_t>(s.bump - top->base));
  s.limit = top->base + top->resident_end;
}

void heap_impl::give_page(page_info* page) noexcept {
  ++pages_given_;
  held_ -= page->resident_bytes();
  pool_.give(page);
}

// A step towards no more idle memory in the pool than its hysteresis allows.
void heap_impl::trim_idle_excess() noexcept {
  if (pool_.idle_excess()) trimmed_bytes_ += pool_.trim_some(idle_step_bytes, pool_.idle_bytes_max());
}

// --- Pages of shelves ------------------------------------------------------------------------------------------------

bool heap_impl::add_shelf_page(shelf& s) noexcept {
  if (!make_page_room(s)) return false;
  void* hole_map = pool_.metadata_allocate(s.hole_map_bytes());
  if (hole_map == nullptr) return false;
  page_info* page = pool_.take(s.page_count != 0);
  if (page == nullptr) {
    pool_.metadata_free(hole_map, s.hole_map_bytes());
    return false;
  }
  std::memset(hole_map, 0, s.hole_map_bytes());
  held_ += page->resident_bytes();
  page->start_lines = 0;
  if (page->resident_bytes() == 0) {
    // Shelves begin at different offsets, or their first blocks would share a few cache and TLB sets.
    const std::size_t colours = page_bytes_ / 4 / colour_bytes;
    const std::size_t alignment = std::max<std::size_t>(page_info::start_unit, kind_infos_[s.kind].options.alignment);
    if (s.page_count == 0 && colours != 0) {
      const std::size_t start = base::round_down(s.size_class % colours * colour_bytes, alignment);
      page->start_lines = static_cast<std::uint16_t>(start / page_info::start_unit);
    }
    page->resident_begin = page->resident_end = static_cast<std::uint32_t>(base::round_down(page->start(), os_page_));
  } else if (page->resident_begin > page->resident_bytes() && trim_resident(page, 0)) {
    page->resident_begin = page->resident_end = 0;  // what lies before it would cost more than it is worth
  } else if (page->resident_begin != 0) {
    const std::size_t growth = page->resident_begin;
    if (pool_.charge(growth)) {
      page->resident_begin = 0;
      held_ += growth;
      grown_bytes_ += growth;
    }
  }
  page->use = page_use::shelf;
  page->owner = &s;
  pool_.set_shelf(page, &s);
  page->hole_map = static_cast<std::uint64_t*>(hole_map);
  page->pins = 0;
  metadata_bytes_ += s.hole_map_bytes();
  if (page->resident_begin > page->start() || !extend_resident(page, page->start() + s.slot)) {
    release_shelf_page(s, page);
    return false;
  }
  s.push(page);
  note_growth(s, page->resident_bytes());
  return true;
}

// Raises what is resident, or the pages, so that one slot more fits at the top, or restores a hole. False: no budget,
// or no address space.
bool heap_impl::grow(shelf& s) noexcept {
  if (s.withdrawn != 0 && restore_hole(s)) return true;
  for (;;) {
    if (page_info* top = s.top()) {
      const auto used = static_cast<std::size_t>(s.bump - top->base);
      if (page_bytes_ - used >= s.slot) {
        const std::size_t held = held_;
        if (!extend_resident(top, used + s.slot)) return false;
        s.limit = top->base + top->resident_end;
        note_growth(s, held_ - held);
        return true;
      }
    }
    if (!s.raise_partial()) return add_shelf_page(s);
  }
}

// A page that has left its shelf, or not joined it.
void heap_impl::release_shelf_page(shelf& s, page_info* page) noexcept {
  forget_withdrawn(s, page);
  pool_.metadata_free(page->hole_map, s.hole_map_bytes());
  metadata_bytes_ -= s.hole_map_bytes();
  give_page(page);
}

// Turns all but the `keep` newest parked slots into holes, and gives pages that are empty then back to the pool.
void heap_impl::return_parked(shelf& s, std::uint32_t keep) noexcept {
  settle(s);
  const std::uint32_t count = s.parked - std::min(keep, s.parked);
  for (std::uint32_t i = 0; i < count; ++i) {
    page_info* page = page_of(s.magazine[i]);
    s.put_hole(page, s.slot_index(page, s.magazine[i]));
    if (!s.is_empty(page)) continue;
    if (page != s.top()) {
      s.remove(page);
      release_shelf_page(s, page);
    } else {
      forget_withdrawn(s, page);
      s.holes -= page->holes;
      page->holes = 0;
      base::clear_bit(s.hole_pages, page->position);
      std::memset(page->hole_map, 0, s.hole_map_bytes());
      page->hint_word = 0;
      s.bump = s.slot_address(page, 0);
      s.limit = page->base + page->resident_end;
      if (s.page_count > 1) release_shelf_page(s, s.pop());
    }
  }
  std::copy(s.magazine + count, s.magazine + s.parked, s.magazine);
  s.parked -= count;
  trim_idle_excess();
}

void heap_impl::settle(shelf& s) noexcept {
  const std::uint64_t blocks = s.blocks();
  const std::uint64_t allocated = s.allocations - s.counted_allocations;
  const std::uint64_t freed = allocated + s.counted_blocks - blocks;
  allocations_ += allocated;
  allocated_bytes_ += allocated * s.slot;
  frees_ += freed;
  freed_bytes_ += freed * s.slot;
  s.counted_allocations = s.allocations;
  s.counted_blocks = blocks;
}

// What a shelf has parked since its last settle() is waste not known of: each time that matters, look at a few in turn.
void heap_impl::settle_some() noexcept {
  for (unsigned i = 0; i < settled_at_once; ++i) {
    settle_next_ = settle_next_ + 1 < shelves_.size() ? settle_next_ + 1 : 0;
    settle(*shelves_[settle_next_]);
  }
}

// --- Allocation ---------------------------------------------------------------------------------------------------

inline void* heap_impl::pop_slot(shelf& s) noexcept {
  ++s.allocations;
  return s.magazine[--s.parked];
}

void* heap_impl::allocate_block(kind k, std::size_t size) noexcept {
  kind_entry& entry = *kinds_[k.index];
  if (size - 1 < small_size_max || size - 1 < slot_max_) [[likely]] {  // not 0
    shelf* s = entry.serving[size - 1 < small_size_max ? (size - 1) / 4 : size_class_of(size) - 1];
    if (s != nullptr) [[likely]]
      return s->parked != 0 ? pop_slot(*s) : allocate_small(*s, size);
  }
  return allocate_slow(entry, k.index, std::max<std::size_t>(size, 1));
}

void* heap_impl::allocate_slow(kind_entry& entry, std::uint8_t kind_index, std::size_t size) noexcept {
  work_left work{move_bytes_max_ + size, 0};
  work.block_cost = move_cost;
  void* block = nullptr;
  if (size <= slot_max_) {
    shelf* s = shelf_for(entry, kind_index, size);
    while (s == nullptr && reclaim(os_page_, work) != 0) s = shelf_for(entry, kind_index, size);
    if (s != nullptr) return allocate_small(*s, work);
  } else if (size <= large_max_) {
    block = allocate_large(kind_index, size, kind_infos_[kind_index].options.alignment, work);
  } else if (size <= pool_.get_budget().limit()) {
    block = allocate_run(kind_index, size);
  }
  if (block == nullptr) ++failures_;
  return block;
}

// A slot of a somewhat larger shelf that has one to spare; null if there is none. How much larger: 1/32, and more where
// shelves are so short that a top goes up and down by a good part of its shelf. Then what rounding costs is less than
// what another OS page for each shelf would, for either is about four of them a shelf.
void* heap_impl::spill(shelf& s) noexcept {
  const kind_entry& entry = *kinds_[s.kind];
  const std::size_t swing = spill_pages * std::max<std::size_t>(os_page_, s.slot) * shelves_.size();
  const std::size_t part = std::clamp<std::size_t>(live_bytes() / (swing + 1), spill_part_min, spill_part_max);
  const std::size_t largest = std::min<std::size_t>(s.slot + s.slot / part, slot_max_);
  const shelf* last = &s;
  const std::size_t last_class = size_class_of(largest);
  for (std::size_t size_class = s.size_class + std::size_t{1}; size_class <= last_class; ++size_class) {
    shelf* other = entry.of_class(size_class);
    if (other == last || other == nullptr || other->slot > largest) continue;
    if (other->parked != 0 || (other->holes != 0 && other->refill())) {
      s.spill_class = other->size_class & 0x3ff;
      s.spills_left = part < short_part ? spills_at_once : 0;
      return pop_slot(*other);
    }
    last = other;
  }
  return nullptr;
}

// Where all sizes have few holes a shelf often spills several times in turn: then it need not be asked each time
// whether it has to, and where to. Null: it does.
inline void* heap_impl::spill_again(shelf& s) noexcept {
  if (s.holes != 0 || static_cast<std::size_t>(s.limit - s.bump) >= s.slot) return nullptr;
  shelf* other = kinds_[s.kind]->of_class(s.spill_class);
  if (other == nullptr || other->size_class != s.spill_class || other->parked == 0) return nullptr;
  --s.spills_left;
  return pop_slot(*other);
}

// The magazine is empty.
void* heap_impl::allocate_small(shelf& s, std::size_t size) noexcept {
  if (s.spills_left != 0) {
    if (void* block = spill_again(s)) return block;
  }
  work_left work{move_bytes_max_ + size, 0};
  work.block_cost = move_cost;
  return allocate_small(s.serves_others ? *note_rounding(s, size) : s, work);
}

// What one allocation could not pay for its growth, since tiny blocks cost much more to move than their bytes: the next
// ones do, whether they grow or not, a little each.
void heap_impl::pay_rest(work_left& work) noexcept {
  work_left some{std::min(work.bytes, move_bytes_max_ / rest_part), 0};
  some.block_cost = work.block_cost;
  keep_target(some);
  work.spend(some.bytes_max - some.bytes);
}

void* heap_impl::allocate_small(shelf& s, work_left& work) noexcept {
  settle(s);
  if (owed_bytes_ >= owed_long) [[unlikely]]
    pay_rest(work);
  bool target_kept = false;
  for (int attempt = 0; attempt < charge_attempts_max;) {
    if (s.parked != 0 || (s.holes != 0 && s.refill())) return pop_slot(s);
    if (static_cast<std::size_t>(s.limit - s.bump) >= s.slot) {
      void* block = s.bump;
      s.bump += s.slot;
      ++s.taken;
      ++s.allocations;
      return block;
    }
    // The heap has to grow.
    if (!target_kept) {
      target_kept = true;
      settle_some();
      const std::size_t growth = std::max<std::size_t>(os_page_, s.slot);
      const std::size_t allowed = waste_allowed(growth);
      if (waste_bytes() + growth > allowed) {
        if (void* block = take_guest(s)) return block;
        keep_target(work);
        if (void* block = spill(s)) {
          owe_spilled(s.slot, allowed);
          return block;
        }
        owe(growth, allowed);
        continue;
      }
    }
    if (grow(s)) continue;
    if (void* block = spill(s)) return block;
    ++attempt;
    const pause_timer timer(*this);
    if (reclaim(os_page_, work) == 0) break;
  }
  ++failures_;
  return nullptr;
}

// --- Freeing ------------------------------------------------------------------------------------------------------

void heap_impl::free_block(void* block) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    if (block == nullptr) return;
    check_free(block);
  }
  const auto offset = static_cast<std::size_t>(static_cast<char*>(block) - base_);
  if (offset < bytes_) [[likely]] {
    if (shelf* s = shelf_of_page_[offset >> page_shift_]) [[likely]] {
      park(*s, block);
      return;
    }
  }
  free_elsewhere(block);
}

inline void heap_impl::park(shelf& s, void* block) noexcept {
  if (s.parked == s.parked_max) [[unlikely]]
    return park_in_full(s, block);
  s.magazine[s.parked++] = block;
}

// Apart, so that park() needs no stack frame.
void heap_impl::park_in_full(shelf& s, void* block) noexcept {
  return_parked(s, s.parked_max / 2);
  s.magazine[s.parked++] = block;
}

// What is neither null nor in a shelf of the first region.
void heap_impl::free_elsewhere(void* block) noexcept {
  if (block == nullptr) return;
  page_info* page = page_of(block);
  if (page->use == page_use::shelf) {
    park(*static_cast<shelf*>(page->owner), block);
  } else if (page->use == page_use::large) {
    free_large(page, block);
  } else {
    free_run(page);
  }
}

void heap_impl::check_free(void* block) const noexcept {
  check_outside_callback("free");
  const page_info* page = checked_page_of(block, "free");
  SCOOT_CHECK(1, !is_pinned(page, block), "free(%p): the block is pinned: %s", block, describe(block).text);
  if constexpr (SCOOT_CHECK_LEVEL >= 2) bury(block, block_bytes(block), "free");
}

std::size_t heap_impl::block_bytes(const void* block) const noexcept {
  const page_info* page = checked_page_of(block, "usable_size");
  if (page->use == page_use::shelf) return static_cast<const shelf*>(page->owner)->slot;
  if (page->use == page_use::large) {
    return page->large->blocks()[large_space::index_of(page->large, block)].size * large_space::granule;
  }
  return page->run_bytes;
}

// A block that is asked for while another one is held can move that: so it is pinned.
void* heap_impl::grow_block(kind k, void* block, std::size_t size) noexcept {
  SCOOT_CHECK(1, kind_of_block(block).index == k.index, "reallocate(%p): kind %u, and not %u: %s", block,
              unsigned{kind_of_block(block).index}, unsigned{k.index}, describe(block).text);
  const std::size_t usable = block_bytes(block) - redzone();
  const bool holds = size <= usable;
  if (holds && usable / 2 <= size) return block;
  void* const stays = holds ? block : nullptr;
  if (is_pinned(page_of(block), block) || !pin_block(block, "reallocate")) return stays;
  void* grown = static_cast<heap*>(this)->allocate(k, size);
  const std::uint64_t unpins = unpins_;
  unpin_block(block, "reallocate");
  unpins_ = unpins;  // it was free to move before
  if (grown == nullptr) return stays;
  std::memcpy(grown, block, std::min(usable, size));
  static_cast<heap*>(this)->free(block);
  return grown;
}

// --- Pins ---------------------------------------------------------------------------------------------------------

bool heap_impl::pin_block(void* block, const char* holder) noexcept {
  if (block == nullptr) return false;
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_callback("pin");
  page_info* page = checked_page_of(block, "pin");
  const pin_table::added done = pins_.add(block, holder);
  if (done == pin_table::added::first) ++page->pins;
  return done != pin_table::added::no_memory;
}

void heap_impl::unpin_block(void* block, const char* holder) noexcept {
  if (block == nullptr) return;
  if constexpr (SCOOT_CHECK_LEVEL >= 1) check_outside_callback("unpin");
  page_info* page = checked_page_of(block, "unpin");
  const pin_table::removed done = pins_.remove(block, holder);
  SCOOT_CHECK(1, done != pin_table::removed::none, "unpin(%p): the block is not pinned%s%s: %s", block,
              holder == nullptr ? "" : " by ", holder == nullptr ? "" : holder, describe(block).text);
  if (done == pin_table::removed::last) {
    --page->pins;
    ++unpins_;
  }
}

// --- The public class ---------------------------------------------------------------------------------------------

namespace {

heap_impl& self(heap& h) noexcept { return static_cast<heap_impl&>(h); }
const heap_impl& self(const heap& h) noexcept { return static_cast<const heap_impl&>(h); }

}  // namespace

std::unique_ptr<heap> heap::create(page_pool& pool, const heap_options& options) noexcept {
  if (!(options.waste_target >= 0)) return nullptr;  // negative, or no number
  auto& impl = static_cast<page_pool_impl&>(pool);
  void* memory = impl.metadata_allocate(sizeof(heap_impl));
  if (memory == nullptr) return nullptr;
  return std::unique_ptr<heap>(::new (memory) heap_impl(impl, options));
}

void heap::operator delete(heap* h, std::destroying_delete_t) noexcept {
  if (h == nullptr) return;
  auto* impl = static_cast<heap_impl*>(h);
  page_pool_impl& pool = impl->get_pool();
  impl->~heap_impl();
  pool.metadata_free(impl, sizeof(heap_impl));
}

kind heap::add_kind(const kind_options& options) noexcept { return self(*this).new_kind(options); }
bool heap::remove_kind(kind k) noexcept { return self(*this).drop_kind(k); }
kind heap::kind_of(const void* block) const noexcept { return self(*this).kind_of_block(block); }
void* heap::allocate(kind k, std::size_t size) noexcept {
  if constexpr (SCOOT_CHECK_LEVEL >= 1) return self(*this).allocate_checked(k, size);
  return self(*this).allocate_block(k, size);
}
void* heap::allocate_zeroed(kind k, std::size_t size) noexcept {
  void* block = allocate(k, size);
  if (block != nullptr) std::memset(block, 0, size);
  return block;
}
void* heap::reallocate(kind k, void* block, std::size_t size) noexcept {
  if (block == nullptr) return allocate(k, size);
  return self(*this).grow_block(k, block, size);
}
void heap::free(void* block) noexcept { self(*this).free_block(block); }
std::size_t heap::usable_size(const void* block) const noexcept {
  return block == nullptr ? 0 : self(*this).block_bytes(block) - self(*this).redzone();
}
void* heap::block_of(const void* address) const noexcept { return self(*this).find_block(address); }
bool heap::pin(void* block, const char* holder) noexcept { return self(*this).pin_block(block, holder); }
void heap::unpin(void* block, const char* holder) noexcept { self(*this).unpin_block(block, holder); }
compaction heap::compact(const effort& e) noexcept { return self(*this).compact_all(e); }
release_result heap::release(std::size_t bytes, const release_options& options) noexcept {
  return self(*this).release_bytes(bytes, options);
}
std::size_t heap::hand_over(kind k, block_taker take, void* context) noexcept {
  return self(*this).hand_over_blocks(k.index, take, context);
}
forecast heap::estimate() const noexcept { return self(*this).make_forecast(); }
std::size_t heap::move_everything() noexcept { return self(*this).move_all(); }
heap_stats heap::stats() const noexcept { return self(*this).get_stats(); }
std::size_t heap::held_bytes() const noexcept { return self(*this).held(); }
page_pool& heap::pool() const noexcept { return self(*this).get_pool(); }
void heap::verify() const noexcept { self(*this).check_all(); }

}  // namespace scoot
