// SPDX-License-Identifier: MIT
//
// pressure_monitor: tells a program that memory is getting short, how much to give back, and how much it may hold.
//
//     limit of the cgroup, of each of its ancestors, of the machine
//     |== others ==|== held by the program ==|.. what the kernel can drop ..|.. free ..|
//                                            |<------------- available --------------->|
//     deficit = headroom to keep - available, if that is positive
//
// A thread of its own reads how much is available, as often as that can matter, and is woken early by what the kernel
// and others tell: events of cgroups, stall information (PSI), the service manager, a canary, a FIFO. When there is a
// deficit it calls the program with half of it, looks again, and calls again until nothing is missing. The headroom
// follows what others were seen to need at once; the target, what the program may hold, falls with each notice and
// grows again by at most a twentieth a step, after a cool-down. docs/design/pressure.md explains each rule.
//
// Ownership: deleting the monitor stops its thread and waits for a callback that runs. Threads: every function may be
// called from any thread; the callbacks run on the monitor's, one at a time, and must not delete it. fork(): the child
// has no monitor; it must not use the copy. Failure: a source that is missing, refused or lost is left out and listed
// as such (list_sources); nothing throws. Cost: below 0.1 % of a processor as long as nothing happens.
// Non-goals: killing or asking other processes; swap; NUMA nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "scoot/export.h"

namespace scoot {

// What an alarm came from.
enum class pressure_source : unsigned char {
  headroom = 0,          // less is available than the headroom to keep: read by the monitor itself
  cgroup_threshold = 1,  // cgroup v1: usage passed a threshold near the limit
  cgroup_level = 2,      // cgroup v1: memory.pressure_level
  cgroup_events = 3,     // cgroup v2: memory.events
  cgroup_psi = 4,        // cgroup v2: memory.pressure
  system_psi = 5,        // /proc/pressure/memory
  service_manager = 6,   // systemd's protocol: MEMORY_PRESSURE_WATCH, MEMORY_PRESSURE_WRITE
  canary = 7,            // purgeable memory of our own is gone: the kernel has begun to purge
  fifo = 8,              // a line in a FIFO, for tests and scripts: "BYTES", or nothing for "some"
  program = 9,           // report_shortage()
};
inline constexpr std::size_t pressure_source_count = 10;

[[nodiscard]] SCOOT_EXPORT const char* to_string(pressure_source source) noexcept;  // its name

// For pressure_options::sources.
inline constexpr std::uint32_t pressure_source_bit(pressure_source source) noexcept { return 1U << unsigned(source); }
inline constexpr std::uint32_t pressure_sources_all = (1U << pressure_source_count) - 1;

// What a monitor tells the program.
struct pressure_notice {
  std::size_t give_back_bytes = 0;  // free about so much now: half of the deficit, or all of it if it is small
  std::size_t deficit_bytes = 0;    // what is missing in all
  std::size_t target_bytes = 0;     // what the program should hold from now on, at most
  std::uint64_t noticed_ns = 0;     // when the monitor learnt of it, by CLOCK_MONOTONIC
  pressure_source source = pressure_source::headroom;
};

// What a monitor is made with.
struct pressure_options {
  // Gives memory back and returns how many bytes it gave. Runs on the monitor's thread, perhaps with real-time
  // priority: it must be bounded, and should not wait for locks that threads of low priority hold for long. If it
  // returns 0, the next call comes later and later, up to a second. Null: the program asks deficit_bytes() itself.
  std::size_t (*give_back)(void* context, const pressure_notice& notice) noexcept = nullptr;
  // The bytes that the program holds and could give back, offered memory not among them. Called at every reading, so it
  // must be cheap and may not wait. Null: unknown; then deficits are not limited to it, and target_bytes() says
  // nothing.
  std::size_t (*held)(void* context) noexcept = nullptr;
  // The target has grown.
  void (*may_grow)(void* context, std::size_t target_bytes) noexcept = nullptr;
  void* context = nullptr;

  std::size_t held_bytes_min = 0;        // never asks to go below this
  std::size_t held_bytes_max = 0;        // the target never exceeds this; 0: no ceiling
  std::uint64_t headroom_bytes_min = 0;  // 0: 1/32 of the limit, at least 8 MiB and at most 256 MiB
  std::uint64_t headroom_bytes_max = 0;  // 0: a quarter of the limit
  std::uint32_t window_ms = 10'000;      // over which the needs of others are observed
  std::uint32_t cooldown_ms = 10'000;    // after pressure or a purge, before the target grows
  std::uint32_t step_ms = 1'000;         // between two growths of the target

