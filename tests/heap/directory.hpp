// SPDX-License-Identifier: MIT
//
// directory: the simplest program that lets its blocks move. A table of pointers; each block carries its index in the
// table, by which the mover finds the pointer to change.
//
//     at[]: | p0 | p1 | null | p3 |...         block: |index|length|fill ...|
//
// Cheap enough for millions of blocks; heap_model checks more. A block needs room for its 8 bytes of header.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "scoot/heap.hpp"
#include "scoot/page_pool.hpp"

namespace scoot::testing {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitized = true;
#else
inline constexpr bool address_sanitized = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif

// Whether allocations move everything now and then: then no test can say what else they move. See scoot_test in
// cmake/targets.cmake.
inline bool moves_everything() { return std::getenv("SCOOT_MOVE_EVERYTHING") != nullptr; }

// Whether tests take their long forms (`./dev test --long`).
inline bool long_form() { return std::getenv("SCOOT_TEST_LONG") != nullptr; }

// Of this process; 0 where there is no /proc.
inline std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t lines = 0;
  for (std::string line; std::getline(maps, line);) ++lines;
  return lines;
}

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;

class directory {
 public:
  std::vector<std::byte*> at;
  std::size_t blocks_moved = 0;
  std::size_t bytes_moved = 0;
  std::size_t largest_moved = 0;
  std::size_t asked = 0;                              // times the mover was called
  std::function<verdict(std::uint32_t)> answer = {};  // what to say of a block; empty: moved

  [[nodiscard]] kind add_kind(heap& h, std::size_t alignment = 8) {
    kind_options o;
    o.name = "directory";
    o.alignment = alignment;
    o.move = &directory::move;
    o.context = this;
    return h.add_kind(o);
  }

  // The index of a new block, or -1 if the heap refused. `size` from 8 bytes.
  std::ptrdiff_t allocate(heap& h, kind k, std::size_t size) {
    void* block = h.allocate(k, size);
    if (block == nullptr) return -1;
    const std::uint32_t header[2] = {static_cast<std::uint32_t>(at.size()), static_cast<std::uint32_t>(size)};
    std::memset(block, fill_of(header[0]), size);
    std::memcpy(block, header, sizeof header);
    at.push_back(static_cast<std::byte*>(block));
    return header[0];
  }

  void free(heap& h, std::size_t index) {
    h.free(at[index]);
    at[index] = nullptr;
  }

  void free_all(heap& h) {
    for (std::size_t i = 0; i < at.size(); ++i) {
      if (at[i] != nullptr) free(h, i);
    }
    at.clear();
  }

  // Gives a live block another index, whose place must be empty.
  void rename(std::size_t from, std::size_t to) {
    std::uint32_t header[2];
    std::memcpy(header, at[from], sizeof header);
    header[0] = static_cast<std::uint32_t>(to);
    std::memset(at[from], fill_of(header[0]), header[1]);
    std::memcpy(at[from], header, sizeof header);
    at[to] = at[from];
    at[from] = nullptr;
  }

  // Whether the block holds what allocate wrote.
  [[nodiscard]] bool intact(std::size_t index) const {
    std::uint32_t header[2];
    std::memcpy(header, at[index], sizeof header);
    if (header[0] != index) return false;
    const std::size_t rest = header[1] - sizeof header;
    const std::byte* bytes = at[index] + sizeof header;
    const auto fill = static_cast<std::byte>(fill_of(header[0]));
    return rest == 0 || (bytes[0] == fill && std::memcmp(bytes, bytes + 1, rest - 1) == 0);
  }

  [[nodiscard]] bool all_intact() const {
    for (std::size_t i = 0; i < at.size(); ++i) {
      if (at[i] != nullptr && !intact(i)) return false;
    }
    return true;
  }

 private:
  static unsigned char fill_of(std::uint32_t index) { return static_cast<unsigned char>(index * 167 + 13); }

  static verdict move(void* context, void* from, void* to, std::size_t size) noexcept {
    auto* self = static_cast<directory*>(context);
    std::uint32_t index;
    std::memcpy(&index, from, sizeof index);
    ++self->asked;
    const verdict v = self->answer ? self->answer(index) : verdict::moved;
    if (v == verdict::drop) self->at[index] = nullptr;
    if (v != verdict::moved) return v;
    std::memcpy(to, from, size);
    self->at[index] = static_cast<std::byte*>(to);
    ++self->blocks_moved;
    self->bytes_moved += size;
    if (size > self->largest_moved) self->largest_moved = size;
    return v;
  }
};

// A pool, a heap and a kind whose blocks are in `blocks`.
class heap_fixture : public ::testing::Test {
 protected:
  void make(std::size_t budget_bytes, const heap_options& options = {}, std::size_t page_bytes = 0) {
    h.reset();
    pool = page_pool::create({budget_bytes, page_bytes, 0});
    ASSERT_NE(pool, nullptr);
    h = heap::create(*pool, options);
    ASSERT_NE(h, nullptr);
    k = blocks.add_kind(*h);
    ASSERT_TRUE(k);
  }

  // Fills until the heap refuses; returns the number of blocks got.
  std::size_t fill(std::size_t size) {
    std::size_t count = 0;
    while (blocks.allocate(*h, k, size) >= 0) ++count;
    return count;
  }

  // Frees all but every `keep`-th block.
  void thin_out(std::size_t keep) {
    for (std::size_t i = 0; i < blocks.at.size(); ++i) {
      if (i % keep != 0 && blocks.at[i] != nullptr) blocks.free(*h, i);
    }
  }

  directory blocks;
  std::unique_ptr<page_pool> pool;
  std::unique_ptr<heap> h;
  kind k;
};

}  // namespace scoot::testing
