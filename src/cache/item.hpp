// SPDX-License-Identifier: MIT
//
// item: what one heap block of the cache holds, with no byte that the item does not need.
//
//     0        1            2       3
//    +--------+------------+-------+--------------+-------------+---------+--------------------+-------+-----+-------+
//    | shape  | key length | mark  | value length | notes, used | flags   | expiry, its mark   | cas   | key | value |
//    | 1      | 1          | 1     | 1, 2 or 4    | 0 or 1 + 4  | 0 or 4  | 0 or 4 + 1         | 0 or 8|     |       |
//    +--------+------------+-------+--------------+-------------+---------+--------------------+-------+-----+-------+
//
//    shape    7 6    5      4     3       2      1 0
//            +------+------+-----+-------+-------+-----------------------------------------------+
//            | uses | read | cas | expiry| flags | 0: 1 byte of length, 1: 2, 2: 4, 3: 4 and notes |
//            +------+------+-----+-------+-------+-----------------------------------------------+
//
// notes (stale, won, binary key) and the second of the last use are there once a meta command asked for them.
// uses is the eviction policy's counter of hits, read says whether the item was ever read. A mark tells a live name in
// a queue (first mark) or in the timing wheel (second) from one that an earlier life of the item left behind; see
// name_lists.hpp. Numbers are in the machine's byte order, unaligned.
//
// `item` is a plain pointer with accessors: it owns nothing and is invalid once the heap moves the block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "scoot/cache.hpp"

namespace scoot::caching {

// The fields of an item that are there only when needed.
struct item_fields {
  bool flags = false;
  bool expiry = false;
  bool cas = false;
  bool notes = false;
};

class item {
 public:
  static constexpr unsigned uses_max = 3;

  item() = default;
  explicit item(void* block) noexcept : bytes_(static_cast<unsigned char*>(block)) {}

  [[nodiscard]] static std::size_t bytes_for(std::size_t key_bytes, std::size_t value_bytes,
                                             item_fields fields) noexcept {
    return header_bytes(shape_of(value_bytes, fields)) + key_bytes + value_bytes;
  }

  // Writes the header and the key; the value is left to the caller. Numbers in optional fields are 0.
  void format(std::string_view key, std::size_t value_bytes, item_fields fields) noexcept {
    const unsigned shape = shape_of(value_bytes, fields);
    bytes_[0] = static_cast<unsigned char>(shape);
    bytes_[1] = static_cast<unsigned char>(key.size());
    bytes_[2] = 0;
    set_value_bytes(value_bytes);
    const std::size_t at = fields.notes ? notes_at : length_end(shape);
    std::memset(bytes_ + at, 0, header_bytes(shape) - at);
    std::memcpy(bytes_ + header_bytes(shape), key.data(), key.size());
  }

  [[nodiscard]] explicit operator bool() const noexcept { return bytes_ != nullptr; }
  [[nodiscard]] void* block() const noexcept { return bytes_; }

  [[nodiscard]] std::size_t key_bytes() const noexcept { return bytes_[1]; }
  [[nodiscard]] std::string_view key() const noexcept {
    return {reinterpret_cast<const char*>(bytes_) + header_bytes(bytes_[0]), key_bytes()};
  }
  [[nodiscard]] std::size_t value_bytes() const noexcept {
    switch (bytes_[0] & 3u) {
      case 0:
        return bytes_[3];
      case 1:
        return load<std::uint16_t>(3);
      default:
        return load<std::uint32_t>(3);
    }
  }
  // For a length that has_shape() says yes to.
  void set_value_bytes(std::size_t value_bytes) noexcept {
    switch (bytes_[0] & 3u) {
      case 0:
        bytes_[3] = static_cast<unsigned char>(value_bytes);
        break;
      case 1:
        store(3, static_cast<std::uint16_t>(value_bytes));
        break;
      default:
        store(3, static_cast<std::uint32_t>(value_bytes));
    }
  }
  [[nodiscard]] bool has_shape(std::size_t value_bytes, item_fields fields) const noexcept {
    return (bytes_[0] & 0x1fu) == shape_of(value_bytes, fields);
  }
  [[nodiscard]] char* value() const noexcept {
    return reinterpret_cast<char*>(bytes_) + header_bytes(bytes_[0]) + key_bytes();
  }
  [[nodiscard]] std::size_t header_bytes() const noexcept { return header_bytes(bytes_[0]); }
  [[nodiscard]] std::size_t bytes() const noexcept { return header_bytes(bytes_[0]) + key_bytes() + value_bytes(); }

  [[nodiscard]] item_fields fields() const noexcept {
    return {(bytes_[0] & has_flags) != 0, (bytes_[0] & has_expiry) != 0, (bytes_[0] & has_cas) != 0, has_notes_field()};
  }
  [[nodiscard]] std::uint32_t flags() const noexcept {
    return (bytes_[0] & has_flags) == 0 ? 0 : load<std::uint32_t>(length_end(bytes_[0]));
  }
  void set_flags(std::uint32_t flags) noexcept { store(length_end(bytes_[0]), flags); }

  static constexpr unsigned note_stale = 1, note_won = 2, note_binary_key = 4;
  [[nodiscard]] bool has_notes_field() const noexcept { return (bytes_[0] & 3u) == 3; }
  [[nodiscard]] unsigned notes() const noexcept { return has_notes_field() ? bytes_[notes_at] : 0u; }
  void set_notes(unsigned notes) noexcept { bytes_[notes_at] = static_cast<unsigned char>(notes); }
  [[nodiscard]] std::uint32_t used_at() const noexcept { return load<std::uint32_t>(notes_at + 1); }
  void set_used_at(std::uint32_t second) noexcept { store(notes_at + 1, second); }

