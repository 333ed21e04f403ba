// SPDX-License-Identifier: MIT
#include "heap/metadata_arena.hpp"

#include <algorithm>
#include <new>

#include "base/bits.hpp"
#include "heap/budget.hpp"
#include "os/os.hpp"

namespace scoot {

metadata_arena::~metadata_arena() {
  for (std::size_t i = 0; i < chunk_count_; ++i) os::unreserve(chunks_[i].base, chunks_[i].bytes);
  budget_.uncharge(held_);
}

std::size_t metadata_arena::class_of(std::size_t bytes) noexcept {
  if (bytes <= 1024) return (bytes + 63) / 64 - (bytes != 0 ? 1 : 0);
  const unsigned exponent = base::log2_floor(bytes - 1);
  const std::size_t floor = std::size_t{1} << exponent;
  const std::size_t step = floor / 4;
  return 15 + (exponent - 10) * 4 + (bytes - floor + step - 1) / step;
}

std::size_t metadata_arena::class_bytes(std::size_t size_class) noexcept {
  if (size_class < 16) return (size_class + 1) * 64;
  const std::size_t floor = std::size_t{1024} << ((size_class - 16) / 4);
  return floor + ((size_class - 16) % 4 + 1) * (floor / 4);
}

void* metadata_arena::allocate(std::size_t bytes) noexcept {
  const std::size_t size_class = class_of(bytes);
  if (size_class >= class_count) return nullptr;
  const std::size_t rounded = class_bytes(size_class);
  free_node* node = free_[size_class];
  if (node == nullptr) return bump(rounded);
  if (rounded >= give_back_bytes_min) {
    const std::size_t absent = rounded - os::page_bytes();
    if (!budget_.charge(absent)) return nullptr;
    held_ += absent;
  }
  free_[size_class] = node->next;
  return node;
}

void metadata_arena::free(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  const std::size_t size_class = class_of(bytes);
  const std::size_t rounded = class_bytes(size_class);
  if (rounded >= give_back_bytes_min) {
    // A refusal by the OS leaves it resident and, by what allocate() assumes, uncharged: so it is not reused either.
    const std::size_t absent = rounded - os::page_bytes();
    if (!os::give_back(static_cast<char*>(memory) + os::page_bytes(), absent)) return;
    budget_.uncharge(absent);
    held_ -= absent;
  }
  free_[size_class] = ::new (memory) free_node{free_[size_class]};
}

bool metadata_arena::add_chunk(std::size_t bytes_min) noexcept {
  if (chunk_count_ == chunks_max) return false;
  for (std::size_t bytes = std::max(reserve_bytes_, bytes_min);; bytes = std::max(bytes / 4, bytes_min)) {
    bytes = base::round_up(bytes, os::page_bytes());
    if (char* got = os::reserve(bytes, os::page_bytes())) {
      chunks_[chunk_count_++] = {got, bytes};
      next_ = charged_ = usable_ = got;
      end_ = got + bytes;
      return true;
    }
    if (bytes <= base::round_up(bytes_min, os::page_bytes())) return false;
  }
}

void* metadata_arena::bump(std::size_t bytes) noexcept {
  // Memory of a page or more begins at an OS page, so that giving it back leaves its neighbours alone.
  const bool whole = bytes >= give_back_bytes_min;
  const auto begin_of = [&](char* at) {
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    return whole ? at + (base::round_up(address, os::page_bytes()) - address) : at;
  };
  if (next_ == nullptr || static_cast<std::size_t>(end_ - next_) < bytes + os::page_bytes()) {
    if (!add_chunk(bytes + os::page_bytes())) return nullptr;
  }
  char* begin = begin_of(next_);
  char* end = begin + bytes;
  if (end > usable_) {
    constexpr std::size_t step = std::size_t{256} << 10;
    const std::size_t wanted = base::round_up(static_cast<std::size_t>(end - usable_), step);
    const std::size_t grow = std::min(wanted, static_cast<std::size_t>(end_ - usable_));
    if (!os::make_usable(usable_, grow)) return nullptr;
    usable_ += grow;
  }
  if (end > charged_) {
    const std::size_t grow = base::round_up(static_cast<std::size_t>(end - charged_), os::page_bytes());
    if (!budget_.charge(grow)) return nullptr;
    charged_ += grow;
    held_ += grow;
  }
  next_ = end;
  return begin;
}

}  // namespace scoot
