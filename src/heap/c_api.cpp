// SPDX-License-Identifier: MIT
//
// The C API over page_pool and heap: conversions, and for each kind with a mover a small record through which the C
// function is called with its own type.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "base/check.hpp"
#include "scoot/diagnosis.hpp"
#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"
#include "scoot/scoot.h"

namespace {

struct c_mover {
  scoot_mover move;
  void* context;
  c_mover* next;
  scoot::kind of;
};

}  // namespace

// A scoot_pool is a page_pool and nothing more, so its pointers are only cast. A heap also owns its C movers.
struct scoot_heap {
  std::unique_ptr<scoot::heap> heap;
  c_mover* movers = nullptr;

  explicit scoot_heap(std::unique_ptr<scoot::heap> owned) noexcept : heap(std::move(owned)) {}
  scoot_heap(const scoot_heap&) = delete;
  scoot_heap& operator=(const scoot_heap&) = delete;
  ~scoot_heap() {
    heap.reset();
    while (movers != nullptr) delete std::exchange(movers, movers->next);
  }
};

namespace {

scoot::page_pool* unwrap(scoot_pool* pool) noexcept { return reinterpret_cast<scoot::page_pool*>(pool); }
const scoot::page_pool* unwrap(const scoot_pool* pool) noexcept {
  return reinterpret_cast<const scoot::page_pool*>(pool);
}

template <std::size_t N>
bool all_zero(const std::size_t (&words)[N]) noexcept {
  return std::all_of(std::begin(words), std::end(words), [](std::size_t word) { return word == 0; });
}

// C++ functions may be behind the pointer, and nothing in its type forbids them to throw.
[[maybe_unused]] scoot_verdict call_and_catch(const c_mover& mover, void* from, void* to, std::size_t size) noexcept {
#ifdef __cpp_exceptions
  try {
    return mover.move(mover.context, from, to, size);
  } catch (...) {
    scoot::base::fail(__FILE__, __LINE__, "a mover threw an exception, while it moved %p to %p", from, to);
  }
#else
  return mover.move(mover.context, from, to, size);
#endif
}

scoot::verdict call_c_mover(void* context, void* from, void* to, std::size_t size) noexcept {
  const auto* const mover = static_cast<const c_mover*>(context);
  scoot_verdict answer = SCOOT_KEEP;
  if constexpr (SCOOT_CHECK_LEVEL >= 1) {
    answer = call_and_catch(*mover, from, to, size);
  } else {
    answer = mover->move(mover->context, from, to, size);
  }
  switch (answer) {
    case SCOOT_MOVED:
      return scoot::verdict::moved;
    case SCOOT_KEEP:
      return scoot::verdict::keep;
    case SCOOT_DROP:
      return scoot::verdict::drop;
  }
  SCOOT_CHECK(1, false, "a mover answered %d, which is no verdict", static_cast<int>(answer));
  return scoot::verdict::keep;
}

scoot_stop_reason to_c(scoot::stop_reason why) noexcept {
  switch (why) {
    case scoot::stop_reason::done:
      return SCOOT_DONE;
    case scoot::stop_reason::effort_spent:
      return SCOOT_EFFORT_SPENT;
    case scoot::stop_reason::nothing_to_gain:
      return SCOOT_NOTHING_TO_GAIN;
    case scoot::stop_reason::pinned:
      return SCOOT_PINNED;
    case scoot::stop_reason::refused:
      return SCOOT_REFUSED;
  }
  SCOOT_CHECK(1, false, "unknown stop reason %d", static_cast<int>(why));
  return SCOOT_DONE;
}

scoot::effort from_c(const scoot_effort& effort) noexcept {
  scoot::effort result;
  if (effort.bytes_max != 0) result.bytes_max = effort.bytes_max;
  constexpr auto longest = static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count());
  if (effort.time_max_ns != 0 && effort.time_max_ns < longest) {
    result.time_max = std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(effort.time_max_ns));
  }
  return result;
}

}  // namespace