  std::uint32_t sources = pressure_sources_all;  // pressure_source_bit of those to use
  const char* fifo = nullptr;                    // of that source; made if it is missing, if the folder is there
  int realtime_priority = 1;                     // SCHED_FIFO, if permitted; 0: do not ask for it
  double watch_cost_max = 0.0007;  // of a core, for readings while little is left and nothing happens: the
                                   // more, the sooner a burst is seen where the kernel does not tell of it
  const char* root = "";           // in front of /proc and /sys, for tests and for hosts seen from inside;
                                   // this and fifo must outlive the monitor
};

// How the monitor's thread is scheduled.
enum class pressure_scheduling : unsigned char {
  plain = 0,     // as the program is
  raised = 1,    // with a better nice value than the program's
  realtime = 2,  // SCHED_FIFO: runs at once, whatever else wants to
};

// What a monitor knows and did.
struct pressure_stats {
  // Of the limit that leaves least: a cgroup's or the machine's.
  std::uint64_t limit_bytes = 0;
  std::uint64_t used_bytes = 0;       // what counts towards the limit
  std::uint64_t available_bytes = 0;  // free, or dropped by the kernel at once: clean file pages, offered memory
  std::uint64_t headroom_bytes = 0;   // kept for others
  std::size_t held_bytes = 0;         // as the program said last
  std::size_t deficit_bytes = 0;
  std::size_t target_bytes = 0;
  // Ever:
  std::uint64_t readings = 0;           // of what is available
  std::uint64_t alarms = 0;             // from sources other than headroom
  std::uint64_t notices = 0;            // calls of give_back
  std::uint64_t fruitless_notices = 0;  // of those, returned 0
  std::uint64_t asked_bytes = 0;        // of give_back
  std::uint64_t given_bytes = 0;        // by it, as it said
  std::uint64_t growths = 0;            // of the target
  std::uint64_t purged_bytes = 0;       // report_purged
  std::uint64_t wake_delay_ns_max = 0;  // the latest that a timed sleep ended: what scheduling costs
  std::uint64_t give_back_ns_max = 0;   // the longest call of give_back
  std::uint64_t cpu_ns = 0;             // processor time of the monitor's thread
  std::uint64_t interval_ns = 0;        // the sleep until the next reading
  pressure_scheduling scheduling = pressure_scheduling::plain;
  bool stack_locked = false;  // the thread's stack cannot be swapped out; it is touched beforehand in any case
};

// What became of a source.
enum class pressure_source_state : unsigned char {
  off = 0,       // not asked for
  absent = 1,    // there is no such thing here
  refused = 2,   // it is there, but the system refused it: see error
  watching = 3,  // it is being watched
  lost = 4,      // it was watched and broke: see error
};

// One source of a monitor.
struct pressure_source_info {
  pressure_source source = pressure_source::headroom;
  pressure_source_state state = pressure_source_state::off;
  int error = 0;             // errno
  std::uint64_t alarms = 0;  // ever
  char where[256] = {};      // the file, cut off where it is longer
};

// The room there is for this process: of the limits of its cgroup, of the ancestors it can see and of the machine, the
// one that leaves least, and the least limit. Reads a few files. All zero where there is nothing to read.
struct memory_room {
  std::uint64_t limit_bytes = 0;      // the effective limit: the least of all
  std::uint64_t available_bytes = 0;  // the least of what any of them leaves
};
[[nodiscard]] SCOOT_EXPORT memory_room measure_memory_room(const char* root = "") noexcept;  // as it is now

// The monitor; see the top of this file.
class SCOOT_EXPORT pressure_monitor {
 public:
  // Starts a monitor. Null if the options contradict each other, or there is no memory or thread for it. It is not null
  // for want of sources: whoever cares looks at list_sources().
  [[nodiscard]] static std::unique_ptr<pressure_monitor> create(const pressure_options& options) noexcept;

  pressure_monitor(const pressure_monitor&) = delete;
  pressure_monitor& operator=(const pressure_monitor&) = delete;
  static void operator delete(pressure_monitor* self, std::destroying_delete_t) noexcept;  // stops it first

  // What should be given back, by the last reading. One load.
  [[nodiscard]] std::size_t deficit_bytes() const noexcept;

  // What the program should hold at most; the maximum of its type as long as there is no reason for less. One load.
  [[nodiscard]] std::size_t target_bytes() const noexcept;

  // The kernel purged so much of the program's offered memory: the target does not grow for a cool-down.
  void report_purged(std::size_t bytes) noexcept;

  // The program found memory short by so much (0: it can't say), for example by a refused allocation.
  void report_shortage(std::size_t bytes) noexcept;

  // Returns after the monitor has taken a reading that began after this call, and the callbacks of it were done; false
  // if that took longer. Not from a callback.
  bool read_now(std::uint32_t timeout_ms = 1000) noexcept;

  [[nodiscard]] pressure_stats stats() const noexcept;  // what it holds and did

  // Writes up to room entries, one for each source there can be; returns how many there are.
  [[nodiscard]] std::size_t list_sources(pressure_source_info* infos, std::size_t room) const noexcept;

  ~pressure_monitor() = default;  // does nothing: delete is the operator above

 protected:
  pressure_monitor() = default;
};

}  // namespace scoot
