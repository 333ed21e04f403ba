// SPDX-License-Identifier: MIT
//
// segments: a table that grows and shrinks at its end by one segment, and never copies what it has.
//
//     root -> directories -> segments      512 of each to the one above
//
// All are zero-filled blocks of the heap that do not move. Threads: the owner's lock. Failure: start and add answer
// false, and nothing changed but that a directory may be there already.
#pragma once

#include <cstddef>
#include <cstring>

#include "scoot/heap.hpp"

namespace scoot::caching {

template <class Segment>
class segments {
 public:
  // Blocks of `fixed` must have a segment's alignment and no mover.
  segments(heap& h, kind fixed) noexcept : heap_(h), fixed_(fixed) {}
  ~segments() {
    if (root_ == nullptr) return;
    keep(0);
    heap_.free(root_);
  }
  segments(const segments&) = delete;
  segments& operator=(const segments&) = delete;

  // The first segment. Call once, before anything else.
  [[nodiscard]] bool start() noexcept {
    root_ = make<root>();
    return root_ != nullptr && add();
  }

  // One more. Invalidates: addresses of movable blocks of the heap.
  [[nodiscard]] bool add() noexcept {
    directory*& d = root_->directories[count_ / entries];
    if (d == nullptr) {
      d = make<directory>();
      if (d == nullptr) return false;
    }
    auto* s = make<Segment>();
    if (s == nullptr) return false;
    d->segments[count_ % entries] = s;
    ++count_;
    return true;
  }

  // Gives back all but the first `wanted`, and the directories that these do not need.
  void keep(std::size_t wanted) noexcept {
    while (count_ > wanted) {
      --count_;
      directory*& d = root_->directories[count_ / entries];
      release(d->segments[count_ % entries]);
      if (count_ % entries == 0) release(d);
    }
  }

  [[nodiscard]] Segment& operator[](std::size_t number) const noexcept {
    return *root_->directories[number / entries]->segments[number % entries];
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }  // of all blocks

 private:
  static constexpr std::size_t entries = 512;
  struct directory {
    Segment* segments[entries];
  };
  struct root {
    directory* directories[entries];
  };

  template <class T>
  T* make() noexcept {
    void* block = heap_.allocate(fixed_, sizeof(T));
    if (block == nullptr) return nullptr;
    std::memset(block, 0, sizeof(T));
    bytes_ += sizeof(T);
    return static_cast<T*>(block);
  }
  template <class T>
  void release(T*& block) noexcept {
    heap_.free(block);
    block = nullptr;
    bytes_ -= sizeof(T);
  }

  heap& heap_;
  kind fixed_;
  root* root_ = nullptr;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace scoot::caching
