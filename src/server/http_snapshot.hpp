// SPDX-License-Identifier: MIT
//
// A snapshot of all the cache's heaps as JSON while the server works: docs/snapshot.md, "Of a cache".
#pragma once

#include <functional>
#include <string_view>

namespace scoot::server {

class cache_window;

// Writes it in pieces of some KiB. False, and no more is written, as soon as the sink says so. A shard's lock is held
// for a few pages at a time, so what is written is no one moment. Threads: any.
bool write_cache_snapshot(const cache_window& window, const std::function<bool(std::string_view)>& sink);

}  // namespace scoot::server
