// SPDX-License-Identifier: MIT
//
// handle: copyable references to objects in a heap that know when their object is gone.
//
//     handle<T>                          handle_table<T>
//     | index : 32 | generation : 32 | -> directory -> chunk | 64 owners | 64 generations | free mask |
//                                                                 \--> object
//
//     scoot::handle_table<session> sessions(things);
//     scoot::handle<session> h = sessions.make(name);        // null if the budget is full
//     if (session* s = sessions.get(h)) s->touch();          // null if it was destroyed meanwhile
//
// A handle is a value of 8 bytes that means nothing without its table. The table owns the objects, by owner<T>. Its
// slots come in chunks of 64, which are blocks of the heap: made when the lower ones are full, given back when they are
// empty (but for one), and moved like any other block. So a table costs 12.5 bytes for each slot in use, and some more
// for slots that are free in chunks that are not. The directory, 16 bytes for each chunk there ever was, is not moved
// and does not shrink. A table must not itself lie in a block that may move while it makes an object.
//
// Generations: destroying an object raises its slot's; a handle is stale when they differ. A slot is retired after 2^32
// objects, so a stale handle never refers to a later object.
//
// Addresses: as in owner.hpp, what get() answers is valid until the next call that may move blocks of the heap.
// Moving a chunk rewrites the back pointers of 64 blocks. Threads: as the heap, one at a time.
// Failure: null handles; nothing throws but T's constructors. Using a handle with another table than its own is not
// noticed.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "scoot/owner.hpp"

namespace scoot {

// Refers to an object of a handle_table<T>, or to none.
template <class T>
struct handle {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // 0: the null handle

  [[nodiscard]] explicit operator bool() const noexcept { return generation != 0; }
  friend bool operator==(const handle&, const handle&) noexcept = default;
};

// What a table is made with.
struct handle_table_options {
  std::uint32_t first_generation = 1;  // of each slot, above 0; for tests of what happens when generations run out
};

// A table of handles; see the top of this file.
template <class T>
class handle_table {
 public:
  // An empty table, which takes no memory before its first object. The typed_heap must outlive it.
  explicit handle_table(typed_heap& home, const handle_table_options& options = {}) noexcept
      : home_(&home), first_generation_(options.first_generation) {}
  handle_table(handle_table&& other) noexcept { take(other); }
  handle_table& operator=(handle_table&& other) noexcept {
    if (this == &other) return *this;
    handle_table taken(std::move(other));  // which may be inside of what is destroyed now
    release();
    take(taken);
    return *this;
  }
  ~handle_table() { release(); }

  // A new object, from arguments as make() takes them. Null if there is no memory.
  // Invalidates: addresses of unpinned blocks of the heap.
  template <class... Arguments>
  [[nodiscard]] handle<T> make(Arguments&&... arguments) {
    return insert(scoot::make<T>(*home_, std::forward<Arguments>(arguments)...));
  }

  // Takes charge of an object of the same heap. Null if the owner is empty or there is no memory; then the owner, which
  // may itself be in a block that moves, keeps what it has. Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] handle<T> insert(owner<T>&& object) noexcept;

  // The object, or null if there is none any more. Cost: two dependent loads besides the object.
  [[nodiscard]] T* get(handle<T> h) const noexcept {
    const owner<T>* slot = find(h);
    return slot == nullptr ? nullptr : slot->get();
  }

  // Destroys the object. False if there was none any more. Moves nothing.
  bool destroy(handle<T> h) noexcept { return static_cast<bool>(take(h)); }

  // The object's owner, of which the table knows nothing any more; empty if there was none. Moves nothing.
  [[nodiscard]] owner<T> take(handle<T> h) noexcept;

  // Keeps the object where it is while the guard lives. False as a pin_guard is, or if there is no object any more.
  [[nodiscard]] pin_guard pin(handle<T> h, const char* holder = "") const noexcept {
    const owner<T>* slot = find(h);
    return slot == nullptr ? pin_guard() : pin_guard(*slot, holder);
  }

  // Objects in the table.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Chunks of the table in memory, of chunk_slots slots each.
  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_; }
  static constexpr std::size_t chunk_slots = 64;

  // Destroys all objects and gives all chunks back. Moves nothing.
  void clear() noexcept;

 private:
  static constexpr std::uint32_t retired = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  struct chunk {
    owner<T> objects[chunk_slots];
    std::uint32_t generations[chunk_slots];
    std::uint64_t free = ~std::uint64_t{0};  // slots, retired ones left out
    std::uint64_t live = 0;
    std::uint32_t next = 0;  // slots are taken in turn, so that their generations last

    explicit chunk(std::uint32_t generation) noexcept { std::fill_n(generations, chunk_slots, generation); }
  };
  struct entry {
    owner<chunk> slots;
    std::uint32_t generation;  // of all slots of the next chunk made here
    bool room;                 // a slot is free, or the chunk is still to be made
  };

  void take(handle_table& other) noexcept {
    home_ = other.home_;
    first_generation_ = other.first_generation_;
    directory_ = std::exchange(other.directory_, nullptr);
    capacity_ = std::exchange(other.capacity_, 0);
    count_ = std::exchange(other.count_, 0);
    lowest_ = std::exchange(other.lowest_, 0);
    size_ = std::exchange(other.size_, 0);
    chunks_ = std::exchange(other.chunks_, 0);
    spare_ = std::exchange(other.spare_, none);
  }
  [[nodiscard]] owner<T>* find(handle<T> h) const noexcept {
    const std::size_t i = h.index / chunk_slots;
    const std::size_t slot = h.index % chunk_slots;
    if (i >= count_ || !directory_[i].slots) return nullptr;
    chunk& c = *directory_[i].slots;
    return c.generations[slot] == h.generation && (c.live >> slot & 1) != 0 ? &c.objects[slot] : nullptr;
  }
  // Whether entry lowest_ is one with a chunk that has a slot to spare.
  [[nodiscard]] bool has_room() const noexcept {
    return lowest_ != count_ && directory_[lowest_].room && directory_[lowest_].slots;
  }
  [[nodiscard]] bool add_entry() noexcept;
  [[nodiscard]] bool make_room() noexcept;
  void give_back(std::size_t i) noexcept;
  void release() noexcept;

