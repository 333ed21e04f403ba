// SPDX-License-Identifier: MIT
//
// shadow: tells AddressSanitizer which memory of ours the program may touch, so that it reports the touch itself, with
// the stack of whoever did it. Without that sanitizer these are nothing.
//
// On at check level 2, whose heap also shows memory where it hands it out. Its shadow has a byte for 8 bytes: of 8 that
// are partly hidden only the last ones are caught.
#pragma once

#include <cstddef>

#include "base/check.hpp"

#if SCOOT_CHECK_LEVEL < 2
// nothing to hide
#elif defined(__SANITIZE_ADDRESS__)
#define SCOOT_HAS_SHADOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCOOT_HAS_SHADOW 1
#endif
#endif

#ifdef SCOOT_HAS_SHADOW
#include <sanitizer/asan_interface.h>
#endif

namespace scoot::base {

#ifdef SCOOT_HAS_SHADOW
inline constexpr bool has_shadow = true;
inline void hide(const void* memory, std::size_t bytes) noexcept { __asan_poison_memory_region(memory, bytes); }
inline void show(const void* memory, std::size_t bytes) noexcept { __asan_unpoison_memory_region(memory, bytes); }
#else
inline constexpr bool has_shadow = false;
inline void hide(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
inline void show(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
#endif

}  // namespace scoot::base
