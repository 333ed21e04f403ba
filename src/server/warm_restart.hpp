// SPDX-License-Identifier: MIT
//
// warm_restart: a cache that begins with what the process before it left in --restart-file, and leaves it what it has.
// The work is scoot::cache's; here it is told: to the log, to who started us, as statistics.
#pragma once

#include <cstddef>
#include <memory>

#include "scoot/cache.hpp"
#include "server/options.hpp"

namespace scoot::server {

// Null if such a cache cannot be had; without a file, or with one that does not fit, it is empty.
[[nodiscard]] std::unique_ptr<cache> make_cache(cache_options wanted, const server_options& options);

// Writes the file, if one is asked for. Nobody may use the cache any more.
void leave_cache(cache& items, const server_options& options);

[[nodiscard]] inline const char* to_string(restart_outcome outcome) noexcept {
  constexpr const char* words[] = {"off", "none", "done", "refused", "failed"};
  return words[static_cast<std::size_t>(outcome)];
}

}  // namespace scoot::server
