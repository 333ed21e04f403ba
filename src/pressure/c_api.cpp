// SPDX-License-Identifier: MIT
//
// The monitor of memory pressure in C: conversions, and the callbacks with their own types.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>

#include "base/check.hpp"
#include "scoot/pressure.hpp"
#include "scoot/scoot.h"

// A monitor and what its callbacks are called with, which must be there before its thread runs.
struct scoot_pressure {
  scoot_pressure_options options{};
  std::unique_ptr<scoot::pressure_monitor> monitor;
};

namespace {

static_assert(SCOOT_PRESSURE_HEADROOM == int(scoot::pressure_source::headroom));
static_assert(SCOOT_PRESSURE_CGROUP_THRESHOLD == int(scoot::pressure_source::cgroup_threshold));
static_assert(SCOOT_PRESSURE_CGROUP_LEVEL == int(scoot::pressure_source::cgroup_level));
static_assert(SCOOT_PRESSURE_CGROUP_EVENTS == int(scoot::pressure_source::cgroup_events));
static_assert(SCOOT_PRESSURE_CGROUP_PSI == int(scoot::pressure_source::cgroup_psi));
static_assert(SCOOT_PRESSURE_SYSTEM_PSI == int(scoot::pressure_source::system_psi));
static_assert(SCOOT_PRESSURE_SERVICE_MANAGER == int(scoot::pressure_source::service_manager));
static_assert(SCOOT_PRESSURE_CANARY == int(scoot::pressure_source::canary));
static_assert(SCOOT_PRESSURE_FIFO == int(scoot::pressure_source::fifo));
static_assert(SCOOT_PRESSURE_PROGRAM == int(scoot::pressure_source::program));

// C++ functions may be behind the pointers, and nothing in their type forbids them to throw: in checked builds that
// ends in a message, else it is undefined.
template <class Call>
auto checked(Call call) noexcept {
#if defined(__cpp_exceptions) && SCOOT_CHECK_LEVEL >= 1
  try {
    return call();
  } catch (...) {
    scoot::base::fail(__FILE__, __LINE__, "a callback of a pressure monitor threw an exception");
  }
#else
  return call();
#endif
}

std::size_t give_back(void* context, const scoot::pressure_notice& notice) noexcept {
  const auto& options = static_cast<const scoot_pressure*>(context)->options;
  scoot_pressure_notice n{};
  n.give_back_bytes = notice.give_back_bytes;
  n.deficit_bytes = notice.deficit_bytes;
  n.target_bytes = notice.target_bytes;
  n.noticed_ns = notice.noticed_ns;
  n.source = static_cast<scoot_pressure_source>(notice.source);
  return checked([&] { return options.give_back(options.context, &n); });
}

std::size_t held(void* context) noexcept {
  const auto& options = static_cast<const scoot_pressure*>(context)->options;
  return checked([&] { return options.held(options.context); });
}

void may_grow(void* context, std::size_t target_bytes) noexcept {
  const auto& options = static_cast<const scoot_pressure*>(context)->options;
  checked([&] { options.may_grow(options.context, target_bytes); });
}

scoot::pressure_options translate(scoot_pressure& owner) noexcept {
  const scoot_pressure_options& from = owner.options;
  scoot::pressure_options to;
  to.context = &owner;
  if (from.give_back != nullptr) to.give_back = give_back;
  if (from.held != nullptr) to.held = held;
  if (from.may_grow != nullptr) to.may_grow = may_grow;
  to.held_bytes_min = from.held_bytes_min;
  to.held_bytes_max = from.held_bytes_max;
  to.headroom_bytes_min = from.headroom_bytes_min;
  to.headroom_bytes_max = from.headroom_bytes_max;
  if (from.window_ms != 0) to.window_ms = from.window_ms;
  if (from.cooldown_ms != 0) to.cooldown_ms = from.cooldown_ms;
  if (from.step_ms != 0) to.step_ms = from.step_ms;
  if (from.sources != 0) to.sources = from.sources;
  to.fifo = from.fifo;
  if (from.realtime_priority != 0) to.realtime_priority = std::max(from.realtime_priority, 0);
  if (from.watch_cost_max != 0) to.watch_cost_max = from.watch_cost_max;
  if (from.root != nullptr) to.root = from.root;
  return to;
}

bool reserved_is_zero(const scoot_pressure_options& options) noexcept {
  return std::all_of(std::begin(options.reserved), std::end(options.reserved),
                     [](std::size_t word) { return word == 0; });
}

}  // namespace

