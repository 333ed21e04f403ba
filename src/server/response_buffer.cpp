// SPDX-License-Identifier: MIT
#include "server/response_buffer.hpp"

#include <algorithm>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.hpp"

namespace scoot::server {
namespace {

constexpr std::size_t usual_bytes = response_buffer::full_bytes + response_buffer::headroom_bytes;

}  // namespace

bool response_buffer::grow(std::size_t bytes) noexcept {
  const std::size_t wanted = std::max({usual_bytes, end_ + bytes, capacity_ + capacity_ / 2});
  void* larger = std::realloc(data_, wanted);
  if (larger == nullptr) {
    failed_ = true;
    return false;
  }
  data_ = static_cast<char*>(larger);
  capacity_ = wanted;
  return true;
}

void response_buffer::append_held(pinned_item&& item) noexcept {
  const std::size_t bytes = item.view().value.size();
  try {
    held_.push_back({end_, std::move(item)});
    held_bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    failed_ = true;
  }
}

std::size_t response_buffer::pinned_bytes() const noexcept {
  std::size_t sum = 0;
  if (parked()) return 0;
  for (std::size_t i = first_held_; i < held_.size(); ++i) sum += held_[i].item.view().value.size();
  return sum;
}

void response_buffer::roll_back(const mark& to) noexcept {
  SCOOT_CHECK(1, to.bytes >= begin_ && to.bytes <= end_ && to.held_values >= first_held_,
              "response_buffer: rolled back behind what was sent");
  while (held_.size() > to.held_values) {
    held_bytes_ -= held_.back().item.view().value.size();
    held_.pop_back();
  }
  end_ = to.bytes;
}

std::size_t response_buffer::gather(iovec* vectors, std::size_t count) const noexcept {
  std::size_t filled = 0;
  std::size_t at = begin_;
  std::size_t held_sent = first_held_sent_;
  for (std::size_t i = first_held_; i <= held_.size() && filled < count; ++i) {
    const std::size_t until = i < held_.size() ? held_[i].at : end_;
    if (until > at) vectors[filled++] = {data_ + at, until - at};
    at = until;
    if (i == held_.size() || filled == count) break;
    const std::string_view value = held_[i].item.view().value.substr(held_sent);
    held_sent = 0;
    if (!value.empty()) vectors[filled++] = {const_cast<char*>(value.data()), value.size()};
  }
  return filled;
}

void response_buffer::drop(std::size_t bytes) noexcept {
  while (bytes > 0) {
    const bool holds = first_held_ < held_.size();
    const std::size_t until = holds ? held_[first_held_].at : end_;
    const std::size_t plain = std::min(bytes, until - begin_);
    begin_ += plain;
    bytes -= plain;
    if (!holds) {
      SCOOT_CHECK(1, bytes == 0, "response_buffer: %zu more bytes sent than there were", bytes);
      return;
    }
    if (bytes == 0) return;
    held_value& value = held_[first_held_];
    const std::size_t left = value.item.view().value.size() - first_held_sent_;
    const std::size_t sent = std::min(bytes, left);
    first_held_sent_ += sent;
    held_bytes_ -= sent;
    bytes -= sent;
    if (sent == left) {
      value.item.reset();
      ++first_held_;
      first_held_sent_ = 0;
    }
  }
}

void response_buffer::clear() noexcept {
  begin_ = end_ = 0;
  held_.clear();
  first_held_ = first_held_sent_ = held_bytes_ = parked_bytes_ = 0;
  failed_ = false;
  if (capacity_ > 4 * usual_bytes) [[unlikely]] {
    std::free(data_);
    data_ = nullptr;
    capacity_ = 0;
  }
}

std::unique_ptr<response_buffer> response_buffer::detach() noexcept {
  std::unique_ptr<response_buffer> rest(new (std::nothrow) response_buffer);
  if (rest == nullptr) return nullptr;
  const std::size_t bytes = end_ - begin_;
  rest->data_ = static_cast<char*>(std::malloc(std::max<std::size_t>(bytes, 1)));
  if (rest->data_ == nullptr) return nullptr;
  try {
    rest->held_.reserve(held_.size() - first_held_);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  std::memcpy(rest->data_, data_ + begin_, bytes);
  rest->capacity_ = rest->end_ = bytes;
  for (std::size_t i = first_held_; i < held_.size(); ++i) {
    rest->held_.push_back({held_[i].at - begin_, std::move(held_[i].item)});
  }
  rest->first_held_sent_ = first_held_sent_;
  rest->held_bytes_ = held_bytes_;
  clear();
  return rest;
}

// The bytes that were sent of a value and those that are left are the whole value, so it is enough that these are the
// same: the client gets what it was answered, whatever became of the item meanwhile.
bool response_buffer::park() noexcept {
  for (std::size_t i = first_held_; i < held_.size(); ++i) {
    held_value& held = held_[i];
    const item_view& item = held.item.view();
    const std::string_view left = item.value.substr(i == first_held_ ? first_held_sent_ : 0);
    try {
      held.parked = std::make_unique<parked_value>();
      held.parked->key = item.key;
    } catch (const std::bad_alloc&) {
      return false;
    }
    const XXH128_hash_t hash = XXH3_128bits(left.data(), left.size());
    held.parked->left_bytes = left.size();
    held.parked->left_hash[0] = hash.low64;
    held.parked->left_hash[1] = hash.high64;
    parked_bytes_ += sizeof(parked_value) + held.parked->key.capacity();
    held.item.reset();
  }
  return true;
}

bool response_buffer::unpark(cache& items) noexcept {
  meta_read unnoticed;
  unnoticed.unnoticed = true;
  read_options options;
  options.meta = &unnoticed;
  for (std::size_t i = first_held_; i < held_.size(); ++i) {
    held_value& held = held_[i];
    const std::size_t sent = i == first_held_ ? first_held_sent_ : 0;
    held.item = items.pin(held.parked->key, options);
    if (!held.item) return false;
    const std::string_view value = held.item.view().value;
    if (value.size() != sent + held.parked->left_bytes) return false;
    const XXH128_hash_t hash = XXH3_128bits(value.data() + sent, value.size() - sent);
    if (hash.low64 != held.parked->left_hash[0] || hash.high64 != held.parked->left_hash[1]) return false;
    held.parked.reset();
  }
  parked_bytes_ = 0;
  return true;
}

}  // namespace scoot::server
