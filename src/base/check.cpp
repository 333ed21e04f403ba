// SPDX-License-Identifier: MIT
#include "base/check.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace scoot::base {

void fail(const char* file, int line, const char* format, ...) noexcept {
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "scoot: %s:%d: %s\n", file, line, message);
  std::abort();
}

}  // namespace scoot::base
