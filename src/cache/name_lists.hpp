// SPDX-License-Identifier: MIT
//
// name_lists: first-in first-out lists of item names, 5 bytes each, in small movable chunks.
//
//     list: first -> [chunk: mark 7 | name name name ...] -> [chunk: mark 8 | name ...] <- last
//
// The eviction queues and the slots of the timing wheel are such lists. Nobody removes a name when its item goes or is
// filed elsewhere: the name becomes stale. So that a stale name is never taken for a live one, each chunk has a mark,
// 8 bits of a running number (of queues the lowest bit says which), and an item carries the mark of the chunk that
// holds its one valid name. A reader checks the two; one stale name in 128 may pass, and then only changes the order,
// because whoever files an item again gives it a new mark. tidy() rewrites chunks without their stale names.
//
// Chunks come from the heap and may be moved by it (move() is their mover). push never allocates: it takes a spare
// chunk, and the owner calls reserve() beforehand. Threads: the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cache/name.hpp"
#include "scoot/heap.hpp"

namespace scoot::caching {

class name_lists {
 public:
  static constexpr std::size_t names_per_chunk = 97;
  static constexpr unsigned spares_max = 4;

  name_lists(heap& h, kind fixed) noexcept : heap_(h), fixed_(fixed) {}
  ~name_lists();
  name_lists(const name_lists&) = delete;
  name_lists& operator=(const name_lists&) = delete;

  // Call once, before anything else. False if there is no memory. `chunks` is the kind whose mover calls move().
  [[nodiscard]] bool start(unsigned lists, kind chunks) noexcept;

  // Makes sure that `chunks` pushes can take a new chunk each. Invalidates: addresses of items, if it returns.
  [[nodiscard]] bool reserve(unsigned chunks) noexcept;
  [[nodiscard]] unsigned spares() const noexcept { return spares_; }

  // True if push(list) needs no spare chunk, or there is one.
  [[nodiscard]] bool can_push(unsigned list) const noexcept {
    return spares_ != 0 || (lists_[list].last != nullptr && lists_[list].last->end < names_per_chunk);
  }
  // Appends; returns the mark that makes the name valid. can_push(list) must be true.
  std::uint8_t push(unsigned list, name n) noexcept;

  struct popped {
    name of;
    std::uint8_t mark = 0;
    std::uint32_t since = 0;  // pass_time()'s second when its chunk was begun
  };
  // Appends a name that was popped before, with the mark that it had; of queues the mark must be of that list. False if
  // there is no memory. Invalidates: addresses of items.
  [[nodiscard]] bool push_again(unsigned list, const popped& p) noexcept;

  // Takes the oldest name of the list; false if it is empty.
  [[nodiscard]] bool pop(unsigned list, popped& out) noexcept;

  // The name `ahead` places behind the oldest, if it is in the same chunk: for prefetching.
  [[nodiscard]] bool peek(unsigned list, std::size_t ahead, popped& out) const noexcept;

  [[nodiscard]] bool empty(unsigned list) const noexcept { return lists_[list].first == nullptr; }

  // What second it is, told now and then; and for how many the oldest name has been in its list (0: there is none).
  void pass_time(std::uint32_t second) noexcept { second_ = second; }
  [[nodiscard]] std::uint32_t second() const noexcept { return second_; }
  [[nodiscard]] std::uint32_t age(unsigned list) const noexcept {
    return empty(list) ? 0 : second_ - lists_[list].first->since;
  }

  // Appends all of `from` to `to` in one step.
  void splice(unsigned from, unsigned to) noexcept;

  // Rewrites the chunk under a running cursor, filling it with what is valid in its successors, some two chunks of
  // names a call: keep(popped, new_mark) answers whether the name is valid, and then gives its item the new mark. keep
  // must not allocate. `first` and `end` limit the cursor to lists in [first, end). Returns the names dropped.
  template <class Keep>
  std::size_t tidy(unsigned first, unsigned end, Keep&& keep) noexcept;

