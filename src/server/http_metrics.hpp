// SPDX-License-Identifier: MIT
//
// /metrics: docs/metrics.md says what each of them means, and a test compares the two.
#pragma once

#include <string>

namespace scoot::server {

class cache_window;
class server_state;

// All metrics in Prometheus' text format. Threads: any. Cost: that of cache::stats.
[[nodiscard]] std::string write_metrics(const server_state& state, const cache_window& window, unsigned viewers);

}  // namespace scoot::server
