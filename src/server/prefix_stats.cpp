// SPDX-License-Identifier: MIT
#include "server/prefix_stats.hpp"

#include <new>

namespace scoot::server {

void prefix_stats::count(std::string_view key, operation what) noexcept {
  const std::size_t bytes = key.find(delimiter_);
  if (bytes == std::string_view::npos) return;
  const std::string_view prefix = key.substr(0, bytes);
  try {
    const std::lock_guard hold(lock_);
    auto found = prefixes_.find(prefix);
    if (found == prefixes_.end()) {
      if (prefixes_.size() >= prefixes_max) return;
      found = prefixes_.emplace(std::string(prefix), counts{}).first;
    }
    counts& c = found->second;
    switch (what) {
      case operation::hit:
        ++c.hits;
        [[fallthrough]];
      case operation::miss:
        ++c.gets;
        break;
      case operation::set:
        ++c.sets;
        break;
      case operation::remove:
        ++c.deletes;
    }
  } catch (const std::bad_alloc&) {
    // Counted another time.
  }
}

void prefix_stats::clear() noexcept {
  const std::lock_guard hold(lock_);
  prefixes_.clear();
}

std::string prefix_stats::dump() const {
  std::string text;
  const std::lock_guard hold(lock_);
  for (const auto& [prefix, c] : prefixes_) {
    text.append("PREFIX ").append(prefix).append(" get ").append(std::to_string(c.gets));
    text.append(" hit ").append(std::to_string(c.hits)).append(" set ").append(std::to_string(c.sets));
    text.append(" del ").append(std::to_string(c.deletes)).append("\r\n");
  }
  return text.append("END\r\n");
}

}  // namespace scoot::server
