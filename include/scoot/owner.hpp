// SPDX-License-Identifier: MIT
//
// owner: typed objects in a heap, by unique pointers that the heap keeps up to date when it moves the objects.
//
//     owner<T>                            block
//     | object address : 48 | heap : 16 | -> | back pointer : 8 bytes | T ... | tail, if any |
//        ^                                        |
//        +----------------------------------------+    the generated mover follows it and changes the address
//
//     scoot::typed_heap things(*heap);
//     scoot::owner<node> n = scoot::make<node>(things, 1, 2);    // empty if the budget is full
//     n->left = scoot::make<node>(things, 3, 4);                 // an owner may live in another block
//
// An owner is 8 bytes, and so is what a block carries besides its object (alignof(T) where that is more). Moving an
// owner rewrites the back pointer, so it touches the block. Where owners are does not matter: on the stack, in std
// containers, in blocks that move themselves; their own move constructor keeps both ends true.
//
// What can be moved is said by the concept `relocatable`; a mover is generated for it. Types that can be moved as bytes
// share one kind for each alignment; any other T has a kind of its own. A kind costs some 4 KiB, and a heap has room
// for heap::kinds_max; make answers empty when there is no room for another. Kinds go with their typed_heap.
//
// Addresses: what get(), * and -> answer is valid until the next call that may move blocks of that heap, whatever the
// type: make, make_array and make_with_tail; handle_table::make and insert; what makes a container grow or shrink its
// memory; allocation by a fixed_resource; heap::allocate, add_kind, compact, release and move_everything. A pin_guard
// makes it last, and while a T is made its arguments stay (see make). Owners stay valid always. A block whose
// constructor or destructor runs stays where it is; these may use the heap as they like, but a constructor must not
// free what its arguments lie in or point to. What a T does when the heap moves it (its move constructor and the
// destructor of the emptied object) must not use it. Ownership: destroying an owner destroys its object. All owners
// must be gone before their typed_heap, and that before its heap. Threads: as the heap, one at a time, moving owners
// included. Failure: an empty owner; nothing here throws but T's own constructors, and then nothing was allocated. An
// owner that was copied as bytes aborts with a message when a second one of them is moved or destroyed; one that was
// overwritten or forgotten (its memory given back without its destructor), in checked builds of the library, when its
// object moves, and in any at typed_heap::verify. Non-goals: owner<Base> of a Derived, const objects, sharing (see
// handle.hpp), types that cannot be moved (pmr.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "scoot/export.h"
#include "scoot/heap.hpp"

