// SPDX-License-Identifier: MIT
#include <cstdio>
#include <scoot/cache.hpp>
#include <string>

int main() {
  const auto cache = scoot::cache::create({.budget_bytes = std::size_t{16} << 20});
  if (!cache || cache->store("key", "value") != scoot::cache_status::ok) return 1;
  std::string found;
  const auto status = cache->get("key", [&](const scoot::item_view& item) noexcept { found = item.value; });
  std::printf("found %s\n", found.c_str());
  return status == scoot::cache_status::ok && found == "value" ? 0 : 2;
}
