// SPDX-License-Identifier: MIT
//
// containers: a vector and a hash map whose elements live in one movable block of a heap each.
//
//     heap_vector<T>                               heap_map<K, V>
//     | heap | owner | capacity |                  | heap | owner |
//               \-> | length | T T T ... |                  \-> | capacity, size | tags | K V, K V, ... |
//
// They are like their std counterparts but for three things. Growing can fail: such functions answer false, or a null
// pointer, and changed nothing. Nothing is copied behind the program's back: they move, and clone nothing. And
// addresses of elements are valid only until the next call that may move blocks of the heap, unless a pin() is held;
// that includes the growing of another container. Indices and keys stay valid. A container may itself be an element, a
// member of a block's object, or the content of an owner: then its own address, too, may end with a call that says so,
// its own calls included.
//
// Elements are moved as owner.hpp says of relocatable types. Arguments are taken by value or turned into an element
// before any block moves, so v.push_back(v[0]) is right. An element's constructor may use the heap, but not from
// emplace_back or resize of a container that may move itself: make the element first. Its move constructor may not.
// Ownership: a container destroys its elements; all containers must be gone before their typed_heap. A container that
// was moved from is empty and may be used again; a map then hashes with what moving left of its Hash and Equal, which
// is as good as before for those without state. Threads: as the heap, one at a time.
// A const container has const elements. Non-goals: allocators, iterators that survive a move, exceptions on misuse:
// indices must be in range.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "scoot/owner.hpp"

namespace scoot {

// What can be an element: relocatable, also on its way in and out, and without a tail. It may be incomplete where the
// container is declared.
template <class T>
concept heap_element = relocatable<T> && std::is_nothrow_move_constructible_v<T> && !has_tail<T>;

// --- heap_vector -----------------------------------------------------------------------------------------------------

// A vector that lives in the heap; see the top of this file.
template <class T>
class heap_vector {
 public:
  // Empty; takes no memory before its first element. The typed_heap must outlive the vector.
  explicit heap_vector(typed_heap& home) noexcept : home_(&home) {}
  heap_vector(heap_vector&& other) noexcept
      : home_(other.home_), elements_(std::move(other.elements_)), capacity_(std::exchange(other.capacity_, 0)) {}
  heap_vector& operator=(heap_vector&& other) noexcept {
    if (this == &other) return *this;
    heap_vector taken(std::move(other));  // which may be inside of what is destroyed now
    elements_ = std::move(taken.elements_);
    home_ = taken.home_;
    capacity_ = taken.capacity_;
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return elements_ ? elements_->count : 0; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] T* data() noexcept { return elements_ ? elements_->data() : nullptr; }
  [[nodiscard]] const T* data() const noexcept { return elements_ ? elements_->data() : nullptr; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return elements_->data()[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return elements_->data()[i]; }
  [[nodiscard]] T& front() noexcept { return (*this)[0]; }
  [[nodiscard]] const T& front() const noexcept { return (*this)[0]; }
  [[nodiscard]] T& back() noexcept { return (*this)[size() - 1]; }
  [[nodiscard]] const T& back() const noexcept { return (*this)[size() - 1]; }
  [[nodiscard]] T* begin() noexcept { return data(); }
  [[nodiscard]] T* end() noexcept { return data() + size(); }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size(); }

  // Keeps the elements where they are while the guard lives, until the vector grows or shrinks its memory, which it may
  // not do meanwhile. False as a pin_guard is, or if the vector has no memory.
  [[nodiscard]] pin_guard pin(const char* holder = "") const noexcept { return pin_guard(elements_, holder); }

  // Adds an element at the end. False if there is no memory; then the vector is as before, and the element is gone.
  // Cost: constant on average. Invalidates: addresses of unpinned blocks of the heap.
  template <class... Arguments>
  [[nodiscard]] bool emplace_back(Arguments&&... arguments) {
    return push_back(make_element(std::forward<Arguments>(arguments)...));
  }
  [[nodiscard]] bool push_back(T element) noexcept { return insert_last(this, element); }