namespace scoot {

// --- What can be moved -----------------------------------------------------------------------------------------------

// A T that relocates itself, tail included: t.relocate_to(to) makes at `to` what t is, and ends t's life. `to` has the
// size and the alignment of the block that t is in. Must not use the heap.
template <class T>
concept self_relocating = requires(T& t, void* to) {
  { t.relocate_to(to) }
  noexcept;
};

// Whether a T is moved by copying its bytes and forgetting the old ones. Specialise it as true for other types for
// which that is right: many without pointers to themselves.
template <class T>
inline constexpr bool bytewise_relocatable = std::is_trivially_copyable_v<T> && !self_relocating<T>;

// A T that is followed by bytes of its own (make_with_tail) and knows how many. They are copied when the T moves.
template <class T>
concept has_tail = requires(const T& t) {
  { t.tail_bytes() }
  noexcept->std::same_as<std::size_t>;
};

// A T that the heap can move: as bytes, by itself, or by move constructor and destructor.
template <class T>
concept relocatable = std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T> &&
                      alignof(T) <= 4096 && std::is_nothrow_destructible_v<T> &&
                      (bytewise_relocatable<T> || self_relocating<T> || std::is_nothrow_move_constructible_v<T>);

// The name in statistics of the kind of T, where T has one of its own. Specialise it to tell kinds apart.
template <class T>
inline constexpr const char* kind_name = "object";

class typed_heap;
template <class T>
class owner;
namespace detail {
template <class T>
class followed_owner;
}  // namespace detail

// --- Internals -------------------------------------------------------------------------------------------------------

namespace detail {

// What an owner is. The upper 48 bits are the object's address, the lower 16 the number of its typed_heap; 0 is empty.
struct owner_word {
  std::uint64_t bits = 0;
};
inline constexpr unsigned heap_number_bits = 16;

// What a block begins with. The owner is null while the object is being made or destroyed: then the block stays.
struct alignas(8) block_header {
  owner_word* owner;
};
static_assert(sizeof(block_header) == 8);

// From the start of the block to its object.
template <class T>
inline constexpr std::size_t object_offset = std::max(sizeof(block_header), alignof(T));

// What a kind is made of. Its address is its identity.
struct type_record {
  const char* name;
  std::size_t alignment;
  mover move;
};

// The mover of all types that move as bytes.
SCOOT_EXPORT verdict move_bytes(void* context, void* from, void* to, std::size_t size) noexcept;

// The object of the block `from` is at `to` now: so is the header, and the owner knows.
SCOOT_EXPORT void finish_move(void* from, void* to) noexcept;

// Aborts: a block was reached by an owner that it does not know.
[[noreturn]] SCOOT_EXPORT void fail_unknown_owner(const owner_word* owner, const block_header* header) noexcept;

// Gives back the block of an object that is gone already.
SCOOT_EXPORT void release_block(std::uint64_t owner_bits, void* block) noexcept;

// The typed_heap of an owner that is not empty.
SCOOT_EXPORT typed_heap& heap_of(std::uint64_t owner_bits) noexcept;

// Ends the life of *from with its like beginning at `to`. The tail, if any, is not looked at.
template <class T>
void relocate_object(T* from, void* to) noexcept {
  if constexpr (bytewise_relocatable<T>) {
    std::memcpy(to, static_cast<const void*>(from), sizeof(T));
  } else if constexpr (self_relocating<T>) {
    from->relocate_to(to);
  } else {
    ::new (to) T(std::move(*from));
    from->~T();
  }
}

template <class T>
verdict move_object(void* /*context*/, void* from, void* to, std::size_t /*size*/) noexcept {
  if (static_cast<block_header*>(from)->owner == nullptr) return verdict::keep;
  T* object = std::launder(reinterpret_cast<T*>(static_cast<std::byte*>(from) + object_offset<T>));
  std::byte* target = static_cast<std::byte*>(to) + object_offset<T>;
  if constexpr (has_tail<T> && !self_relocating<T>) {
    const std::size_t tail = object->tail_bytes();
    if (tail != 0) std::memcpy(target + sizeof(T), reinterpret_cast<std::byte*>(object) + sizeof(T), tail);
  }
  relocate_object(object, target);
  finish_move(from, to);
  return verdict::moved;
}

template <class T>
inline constexpr type_record object_record = {kind_name<T>, std::max(sizeof(block_header), alignof(T)),
                                              &move_object<T>};

inline constexpr type_record bytes_records[] = {
    {"bytes", 8, &move_bytes},    {"bytes", 16, &move_bytes},   {"bytes", 32, &move_bytes},
    {"bytes", 64, &move_bytes},   {"bytes", 128, &move_bytes},  {"bytes", 256, &move_bytes},
    {"bytes", 512, &move_bytes},  {"bytes", 1024, &move_bytes}, {"bytes", 2048, &move_bytes},
    {"bytes", 4096, &move_bytes},
};

inline constexpr type_record fixed_record = {"fixed", 8, nullptr};  // blocks that are never moved

// An array with its length. The elements follow.
template <class T>
struct alignas(std::max(alignof(T), alignof(std::size_t))) array {
  std::size_t count = 0;

  array() noexcept = default;
  array(const array&) = delete;
  array& operator=(const array&) = delete;
  ~array() { std::destroy_n(data(), count); }

  [[nodiscard]] T* data() noexcept {
    return std::launder(reinterpret_cast<T*>(reinterpret_cast<std::byte*>(this) + sizeof(array)));
  }
  // The place of element i, alive or not.
  [[nodiscard]] void* place(std::size_t i) noexcept {
    return reinterpret_cast<std::byte*>(this) + sizeof(array) + i * sizeof(T);
  }
  void relocate_to(void* to) noexcept {
    auto* target = ::new (to) array;
    for (; target->count != count; ++target->count)
      relocate_object(data() + target->count, target->place(target->count));
  }
};

}  // namespace detail

template <class T>
inline constexpr bool bytewise_relocatable<detail::array<T>> = bytewise_relocatable<T>;

// --- The heap of typed objects ---------------------------------------------------------------------------------------

// What the typed objects of one heap share: the kinds of their types. One for each heap is enough; at most 65535 exist
// in a process at a time. Owners refer to it by number, so it must stay until the last of them is gone.
class SCOOT_EXPORT typed_heap {
 public:
  // Over the heap, which must outlive it and may be used for other blocks too. False if there were 65535 of them
  // already; then every make answers empty.
  explicit typed_heap(heap& blocks) noexcept;
  ~typed_heap();
  typed_heap(const typed_heap&) = delete;
  typed_heap& operator=(const typed_heap&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return number_ != 0; }

