// SPDX-License-Identifier: MIT
//
// source: something that gives alarms by a descriptor that becomes ready (or, the canary, by being looked at), behind
// one interface; and all that there are.
//
// Ownership: who makes one owns it; deleting it takes it back from the kernel. Failure: none is made, and an errno;
// ENOENT where there is no such thing here. One thread.
#pragma once

#include <cstdint>
#include <memory>

#include "os/events.hpp"
#include "pressure/levels.hpp"
#include "pressure/parse.hpp"
#include "pressure/targets.hpp"
#include "scoot/pressure.hpp"

namespace scoot::pressure {

struct alarm {
  severity level = severity::none;
  std::uint64_t bytes = 0;  // asked for; 0: no number
  bool purged = false;      // the kernel has begun to purge
  int lost = 0;             // errno: the source is broken and must not be used any more
};

class source {
 public:
  source() = default;
  source(const source&) = delete;
  source& operator=(const source&) = delete;
  virtual ~source() = default;

  // What to wait for; nothing (descriptor -1) if it is to be looked at now and then.
  [[nodiscard]] virtual pollfd waits_for() const noexcept = 0;

  // Called when that is ready, or now and then. Never blocks.
  [[nodiscard]] virtual alarm take(short revents) noexcept = 0;

  // Called after each reading; for sources that depend on what was read.
  virtual void follow(const level&, std::uint64_t /*headroom*/) noexcept {}
};

struct made_source {
  std::unique_ptr<source> made;
  int error = 0;
  path_text where;
};

// Of a cgroup: usage thresholds and pressure levels (v1), events and stalls (v2).
[[nodiscard]] made_source make_cgroup_threshold(const level& cgroup) noexcept;
[[nodiscard]] made_source make_cgroup_level(const level& cgroup) noexcept;
[[nodiscard]] made_source make_cgroup_events(const level& cgroup) noexcept;
[[nodiscard]] made_source make_cgroup_psi(const level& cgroup) noexcept;

[[nodiscard]] made_source make_system_psi(const char* root) noexcept;

// By the environment variables MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE; null values: not set.
[[nodiscard]] made_source make_service_manager(const char* root, const char* watch, const char* write) noexcept;

// Offered memory of our own, oldest of all that the process offers: it goes first.
[[nodiscard]] made_source make_canary() noexcept;

[[nodiscard]] made_source make_fifo(const char* path) noexcept;

}  // namespace scoot::pressure
