// SPDX-License-Identifier: MIT
#include <scoot/version.h>

#include <cstdio>
#include <cstring>
#include <scoot/heap.hpp>
#include <vector>

namespace {

struct record {
  record** self;
  int number;
};

scoot::verdict move_record(void*, void* from, void* to, std::size_t) noexcept {
  std::memcpy(to, from, sizeof(record));
  auto* moved = static_cast<record*>(to);
  *moved->self = moved;
  return scoot::verdict::moved;
}

}  // namespace

int main() {
  auto pool = scoot::page_pool::create({.budget_bytes = std::size_t{16} << 20});
  auto heap = scoot::heap::create(*pool);
  const scoot::kind kind = heap->add_kind({.name = "record", .move = move_record});
  std::vector<record*> records(10000);
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i] = static_cast<record*>(heap->allocate(kind, sizeof(record)));
    if (!records[i]) return 1;
    *records[i] = {&records[i], static_cast<int>(i)};
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (i % 10 == 0) continue;
    heap->free(records[i]);
    records[i] = nullptr;
  }
  const scoot::compaction done = heap->compact();
  for (std::size_t i = 0; i < records.size(); i += 10) {
    if (records[i]->number != static_cast<int>(i)) return 2;
  }
  std::printf("scoot %s: %zu blocks moved\n", SCOOT_VERSION, done.blocks_moved);
  return done.blocks_moved > 0 ? 0 : 3;
}