  // The heap that the blocks are in.
  [[nodiscard]] heap& blocks() const noexcept { return heap_; }

  // Blocks in use: one for each owner, and those of containers and handle tables.
  [[nodiscard]] std::size_t live() const noexcept { return live_; }

  // Checks the heap (heap::verify), and of every block made here that its owner is where the block believes and points
  // to it; aborts with a message that says which does not, and what is known of where its owner was. For tests. Call it
  // while no object is made or moved. Cost: that of heap::verify, and about a microsecond a block.
  void verify() const noexcept;

  // For the headers of this library: a block with its header empty, or null; its kind, or none; giving it back.
  [[nodiscard]] void* allocate_block(kind k, std::size_t bytes) noexcept;
  template <class T>
  [[nodiscard]] kind kind_of() noexcept;
  [[nodiscard]] kind kind_of_record(const detail::type_record& record) noexcept;
  void free_block(void* block) noexcept;
  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }

 private:
  struct entry {
    const detail::type_record* record;
    kind k;
  };
  static constexpr std::size_t bytes_kinds = std::size(detail::bytes_records);

  [[nodiscard]] entry* find(const detail::type_record& record) const noexcept;
  [[nodiscard]] bool make_entry_room() noexcept;

  heap& heap_;
  std::size_t live_ = 0;
  entry* entries_ = nullptr;  // open addressing, by the record's address; at most half full
  std::uint32_t capacity_ = 0;
  std::uint32_t count_ = 0;
  std::uint16_t number_ = 0;
  kind fixed_;
  kind bytes_[bytes_kinds];  // by logarithm of the alignment, from 8
};

template <class T>
kind typed_heap::kind_of() noexcept {
  if constexpr (bytewise_relocatable<T>) {
    constexpr std::size_t i = static_cast<std::size_t>(std::countr_zero(detail::object_offset<T>)) - 3;
    if (!bytes_[i]) [[unlikely]]
      bytes_[i] = kind_of_record(detail::bytes_records[i]);
    return bytes_[i];
  } else {
    return kind_of_record(detail::object_record<T>);
  }
}

// --- Owners ----------------------------------------------------------------------------------------------------------

// The only owner of a T in a heap, or empty. Made by make and make_with_tail.
template <class T>
class owner : private detail::owner_word {
 public:
  owner() noexcept = default;
  owner(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): as std::unique_ptr has it
  owner(owner&& other) noexcept { take(other); }
  owner& operator=(owner&& other) noexcept {
    if (this == &other) return *this;
    owner taken(std::move(other));  // which may be inside of what is destroyed now
    reset();
    take(taken);
    return *this;
  }
  ~owner() { reset(); }

