// SPDX-License-Identifier: MIT
//
// The file that the recorder writes and `scoot-bench replay` reads: what a program asked of malloc, in order.
//
//     |SCOOTREC|version|record|record|...|end record|
//
//     version      varint, 1
//     record       varint: value << 3 | operation, and what the operation has besides
//     allocate     value = size. The block is the next object; objects count from 0
//     zeroed       the same, by calloc
//     aligned      the same; then a byte: log2 of the alignment
//     reallocate   value = objects so far - the block's object; then a varint: the new size. It stays the same object
//     free         value = objects so far - the block's object
//     end          value = records before this one; then a varint: objects. Nothing follows
//
// A varint has 7 bits a byte, the lowest first; all bytes but the last have the top bit set. Object numbers say which
// block is meant without saying where it was. A file without an end record is not whole.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench::trace_format {

inline constexpr char magic[8] = {'S', 'C', 'O', 'O', 'T', 'R', 'E', 'C'};
inline constexpr std::uint64_t version = 1;

enum class operation : unsigned char { allocate = 1, zeroed = 2, aligned = 3, reallocate = 4, free = 5, end = 6 };

inline constexpr unsigned operation_bits = 3;
inline constexpr std::size_t varint_bytes_max = 10;
inline constexpr std::size_t record_bytes_max = 2 * varint_bytes_max + 1;
inline constexpr unsigned alignment_log2_max = 40;

// Returns the end of what was written.
inline unsigned char* put_varint(unsigned char* at, std::uint64_t value) noexcept {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<unsigned char>(value | 0x80);
  *at++ = static_cast<unsigned char>(value);
  return at;
}

// Reads a varint and returns its end; null if it does not end before `end`, or says more than 64 bits.
inline const unsigned char* get_varint(const unsigned char* at, const unsigned char* end,
                                       std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; at != end && shift < 64; shift += 7) {
    const unsigned char byte = *at++;
    if (shift == 63 && byte > 1) return nullptr;
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return at;
  }
  return nullptr;
}

}  // namespace bench::trace_format
