// SPDX-License-Identifier: MIT
#include "cache/cold_index.hpp"

namespace scoot::caching {

bool cold_index::start() noexcept {
  if (!segments_.start()) return false;
  buckets_ = segment_buckets;
  mask_high_ = buckets_ - 1;
  return true;
}

bool cold_index::grow() noexcept {
  if (grow_allocates() && !segments_.add()) return false;
  if (buckets_ == mask_high_ + 1) mask_high_ = mask_high_ * 2 + 1;
  const std::size_t to_position = buckets_;
  const std::size_t from_position = to_position & (mask_high_ >> 1);
  bucket& from = nth(from_position);
  bucket& to = nth(to_position);
  ++buckets_;
  for (unsigned i = 0; i < entries_per_bucket; ++i) {
    if (from.entries[i] == 0 || belongs(from.entries[i], from_position)) continue;
    to.entries[i] = from.entries[i];
    from.entries[i] = 0;
  }
  return true;
}

}  // namespace scoot::caching