  // The object, or null. For how long: see "Addresses" above.
  [[nodiscard]] T* get() const noexcept {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(bits >> detail::heap_number_bits));
  }
  [[nodiscard]] T& operator*() const noexcept { return *get(); }
  [[nodiscard]] T* operator->() const noexcept { return get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return bits != 0; }

  // Destroys the object, if there is one, and is empty. Moves nothing.
  void reset() noexcept {
    if (bits == 0) return;
    static_assert(relocatable<T>);
    const std::uint64_t old = std::exchange(bits, 0);
    T* object = reinterpret_cast<T*>(static_cast<std::uintptr_t>(old >> detail::heap_number_bits));
    header_for(object, this)->owner = nullptr;
    object->~T();
    detail::release_block(old, header_of(object));
  }

  // The heap that the object is in. Not of an empty owner.
  [[nodiscard]] typed_heap& home() const noexcept { return detail::heap_of(bits); }

  // For the headers of this library: takes charge of an object in a block of that heap.
  void adopt(typed_heap& home, T* object) noexcept {
    bits = std::uint64_t{reinterpret_cast<std::uintptr_t>(object)} << detail::heap_number_bits | home.number();
    header_of(object)->owner = this;
  }

  friend bool operator==(const owner& a, std::nullptr_t) noexcept { return a.bits == 0; }

 private:
  friend class detail::followed_owner<T>;

  static detail::block_header* header_of(T* object) noexcept {
    return reinterpret_cast<detail::block_header*>(reinterpret_cast<std::byte*>(object) - detail::object_offset<T>);
  }
  // The same, which must know this owner. Costs nothing beside the write that follows.
  static detail::block_header* header_for(T* object, const owner* known) noexcept {
    detail::block_header* header = header_of(object);
    if (header->owner != known) [[unlikely]]
      detail::fail_unknown_owner(known, header);
    return header;
  }
  void take(owner& other) noexcept {
    bits = std::exchange(other.bits, 0);
    if (bits != 0) header_for(get(), &other)->owner = this;
  }
};

namespace detail {

// Where an owner is after calls that may move blocks, if it may be inside of one. While this lives the owner points to
// a header in here, as if that were its block, and its move constructor writes down each new place of its own.
template <class T>
class followed_owner {
 public:
  explicit followed_owner(owner<T>& followed) noexcept : held_(std::move(followed)) {
    followed.bits = std::uint64_t{reinterpret_cast<std::uintptr_t>(stand_in_ + object_offset<T>)} << heap_number_bits;
    header()->owner = &followed;
  }
  followed_owner(const followed_owner&) = delete;
  followed_owner& operator=(const followed_owner&) = delete;
  ~followed_owner() { (void)end(); }

  // Ends it: the owner, with what it owned before, at its place now.
  owner<T>& end() noexcept {
    auto* now = static_cast<owner<T>*>(header()->owner);
    if (now != nullptr) {
      header()->owner = nullptr;
      now->bits = 0;
      *now = std::move(held_);
      now_ = now;
    }
    return *now_;
  }

 private:
  block_header* header() noexcept { return std::launder(reinterpret_cast<block_header*>(stand_in_)); }

  owner<T> held_;
  owner<T>* now_ = nullptr;
  alignas(object_offset<T>) std::byte stand_in_[object_offset<T>] = {};
};

// A block whose object is being made: given back unless it was finished. Its header is empty, so it stays in place.
class unfinished_block {
 public:
  unfinished_block(typed_heap& home, kind k, std::size_t bytes) noexcept : home_(home) {
    if (k) block_ = home.allocate_block(k, bytes);
  }
  unfinished_block(const unfinished_block&) = delete;
  unfinished_block& operator=(const unfinished_block&) = delete;
  ~unfinished_block() {
    if (block_ != nullptr) home_.free_block(block_);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return block_ != nullptr; }
  [[nodiscard]] void* at(std::size_t offset) const noexcept { return static_cast<std::byte*>(block_) + offset; }
  template <class T>
  [[nodiscard]] owner<T> finish(T* object) noexcept {
    block_ = nullptr;
    owner<T> result;
    result.adopt(home_, object);
    return result;
  }

