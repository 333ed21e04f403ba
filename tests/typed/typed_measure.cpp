// SPDX-License-Identifier: MIT
//
// Prints what typed use costs beside what it replaces: owner and std::unique_ptr, heap and malloc, heap_map and
// std::unordered_map, and how fast objects move. Usage: typed_measure [--smoke]. One thread; run it alone.
#include <time.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scoot/containers.hpp"
#include "scoot/handle.hpp"
#include "scoot/owner.hpp"

namespace {

struct plain {
  std::uint64_t words[30];
};
struct constructed : plain {
  constructed() noexcept : plain{} {}
  constructed(constructed&& other) noexcept : plain(other) {}
  ~constructed() { words[0] = 0; }
};

double cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

std::uint64_t sink = 0;

// Prints CPU ns for each of n calls.
template <class Function>
void measure(const char* what, std::size_t n, Function&& function) {
  const double start = cpu_ns();
  for (std::size_t i = 0; i < n; ++i) function(i);
  std::printf("%-52s %8.1f ns\n", what, (cpu_ns() - start) / static_cast<double>(n));
}

void measure_pointers(scoot::typed_heap& things, std::size_t n) {
  const scoot::kind raw = things.blocks().add_kind({"raw", 8, nullptr, nullptr});
  measure("heap::allocate and free, 248 bytes", n, [&](std::size_t) {
    void* block = things.blocks().allocate(raw, 248);
    sink += reinterpret_cast<std::uintptr_t>(block);
    things.blocks().free(block);
  });
  measure("make and destroy, moved as bytes, 240 bytes", n,
          [&](std::size_t) { sink += scoot::make<plain>(things)->words[3]; });
  measure("make and destroy, moved by its constructor", n,
          [&](std::size_t) { sink += scoot::make<constructed>(things)->words[3]; });
  measure("std::make_unique and destroy", n, [&](std::size_t) { sink += std::make_unique<plain>()->words[3]; });

  std::mt19937_64 random(1);
  std::vector<scoot::owner<plain>> owners;
  std::vector<std::unique_ptr<plain>> uniques;
  scoot::handle_table<plain> table(things);
  std::vector<scoot::handle<plain>> handles;
  for (std::size_t i = 0; i < n / 10; ++i) {
    owners.push_back(scoot::make<plain>(things));
    uniques.push_back(std::make_unique<plain>());
    handles.push_back(table.make());
  }
  std::vector<std::uint32_t> order(n);
  for (std::uint32_t& i : order) i = static_cast<std::uint32_t>(random() % owners.size());
  measure("read through an owner, at random", n, [&](std::size_t i) { sink += owners[order[i]]->words[3]; });
  measure("read through a std::unique_ptr", n, [&](std::size_t i) { sink += uniques[order[i]]->words[3]; });
  measure("read through a handle", n, [&](std::size_t i) { sink += table.get(handles[order[i]])->words[3]; });
  measure("swap two owners, at random", n, [&](std::size_t i) { std::swap(owners[order[i]], owners[0]); });
  measure("pin and unpin", n, [&](std::size_t i) { sink += scoot::pin_guard(owners[order[i]]) ? 1 : 0; });
}

template <class T>
void measure_moves(const char* what, scoot::typed_heap& things, std::size_t n) {
  std::mt19937_64 random(1);
  std::vector<scoot::owner<T>> owners(n);
  for (scoot::owner<T>& o : owners) o = scoot::make<T>(things);
  for (scoot::owner<T>& o : owners) {
    if (random() % 2 == 0) o.reset();
  }
  const double start = cpu_ns();
  const scoot::compaction done = things.blocks().compact();
  std::printf("%-52s %8.1f ns\n", what, (cpu_ns() - start) / static_cast<double>(done.blocks_moved + 1));
}

void measure_maps(scoot::typed_heap& things, std::size_t n) {
  scoot::heap_map<std::uint64_t, std::uint64_t> map(things);
  std::unordered_map<std::uint64_t, std::uint64_t> std_map;
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> keys(n / 4);
  for (std::uint64_t& key : keys) key = random();
  const std::size_t before = things.blocks().stats().live_bytes;
  measure("heap_map insert", keys.size(), [&](std::size_t i) { sink += map.insert(keys[i], i).is_new; });
  measure("std::unordered_map insert", keys.size(), [&](std::size_t i) { std_map.emplace(keys[i], i); });
  measure("heap_map find", n,
          [&](std::size_t) { sink += *map.find(keys[static_cast<std::size_t>(random() % keys.size())]); });
  measure("std::unordered_map find", n,
          [&](std::size_t) { sink += std_map.find(keys[static_cast<std::size_t>(random() % keys.size())])->second; });
  std::printf("%-52s %8.1f bytes\n", "heap_map memory an entry of 16 bytes",
              static_cast<double>(things.blocks().stats().live_bytes - before) / static_cast<double>(map.size()));
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t n = argc > 1 && std::strcmp(argv[1], "--smoke") == 0 ? 10'000 : 4'000'000;
  scoot::page_pool_options options;
  options.budget_bytes = std::size_t{1} << 30;
  const auto pool = scoot::page_pool::create(options);
  const auto heap = pool ? scoot::heap::create(*pool) : nullptr;
  if (!heap) return 1;
  scoot::typed_heap things(*heap);
  measure_pointers(things, n);
  heap->compact();
  measure_moves<plain>("move of a block as bytes, owner at hand", things, n / 10);
  measure_moves<constructed>("move of a block by its constructor", things, n / 10);
  measure_maps(things, n);
  return sink == 0 ? 1 : 0;
}
