// SPDX-License-Identifier: MIT
//
// How memory that the kernel may purge is asked whether it is still there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace scoot::purging {

// Writes a word back as it is, in one step, and returns it. The page is dirty then, so that the kernel keeps it; zero:
// it was purged before, and is another page now. Others read the word meanwhile, and it does not change for them.
//
// Compilers may turn an addition of a known zero into a load, so this one is hidden from them; and from
// ThreadSanitizer, which takes any write for a change.
[[gnu::noinline, gnu::no_sanitize_thread]] inline std::uint32_t write_back(std::uint32_t* word) noexcept {
#if defined(__x86_64__) || defined(__i386__)
  std::uint32_t value = 0;
  asm volatile("lock xaddl %0, %1" : "+r"(value), "+m"(*word) : : "memory", "cc");
  return value;
#else
  std::uint32_t nothing = 0;
  asm volatile("" : "+r"(nothing));
  return __atomic_fetch_add(word, nothing, __ATOMIC_SEQ_CST);
#endif
}

[[gnu::no_sanitize_thread]] inline std::uint32_t read_word(const std::uint32_t* word) noexcept {
  return __atomic_load_n(word, __ATOMIC_RELAXED);
}

// Copies bytes that may be written meanwhile: of a chunk that its owner freed and fills anew. Whoever asked for them
// looks again afterwards whether it was the chunk he meant, so such a copy is used by nobody, and no race for
// ThreadSanitizer to report.
[[gnu::no_sanitize_thread]] inline void copy(void* to, const void* from, std::size_t bytes) noexcept {
#if defined(__SANITIZE_THREAD__)
  for (std::size_t i = 0; i < bytes; ++i) static_cast<char*>(to)[i] = static_cast<const volatile char*>(from)[i];
#else
  std::memcpy(to, from, bytes);
#endif
}

// Whatever was read so far was read before whatever is read from here on. On x86 that is so, and only compilers have to
// be told; ThreadSanitizer knows no fences.
inline void finish_reads() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  asm volatile("" : : : "memory");
#else
  std::atomic_thread_fence(std::memory_order_acquire);
#endif
}

}  // namespace scoot::purging