scoot_pool* scoot_pool_create(const scoot_pool_options* options) {
  if (options == nullptr || !all_zero(options->reserved)) return nullptr;
  scoot::page_pool_options wanted;
  wanted.budget_bytes = options->budget_bytes;
  wanted.page_bytes = options->page_bytes;
  wanted.address_bytes = options->address_bytes;
  return reinterpret_cast<scoot_pool*>(scoot::page_pool::create(wanted).release());
}

void scoot_pool_destroy(scoot_pool* pool) {
  if (pool != nullptr) delete unwrap(pool);
}

bool scoot_pool_set_budget(scoot_pool* pool, size_t bytes) { return unwrap(pool)->set_budget(bytes); }

size_t scoot_pool_trim(scoot_pool* pool, size_t keep_bytes) { return unwrap(pool)->trim(keep_bytes); }

scoot_pool_usage scoot_pool_stats(const scoot_pool* pool) {
  const scoot::page_pool_stats stats = unwrap(pool)->stats();
  scoot_pool_usage result{};
  result.budget_bytes = stats.budget_bytes;
  result.held_bytes = stats.held_bytes;
  result.held_bytes_peak = stats.held_bytes_peak;
  result.metadata_bytes = stats.metadata_bytes;
  result.idle_bytes = stats.idle_bytes;
  result.page_bytes = stats.page_bytes;
  result.pages = stats.pages;
  result.address_bytes = stats.address_bytes;
  return result;
}

scoot_heap* scoot_heap_create(scoot_pool* pool, const scoot_heap_options* options) {
  scoot::heap_options wanted;
  if (options != nullptr) {
    if (!all_zero(options->reserved)) return nullptr;
    wanted.waste_target = options->waste_target;
    if (options->move_bytes_max != 0) wanted.move_bytes_max = options->move_bytes_max;
  }
  std::unique_ptr<scoot::heap> heap = scoot::heap::create(*unwrap(pool), wanted);
  if (heap == nullptr) return nullptr;
  return new (std::nothrow) scoot_heap(std::move(heap));
}

void scoot_heap_destroy(scoot_heap* heap) { delete heap; }

scoot_kind scoot_heap_add_kind(scoot_heap* heap, const scoot_kind_options* options) {
  const scoot_kind invalid = {scoot::kind{}.index};
  scoot::kind_options wanted;
  std::unique_ptr<c_mover> mover;
  if (options != nullptr) {
    if (!all_zero(options->reserved)) return invalid;
    if (options->name != nullptr) wanted.name = options->name;
    if (options->alignment != 0) wanted.alignment = options->alignment;
    if (options->move != nullptr) {
      mover.reset(new (std::nothrow) c_mover{options->move, options->context, heap->movers, {}});
      if (mover == nullptr) return invalid;
      wanted.move = call_c_mover;
      wanted.context = mover.get();
    }
  }
  const scoot::kind added = heap->heap->add_kind(wanted);
  if (added && mover != nullptr) {
    mover->of = added;
    heap->movers = mover.release();
  }
  return scoot_kind{added.index};
}

bool scoot_heap_remove_kind(scoot_heap* heap, scoot_kind kind) {
  if (!heap->heap->remove_kind({kind.index})) return false;
  for (c_mover** at = &heap->movers; *at != nullptr; at = &(*at)->next) {
    if ((*at)->of.index != kind.index) continue;
    delete std::exchange(*at, (*at)->next);
    break;
  }
  return true;
}

void* scoot_allocate(scoot_heap* heap, scoot_kind kind, size_t size) {
  return heap->heap->allocate(scoot::kind{kind.index}, size);
}

void* scoot_allocate_zeroed(scoot_heap* heap, scoot_kind kind, size_t size) {
  return heap->heap->allocate_zeroed(scoot::kind{kind.index}, size);
}

void* scoot_reallocate(scoot_heap* heap, scoot_kind kind, void* block, size_t size) {
  return heap->heap->reallocate(scoot::kind{kind.index}, block, size);
}

void scoot_free(scoot_heap* heap, void* block) { heap->heap->free(block); }

size_t scoot_usable_size(const scoot_heap* heap, const void* block) { return heap->heap->usable_size(block); }

