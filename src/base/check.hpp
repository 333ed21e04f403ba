// SPDX-License-Identifier: MIT
//
// Checks, in levels set by SCOOT_CHECK_LEVEL (a build option): a broken check is a bug and aborts with a message.
//
//   SCOOT_CHECK(1, condition, format, ...)   cheap: arguments, states; on in debug builds
//   SCOOT_CHECK(2, ...)                      costly: whole-structure walks, poison; on in sanitizer builds
//
// What the heap does at each level stands in docs/design/diagnosis.md.
//
// Level 0 (release) compiles the condition, so that it stays valid code, and does not evaluate it.
#pragma once

#ifndef SCOOT_CHECK_LEVEL
#define SCOOT_CHECK_LEVEL 0
#endif

namespace scoot::base {

// Prints "scoot: file:line: message" to standard error and aborts.
[[noreturn, gnu::format(printf, 3, 4), gnu::cold]] void fail(const char* file, int line, const char* format,
                                                             ...) noexcept;

}  // namespace scoot::base

#define SCOOT_CHECK(level, condition, ...)                    \
  do {                                                        \
    if constexpr (SCOOT_CHECK_LEVEL >= (level)) {             \
      if (!(condition)) [[unlikely]]                          \
        ::scoot::base::fail(__FILE__, __LINE__, __VA_ARGS__); \
    }                                                         \
  } while (false)
