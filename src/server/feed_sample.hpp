// SPDX-License-Identifier: MIT
//
// sampler: the counters of a second as one JSON list of numbers, for the plots of the live page; and a page of memory
// as JSON. Used by one thread.
#pragma once

#include <chrono>
#include <string>

#include "scoot/cache.hpp"

namespace scoot::server {

class cache_window;

class sampler {
 public:
  explicit sampler(const cache_window& window);
  // What each number is, as a JSON list of names.
  [[nodiscard]] static std::string fields();
  // Rates are over the time since the call before.
  [[nodiscard]] std::string take();

 private:
  const cache_window& window_;
  cache_stats before_;
  std::uint64_t cpu_us_before_;
  std::chrono::steady_clock::time_point time_before_;
};

struct process_use {
  std::uint64_t cpu_us = 0;
  std::uint64_t rss_bytes = 0;
};
[[nodiscard]] process_use read_process_use() noexcept;

// With the names of docs/snapshot.md.
[[nodiscard]] std::string page_as_json(const page_view& page, unsigned heap);
// `number` is that of its cell.
[[nodiscard]] std::string chunk_as_json(const cold_chunk_view& chunk, unsigned heap, std::uint64_t number);

}  // namespace scoot::server
