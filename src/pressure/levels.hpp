// SPDX-License-Identifier: MIT
//
// memory_levels: everything that limits the memory of this process, and what each limit leaves.
//
//     machine (MemTotal) > cgroup /a > /a/b > /a/b/c (this process)        level 0 is the machine, then leaf to top
//
// Finds the cgroup by /proc/self/cgroup and /proc/self/mountinfo, so that it works in cgroup namespaces and in
// containers whose mount begins at their own cgroup. Of cgroup v1 the memory controller, else v2. Limits of ancestors
// that cannot be seen count where the kernel tells of them (v1: hierarchical_memory_limit).
//
// What a level leaves: its limit less what is used, plus what the kernel can drop without a loss to anybody: inactive
// clean file pages and offered memory, which it keeps on the same list, and half of the active file pages. For the
// machine it is MemAvailable, of which the kernel says the same.
//
// A level is read again when what it left could be used up; limits are read each time, so they may change. Files that
// vanish, or that hold garbage, leave the last known values for a second, after which everything is found anew.
// One thread. Nothing allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "os/events.hpp"
#include "pressure/parse.hpp"

namespace scoot::pressure {

enum class cgroup_version : unsigned char { none, v1, v2 };

struct level {
  cgroup_version version = cgroup_version::none;  // none: the machine
  path_text folder;
  os::descriptor usage, stat, limit_file, high_file;  // the machine: stat is /proc/meminfo
  bool limited = false;                               // used and available mean something
  std::uint64_t limit = no_limit;
  std::uint64_t hidden_limit = no_limit;  // of an ancestor that cannot be seen
  std::uint64_t used = 0;
  std::uint64_t available = no_limit;
  std::uint64_t over = 0;    // used above the limit, which was cut or is not a hard one
  std::uint64_t due_ns = 0;  // read again from then on
};

class memory_levels {
 public:
  static constexpr std::size_t levels_max = 17;  // the machine, the leaf and the 15 ancestors next to it

  explicit memory_levels(const char* root) noexcept : root_(root) {}

  // Finds the levels anew and reads them all. False if nothing at all can be read. The memory of what was found before
  // is lost, so whoever watches files in the folders has to look again.
  bool find(std::uint64_t now_ns) noexcept;

  // Reads the levels that are due; one is due again when what is above the headroom could be used up.
  void read(std::uint64_t now_ns, std::uint64_t headroom) noexcept;

  // The level that leaves least; null if none is known.
  [[nodiscard]] const level* tightest() const noexcept;

  // The cgroup with the least limit, the leaf if none has one; null outside of all cgroups. Its events are ours.
  [[nodiscard]] const level* limiting_cgroup() const noexcept;

  [[nodiscard]] std::uint64_t effective_limit() const noexcept;

  // Whether files vanished, or the process was moved to another cgroup: find() should be called.
  [[nodiscard]] bool stale() const noexcept { return stale_; }

  // What changes seldom: whether the process is where it was, limits of ancestors that cannot be seen, and whether what
  // was refused when the levels were found is refused still.
  void check() noexcept;

 private:
  bool find_cgroup(cgroup_version version, std::string_view controller) noexcept;
  bool add_cgroup_levels(const path_text& leaf, std::size_t top_size, cgroup_version version) noexcept;
  void read_cgroup(level& l) noexcept;
  void read_limits(level& l) noexcept;
  void read_machine(level& l) noexcept;
  void apply_hidden_limit() noexcept;

  const char* root_;
  std::array<level, levels_max> levels_;
  std::size_t count_ = 0;
  std::uint64_t machine_bytes_ = no_limit;
  std::uint64_t place_ = 0;  // hash of /proc/self/cgroup
  bool stale_ = false;
  bool missed_ = false;  // a file that is there, or may be, was refused
};

}  // namespace scoot::pressure