scoot_kind scoot_kind_of(const scoot_heap* heap, const void* block) { return {heap->heap->kind_of(block).index}; }

void* scoot_block_of(const scoot_heap* heap, const void* address) { return heap->heap->block_of(address); }

bool scoot_pin(scoot_heap* heap, void* block) { return heap->heap->pin(block); }

void scoot_unpin(scoot_heap* heap, void* block) { heap->heap->unpin(block); }

bool scoot_pin_as(scoot_heap* heap, void* block, const char* holder) {
  return heap->heap->pin(block, holder != nullptr ? holder : "");
}

void scoot_unpin_as(scoot_heap* heap, void* block, const char* holder) { heap->heap->unpin(block, holder); }

scoot_compaction scoot_compact(scoot_heap* heap, const scoot_effort* effort) {
  scoot_compaction result{};
  result.why = SCOOT_BAD_OPTIONS;
  if (effort != nullptr && !all_zero(effort->reserved)) return result;
  const scoot::compaction done = heap->heap->compact(effort != nullptr ? from_c(*effort) : scoot::effort{});
  result.bytes_moved = done.bytes_moved;
  result.blocks_moved = done.blocks_moved;
  result.blocks_dropped = done.blocks_dropped;
  result.blocks_kept = done.blocks_kept;
  result.bytes_given_back = done.bytes_given_back;
  result.why = to_c(done.why);
  return result;
}

scoot_released scoot_release(scoot_heap* heap, size_t bytes, const scoot_release_options* options) {
  struct c_evictor {
    scoot_evictor evict;
    void* context;
  } owner{nullptr, nullptr};
  scoot_released result{};
  result.why = SCOOT_BAD_OPTIONS;
  scoot::release_options wanted;
  if (options != nullptr) {
    if (!all_zero(options->reserved) || !all_zero(options->limit.reserved)) return result;
    owner = {options->evict, options->context};
    wanted.limit = from_c(options->limit);
  }
  if (owner.evict != nullptr) {
    wanted.evict = [](void* self, std::size_t wanted_bytes) noexcept {
      const auto& it = *static_cast<const c_evictor*>(self);
      return it.evict(it.context, wanted_bytes);
    };
    wanted.context = &owner;
  }
  const scoot::release_result done = heap->heap->release(bytes, wanted);
  result.bytes_given_back = done.bytes_given_back;
  result.bytes_evicted = done.bytes_evicted;
  result.bytes_moved = done.bytes_moved;
  result.blocks_dropped = done.blocks_dropped;
  result.why = to_c(done.why);
  return result;
}

scoot_forecast scoot_estimate(const scoot_heap* heap) {
  const scoot::forecast estimated = heap->heap->estimate();
  scoot_forecast result{};
  result.bytes_to_gain = estimated.bytes_to_gain;
  result.bytes_to_move = estimated.bytes_to_move;
  return result;
}

size_t scoot_move_everything(scoot_heap* heap) { return heap->heap->move_everything(); }

scoot_stats scoot_heap_stats(const scoot_heap* heap) {
  const scoot::heap_stats stats = heap->heap->stats();
  scoot_stats result{};
  result.blocks = stats.blocks;
  result.live_bytes = stats.live_bytes;
  result.held_bytes = stats.held_bytes;
  result.hole_bytes = stats.hole_bytes;
  result.slack_bytes = stats.slack_bytes;
  result.metadata_bytes = stats.metadata_bytes;
  result.pages = stats.pages;
  result.shelves = stats.shelves;
  result.pinned_blocks = stats.pinned_blocks;
  result.allocations = stats.allocations;
  result.allocated_bytes = stats.allocated_bytes;
  result.blocks_moved = stats.blocks_moved;
  result.bytes_moved = stats.bytes_moved;
  result.blocks_dropped = stats.blocks_dropped;
  result.blocks_kept = stats.blocks_kept;
  result.blocks_examined = stats.blocks_examined;
  result.failures = stats.failures;
  return result;
}

size_t scoot_heap_held_bytes(const scoot_heap* heap) { return heap->heap->held_bytes(); }

