// SPDX-License-Identifier: MIT
//
// Typed objects in a heap that moves them: documents with their words, found by name and by handle, most of them
// forgotten again. No hook is written, and no pointer updated, by hand.
#include <cstdio>
#include <string>
#include <utility>

#include "scoot/containers.hpp"
#include "scoot/handle.hpp"
#include "scoot/owner.hpp"

struct word {
  unsigned count;
  scoot::owner<word> next;  // an owner in a block that moves, of another block that moves
};

struct document {
  std::string title;
  scoot::owner<word> words;
  scoot::heap_vector<int> lines;

  document(std::string t, scoot::typed_heap& things) noexcept : title(std::move(t)), lines(things) {}
};

static bool fill(document& d, scoot::typed_heap& things, unsigned number);

int main() {
  const auto pool = scoot::page_pool::create({std::size_t{64} << 20, 0, 0});  // never more than 64 MiB
  const auto heap = pool ? scoot::heap::create(*pool) : nullptr;
  if (!heap) return 1;
  bool found = false;
  {
    scoot::typed_heap things(*heap);
    scoot::handle_table<document> documents(things);
    scoot::heap_map<int, scoot::handle<document>> by_number(things);

    for (unsigned i = 0; i < 30'000; ++i) {
      document made("document " + std::to_string(i), things);  // here it stays where it is; its parts do not
      if (!fill(made, things, i)) return 1;                    // the budget is full
      const scoot::handle<document> handle = documents.make(std::move(made));
      if (!handle || by_number.insert(static_cast<int>(i), handle).value == nullptr) return 1;
    }
    std::printf("30,000 documents:   %6zu KiB held\n", pool->stats().held_bytes / 1024);

    for (int i = 0; i < 30'000; ++i) {
      if (i % 10 != 0) documents.destroy(*by_number.find(i));
    }
    const scoot::compaction done = heap->compact();
    std::printf("3,000 of them left: %6zu KiB held, %zu blocks moved\n", pool->stats().held_bytes / 1024,
                done.blocks_moved);

    const document* d = documents.get(*by_number.find(29'990));
    found = d != nullptr && d->words->next->count == 29'991 && documents.get(*by_number.find(29'991)) == nullptr;
    if (d != nullptr) std::printf("number 29990:       %s, line 2 at %d\n", d->title.c_str(), d->lines[2]);
  }
  return found && heap->stats().blocks == 0 ? 0 : 1;
}

static bool fill(document& d, scoot::typed_heap& things, unsigned number) {
  for (unsigned i = 0; i < 4; ++i) {
    scoot::owner<word> made = scoot::make<word>(things, number + 3 - i, std::move(d.words));
    if (!made || !d.lines.push_back(static_cast<int>(i) * 40)) return false;
    d.words = std::move(made);
  }
  return true;
}
