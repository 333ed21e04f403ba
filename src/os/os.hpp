// SPDX-License-Identifier: MIT
//
// The contract with the operating system: address space, and the memory behind it. The only caller of mmap and its kin.
//
// All addresses and sizes here are multiples of page_bytes(). Every call can fail, and then has changed nothing.
// For tests, any call can be made to fail (fail_nth_call), so that each caller's way out is exercised.
// Threads: every function may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot::os {

// The size of an OS page in bytes; constant.
[[nodiscard]] std::size_t page_bytes() noexcept;

// Address space that holds nothing and cannot be touched yet, aligned to a power of two, without transparent huge
// pages. Null if refused.
[[nodiscard]] char* reserve(std::size_t bytes, std::size_t alignment) noexcept;

// Makes reserved address space usable: zero-filled, and resident only where it is touched.
[[nodiscard]] bool make_usable(char* address, std::size_t bytes) noexcept;

// Gives the memory behind usable address space back to the OS; it reads as zeros afterwards. False: it is still held.
[[nodiscard]] bool give_back(char* address, std::size_t bytes) noexcept;

// Makes usable address space resident at once, for memory that is written right after: a third cheaper than a fault for
// each OS page. A hint; where it is refused, faults do it.
void make_resident(char* address, std::size_t bytes) noexcept;

// Returns address space got from reserve, with all behind it. A refusal leaks it.
void unreserve(char* address, std::size_t bytes) noexcept;

// Copies bytes of this process that may be no memory at all. False: they are none that can be read. Any address, any
// number of bytes. Where the kernel refuses to help, they are read as if they were there.
[[nodiscard]] bool read_if_there(const void* from, void* to, std::size_t bytes) noexcept;

// Monotonic time in nanoseconds.
[[nodiscard]] std::uint64_t now_ns() noexcept;

// The same, cheaper, and behind by up to a few milliseconds.
[[nodiscard]] std::uint64_t coarse_now_ns() noexcept;

// Test seam: the n-th call (1 is the next) of reserve, make_usable, give_back or one of purge.hpp fails, once; 0 stops
// that.
void fail_nth_call(std::uint64_t n) noexcept;

// Test seam: from now on, every reserve is refused, or none is: as if address space had run out.
void refuse_reserve(bool refuse) noexcept;

// Test seam: from now on, every give_back is refused, or none is: as if all memory were locked.
void refuse_give_back(bool refuse) noexcept;

// Test seam: calls of those so far.
[[nodiscard]] std::uint64_t calls_made() noexcept;

// For those functions: counts a call, and says whether it has to fail.
[[nodiscard]] bool must_fail() noexcept;

}  // namespace scoot::os