  // Names in lists [0, 2), the eviction queues, and in all the others.
  [[nodiscard]] std::size_t queued() const noexcept { return queued_; }
  [[nodiscard]] std::size_t filed() const noexcept { return filed_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  // The mover's part: the chunk has been copied from `from` to `to`; what points to it is updated.
  void move(void* from, void* to) noexcept;

  void verify() const noexcept;  // for tests

 private:
  struct chunk {
    chunk* next;
    chunk* previous;
    std::uint32_t since;
    std::uint16_t list;  // right in the first and the last chunk of a list
    std::uint8_t begin;
    std::uint8_t end;
    std::uint8_t mark;
    unsigned char names[names_per_chunk][5];
  };
  static constexpr std::size_t chunk_bytes = 25 + names_per_chunk * 5;  // without the padding behind

  struct list_ends {
    chunk* first;
    chunk* last;
  };

  static void write(chunk& c, std::size_t at, name n) noexcept {
    const std::uint64_t bits = n.bits();
    for (unsigned i = 0; i < 5; ++i) c.names[at][i] = static_cast<unsigned char>(bits >> 8 * i);
  }
  [[nodiscard]] static name read(const chunk& c, std::size_t at) noexcept {
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < 5; ++i) bits |= std::uint64_t{c.names[at][i]} << 8 * i;
    return name::of_bits(bits);
  }
  [[nodiscard]] std::size_t& count_of(unsigned list) noexcept { return list < 2 ? queued_ : filed_; }
  [[nodiscard]] std::uint8_t new_mark(unsigned list) noexcept {
    ++marks_;
    return static_cast<std::uint8_t>(list < 2 ? marks_ << 1 | list : marks_);
  }
  chunk* append_chunk(unsigned list) noexcept;
  void unlink(unsigned list, chunk* c) noexcept;
  void give_back(chunk* c) noexcept;

  heap& heap_;
  kind fixed_;
  kind chunks_;
  list_ends* lists_ = nullptr;
  unsigned list_count_ = 0;
  chunk* spare_ = nullptr;
  unsigned spares_ = 0;
  unsigned marks_ = 0;
  std::uint32_t second_ = 0;
  chunk* cursors_[2] = {};  // where tidy goes on: in the queues, in the wheel
  bool filling_[2] = {};    // the chunk there is rewritten, but not full yet
  unsigned cursor_lists_[2] = {};
  std::size_t queued_ = 0;
  std::size_t filed_ = 0;
  std::size_t bytes_ = 0;
};

template <class Keep>
std::size_t name_lists::tidy(unsigned first, unsigned end, Keep&& keep) noexcept {
  const unsigned which = first < 2 ? 0 : 1;
  chunk*& cursor = cursors_[which];
  bool& filling = filling_[which];
  unsigned& list = cursor_lists_[which];
  if (cursor == nullptr) {
    filling = false;
    for (unsigned tried = 0; tried < end - first && cursor == nullptr; ++tried) {
      list = list < first || list + 1 >= end ? first : list + 1;
      cursor = lists_[list].first;
    }
    if (cursor == nullptr) return 0;
  }
  chunk* const c = cursor;
  std::size_t dropped = 0;
  const auto take = [&](const popped& p) {
    if (keep(p, c->mark)) {
      write(*c, c->end++, p.of);
    } else {
      ++dropped;
    }
  };
  if (!filling) {
    const std::size_t begin = c->begin, count = c->end;
    const std::uint8_t old_mark = c->mark;
    c->begin = c->end = 0;
    c->mark = new_mark(list);
    for (std::size_t at = begin; at < count; ++at) take({read(*c, at), old_mark});
  }
  std::size_t looked = 0;
  while (c->end < names_per_chunk && c->next != nullptr && looked < names_per_chunk) {
    chunk* const n = c->next;
    for (; n->begin < n->end && c->end < names_per_chunk; ++looked) take({read(*n, n->begin++), n->mark});
    if (n->begin == n->end) unlink(list, n);
  }
  count_of(list) -= dropped;
  filling = c->end < names_per_chunk && c->next != nullptr;
  if (!filling) cursor = c->next;
  if (c->begin == c->end) unlink(list, c);  // moves the cursor on
  return dropped;
}

}  // namespace scoot::caching
