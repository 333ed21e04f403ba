// SPDX-License-Identifier: MIT
#include "heap_page.hpp"

#include <malloc.h>
#include <sched.h>

#include <climits>
#include <cstdio>
#include <cstdlib>

namespace demo {

void turns::give_way() noexcept {
  mutex_.unlock();
  while (wanted_.load() != 0) sched_yield();
  mutex_.lock();
}

std::string heap_page::start(unsigned port) {
  server_ = std::make_unique<scoot::server::http_server>(
      *this, scoot::server::http_options{"127.0.0.1", std::to_string(port), ""});
  return server_->start();
}

scoot::cache_stats heap_page::stats() const noexcept {
  scoot::cache_stats s;
  s.pool = memory_.pool().stats();
  s.budget_bytes = s.target_bytes = s.pool.budget_bytes;
  s.shards = 1;
  const turns::look look(turns_);
  const cache_counts& c = items_.counts();
  s.heap = memory_.heap().stats();
  s.items = c.items;
  s.item_bytes = c.bytes - c.items * sizeof(item);
  s.gets = c.gets;
  s.get_hits = c.hits;
  s.sets = c.sets;
  s.evictions = c.evictions;
  return s;
}

std::uint64_t heap_page::visit_pages_erased(std::uint64_t cursor, page_visitor_of_shards visit, void* context,
                                            const scoot::page_visit& how) const noexcept {
  struct visitor {
    page_visitor_of_shards visit;
    void* context;
  } one{visit, context};
  const turns::look look(turns_);
  return scoot::visit_pages(
      memory_.heap(), cursor, how,
      [](void* to, const scoot::page_view& page) noexcept {
        const auto& told = *static_cast<const visitor*>(to);
        told.visit(told.context, 0, page);
      },
      &one);
}

std::size_t heap_page::list_page_use(std::size_t first, std::span<scoot::page_content> room) const noexcept {
  return scoot::list_page_use(memory_.pool(), first, room);
}

void heap_page::log(scoot::server::module_log level, const std::string& text) const {
  if (level == scoot::server::module_log::warning) std::fprintf(stderr, "%s\n", text.c_str());
}

bool keep_addresses(std::size_t bytes) noexcept {
  mallopt(M_ARENA_MAX, 1);  // for all threads: more of them take 64 MiB each
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_MMAP_THRESHOLD, INT_MAX);
  void* const room = std::malloc(bytes);
  std::free(room);  // stays malloc's, and nothing of it was touched
  return room != nullptr;
}

}  // namespace demo
