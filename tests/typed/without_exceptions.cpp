// SPDX-License-Identifier: MIT
//
// Goal: programs built with -fno-exceptions -fno-rtti can use all typed headers. Method: this is one.
#include <cstdio>
#include <memory_resource>
#include <vector>

#include "scoot/containers.hpp"
#include "scoot/handle.hpp"
#include "scoot/owner.hpp"
#include "scoot/pmr.hpp"

namespace {

int check(bool condition, const char* what) {
  if (!condition) std::fprintf(stderr, "failed: %s\n", what);
  return condition ? 0 : 1;
}

}  // namespace

int main() {
  scoot::page_pool_options options;
  options.budget_bytes = std::size_t{4} << 20;
  const auto pool = scoot::page_pool::create(options);
  const auto heap = pool ? scoot::heap::create(*pool) : nullptr;
  if (!heap) return 1;
  int failures = 0;
  {
    scoot::typed_heap things(*heap);
    scoot::fixed_resource fixed(*heap);
    scoot::handle_table<int> numbers(things);
    scoot::heap_vector<scoot::handle<int>> handles(things);
    scoot::heap_map<int, scoot::owner<int>> owners(things);
    std::pmr::vector<int> sums(&fixed);
    for (int i = 0; i < 1000; ++i) {
      failures += check(handles.push_back(numbers.make(i)), "push_back");
      failures += check(owners.insert(i, scoot::make<int>(things, i)).is_new, "insert");
      if (i % 100 == 0) heap->move_everything();
      sums.push_back(*numbers.get(handles[static_cast<std::size_t>(i)]) + **owners.find(i));
    }
    for (int i = 0; i < 1000; ++i) failures += check(sums[static_cast<std::size_t>(i)] == 2 * i, "sum");
    failures += check(fixed.try_allocate(std::size_t{8} << 20) == nullptr, "too large");
  }
  failures += check(heap->stats().blocks == 0, "all given back");
  return failures == 0 ? 0 : 1;
}