  // Gets more fields, 0 as yet, in a block that has room for them: bytes_for() of all together.
  void add_fields(item_fields more) noexcept {
    const unsigned had = bytes_[0];
    const std::size_t key_and_value = key_bytes() + value_bytes(), length = value_bytes();
    const std::uint32_t flags_had = flags(), expires_at_had = expires_at();
    const std::uint64_t cas_had = cas();
    const unsigned notes_had = notes();
    const std::uint32_t used_at_had = has_notes_field() ? used_at() : 0;
    const std::uint8_t wheel_mark_had = has_expiry_field() ? wheel_mark() : std::uint8_t{0};
    const item_fields f = fields();
    const unsigned shape = (had & 0xe0u) | shape_of(length, {f.flags || more.flags, f.expiry || more.expiry,
                                                             f.cas || more.cas, f.notes || more.notes});
    std::memmove(bytes_ + header_bytes(shape), bytes_ + header_bytes(had), key_and_value);
    bytes_[0] = static_cast<unsigned char>(shape);
    set_value_bytes(length);
    if (has_notes_field()) set_notes(notes_had), set_used_at(used_at_had);
    if ((shape & has_flags) != 0) set_flags(flags_had);
    if (has_expiry_field()) set_expires_at(expires_at_had), set_wheel_mark(wheel_mark_had);
    if (has_cas_field()) set_cas(cas_had);
  }

  [[nodiscard]] bool has_expiry_field() const noexcept { return (bytes_[0] & has_expiry) != 0; }
  [[nodiscard]] std::uint32_t expires_at() const noexcept {
    return has_expiry_field() ? load<std::uint32_t>(expiry_at()) : expires_never;
  }
  void set_expires_at(std::uint32_t at) noexcept { store(expiry_at(), at); }
  [[nodiscard]] std::uint8_t wheel_mark() const noexcept { return bytes_[expiry_at() + 4]; }
  void set_wheel_mark(std::uint8_t mark) noexcept { bytes_[expiry_at() + 4] = mark; }

  [[nodiscard]] bool has_cas_field() const noexcept { return (bytes_[0] & has_cas) != 0; }
  [[nodiscard]] std::uint64_t cas() const noexcept { return has_cas_field() ? load<std::uint64_t>(cas_at()) : 0; }
  void set_cas(std::uint64_t unique) noexcept { store(cas_at(), unique); }

  [[nodiscard]] std::uint8_t mark() const noexcept { return bytes_[2]; }
  void set_mark(std::uint8_t mark) noexcept { bytes_[2] = mark; }

  [[nodiscard]] unsigned uses() const noexcept { return bytes_[0] >> 6; }
  void set_uses(unsigned uses) noexcept { bytes_[0] = static_cast<unsigned char>((bytes_[0] & 0x3fu) | uses << 6); }
  void count_use() noexcept {
    if (uses() != uses_max) set_uses(uses() + 1);
  }
  [[nodiscard]] bool was_read() const noexcept { return (bytes_[0] & read) != 0; }
  void note_read() noexcept {
    const unsigned shape = bytes_[0];
    const unsigned noted = (shape >> 6 == uses_max ? shape : shape + 0x40u) | read;
    if (noted != shape) bytes_[0] = static_cast<unsigned char>(noted);  // a hot item's cache line stays shared
  }
  void set_read(bool was) noexcept {
    bytes_[0] = static_cast<unsigned char>(was ? bytes_[0] | read : bytes_[0] & ~read);
  }

  [[nodiscard]] item_view view() const noexcept {
    item_view seen;
    seen.key = key();
    seen.value = {seen.key.data() + seen.key.size(), value_bytes()};
    if ((bytes_[0] & (has_flags | has_expiry | has_cas)) != 0) {
      seen.flags = flags();
      seen.expires_at = expires_at();
      seen.cas = cas();
    }
    return seen;
  }

 private:
  static constexpr unsigned has_flags = 4, has_expiry = 8, has_cas = 16, read = 32;
  static constexpr std::size_t notes_at = 7;

  [[nodiscard]] static unsigned shape_of(std::size_t value_bytes, item_fields fields) noexcept {
    const unsigned width = fields.notes ? 3 : value_bytes < 1u << 8 ? 0 : value_bytes < 1u << 16 ? 1 : 2;
    return width | (fields.flags ? has_flags : 0) | (fields.expiry ? has_expiry : 0) | (fields.cas ? has_cas : 0);
  }
  // Where the optional fields begin: 4, 5, 7 or 12.
  [[nodiscard]] static std::size_t length_end(unsigned shape) noexcept { return 4 + (0x8310u >> 4 * (shape & 3) & 15); }
  [[nodiscard]] static std::size_t header_bytes(unsigned shape) noexcept {
    return length_end(shape) + (shape & has_flags) + std::size_t{5} * (shape >> 3 & 1) + (shape >> 1 & 8);
  }
  [[nodiscard]] std::size_t expiry_at() const noexcept { return length_end(bytes_[0]) + (bytes_[0] & has_flags); }
  [[nodiscard]] std::size_t cas_at() const noexcept { return header_bytes(bytes_[0]) - 8; }

  template <class Number>
  [[nodiscard]] Number load(std::size_t at) const noexcept {
    Number number;
    std::memcpy(&number, bytes_ + at, sizeof number);
    return number;
  }
  template <class Number>
  void store(std::size_t at, Number number) noexcept {
    std::memcpy(bytes_ + at, &number, sizeof number);
  }

  unsigned char* bytes_ = nullptr;
};

}  // namespace scoot::caching
