// SPDX-License-Identifier: MIT
//
// Prints what an item costs besides its key and value, and what a get and a set cost, for 32-byte keys and some sizes
// of value. Usage: cache_measure [MiB of budget] [--smoke]. One thread; run it alone on a quiet machine.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "scoot/cache.hpp"

namespace {

double cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

std::uint64_t random_state = 1;
std::uint64_t next_random() {
  random_state += 0x9e3779b97f4a7c15u;
  std::uint64_t z = random_state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

struct key32 {
  char text[33];
  explicit key32(std::uint64_t i) {
    std::snprintf(text, sizeof text, "key:%028llu", static_cast<unsigned long long>(i));
  }
  [[nodiscard]] std::string_view view() const { return {text, 32}; }
};

void measure(std::size_t budget, std::size_t value_bytes, std::uint64_t operations) {
  scoot::cache_options options;
  options.budget_bytes = budget;
  options.maintenance_thread = false;
  const auto cache = scoot::cache::create(options);
  if (cache == nullptr) {
    std::puts("no cache");
    std::exit(1);
  }
  const std::string value(value_bytes, 'v');
  // Until it is full and then a third more, so that it runs as it would for ever.
  std::uint64_t stored = 0;
  double start = cpu_ns();
  while (cache->stats().evictions == 0) {
    for (int i = 0; i < 1000; ++i) (void)cache->store(key32(stored++).view(), value);
  }
  const double fill_ns = (cpu_ns() - start) / static_cast<double>(stored);
  const std::uint64_t full = stored;
  for (std::uint64_t i = 0; i < full / 3; ++i) (void)cache->store(key32(stored++).view(), value);
  const scoot::cache_stats s = cache->stats();

  std::vector<key32> keys;
  cache->for_each([&](const scoot::item_view& view) {
    if (keys.size() < 100000) keys.emplace_back(std::strtoull(view.key.data() + 4, nullptr, 10));
  });
  std::vector<std::string_view> order;
  for (std::uint64_t i = 0; i < operations; ++i)
    order.push_back(keys[static_cast<std::size_t>(next_random() % keys.size())].view());
  std::size_t bytes = 0;
  const auto visit = [&](const scoot::item_view& view) { bytes += view.value.size(); };
  start = cpu_ns();
  for (const std::string_view key : order) (void)cache->get(key, visit);
  const double get_ns = (cpu_ns() - start) / static_cast<double>(operations);
  start = cpu_ns();
  for (std::size_t i = 0; i + 100 <= order.size(); i += 100) {
    cache->get_many({order.data() + i, 100}, [&](std::size_t, const scoot::item_view& view) { visit(view); });
  }
  const double many_ns = (cpu_ns() - start) / static_cast<double>(operations);
  start = cpu_ns();
  for (const std::string_view key : order) (void)cache->store(key, value);
  const double overwrite_ns = (cpu_ns() - start) / static_cast<double>(operations);
  start = cpu_ns();
  for (std::uint64_t i = 0; i < operations; ++i) (void)cache->store(key32(stored++).view(), value);
  const double set_ns = (cpu_ns() - start) / static_cast<double>(operations);

  const auto items = static_cast<double>(s.items);
  std::printf("%6zu %9zu %7.1f %7.1f %7.1f %8.3f %7.0f %7.0f %7.0f %7.0f %7.0f %s\n", value_bytes, s.items,
              static_cast<double>(s.heap.live_bytes - s.item_bytes) / items, static_cast<double>(s.index_bytes) / items,
              static_cast<double>(s.pool.held_bytes - s.item_bytes) / items,
              static_cast<double>(s.item_bytes) / static_cast<double>(budget), fill_ns, get_ns, many_ns, overwrite_ns,
              set_ns, bytes == 2 * operations / 100 * 100 * value_bytes ? "" : "(some keys were gone)");
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = argc > 1 && std::strcmp(argv[argc - 1], "--smoke") == 0;
  const std::size_t mib = argc > 1 && !smoke ? static_cast<std::size_t>(std::atoi(argv[1])) : smoke ? 8 : 256;
  std::printf("budget %zu MiB, 32-byte keys; overhead in bytes an item, times in CPU ns an operation\n", mib);
  std::puts(" value     items overhead  index held-kv payload/  fill     get get_many  over-   set");
  std::puts(" bytes              bytes  bytes   bytes budget                            write");
  for (const std::size_t value_bytes : {20, 100, 250, 1024}) measure(mib << 20, value_bytes, smoke ? 2000 : 1000000);
  return 0;
}
