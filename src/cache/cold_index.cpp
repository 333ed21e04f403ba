// SPDX-License-Identifier: MIT
#include "cache/cold_index.hpp"

#include <cstring>

namespace scoot::caching {

cold_index::~cold_index() {
  if (root_ == nullptr) return;
  release_segments(0);
  heap_.free(root_);
}

void* cold_index::fixed_block(std::size_t bytes) noexcept {
  void* block = heap_.allocate(fixed_, bytes);
  if (block == nullptr) return nullptr;
  std::memset(block, 0, bytes);
  bytes_ += bytes;
  return block;
}

bool cold_index::start() noexcept {
  root_ = static_cast<root*>(fixed_block(sizeof(root)));
  if (root_ == nullptr || !add_segment()) return false;
  buckets_ = segment_buckets;
  mask_high_ = buckets_ - 1;
  return true;
}

bool cold_index::add_segment() noexcept {
  directory*& d = root_->segments_of[segments_ / directory_entries];
  if (d == nullptr) {
    d = static_cast<directory*>(fixed_block(sizeof(directory)));
    if (d == nullptr) return false;
  }
  auto* s = static_cast<segment*>(fixed_block(sizeof(segment)));
  if (s == nullptr) return false;
  d->segments[segments_ % directory_entries] = s;
  ++segments_;
  return true;
}

// Gives back the segments, and directories, that `buckets` buckets do not need.
void cold_index::release_segments(std::size_t buckets) noexcept {
  const std::size_t wanted = (buckets + segment_buckets - 1) / segment_buckets;
  while (segments_ > wanted) {
    --segments_;
    directory*& d = root_->segments_of[segments_ / directory_entries];
    segment*& s = d->segments[segments_ % directory_entries];
    heap_.free(s);
    s = nullptr;
    bytes_ -= sizeof(segment);
    if (segments_ % directory_entries == 0) {
      heap_.free(d);
      d = nullptr;
      bytes_ -= sizeof(directory);
    }
  }
}

bool cold_index::grow() noexcept {
  if (grow_allocates() && !add_segment()) return false;
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