  // Memory for one more element, got as push_back would get it. True: the next push_back, emplace_back or insert cannot
  // fail, so a move-only element is not lost to it. False: there is none, and the vector is as before.
  // Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] bool make_room() noexcept { return size() != capacity_ || grow() != nullptr; }

  // Adds copies of elements at the end, which may be its own, or in another block of the heap. False as push_back, and
  // none was added. Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] bool append(std::span<const T> elements) noexcept requires std::is_nothrow_copy_constructible_v<T> {
    const std::size_t count = size();
    const T* first = elements.data();
    const bool own = !empty() && !std::less<>()(first, data()) && std::less<>()(first, data() + count);
    const std::size_t offset = own ? static_cast<std::size_t>(first - data()) : 0;
    heap_vector* self = this;
    detail::kept_arguments<1> kept(home_->blocks());
    if (elements.size() > capacity_ - count) {
      if (!own && !kept.keep(elements)) return false;
      self = change_capacity(count + std::max(elements.size(), count / 2));
      if (self == nullptr) return false;
    }
    if (own) first = self->data() + offset;
    for (std::size_t i = 0; i < elements.size(); ++i, ++self->elements_->count) {
      ::new (self->elements_->place(count + i)) T(first[i]);
    }
    return true;
  }

  // Puts an element before the one at i, which is at most size(). Else as push_back. Cost: linear.
  [[nodiscard]] bool insert(std::size_t i, T element) noexcept {
    heap_vector* self = size() == capacity_ ? grow() : this;
    if (self == nullptr) return false;
    array& elements = *self->elements_;
    for (std::size_t to = elements.count; to > i; --to) {
      detail::relocate_object(elements.data() + to - 1, elements.place(to));
    }
    relocate_in(elements.place(i), element);
    ++elements.count;
    return true;
  }

  // Removes the element at i, or the last one. The memory is kept. Moves no block.
  void erase(std::size_t i) noexcept {
    [[maybe_unused]] T removed(std::move((*this)[i]));  // its destructor runs last, when the vector is whole again
    (*this)[i].~T();
    const std::size_t count = --elements_->count;
    for (; i < count; ++i) detail::relocate_object(elements_->data() + i + 1, elements_->place(i));
  }
  void pop_back() noexcept { erase(size() - 1); }

  // Removes the last element and answers it. The memory is kept. Moves no block.
  [[nodiscard]] T take_back() noexcept {
    T taken(std::move(back()));
    pop_back();
    return taken;
  }

  // Removes all elements. The memory is kept. Moves no block.
  void clear() noexcept {
    while (!empty()) pop_back();
  }

