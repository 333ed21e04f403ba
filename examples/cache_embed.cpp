// SPDX-License-Identifier: MIT
//
// A cache inside a program: store, read, expire, count. Build: see examples/CMakeLists.txt.
#include <cstdio>
#include <string>

#include "scoot/cache.hpp"

int main() {
  scoot::cache_options options;
  options.budget_bytes = std::size_t{64} << 20;  // of everything: items, index, bookkeeping
  const auto cache = scoot::cache::create(options);
  if (cache == nullptr) return 1;

  // Half a million pages of all sizes: what does not fit is evicted, what was made smaller leaves no holes.
  scoot::store_options for_an_hour;
  for_an_hour.expires_at = cache->now() + 3600;
  for (int i = 0; i < 500'000; ++i) {
    const std::string key = "page:" + std::to_string(i);
    cache->store(key, std::string(static_cast<std::size_t>(i % 700), 'x'), for_an_hour);
    if (i % 10 == 0) cache->get("page:0", [](const scoot::item_view&) {});  // in use, so it stays
  }

  const auto print = [](const scoot::item_view& item) {
    std::printf("%.*s has %zu bytes\n", static_cast<int>(item.key.size()), item.key.data(), item.value.size());
  };
  if (cache->get("page:0", print) != scoot::cache_status::ok) std::puts("page:0 is gone");
  if (cache->get("page:499999", print) != scoot::cache_status::ok) return 1;

  const scoot::cache_stats s = cache->stats();
  std::printf("%zu items, %zu MiB of payload in %zu MiB held\n", s.items, s.item_bytes >> 20, s.pool.held_bytes >> 20);
}
