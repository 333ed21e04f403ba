// SPDX-License-Identifier: MIT
//
// fixed_resource. Here and not in the header, so that a program built without exceptions can include that.
#include "scoot/pmr.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <memory_resource>
#include <new>

#include "base/check.hpp"

namespace scoot {

fixed_resource::fixed_resource(heap& blocks) noexcept : heap_(blocks) {}

fixed_resource::~fixed_resource() {
  for (const kind k : kinds_) heap_.remove_kind(k);
}

void* fixed_resource::try_allocate(std::size_t bytes, std::size_t alignment) noexcept {
  SCOOT_CHECK(1, std::has_single_bit(alignment), "allocate: %zu is no alignment", alignment);
  const std::size_t aligned = std::max<std::size_t>(alignment, 8);
  const auto i = static_cast<std::size_t>(std::countr_zero(aligned)) - 3;
  if (i >= kinds) return nullptr;
  if (!kinds_[i]) kinds_[i] = heap_.add_kind({"pmr", aligned, nullptr, nullptr, true});
  return kinds_[i] ? heap_.allocate(kinds_[i], bytes) : nullptr;
}

void* fixed_resource::do_allocate(std::size_t bytes, std::size_t alignment) {
  void* block = try_allocate(bytes, alignment);
  if (block != nullptr) return block;
#ifdef __cpp_exceptions
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

void fixed_resource::do_deallocate(void* block, std::size_t /*bytes*/, std::size_t /*alignment*/) { heap_.free(block); }

bool fixed_resource::do_is_equal(const std::pmr::memory_resource& other) const noexcept { return this == &other; }

}  // namespace scoot