  // Makes the vector `count` elements long; new ones are value-initialised. False as push_back, with the elements that
  // there was memory for. Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] bool resize(std::size_t count) {
    heap_vector* self = count > capacity_ ? change_capacity(count) : this;
    if (self == nullptr) return false;
    while (self->size() > count) self->pop_back();
    while (self->size() < count) {
      if (!self->push_back(T())) return false;
    }
    return true;
  }

  // Memory for `count` elements in all. False if there is none; then the vector is as before.
  // Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    return count <= capacity_ || change_capacity(count) != nullptr;
  }

  // Gives back memory that the elements do not need. False if there was none for the smaller block; then the vector is
  // as before. Invalidates: addresses of unpinned blocks of the heap.
  bool shrink_to_fit() noexcept {
    if (size() == capacity_) return true;
    if (!empty()) return change_capacity(size()) != nullptr;
    elements_.reset();
    capacity_ = 0;
    return true;
  }

 private:
  using array = detail::array<T>;
  static constexpr std::size_t fixed_bytes = detail::object_offset<array> + sizeof(array);

  template <class... Arguments>
  static T make_element(Arguments&&... arguments) {
    if constexpr (std::is_constructible_v<T, Arguments...>) {
      return T(std::forward<Arguments>(arguments)...);
    } else {
      return T{std::forward<Arguments>(arguments)...};
    }
  }
  static void relocate_in(void* place, T& element) noexcept { ::new (place) T(std::move(element)); }

  static bool insert_last(heap_vector* self, T& element) noexcept {
    if (self->size() == self->capacity_ && (self = self->grow()) == nullptr) return false;
    array& elements = *self->elements_;
    relocate_in(elements.place(elements.count), element);
    ++elements.count;
    return true;
  }

  [[nodiscard]] heap_vector* grow() noexcept {
    const std::size_t count = size();
    return change_capacity(count + std::max<std::size_t>(count / 2, count < 4 ? 4 - count : 1));
  }

  // To at least `count`, which is no less than size(). Where the vector is then, or null if there was no memory.
  [[nodiscard]] heap_vector* change_capacity(std::size_t count) noexcept {
    static_assert(heap_element<T>);
    const std::ptrdiff_t offset = reinterpret_cast<std::byte*>(&elements_) - reinterpret_cast<std::byte*>(this);
    detail::followed_owner<array> followed(elements_);
    owner<array> made = detail::make_empty_array<T>(*home_, count);
    owner<array>& elements = followed.end();
    if (!made) return nullptr;
    auto* self = std::launder(reinterpret_cast<heap_vector*>(reinterpret_cast<std::byte*>(&elements) - offset));
    const std::size_t usable =
        self->home_->blocks().usable_size(reinterpret_cast<std::byte*>(made.get()) - detail::object_offset<array>);
    for (const std::size_t n = self->size(); made->count != n; ++made->count) {
      detail::relocate_object(elements->data() + made->count, made->place(made->count));
    }
    if (elements) elements->count = 0;
    elements = std::move(made);
    self->capacity_ = (usable - fixed_bytes) / sizeof(T);
    return self;
  }

  typed_heap* home_;
  owner<array> elements_;
  std::size_t capacity_ = 0;
};

// --- heap_map --------------------------------------------------------------------------------------------------------

namespace detail {

template <class K, class V>
struct map_entry {
  K key;
  V value;
};

// The block of a heap_map: `capacity` tags, one byte each (0: no entry here; else 128 and seven bits of the hash), and
// as many places for entries. An entry is at the place its hash says or behind it with no gap between, wrapping around.
template <class K, class V>
struct alignas(std::max(alignof(map_entry<K, V>), alignof(std::size_t))) map_table {
  using entry = map_entry<K, V>;

  std::size_t capacity;
  std::size_t size = 0;

  explicit map_table(std::size_t places) noexcept : capacity(places) { std::memset(tags(), 0, places); }
  map_table(const map_table&) = delete;
  map_table& operator=(const map_table&) = delete;
  ~map_table() {
    for (std::size_t i = 0; i < capacity; ++i) {
      if (tags()[i] != 0) at(i)->~entry();
    }
  }

  // Bytes behind this object.
  static constexpr std::size_t tail_of(std::size_t places) noexcept {
    return (places + alignof(map_table) - 1) / alignof(map_table) * alignof(map_table) + places * sizeof(entry);
  }
  [[nodiscard]] std::uint8_t* tags() noexcept { return reinterpret_cast<std::uint8_t*>(this) + sizeof(map_table); }
  [[nodiscard]] void* place(std::size_t i) noexcept {
    return tags() + (capacity + alignof(map_table) - 1) / alignof(map_table) * alignof(map_table) + i * sizeof(entry);
  }
  [[nodiscard]] entry* at(std::size_t i) noexcept { return std::launder(static_cast<entry*>(place(i))); }
  [[nodiscard]] std::size_t after(std::size_t i) const noexcept { return i + 1 == capacity ? 0 : i + 1; }

  void relocate_entry(std::size_t i, void* to) noexcept {
    entry* from = at(i);
    auto* target = static_cast<entry*>(to);
    relocate_object(&from->key, &target->key);
    relocate_object(&from->value, &target->value);
  }
  void relocate_to(void* to) noexcept {
    auto* target = ::new (to) map_table(capacity);
    for (std::size_t i = 0; i < capacity; ++i) {
      if (tags()[i] == 0) continue;
      target->tags()[i] = tags()[i];
      relocate_entry(i, target->place(i));
    }
    target->size = size;
  }
};

}  // namespace detail

