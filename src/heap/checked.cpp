// SPDX-License-Identifier: MIT
//
// What builds with checks do with the bytes of blocks, and around a mover. Called only where SCOOT_CHECK_LEVEL says so.
//
//     level 1   the mover's answer is one, it does not enter its own heap; moves are remembered (move_history)
//     level 2   dead memory is filled with 0xdd, and hidden from the program under AddressSanitizer; a mover that says
//               it moved a block has written something; and, asked for by the environment when a heap is created,
//                   SCOOT_REDZONE=N           each block ends in N more bytes, which must stay as they are
//                   SCOOT_MOVE_EVERYTHING=N   about every N allocations each block that may move moves first
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/bits.hpp"
#include "base/check.hpp"
#include "base/shadow.hpp"
#include "heap/heap_impl.hpp"

namespace scoot {

namespace {

constexpr unsigned char unwritten = 0xcb;  // fills the place a block is to move to
constexpr unsigned char red = 0xfd;
constexpr std::size_t redzone_max = 256;

std::size_t number_from_environment(const char* name) noexcept {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : static_cast<std::size_t>(std::strtoul(text, nullptr, 10));
}

// The first byte that is not `fill`, or `bytes`.
std::size_t first_other(const void* memory, std::size_t bytes, unsigned char fill) noexcept {
  const auto* at = static_cast<const unsigned char*>(memory);
  return static_cast<std::size_t>(std::find_if(at, at + bytes, [=](unsigned char b) { return b != fill; }) - at);
}

}  // namespace

void heap_impl::read_environment() noexcept {
  redzone_ = std::min(base::round_up(number_from_environment("SCOOT_REDZONE"), 8), redzone_max);
  move_everything_every_ = number_from_environment("SCOOT_MOVE_EVERYTHING");
}

// --- Life and death of a block ---------------------------------------------------------------------------------------

void* heap_impl::allocate_checked(kind k, std::size_t size) noexcept {
  check_outside_callback("allocate");
  SCOOT_CHECK(1, has_kind(k.index), "allocate: kind %u is not of this heap", unsigned{k.index});
  if constexpr (SCOOT_CHECK_LEVEL >= 2) move_everything_now_and_then();
  begin_call(move_cause::allocation);
  if (size > ~std::size_t{0} - redzone()) {
    ++failures_;
    return nullptr;
  }
  void* block = allocate_block(k, size + redzone());
  if constexpr (SCOOT_CHECK_LEVEL >= 2) {
    if (block != nullptr) {
      const std::size_t bytes = block_bytes(block);
      base::show(block, bytes);
      place_redzone(block, bytes);
    }
  }
  return block;
}

// The cost of moving everything is bounded by that of allocating: a move or so an allocation.
void heap_impl::move_everything_now_and_then() noexcept {
  if (move_everything_every_ == 0) return;
  const std::uint64_t every = std::max<std::uint64_t>(move_everything_every_, (allocations_ - frees_) / 4);
  if (++since_everything_ < every) return;
  since_everything_ = 0;
  move_all();
}

void heap_impl::bury(void* block, std::size_t bytes, const char* what) const noexcept {
  check_redzone(block, bytes, what);
  make_dead(block, bytes);
}

void heap_impl::make_dead(void* memory, std::size_t bytes) noexcept {
  base::show(memory, bytes);
  std::memset(memory, poison, bytes);
  base::hide(memory, bytes);
}

void heap_impl::check_dead(const void* memory, std::size_t bytes) const noexcept {
  if constexpr (base::has_shadow) return;  // no write gets this far
  const std::size_t at = first_other(memory, bytes, poison);
  if (at == bytes) return;
  base::fail(__FILE__, __LINE__, "verify: byte %zu was written after the block was freed or had moved: %s", at,
             describe(static_cast<const char*>(memory) + at).text);
}

void heap_impl::place_redzone(void* block, std::size_t bytes) const noexcept {
  if (redzone_ == 0) return;
  char* zone = static_cast<char*>(block) + bytes - redzone_;
  std::memset(zone, red, redzone_);
  base::hide(zone, redzone_);
}

void heap_impl::check_redzone(const void* block, std::size_t bytes, const char* what) const noexcept {
  if (redzone_ == 0) return;
  const char* zone = static_cast<const char*>(block) + bytes - redzone_;
  base::show(zone, redzone_);
  const std::size_t at = first_other(zone, redzone_, red);
  SCOOT_CHECK(2, at == redzone_, "%s(%p): %zu bytes behind its %zu usable ones were written: %s", what, block, at + 1,
              bytes - redzone_, describe(block).text);
  base::hide(zone, redzone_);
}

// --- Around a mover --------------------------------------------------------------------------------------------------

void heap_impl::check_outside_callback(const char* what) const noexcept {
  if (visitor_ != nullptr) {
    base::fail(__FILE__, __LINE__, "%s called by a %s in the heap that it is told of", what, visitor_);
  }
  if (!in_mover_) return;
  base::fail(__FILE__, __LINE__, "%s called by the mover of kind '%s' in its own heap, while it moves %p to %p", what,
             kind_infos_[under_way_.kind].options.name, static_cast<const void*>(under_way_.from),
             static_cast<const void*>(under_way_.to));
}

void heap_impl::begin_call(move_cause cause) noexcept {
  under_way_.cause = cause;
  call_has_number_ = false;
}

void heap_impl::before_move(std::uint8_t kind_index, void* from, void* to, std::size_t size,
                            std::size_t to_size) noexcept {
  under_way_.from = static_cast<char*>(from);
  under_way_.to = static_cast<char*>(to);
  under_way_.bytes = size;
  under_way_.kind = kind_index;
  if constexpr (SCOOT_CHECK_LEVEL >= 2) {
    check_redzone(from, size, "move");
    base::show(to, to_size);
    std::memset(to, unwritten, to_size);
    place_redzone(to, to_size);
  }
}

void heap_impl::after_move(verdict answer, std::size_t to_size) noexcept {
  const char* name = kind_infos_[under_way_.kind].options.name;
  SCOOT_CHECK(1, answer <= verdict::drop, "the mover of kind '%s' answered %u, which is no verdict", name,
              static_cast<unsigned>(answer));
  auto* from = const_cast<char*>(under_way_.from);
  auto* to = const_cast<char*>(under_way_.to);
  const std::size_t size = under_way_.bytes;
  if constexpr (SCOOT_CHECK_LEVEL >= 2) {
    const std::size_t usable = size - redzone();
    check_redzone(to, to_size, "move to");
    if (answer == verdict::moved) {
      const bool written =
          first_other(to, usable, unwritten) != usable || first_other(from, usable, unwritten) == usable;
      SCOOT_CHECK(2, written, "the mover of kind '%s' says it moved %p to %p, and wrote nothing there", name,
                  static_cast<void*>(from), static_cast<void*>(to));
    } else {
      make_dead(to, to_size);
    }
    if (answer != verdict::keep) make_dead(from, size);
  }
  if (answer == verdict::keep) return;
  if (!call_has_number_) ++under_way_.number;
  call_has_number_ = true;
  past_move done = under_way_;
  if (answer == verdict::drop) done.to = nullptr;
  history_.note(done);
}

}  // namespace scoot