  typed_heap* home_ = nullptr;
  entry* directory_ = nullptr;  // a block that is not moved, or null
  std::size_t capacity_ = 0;
  std::size_t count_ = 0;
  std::size_t lowest_ = 0;  // no entry below has room
  std::size_t size_ = 0;
  std::size_t chunks_ = 0;
  std::size_t spare_ = none;  // the one chunk that is empty
  std::uint32_t first_generation_ = 1;
};

template <class T>
bool handle_table<T>::add_entry() noexcept {
  if (count_ == capacity_) {
    const std::size_t capacity = std::max<std::size_t>(4, capacity_ * 2);
    if (capacity > retired / chunk_slots) return false;  // indices have 32 bits
    const kind fixed = home_->kind_of_record(detail::fixed_record);
    void* block = fixed ? home_->allocate_block(fixed, capacity * sizeof(entry)) : nullptr;
    if (block == nullptr) return false;
    auto* grown = static_cast<entry*>(block);
    for (std::size_t i = 0; i < count_; ++i) detail::relocate_object(directory_ + i, grown + i);
    if (directory_ != nullptr) home_->free_block(directory_);
    directory_ = grown;
    capacity_ = capacity;
  }
  ::new (directory_ + count_) entry{{}, first_generation_, true};
  ++count_;
  return true;
}

// Makes has_room() true.
template <class T>
bool handle_table<T>::make_room() noexcept {
  while (lowest_ != count_ && !directory_[lowest_].room) ++lowest_;
  if (lowest_ == count_ && !add_entry()) return false;
  if (directory_[lowest_].slots) return true;
  owner<chunk> made = scoot::make<chunk>(*home_, directory_[lowest_].generation);
  if (!made) return false;
  directory_[lowest_].slots = std::move(made);
  ++chunks_;
  return true;
}

template <class T>
handle<T> handle_table<T>::insert(owner<T>&& object) noexcept {
  if (!object) return {};
  owner<T>* from = &object;
  if (!has_room()) {
    detail::followed_owner<T> followed(object);
    const bool made = make_room();
    from = &followed.end();
    if (!made) return {};
  }
  entry& e = directory_[lowest_];
  chunk& c = *e.slots;
  const auto turn = static_cast<int>(c.next);
  const auto slot =
      (c.next + static_cast<unsigned>(std::countr_zero(std::rotr(c.free, turn)))) % static_cast<unsigned>(chunk_slots);
  c.objects[slot] = std::move(*from);
  c.free &= ~(std::uint64_t{1} << slot);
  c.live |= std::uint64_t{1} << slot;
  c.next = (slot + 1) % chunk_slots;
  e.room = c.free != 0;
  if (spare_ == lowest_) spare_ = none;
  ++size_;
  return {static_cast<std::uint32_t>(lowest_ * chunk_slots + slot), c.generations[slot]};
}

template <class T>
owner<T> handle_table<T>::take(handle<T> h) noexcept {
  owner<T>* slot = find(h);
  if (slot == nullptr) return {};
  owner<T> taken = std::move(*slot);
  const std::size_t i = h.index / chunk_slots;
  entry& e = directory_[i];
  chunk& c = *e.slots;
  const std::uint64_t bit = std::uint64_t{1} << h.index % chunk_slots;
  c.live &= ~bit;
  if (++c.generations[h.index % chunk_slots] != retired) {
    c.free |= bit;
    e.room = true;
    lowest_ = std::min(lowest_, i);
  }
  --size_;
  if (c.live == 0) {
    if (spare_ == none) {
      spare_ = i;
    } else {
      give_back(std::max(spare_, i));
      spare_ = std::min(spare_, i);
    }
  }
  return taken;
}

// An empty chunk's memory. The next one made here goes on with its generations.
template <class T>
void handle_table<T>::give_back(std::size_t i) noexcept {
  entry& e = directory_[i];
  e.generation = *std::max_element(e.slots->generations, e.slots->generations + chunk_slots);
  e.room = e.generation != retired;
  e.slots.reset();
  --chunks_;
}

template <class T>
void handle_table<T>::clear() noexcept {
  // Destructors of objects may destroy others meanwhile, by which chunks may go.
  for (std::size_t i = 0; i < count_; ++i) {
    for (std::size_t slot = 0; slot < chunk_slots && directory_[i].slots; ++slot) {
      const auto index = static_cast<std::uint32_t>(i * chunk_slots + slot);
      destroy({index, directory_[i].slots->generations[slot]});
    }
  }
  if (spare_ != none) give_back(std::exchange(spare_, none));
}

template <class T>
void handle_table<T>::release() noexcept {
  clear();
  std::destroy_n(directory_, count_);
  if (directory_ != nullptr) home_->free_block(directory_);
}

}  // namespace scoot

template <class T>
struct std::hash<scoot::handle<T>> {
  std::size_t operator()(scoot::handle<T> h) const noexcept {
    return std::hash<std::uint64_t>()(std::uint64_t{h.generation} << 32 | h.index);
  }
};