scoot_pauses scoot_heap_pauses(const scoot_heap* heap) {
  static_assert(SCOOT_PAUSE_CLASSES == scoot::pause_classes && scoot::pause_ns_least == 1000);
  const scoot::heap_stats stats = heap->heap->stats();
  scoot_pauses result{};
  std::copy(std::begin(stats.pauses), std::end(stats.pauses), result.counts);
  result.total_ns = stats.pause_ns;
  return result;
}

scoot_explanation scoot_explain(const scoot_heap* heap, const void* address) {
  const scoot::explanation e = scoot::explain(*heap->heap, address);
  scoot_explanation result{};
  result.what = static_cast<scoot_place>(e.what);
  result.block = e.block;
  result.bytes = e.bytes;
  result.offset = e.offset;
  result.kind.index = e.of.index;
  result.pins = e.pins;
  result.pin_holder = e.pin_holder;
  result.compaction = e.compaction;
  result.moved_to = e.moved_to;
  result.now_at = e.now_at;
  static_assert(sizeof result.text == sizeof e.text);
  std::copy(std::begin(e.text), std::end(e.text), result.text);
  return result;
}

size_t scoot_kind_count(const scoot_heap* heap) { return scoot::kind_count(*heap->heap); }

scoot_kind_usage scoot_kind_stats(const scoot_heap* heap, scoot_kind kind) {
  const scoot::kind_stats stats = scoot::stats_of(*heap->heap, scoot::kind{kind.index});
  scoot_kind_usage result{};
  result.blocks = stats.blocks;
  result.live_bytes = stats.live_bytes;
  result.held_bytes = stats.held_bytes;
  result.hole_bytes = stats.hole_bytes;
  result.shelves = stats.shelves;
  result.pinned_blocks = stats.pinned_blocks;
  result.stranded_bytes = stats.stranded_bytes;
  result.blocks_moved = stats.blocks_moved;
  result.bytes_moved = stats.bytes_moved;
  result.blocks_dropped = stats.blocks_dropped;
  result.blocks_kept = stats.blocks_kept;
  result.name = stats.name;
  result.alignment = stats.alignment;
  result.movable = stats.movable;
  return result;
}

// The caller's room is first used for what it is converted from, so that nothing is allocated: from the last on, for
// each of ours ends before its own place among theirs.
size_t scoot_list_pins(const scoot_heap* heap, scoot_pin_info* pins, size_t room) {
  static_assert(sizeof(scoot::pin_info) <= sizeof(scoot_pin_info) &&
                alignof(scoot::pin_info) <= alignof(scoot_pin_info));
  auto* const listed = reinterpret_cast<scoot::pin_info*>(pins);
  std::uninitialized_default_construct_n(listed, room);
  const std::size_t count = scoot::list_pins(*heap->heap, {listed, room});
  for (std::size_t i = std::min(count, room); i-- > 0;) {
    const scoot::pin_info pin = listed[i];
    scoot_pin_info* result = ::new (pins + i) scoot_pin_info{};
    result->block = pin.block;
    result->bytes = pin.bytes;
    result->kind.index = pin.of.index;
    result->holder = pin.holder;
    result->pins = pin.pins;
    result->age_ns = pin.age_ns;
    result->stranded_bytes = pin.stranded_bytes;
  }
  return count;
}

size_t scoot_list_pin_holders(const scoot_heap* heap, scoot_pin_holder* lines, size_t room) {
  static_assert(sizeof(scoot::pin_holder) <= sizeof(scoot_pin_holder) &&
                alignof(scoot::pin_holder) <= alignof(scoot_pin_holder));
  auto* const listed = reinterpret_cast<scoot::pin_holder*>(lines);
  std::uninitialized_default_construct_n(listed, room);
  const std::size_t count = scoot::list_pin_holders(*heap->heap, {listed, room});
  for (std::size_t i = count; i-- > 0;) {
    const scoot::pin_holder line = listed[i];
    ::new (lines + i) scoot_pin_holder{line.holder, line.blocks, line.bytes, line.age_ns_max, line.stranded_bytes, {}};
  }
  return count;
}

