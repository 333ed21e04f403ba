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
      mover.reset(new (std::nothrow) c_mover{options->move, options->context, heap->movers});
      if (mover == nullptr) return invalid;
      wanted.move = call_c_mover;
      wanted.context = mover.get();
    }
  }
  const scoot::kind added = heap->heap->add_kind(wanted);
  if (added && mover != nullptr) heap->movers = mover.release();
  return scoot_kind{added.index};
}

void* scoot_allocate(scoot_heap* heap, scoot_kind kind, size_t size) {
  return heap->heap->allocate(scoot::kind{kind.index}, size);
}

void scoot_free(scoot_heap* heap, void* block) { heap->heap->free(block); }

size_t scoot_usable_size(const scoot_heap* heap, const void* block) { return heap->heap->usable_size(block); }

bool scoot_pin(scoot_heap* heap, void* block) { return heap->heap->pin(block); }

void scoot_unpin(scoot_heap* heap, void* block) { heap->heap->unpin(block); }

bool scoot_pin_as(scoot_heap* heap, void* block, const char* holder) {
  return heap->heap->pin(block, holder != nullptr ? holder : "");
}

void scoot_unpin_as(scoot_heap* heap, void* block, const char* holder) { heap->heap->unpin(block, holder); }

scoot_compaction scoot_compact(scoot_heap* heap, const scoot_effort* effort) {
  const scoot::compaction done = heap->heap->compact(effort != nullptr ? from_c(*effort) : scoot::effort{});
  scoot_compaction result{};
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
  scoot::release_options wanted;
  if (options != nullptr) {
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
  scoot_released result{};
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

scoot_place scoot_explain(const scoot_heap* heap, const void* address, char* text, size_t room) {
  const scoot::explanation e = scoot::explain(*heap->heap, address);
  if (room != 0) {
    const std::size_t used = std::min(std::strlen(e.text), room - 1);
    std::memcpy(text, e.text, used);
    text[used] = 0;
  }
  return static_cast<scoot_place>(e.what);
}

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
  return result;
}

size_t scoot_list_pins(const scoot_heap* heap, scoot_pin_info* pins, size_t room) {
  scoot::pin_info listed[64];
  const std::size_t count = scoot::list_pins(*heap->heap, {listed, std::min(room, std::size(listed))});
  for (std::size_t i = 0; i < std::min({count, room, std::size(listed)}); ++i) {
    pins[i] = scoot_pin_info{};
    pins[i].block = listed[i].block;
    pins[i].bytes = listed[i].bytes;
    pins[i].kind.index = listed[i].of.index;
    pins[i].holder = listed[i].holder;
    pins[i].pins = listed[i].pins;
    pins[i].age_ns = listed[i].age_ns;
    pins[i].stranded_bytes = listed[i].stranded_bytes;
  }
  return count;
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

bool scoot_write_snapshot(const scoot_heap* heap, scoot_sink sink, void* context) {
  struct c_sink {
    scoot_sink sink;
    void* context;
  } to{sink, context};
  const auto pass = [](void* self, const char* bytes, std::size_t size) noexcept {
    const auto& it = *static_cast<const c_sink*>(self);
    return it.sink(it.context, bytes, size);
  };
  return scoot::write_snapshot(*heap->heap, pass, &to);
}