scoot_pressure* scoot_pressure_create(const scoot_pressure_options* options) {
  if (options != nullptr && !reserved_is_zero(*options)) return nullptr;
  std::unique_ptr<scoot_pressure> made(new (std::nothrow) scoot_pressure());
  if (made == nullptr) return nullptr;
  if (options != nullptr) made->options = *options;
  made->monitor = scoot::pressure_monitor::create(translate(*made));
  return made->monitor != nullptr ? made.release() : nullptr;
}

void scoot_pressure_destroy(scoot_pressure* monitor) { delete monitor; }

size_t scoot_pressure_deficit(const scoot_pressure* monitor) { return monitor->monitor->deficit_bytes(); }

size_t scoot_pressure_target(const scoot_pressure* monitor) { return monitor->monitor->target_bytes(); }

void scoot_pressure_report_purged(scoot_pressure* monitor, size_t bytes) { monitor->monitor->report_purged(bytes); }

void scoot_pressure_report_shortage(scoot_pressure* monitor, size_t bytes) { monitor->monitor->report_shortage(bytes); }

bool scoot_pressure_read_now(scoot_pressure* monitor, uint32_t timeout_ms) {
  return monitor->monitor->read_now(timeout_ms);
}

scoot_pressure_usage scoot_pressure_stats(const scoot_pressure* monitor) {
  const scoot::pressure_stats from = monitor->monitor->stats();
  scoot_pressure_usage to{};
  to.limit_bytes = from.limit_bytes;
  to.used_bytes = from.used_bytes;
  to.available_bytes = from.available_bytes;
  to.headroom_bytes = from.headroom_bytes;
  to.held_bytes = from.held_bytes;
  to.deficit_bytes = from.deficit_bytes;
  to.target_bytes = from.target_bytes;
  to.readings = from.readings;
  to.alarms = from.alarms;
  to.notices = from.notices;
  to.fruitless_notices = from.fruitless_notices;
  to.asked_bytes = from.asked_bytes;
  to.given_bytes = from.given_bytes;
  to.growths = from.growths;
  to.purged_bytes = from.purged_bytes;
  to.wake_delay_ns_max = from.wake_delay_ns_max;
  to.give_back_ns_max = from.give_back_ns_max;
  to.cpu_ns = from.cpu_ns;
  to.interval_ns = from.interval_ns;
  to.scheduling = static_cast<int>(from.scheduling);
  to.stack_locked = from.stack_locked;
  return to;
}

size_t scoot_pressure_list_sources(const scoot_pressure* monitor, scoot_pressure_source_info* infos, size_t room) {
  scoot::pressure_source_info from[scoot::pressure_source_count];
  const std::size_t count = monitor->monitor->list_sources(from, std::size(from));
  for (std::size_t i = 0; i < std::min(room, count); ++i) {
    infos[i] = {};
    infos[i].source = static_cast<scoot_pressure_source>(from[i].source);
    infos[i].state = static_cast<int>(from[i].state);
    infos[i].error = from[i].error;
    infos[i].alarms = from[i].alarms;
    static_assert(sizeof(infos[i].where) == sizeof(from[i].where));
    std::memcpy(infos[i].where, from[i].where, sizeof(infos[i].where));
  }
  return count;
}

scoot_room scoot_measure_memory_room(void) {
  const scoot::memory_room from = scoot::measure_memory_room();
  return {from.limit_bytes, from.available_bytes};
}
