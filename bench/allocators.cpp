// SPDX-License-Identifier: MIT
#include "allocators.hpp"

#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace bench {

std::string_view running_malloc() noexcept {
  for (const peer& p : peers)
    if (p.symbol[0] != '\0' && dlsym(RTLD_DEFAULT, p.symbol) != nullptr) return p.name;
  return "glibc";
}

void malloc_allocator::give_back() noexcept {
  const std::string_view name = running_malloc();
  if (name == "jemalloc") {
    using mallctl_function = int (*)(const char*, void*, std::size_t*, void*, std::size_t);
    const auto mallctl = reinterpret_cast<mallctl_function>(dlsym(RTLD_DEFAULT, "mallctl"));
    mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
    mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);  // 4096: MALLCTL_ARENAS_ALL
  } else if (name == "mimalloc") {
    reinterpret_cast<void (*)(bool)>(dlsym(RTLD_DEFAULT, "mi_collect"))(true);
  } else if (name == "tcmalloc") {
    reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory"))();
  } else {
    malloc_trim(0);
  }
}

void* malloc_allocator::allocate_aligned(std::size_t size, unsigned log2) noexcept {
  void* block = nullptr;
  return posix_memalign(&block, std::max(sizeof(void*), std::size_t{1} << log2), size) == 0 ? block : nullptr;
}

bool malloc_allocator::reallocate(block_entry& entry, std::uint32_t size) noexcept {
  void* block = std::realloc(entry.block, size);
  if (block == nullptr) return false;
  entry.block = static_cast<unsigned char*>(block);
  entry.size = size;
  return true;
}

scoot_allocator::scoot_allocator(const scoot_setup& setup, block_entry* entries) noexcept {
  mover_.entries = entries;
  scoot::page_pool_options pool_options;
  pool_options.budget_bytes = setup.budget;
  pool_ = scoot::page_pool::create(pool_options);
  if (pool_ == nullptr) block_table::fail("cannot make a page pool", 0);
  scoot::heap_options heap_options;
  heap_options.waste_target = setup.waste_target;
  if (setup.move_bytes_max != 0) heap_options.move_bytes_max = setup.move_bytes_max;
  heap_ = scoot::heap::create(*pool_, heap_options);
  if (heap_ == nullptr) block_table::fail("cannot make a heap", 0);
  scoot::kind_options kind_options;
  kind_options.name = "bench block";
  kind_options.alignment = setup.alignment;
  kind_options.move = &scoot_allocator::move;
  kind_options.context = &mover_;
  kind_ = heap_->add_kind(kind_options);
  if (!kind_) block_table::fail("cannot add a kind", 0);
}

void* scoot_allocator::allocate_aligned(std::size_t size, unsigned log2) noexcept {
  const unsigned at = std::min(log2, static_cast<unsigned>(std::size(aligned_kinds_)) - 1);
  if (at <= 3) return allocate(size);
  scoot::kind& kind = aligned_kinds_[at];
  if (!kind) {
    scoot::kind_options options;
    options.name = "aligned bench block";
    options.alignment = std::size_t{1} << at;
    options.move = &scoot_allocator::move;
    options.context = &mover_;
    kind = heap_->add_kind(options);
    if (!kind) return nullptr;
  }
  return heap_->allocate(kind, size);
}

// What is to grow may move while room for it is made, so its address is looked up only then.
bool scoot_allocator::reallocate(block_entry& entry, std::uint32_t size) noexcept {
  if (size <= heap_->usable_size(entry.block) && size >= entry.size) {
    entry.size = size;
    return true;
  }
  void* block = allocate(size);
  if (block == nullptr) return false;
  std::memcpy(block, entry.block, std::min(size, entry.size));
  free(entry.block);
  entry.block = static_cast<unsigned char*>(block);
  entry.size = size;
  return true;
}

scoot::verdict scoot_allocator::move(void* context, void* from, void* to, std::size_t size) noexcept {
  auto* self = static_cast<mover_context*>(context);
  std::uint32_t id = 0;
  std::memcpy(&id, from, sizeof id);
  std::memcpy(to, from, size);
  self->entries[id].block = static_cast<unsigned char*>(to);
  self->bytes += size;
  return scoot::verdict::moved;
}

void scoot_allocator::give_back() noexcept {
  heap_->compact();
  pool_->trim();
}

void scoot_allocator::describe() const noexcept {
  const scoot::heap_stats h = heap_->stats();
  const scoot::page_pool_stats p = pool_->stats();
  std::fprintf(stderr,
               "  heap: live %zu held %zu holes %zu slack %zu metadata %zu shelves %zu pages %zu; pool: held %zu "
               "peak %zu idle %zu metadata %zu page %zu; moved %llu B in %llu blocks, %llu failures\n",
               h.live_bytes, h.held_bytes, h.hole_bytes, h.slack_bytes, h.metadata_bytes, h.shelves, h.pages,
               p.held_bytes, p.held_bytes_peak, p.idle_bytes, p.metadata_bytes, p.page_bytes,
               static_cast<unsigned long long>(h.bytes_moved), static_cast<unsigned long long>(h.blocks_moved),
               static_cast<unsigned long long>(h.failures));
}

}  // namespace bench
