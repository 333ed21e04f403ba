// SPDX-License-Identifier: MIT
//
// The heap with a hook: a program that holds many names, forgets most of them, and gets its memory back.
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "scoot/heap.hpp"

// Each block begins with the number of the name in it; names[number] is the one pointer to the block.
struct entry {
  std::size_t number;
  char text[1];
};

static std::vector<entry*> names;

// The hook: the heap wants the block elsewhere. Copy it and change the pointer.
static scoot::verdict move_entry(void*, void* from, void* to, std::size_t size) noexcept {
  std::memcpy(to, from, size);
  names[static_cast<entry*>(to)->number] = static_cast<entry*>(to);
  return scoot::verdict::moved;
}

int main() {
  const auto pool = scoot::page_pool::create({std::size_t{64} << 20, 0, 0});  // never more than 64 MiB
  const auto heap = pool ? scoot::heap::create(*pool) : nullptr;
  if (!heap) return 1;
  const scoot::kind kind = heap->add_kind({"name", 8, move_entry, nullptr});

  for (std::size_t i = 0; i < 300'000; ++i) {
    const std::string text = "a name of some length, number " + std::to_string(i);
    auto* block = static_cast<entry*>(heap->allocate(kind, sizeof(std::size_t) + text.size() + 1));
    if (block == nullptr) return 1;  // the budget is full
    block->number = i;
    std::memcpy(block->text, text.c_str(), text.size() + 1);
    names.push_back(block);
  }
  std::printf("300,000 names:      %5zu KiB held\n", pool->stats().held_bytes / 1024);

  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i % 10 != 0) heap->free(std::exchange(names[i], nullptr));
  }
  std::printf("30,000 of them:     %5zu KiB held\n", pool->stats().held_bytes / 1024);

  const scoot::compaction done = heap->compact();
  std::printf("after compaction:   %5zu KiB held, %zu names moved\n", pool->stats().held_bytes / 1024,
              done.blocks_moved);
  std::printf("names[299990]:      %s\n", names[299'990]->text);
  return pool->stats().held_bytes < (std::size_t{4} << 20) ? 0 : 1;
}