 private:
  typed_heap& home_;
  void* block_ = nullptr;
};

// An array with room for n elements and none yet; empty if there is no memory.
template <class T>
owner<array<T>> make_empty_array(typed_heap& home, std::size_t n) noexcept {
  constexpr std::size_t fixed = object_offset<array<T>> + sizeof(array<T>);
  if (n > (std::numeric_limits<std::size_t>::max() - fixed) / sizeof(T)) return {};
  unfinished_block block(home, home.kind_of<array<T>>(), fixed + n * sizeof(T));
  if (!block) return {};
  return block.finish(::new (block.at(object_offset<array<T>>)) array<T>);
}

// Aggregates too, which clang 14 does not take in parentheses.
template <class T, class... Arguments>
T* construct(void* at, Arguments&&... arguments) {
  if constexpr (std::is_constructible_v<T, Arguments...>) {
    return ::new (at) T(std::forward<Arguments>(arguments)...);
  } else {
    return ::new (at) T{std::forward<Arguments>(arguments)...};
  }
}

// What an argument that is a pointer or a view points to.
template <class Argument>
const void* pointee_of(const Argument& argument) noexcept {
  if constexpr (std::is_nothrow_convertible_v<const Argument&, const void*>) {
    return argument;
  } else if constexpr (std::is_trivially_copyable_v<Argument> && requires {
                         argument.size();
                         { argument.data() } -> std::convertible_to<const void*>;
                       }) {
    return argument.data();
  } else {
    return nullptr;
  }
}

// Keeps the blocks of a heap in place that arguments lie in or point to, while another is allocated for what is made of
// them. Others cost a look at the address.
template <std::size_t Count>
class kept_arguments {
 public:
  explicit kept_arguments(heap& blocks) noexcept : heap_(blocks) {}
  kept_arguments(const kept_arguments&) = delete;
  kept_arguments& operator=(const kept_arguments&) = delete;
  ~kept_arguments() {
    while (count_ != 0) heap_.unpin(blocks_[--count_], "make");
  }
  // False if there was no memory to note a pin.
  template <class Argument>
  [[nodiscard]] bool keep(const Argument& argument) noexcept {
    if constexpr (std::is_function_v<Argument>) {
      return true;
    } else {
      return keep_at(const_cast<const void*>(static_cast<const volatile void*>(std::addressof(argument)))) &&
             keep_at(pointee_of(argument));
    }
  }

 private:
  bool keep_at(const void* address) noexcept {
    void* block = address == nullptr ? nullptr : heap_.block_of(address);
    if (block == nullptr) return true;
    if (!heap_.pin(block, "make")) return false;
    blocks_[count_++] = block;
    return true;
  }

  heap& heap_;
  void* blocks_[2 * Count];
  std::size_t count_ = 0;
};

// Arguments as they are, but numbers and the like that are given up by value: those can't end while a block is
// allocated, and cost nothing.
template <class Argument>
using argument_of = std::conditional_t<std::is_scalar_v<Argument>, Argument, Argument&&>;
template <class Argument>
inline constexpr bool is_kept = !std::is_arithmetic_v<Argument> && !std::is_enum_v<Argument>;

template <class T, class... Arguments>
owner<T> make_object_of(typed_heap& home, std::size_t tail_bytes, std::type_identity_t<Arguments>... arguments) {
  constexpr std::size_t fixed = object_offset<T> + sizeof(T);
  if (tail_bytes > std::numeric_limits<std::size_t>::max() - fixed) return {};
  [[maybe_unused]] kept_arguments<sizeof...(Arguments) + 1> kept(home.blocks());
  if (!((!is_kept<Arguments> || kept.keep(arguments)) && ...)) return {};
  unfinished_block block(home, home.kind_of<T>(), fixed + tail_bytes);
  if (!block) return {};
  return block.finish(construct<T>(block.at(object_offset<T>), static_cast<Arguments&&>(arguments)...));
}

template <class T, class... Arguments>
owner<T> make_object(typed_heap& home, std::size_t tail_bytes, Arguments&&... arguments) {
  return make_object_of<T, argument_of<Arguments>...>(home, tail_bytes, std::forward<Arguments>(arguments)...);
}

}  // namespace detail

// A T made from the arguments. Empty if there is no memory; then they are as before. They may lie in blocks of the same
// heap, as may what they point to if they are pointers or views (make<node>(things, std::move(old->child))): these
// blocks stay where they are until the T is made. Invalidates: addresses of other unpinned blocks of the heap.
template <relocatable T, class... Arguments>
[[nodiscard]] owner<T> make(typed_heap& home, Arguments&&... arguments) {
  return detail::make_object<T>(home, 0, std::forward<Arguments>(arguments)...);
}

// A T made from the arguments, with `tail_bytes` of memory behind it, contents undefined and as good as bytes: what T
// puts there it must take away in its destructor. Else as make.
template <relocatable T, class... Arguments>
requires(has_tail<T> || bytewise_relocatable<T> || self_relocating<T>)
    [[nodiscard]] owner<T> make_with_tail(typed_heap& home, std::size_t tail_bytes, Arguments&&... arguments) {
  return detail::make_object<T>(home, tail_bytes, std::forward<Arguments>(arguments)...);
}

// --- Arrays ----------------------------------------------------------------------------------------------------------