template <class K, class V>
inline constexpr bool bytewise_relocatable<detail::map_table<K, V>> = bytewise_relocatable<K>&& bytewise_relocatable<V>;

// Open addressing with linear probing, at most 7/8 full, growing by halves; erasing closes the gap, so there are no
// tombstones. Hash and Equal must not throw or use the heap.
template <class K, class V, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class heap_map {
 public:
  using entry = detail::map_entry<K, V>;

  // Walks the entries, in no order. Valid until the map changes or its block moves (see pin).
  template <class Entry>
  class basic_iterator {
   public:
    using value_type = entry;
    using difference_type = std::ptrdiff_t;

    basic_iterator() noexcept = default;
    // The key must not be changed in a way that changes its hash.
    [[nodiscard]] Entry& operator*() const noexcept { return *table_->at(i_); }
    [[nodiscard]] Entry* operator->() const noexcept { return table_->at(i_); }
    basic_iterator& operator++() noexcept {
      ++i_;
      skip();
      return *this;
    }
    basic_iterator operator++(int) noexcept {
      basic_iterator old = *this;
      ++*this;
      return old;
    }
    friend bool operator==(const basic_iterator&, const basic_iterator&) noexcept = default;

   private:
    friend class heap_map;
    basic_iterator(detail::map_table<K, V>* table, std::size_t i) noexcept : table_(table), i_(i) { skip(); }
    void skip() noexcept {
      while (table_ != nullptr && i_ < table_->capacity && table_->tags()[i_] == 0) ++i_;
    }

    detail::map_table<K, V>* table_ = nullptr;
    std::size_t i_ = 0;
  };

  using iterator = basic_iterator<entry>;
  using const_iterator = basic_iterator<const entry>;

  // What insert answers: where the value is, or null if there was no memory, and whether it is new.
  struct inserted {
    V* value;
    bool is_new;
  };

  // Empty; takes no memory before its first entry. The typed_heap must outlive the map.
  explicit heap_map(typed_heap& home, Hash hash = Hash(), Equal equal = Equal()) noexcept
      : home_(&home), hash_(std::move(hash)), equal_(std::move(equal)) {}
  heap_map(heap_map&&) noexcept = default;
  heap_map& operator=(heap_map&& other) noexcept {
    if (this == &other) return *this;
    heap_map taken(std::move(other));  // which may be inside of what is destroyed now
    table_ = std::move(taken.table_);
    home_ = taken.home_;
    hash_ = std::move(taken.hash_);
    equal_ = std::move(taken.equal_);
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return table_ ? table_->size : 0; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  // Places for entries; the map grows when 7/8 of them are taken.
  [[nodiscard]] std::size_t capacity() const noexcept { return table_ ? table_->capacity : 0; }
  [[nodiscard]] iterator begin() noexcept { return iterator(table_.get(), 0); }
  [[nodiscard]] iterator end() noexcept { return iterator(table_.get(), capacity()); }
  [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(table_.get(), 0); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(table_.get(), capacity()); }

  // Keeps the entries where they are while the guard lives; the map may not change meanwhile but for its values. False
  // as a pin_guard is, or if the map has no memory.
  [[nodiscard]] pin_guard pin(const char* holder = "") const noexcept { return pin_guard(table_, holder); }

  // The value of a key, or null. Takes whatever Hash and Equal take. Moves nothing.
  template <class Key = K>
  [[nodiscard]] V* find(const Key& key) noexcept {
    const std::size_t i = index_of(key);
    return i == absent ? nullptr : &table_->at(i)->value;
  }
  template <class Key = K>
  [[nodiscard]] const V* find(const Key& key) const noexcept {
    const std::size_t i = index_of(key);
    return i == absent ? nullptr : &table_->at(i)->value;
  }
  template <class Key = K>
  [[nodiscard]] bool contains(const Key& key) const noexcept {
    return index_of(key) != absent;
  }

  // Memory for one more entry, got as insert would get it. True: the next insert cannot fail, so a move-only value is
  // not lost to it. False: there is none, and the map is as before. Invalidates: addresses of unpinned blocks of the
  // heap.
  [[nodiscard]] bool make_room() noexcept { return size() != room_in(capacity()) || grow() != nullptr; }

  // Adds an entry unless the key has one. Without memory the map is as before, and key and value are gone (see
  // make_room). Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] inserted insert(K key, V value) noexcept {
    const std::size_t known = index_of(key);
    if (known != absent) return {&table_->at(known)->value, false};
    return add(key, value);
  }

  // Adds an entry, or replaces the value of the one there is. Else as insert.
  [[nodiscard]] inserted insert_or_assign(K key, V value) noexcept {
    std::size_t known = index_of(key);
    if (known == absent) return add(key, value);
    [[maybe_unused]] V old(std::move(table_->at(known)->value));  // destroyed last, when the map is whole again
    table_->at(known)->value.~V();
    V* place = ::new (&table_->at(known)->value) V(std::move(value));
    return {place, false};
  }

  // Removes the entry of a key. False if there is none. The memory is kept. Moves no block.
  template <class Key = K>
  bool erase(const Key& key) noexcept {
    const std::size_t i = index_of(key);
    if (i == absent) return false;
    remove(i);
    return true;
  }

  // Removes an entry and answers the next one. An entry met before may come again, as one that wraps around moves into
  // the gap. The memory is kept. Moves no block.
  iterator erase(iterator at) noexcept {
    remove(at.i_);
    return iterator(table_.get(), at.i_);  // another entry may be here now
  }

  // Removes the entry of a key and answers its value; nothing if there is none. Moves no block.
  template <class Key = K>
  [[nodiscard]] std::optional<V> take(const Key& key) noexcept {
    const std::size_t i = index_of(key);
    if (i == absent) return std::nullopt;
    std::optional<V> taken(std::move(table_->at(i)->value));
    remove(i);
    return taken;
  }

  // Removes all entries of which doomed(entry&) is true, and returns how many. It must not use the map, and may be
  // asked of an entry twice. The memory is kept. Moves no block.
  template <class Predicate>
  std::size_t erase_if(Predicate doomed) noexcept {
    const std::size_t before = size();
    for (std::size_t i = 0; i < capacity();) {
      if (table_->tags()[i] != 0 && doomed(*table_->at(i))) {
        remove(i);  // another entry may be here now
      } else {
        ++i;
      }
    }
    return before - size();
  }

  // Removes all entries and gives the memory back. Moves nothing.
  void clear() noexcept { table_.reset(); }

  // Memory for `count` entries in all. False if there is none; then the map is as before.
  // Invalidates: addresses of unpinned blocks of the heap.
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    return count <= room_in(capacity()) || change_capacity(places_for(count)) != nullptr;
  }

  // Gives back memory that the entries do not need. False if there was none for the smaller block; then the map is as
  // before. Invalidates: addresses of unpinned blocks of the heap.
  bool shrink_to_fit() noexcept {
    if (empty()) {
      clear();
      return true;
    }
    return places_for(size()) >= capacity() || change_capacity(places_for(size())) != nullptr;
  }

 private:
  using table = detail::map_table<K, V>;
  static constexpr std::size_t absent = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t places_min = 8;
  static constexpr std::size_t places_max = absent / 4 / (sizeof(entry) + 1);

  // So many entries go into so many places: there is always one free, at which a search ends.
  static constexpr std::size_t room_in(std::size_t places) noexcept { return places - (places + 7) / 8; }
  static constexpr std::size_t places_for(std::size_t count) noexcept {
    if (count > places_max / 2) return places_max + 1;
    return std::max(places_min, count + count / 7 + 1);
  }

  // std::hash leaves numbers as they are: spread them.
  template <class Key>
  [[nodiscard]] std::uint64_t hash_of(const Key& key) const noexcept {
    std::uint64_t h = static_cast<std::uint64_t>(hash_(key)) * 0x9e3779b97f4a7c15U;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93U;
    return h ^ h >> 32;
  }
  static std::uint8_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint8_t>(0x80 | (hash & 0x7f)); }
  // The hash's upper half as a part of the capacity; up to 2^32 places, beyond which entries crowd together.
  static std::size_t home_of(std::uint64_t hash, std::size_t places) noexcept {
    return static_cast<std::size_t>((hash >> 32) * std::uint64_t{places} >> 32);
  }

  template <class Key>
  [[nodiscard]] std::size_t index_of(const Key& key) const noexcept {
    if (!table_) return absent;
    table& t = *table_;
    const std::uint64_t hash = hash_of(key);
    const std::uint8_t tag = tag_of(hash);
    for (std::size_t i = home_of(hash, t.capacity); t.tags()[i] != 0; i = t.after(i)) {
      if (t.tags()[i] == tag && equal_(t.at(i)->key, key)) return i;
    }
    return absent;
  }

  // The place for a new entry, marked as taken.
  static std::size_t take_place(table& t, std::uint64_t hash) noexcept {
    std::size_t i = home_of(hash, t.capacity);
    while (t.tags()[i] != 0) i = t.after(i);
    t.tags()[i] = tag_of(hash);
    ++t.size;
    return i;
  }

  [[nodiscard]] inserted add(K& key, V& value) noexcept {
    heap_map* self = this;
    if (size() == room_in(capacity()) && (self = grow()) == nullptr) return {nullptr, false};
    const std::size_t i = take_place(*self->table_, self->hash_of(key));
    auto* place = static_cast<entry*>(self->table_->place(i));
    ::new (static_cast<void*>(&place->key)) K(std::move(key));
    ::new (static_cast<void*>(&place->value)) V(std::move(value));
    return {&place->value, true};
  }

  [[nodiscard]] heap_map* grow() noexcept {
    return change_capacity(places_for(size() + std::max<std::size_t>(size() / 2, 1)));
  }

  // Where the map is then, or null if there was no memory.
  [[nodiscard]] heap_map* change_capacity(std::size_t places) noexcept {
    static_assert(heap_element<K> && heap_element<V>);
    if (places > places_max) return nullptr;
    const std::ptrdiff_t offset = reinterpret_cast<std::byte*>(&table_) - reinterpret_cast<std::byte*>(this);
    detail::followed_owner<table> followed(table_);
    owner<table> made = detail::make_object<table>(*home_, table::tail_of(places), places);
    owner<table>& own = followed.end();
    if (!made) return nullptr;
    auto* self = std::launder(reinterpret_cast<heap_map*>(reinterpret_cast<std::byte*>(&own) - offset));
    if (own) {
      table& old = *own;
      for (std::size_t i = 0; i < old.capacity; ++i) {
        if (old.tags()[i] == 0) continue;
        const std::size_t to = take_place(*made, self->hash_of(old.at(i)->key));
        old.relocate_entry(i, made->place(to));
        old.tags()[i] = 0;
      }
    }
    own = std::move(made);
    return self;
  }

  void remove(std::size_t i) noexcept {
    table& t = *table_;
    [[maybe_unused]] entry removed{std::move(t.at(i)->key),
                                   std::move(t.at(i)->value)};  // destroyed last, when the map is whole again
    t.at(i)->~entry();
    t.tags()[i] = 0;
    --t.size;
    // Close the gap: what lies behind it, up to the next, moves in if its search would pass here.
    for (std::size_t next = t.after(i); t.tags()[next] != 0; next = t.after(next)) {
      const std::size_t home = home_of(hash_of(t.at(next)->key), t.capacity);
      const bool passes = i <= next ? home <= i || home > next : home <= i && home > next;
      if (!passes) continue;
      t.relocate_entry(next, t.place(i));
      t.tags()[i] = std::exchange(t.tags()[next], std::uint8_t{0});
      i = next;
    }
  }

  typed_heap* home_;
  owner<table> table_;
  [[no_unique_address]] Hash hash_;
  [[no_unique_address]] Equal equal_;
};

}  // namespace scoot
