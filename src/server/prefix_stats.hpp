// SPDX-License-Identifier: MIT
//
// prefix_stats: what `stats detail` counts: gets, hits, sets and deletes by the part of a key before a delimiter.
//
// Keys without the delimiter are not counted, as by memcached. At most prefixes_max prefixes are kept; what others do
// is not counted. Threads: any; one lock, taken only while counting is on. Failure: without memory nothing is counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace scoot::server {

class prefix_stats {
 public:
  static constexpr std::size_t prefixes_max = 65536;
  enum class operation : unsigned char { miss, hit, set, remove };

  explicit prefix_stats(char delimiter) noexcept : delimiter_(delimiter) {}
  [[nodiscard]] char delimiter() const noexcept { return delimiter_; }

  void count(std::string_view key, operation what) noexcept;
  void clear() noexcept;
  // "PREFIX <prefix> get <n> hit <n> set <n> del <n>" for each, and "END".
  [[nodiscard]] std::string dump() const;

 private:
  struct counts {
    std::uint64_t gets = 0, hits = 0, sets = 0, deletes = 0;
  };

  const char delimiter_;
  mutable std::mutex lock_;
  std::map<std::string, counts, std::less<>> prefixes_;
};

}  // namespace scoot::server
