// SPDX-License-Identifier: MIT
//
// page_drawing: how full each stretch of a page is, in characters: a digit from 0 to 9, or '.' where nothing is
// resident. Part of the heap module, for its snapshots and views of pages.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "heap/large_space.hpp"
#include "heap/page_info.hpp"
#include "heap/shelf.hpp"

namespace scoot {

class page_drawing {
 public:
  static constexpr std::size_t cells = 32;

  explicit page_drawing(std::size_t page_bytes) noexcept : cell_bytes_(page_bytes / cells) {}

  void add_live(std::size_t begin, std::size_t end) noexcept { add(begin, end, 1); }
  // All slots but the holes, of which there are few as a rule.
  void add(const shelf& s, const page_info* page) noexcept {
    if (page->missing != 0) note_missing(s.missing_map(page), std::size_t{1} << s.os_page_shift);
    const std::uint32_t fresh = s.fresh_of(page);
    add_live(page->start(), page->start() + std::size_t{fresh} * s.slot);
    if (page->holes == 0 && page->withdrawn == 0) return;
    for (std::uint32_t first = 0; first < fresh; first += 64) {
      for (std::uint64_t word = page->hole_map[first / 64]; word != 0; word &= word - 1) {
        const std::size_t at =
            page->start() + std::size_t{first + static_cast<std::uint32_t>(std::countr_zero(word))} * s.slot;
        add(at, at + s.slot, ~std::size_t{0});
      }
    }
  }
  void add(const large_page* in, std::size_t os_page) noexcept {
    if (in->page->missing != 0) note_missing(in->missing, os_page);
    for (std::uint32_t i = 0; i < in->count; ++i) {
      const large_block& b = in->blocks()[i];
      add_live(b.begin * large_space::granule, b.end() * large_space::granule);
    }
  }

  const char* draw(const page_info* page) noexcept {
    for (std::size_t cell = 0; cell < cells; ++cell) {
      const bool resident = (cell + 1) * cell_bytes_ > page->resident_begin &&
                            cell * cell_bytes_ < page->resident_end && missing_[cell] < cell_bytes_;
      text_[cell] = !resident ? '.' : static_cast<char>('0' + (live_[cell] * 9 + cell_bytes_ / 2) / cell_bytes_);
    }
    return text_;
  }

 private:
  void note_missing(const std::uint64_t* map, std::size_t os_page) noexcept {
    for (std::size_t at = 0; at < cells * cell_bytes_; at += os_page) {
      if (!base::test_bit(map, at / os_page)) continue;
      for (std::size_t cell = at / cell_bytes_; cell * cell_bytes_ < at + os_page; ++cell) {
        missing_[cell] += std::min(os_page, cell_bytes_);
      }
    }
  }
  // `times` is 1 or, modulo 2^64, -1.
  void add(std::size_t begin, std::size_t end, std::size_t times) noexcept {
    while (begin < end) {
      const std::size_t cell = begin / cell_bytes_;
      const std::size_t stop = std::min(end, (cell + 1) * cell_bytes_);
      live_[cell] += (stop - begin) * times;
      begin = stop;
    }
  }

  std::size_t cell_bytes_;
  std::size_t live_[cells] = {};
  std::size_t missing_[cells] = {};
  char text_[cells + 1] = {};
};

}  // namespace scoot
