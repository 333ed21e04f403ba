// SPDX-License-Identifier: MIT
#include "server/prefix_stats.hpp"

#include <iterator>
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
      if (bytes_ + entry_bytes + prefix.size() > bytes_max) return;
      found = prefixes_.emplace(std::string(prefix), counts{}).first;
      bytes_ += entry_bytes + prefix.size();
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
  bytes_ = 0;
}

bool prefix_stats::dump_some(std::string& after, response_buffer& out) const {
  std::string line;
  const std::lock_guard hold(lock_);
  // An empty prefix is the first, and behind nothing.
  auto at = after.empty() ? prefixes_.begin() : prefixes_.upper_bound(after);
  const auto first = at;
  for (; at != prefixes_.end() && !out.full(); ++at) {
    const counts& c = at->second;
    line.assign("PREFIX ").append(at->first).append(" get ").append(std::to_string(c.gets));
    line.append(" hit ").append(std::to_string(c.hits)).append(" set ").append(std::to_string(c.sets));
    line.append(" del ").append(std::to_string(c.deletes)).append("\r\n");
    out.append(line);
  }
  if (at == prefixes_.end()) return true;
  if (at != first) after = std::prev(at)->first;
  return false;
}

}  // namespace scoot::server