size_t scoot_hand_over(scoot_heap* heap, scoot_kind kind, scoot_block_taker take, void* context) {
  struct c_taker {
    scoot_block_taker take;
    void* context;
  } to{take, context};
  const auto pass = [](void* self, const void* block, std::size_t size) noexcept {
    const auto& it = *static_cast<const c_taker*>(self);
    it.take(it.context, block, size);
  };
  return heap->heap->hand_over({kind.index}, pass, &to);
}

namespace {

scoot_page_view to_c(const scoot::page_view& page) noexcept {
  scoot_page_view result{};
  result.number = page.number;
  result.cursor = page.cursor;
  result.address = page.address;
  result.content = static_cast<scoot_page_content>(page.content);
  result.kind.index = page.of.index;
  result.mixed = page.mixed;
  result.slot_bytes = page.slot_bytes;
  result.slots = page.slots;
  result.holes = page.holes;
  result.withdrawn = page.withdrawn;
  result.blocks = page.blocks;
  result.live_bytes = page.live_bytes;
  result.resident_begin = page.resident_begin;
  result.resident_end = page.resident_end;
  result.missing_bytes = page.missing_bytes;
  result.pins = page.pins;
  result.arrivals = page.arrivals;
  result.departures = page.departures;
  static_assert(sizeof result.fill == sizeof page.fill);
  std::copy(std::begin(page.fill), std::end(page.fill), result.fill);
  return result;
}

}  // namespace

uint64_t scoot_visit_pages(const scoot_heap* heap, uint64_t cursor, const scoot_page_visit* how,
                           scoot_page_visitor visit, void* context) {
  scoot::page_visit wanted;
  if (how != nullptr) {
    if (!all_zero(how->reserved)) return 0;
    if (how->pages_max != 0) wanted.pages_max = how->pages_max;
    wanted.draw = how->draw;
  }
  struct c_visitor {
    scoot_page_visitor visit;
    void* context;
  } to{visit, context};
  const auto pass = [](void* self, const scoot::page_view& page) noexcept {
    const auto& it = *static_cast<const c_visitor*>(self);
    const scoot_page_view view = to_c(page);
    it.visit(it.context, &view);
  };
  return scoot::visit_pages(*heap->heap, cursor, wanted, pass, &to);
}

size_t scoot_list_page_use(const scoot_pool* pool, size_t first, uint8_t* contents, size_t room) {
  std::size_t told = 0;
  while (told < room) {
    scoot::page_content some[256];
    const std::size_t wanted = std::min(room - told, std::size(some));
    const std::size_t count = scoot::list_page_use(*unwrap(pool), first + told, {some, wanted});
    std::transform(some, some + count, contents + told, [](scoot::page_content c) { return static_cast<uint8_t>(c); });
    told += count;
    if (count < wanted) break;
  }
  return told;
}

void scoot_visit_blocks(const scoot_heap* heap, scoot_kind kind, scoot_block_visitor visit, void* context) {
  struct c_visitor {
    scoot_block_visitor visit;
    void* context;
  } to{visit, context};
  const auto pass = [](void* self, void* block, std::size_t bytes) noexcept {
    const auto& it = *static_cast<const c_visitor*>(self);
    it.visit(it.context, block, bytes);
  };
  scoot::visit_blocks(*heap->heap, scoot::kind{kind.index}, pass, &to);
}

void scoot_heap_verify(const scoot_heap* heap) { heap->heap->verify(); }

bool scoot_write_snapshot(const scoot_heap* heap, scoot_sink sink, void* context,
                          const scoot_snapshot_options* options) {
  scoot::snapshot_options limits;
  if (options != nullptr) {
    if (!all_zero(options->reserved)) return false;
    if (options->pages_max != 0) limits.pages_max = options->pages_max;
    if (options->pins_max != 0) limits.pins_max = options->pins_max;
  }
  struct c_sink {
    scoot_sink sink;
    void* context;
  } to{sink, context};
  const auto pass = [](void* self, const char* bytes, std::size_t size) noexcept {
    const auto& it = *static_cast<const c_sink*>(self);
    return it.sink(it.context, bytes, size);
  };
  return scoot::write_snapshot(*heap->heap, pass, &to, limits);
}
