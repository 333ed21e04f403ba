// SPDX-License-Identifier: MIT
//
// Purgeable memory in C: conversions. A scoot_purgeable is a purgeable and nothing more, so its pointers are only cast.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>

#include "scoot/purgeable.hpp"
#include "scoot/scoot.h"

namespace {

scoot::purgeable* unwrap(scoot_purgeable* region) noexcept { return reinterpret_cast<scoot::purgeable*>(region); }
const scoot::purgeable* unwrap(const scoot_purgeable* region) noexcept {
  return reinterpret_cast<const scoot::purgeable*>(region);
}

// The enums of both languages have the same values; ranges are laid out alike, so that a sweep writes them in place.
template <typename To, typename From>
constexpr To to_c(From value) noexcept {
  return static_cast<To>(value);
}
static_assert(to_c<scoot_purge_support>(scoot::purge_support::refused) == SCOOT_PURGE_REFUSED);
static_assert(to_c<scoot_purge_support>(scoot::purge_support::accepted) == SCOOT_PURGE_ACCEPTED);
static_assert(to_c<scoot_purge_support>(scoot::purge_support::seen) == SCOOT_PURGE_SEEN);
static_assert(to_c<scoot_chunk_state>(scoot::chunk_state::free) == SCOOT_CHUNK_FREE);
static_assert(to_c<scoot_chunk_state>(scoot::chunk_state::kept) == SCOOT_CHUNK_KEPT);
static_assert(to_c<scoot_chunk_state>(scoot::chunk_state::offered) == SCOOT_CHUNK_OFFERED);
static_assert(to_c<scoot_chunk_state>(scoot::chunk_state::partly_purged) == SCOOT_CHUNK_PARTLY_PURGED);
static_assert(to_c<scoot_chunk_state>(scoot::chunk_state::purged) == SCOOT_CHUNK_PURGED);
static_assert(to_c<scoot_offer_status>(scoot::offer_status::offered) == SCOOT_OFFER_MADE);
static_assert(to_c<scoot_offer_status>(scoot::offer_status::pinned) == SCOOT_OFFER_PINNED);
static_assert(to_c<scoot_offer_status>(scoot::offer_status::refused) == SCOOT_OFFER_REFUSED);
static_assert(to_c<scoot_offer_status>(scoot::offer_status::absent) == SCOOT_OFFER_ABSENT);
static_assert(to_c<scoot_presence>(scoot::presence::present) == SCOOT_PRESENT);
static_assert(to_c<scoot_presence>(scoot::presence::lost) == SCOOT_LOST);
static_assert(to_c<scoot_presence>(scoot::presence::absent) == SCOOT_ABSENT);
static_assert(to_c<scoot_presence>(scoot::presence::too_many_pins) == SCOOT_TOO_MANY_PINS);
static_assert(scoot::purgeable::no_chunk == SCOOT_NO_CHUNK);
static_assert(sizeof(scoot_lost_range) == sizeof(scoot::lost_range) &&
              offsetof(scoot_lost_range, offset) == offsetof(scoot::lost_range, offset) &&
              offsetof(scoot_lost_range, bytes) == offsetof(scoot::lost_range, bytes));

}  // namespace

scoot_purge_support scoot_purgeable_support(void) { return to_c<scoot_purge_support>(scoot::purgeable::support()); }

scoot_purgeable* scoot_purgeable_create(const scoot_purgeable_options* options) {
  if (options == nullptr) return nullptr;
  const auto is_zero = [](std::size_t word) { return word == 0; };
  if (!std::all_of(std::begin(options->reserved), std::end(options->reserved), is_zero)) return nullptr;
  scoot::purgeable_options o;
  if (options->chunk_bytes != 0) o.chunk_bytes = options->chunk_bytes;
  o.bytes_max = options->bytes_max;
  o.guarded = options->guarded;
  return reinterpret_cast<scoot_purgeable*>(scoot::purgeable::create(o).release());
}

void scoot_purgeable_destroy(scoot_purgeable* region) { delete unwrap(region); }

uint32_t scoot_chunk_allocate(scoot_purgeable* region) { return unwrap(region)->allocate(); }

void scoot_chunk_free(scoot_purgeable* region, uint32_t chunk) { unwrap(region)->free(chunk); }

void* scoot_chunk_data(const scoot_purgeable* region, uint32_t chunk) { return unwrap(region)->data(chunk); }

uint32_t scoot_chunk_of(const scoot_purgeable* region, const void* address) {
  return unwrap(region)->chunk_of(address);
}

scoot_offer_status scoot_chunk_offer(scoot_purgeable* region, uint32_t chunk, size_t bytes) {
  return to_c<scoot_offer_status>(unwrap(region)->offer(chunk, bytes));
}

scoot_presence scoot_chunk_pin(scoot_purgeable* region, uint32_t chunk, size_t offset, size_t bytes) {
  return to_c<scoot_presence>(unwrap(region)->pin(chunk, offset, bytes));
}

void scoot_chunk_unpin(scoot_purgeable* region, uint32_t chunk) { unwrap(region)->unpin(chunk); }

scoot_presence scoot_chunk_read_if_present(scoot_purgeable* region, uint32_t chunk, size_t offset, size_t bytes,
                                           void* to) {
  return to_c<scoot_presence>(unwrap(region)->read_if_present(chunk, offset, bytes, to));
}

scoot_chunk_info scoot_chunk_get_info(const scoot_purgeable* region, uint32_t chunk) {
  const scoot::chunk_info info = unwrap(region)->state(chunk);
  scoot_chunk_info result{};
  result.state = to_c<scoot_chunk_state>(info.state);
  result.pins = info.pins;
  result.offered_bytes = info.offered_bytes;
  result.touched_bytes = info.touched_bytes;
  result.purged_bytes = info.purged_bytes;
  result.lost_bytes = info.lost_bytes;
  return result;
}

scoot_sweep scoot_purgeable_sweep(scoot_purgeable* region, scoot_lost_range* lost, size_t room, size_t bytes_max) {
  const std::span<scoot::lost_range> ranges(reinterpret_cast<scoot::lost_range*>(lost), room);
  const scoot::sweep_result swept = unwrap(region)->sweep(ranges, bytes_max);
  scoot_sweep result{};
  result.ranges = swept.ranges;
  result.bytes_examined = swept.bytes_examined;
  result.bytes_purged = swept.bytes_purged;
  result.complete = swept.complete;
  return result;
}

scoot_purgeable_usage scoot_purgeable_stats(const scoot_purgeable* region) {
  const scoot::purgeable_stats s = unwrap(region)->stats();
  scoot_purgeable_usage result{};
  result.chunk_bytes = s.chunk_bytes;
  result.chunks_max = s.chunks_max;
  result.chunks = s.chunks;
  result.offered_chunks = s.offered_chunks;
  result.kept_bytes = s.kept_bytes;
  result.offered_bytes = s.offered_bytes;
  result.touched_bytes = s.touched_bytes;
  result.purged_bytes = s.purged_bytes;
  result.resident_offered_bytes = s.resident_offered_bytes;
  result.pins = s.pins;
  result.pins_ever = s.pins_ever;
  result.offers = s.offers;
  result.offers_refused = s.offers_refused;
  result.purged_pages = s.purged_pages;
  result.lost_pages = s.lost_pages;
  result.lost_accesses = s.lost_accesses;
  result.metadata_bytes = s.metadata_bytes;
  result.page_bytes = s.page_bytes;
  result.guarded = s.guarded;
  return result;
}
