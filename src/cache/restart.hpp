// SPDX-License-Identifier: MIT
//
// restart: what writing a cache to a restart file and making it again from one share; see docs/design/restart.md.
//
// Items are written in the order of their addresses, since that is how their memory can be given back on the way, and
// the names in the queues beside them. Reading puts the items into the index, in whatever order, and then the names
// into the queues. With less memory than before, names and uses say beforehand which items are to be read at all.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>

#include "cache/name.hpp"
#include "cache/restart_file.hpp"

namespace scoot::caching {

// Of a chunk, but where one item is larger: fits a processor's own cache.
inline constexpr std::size_t restart_chunk_bytes = std::size_t{256} << 10;

// A name in a queue, with the mark that its item has if it is valid.
struct order_entry {
  static constexpr std::size_t bytes = 6;
  std::uint64_t bits = 0;

  order_entry(name n, std::uint8_t mark) noexcept : bits(n.bits() | std::uint64_t{mark} << 40) {}
  explicit order_entry(const char* at) noexcept { std::memcpy(&bits, at, bytes); }
  [[nodiscard]] name of() const noexcept { return name::of_bits(bits); }
  [[nodiscard]] std::uint8_t mark() const noexcept { return static_cast<std::uint8_t>(bits >> 40); }
};

// Runs work(0) to work(tasks - 1) on as many threads as make sense and can be had.
template <class Work>
void on_threads(unsigned tasks, const Work& work) noexcept {
  constexpr unsigned threads_max = 16;
  std::atomic<unsigned> next{0};
  const auto run = [&] {
    for (unsigned task = next++; task < tasks; task = next++) work(task);
  };
  std::thread others[threads_max];
  const unsigned wanted = std::min({std::max(1u, std::thread::hardware_concurrency()), tasks, threads_max});
  unsigned started = 0;
  try {
    for (; started + 1 < wanted; ++started) others[started] = std::thread(run);
  } catch (...) {  // fewer do as well
  }
  run();
  for (unsigned i = 0; i < started; ++i) others[i].join();
}

}  // namespace scoot::caching
