// SPDX-License-Identifier: MIT
//
// prefix_stats: what `stats detail` counts: gets, hits, sets and deletes by the part of a key before a delimiter.
//
// Keys without the delimiter are not counted, as by memcached. As many prefixes are kept as fit into bytes_max; what
// others do is not counted. Threads: any; one lock, taken only while counting is on. Failure: without memory nothing is
// counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "server/response_buffer.hpp"

namespace scoot::server {

class prefix_stats {
 public:
  static constexpr std::size_t bytes_max = std::size_t{2} << 20;
  enum class operation : unsigned char { miss, hit, set, remove };

  explicit prefix_stats(char delimiter) noexcept : delimiter_(delimiter) {}
  [[nodiscard]] char delimiter() const noexcept { return delimiter_; }

  void count(std::string_view key, operation what) noexcept;
  void clear() noexcept;
  // "PREFIX <prefix> get <n> hit <n> set <n> del <n>" for those behind `after` until the output is full; `after` is the
  // last then. True if there are no more.
  [[nodiscard]] bool dump_some(std::string& after, response_buffer& out) const;

 private:
  struct counts {
    std::uint64_t gets = 0, hits = 0, sets = 0, deletes = 0;
  };

  // What the map and malloc take for a prefix besides its characters.
  static constexpr std::size_t entry_bytes = 128;

  const char delimiter_;
  mutable std::mutex lock_;
  std::map<std::string, counts, std::less<>> prefixes_;
  std::size_t bytes_ = 0;
};

}  // namespace scoot::server