// The only owner of an array in a heap, or empty. The block carries the length, 8 bytes more. Made by make_array.
template <class T>
class owner<T[]> {
 public:
  owner() noexcept = default;
  owner(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): as std::unique_ptr has it
  explicit owner(owner<detail::array<T>>&& elements) noexcept : array_(std::move(elements)) {}  // for make_array

  // The elements, or null. For how long: see "Addresses" above.
  [[nodiscard]] T* get() const noexcept { return array_ ? array_->data() : nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return array_ ? array_->count : 0; }
  [[nodiscard]] T& operator[](std::size_t i) const noexcept { return array_->data()[i]; }
  [[nodiscard]] T* begin() const noexcept { return get(); }
  [[nodiscard]] T* end() const noexcept { return get() + size(); }
  [[nodiscard]] std::span<T> span() const noexcept { return {get(), size()}; }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(array_); }

  // Destroys the elements, if there are any, and is empty. Moves nothing.
  void reset() noexcept { array_.reset(); }

  // The heap that the array is in. Not of an empty owner.
  [[nodiscard]] typed_heap& home() const noexcept { return array_.home(); }

  friend bool operator==(const owner& a, std::nullptr_t) noexcept { return !a; }

 private:
  friend class pin_guard;

  owner<detail::array<T>> array_;
};

// n elements, value-initialised. Empty if there is no memory. Invalidates: addresses of unpinned blocks of the heap.
template <relocatable T>
[[nodiscard]] owner<T[]> make_array(typed_heap& home, std::size_t n) {
  using array = detail::array<T>;
  constexpr std::size_t fixed = detail::object_offset<array> + sizeof(array);
  if (n > (std::numeric_limits<std::size_t>::max() - fixed) / sizeof(T)) return {};
  detail::unfinished_block block(home, home.kind_of<array>(), fixed + n * sizeof(T));
  if (!block) return {};
  // If a constructor throws, what there is of the array goes before the block.
  struct destroyer {
    array* elements;
    ~destroyer() {
      if (elements != nullptr) elements->~array();
    }
  } unfinished{::new (block.at(detail::object_offset<array>)) array};
  array* elements = unfinished.elements;
  for (; elements->count != n; ++elements->count) ::new (elements->place(elements->count)) T();
  unfinished.elements = nullptr;
  return owner<T[]>(block.finish(elements));
}

// --- Pins ------------------------------------------------------------------------------------------------------------

// Keeps the object of an owner at its address while the guard lives. Pins nest. False if there was no memory to note
// the pin, or the owner is empty: then nothing is pinned. The owner may be moved meanwhile, but its object must not be
// destroyed before the guard. `holder` as in heap::pin. Cost: a step in the heap's table of pins, twice.
class [[nodiscard]] pin_guard {
 public:
  pin_guard() noexcept = default;
  // Pins an object.
  template <class T>
  explicit pin_guard(const owner<T>& pinned, const char* holder = "") noexcept {
    if (!pinned) return;
    pin(pinned.home().blocks(), reinterpret_cast<std::byte*>(pinned.get()) - detail::object_offset<T>, holder);
  }
  // Pins an array.
  template <class T>
  explicit pin_guard(const owner<T[]>& pinned, const char* holder = "") noexcept : pin_guard(pinned.array_, holder) {}
  pin_guard(pin_guard&& other) noexcept
      : heap_(other.heap_), block_(std::exchange(other.block_, nullptr)), holder_(other.holder_) {}
  pin_guard& operator=(pin_guard&& other) noexcept {
    if (this == &other) return *this;
    reset();
    heap_ = other.heap_;
    block_ = std::exchange(other.block_, nullptr);
    holder_ = other.holder_;
    return *this;
  }
  ~pin_guard() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return block_ != nullptr; }

  // Unpins early.
  void reset() noexcept {
    if (block_ != nullptr) heap_->unpin(std::exchange(block_, nullptr), holder_);
  }

 private:
  void pin(heap& blocks, void* block, const char* holder) noexcept {
    if (!blocks.pin(block, holder)) return;
    heap_ = &blocks;
    block_ = block;
    holder_ = holder;
  }

  heap* heap_ = nullptr;
  void* block_ = nullptr;
  const char* holder_ = "";
};

}  // namespace scoot
