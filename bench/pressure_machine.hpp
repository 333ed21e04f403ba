// SPDX-License-Identifier: MIT
//
// What `scoot-bench pressure` takes of the machine: memory cgroups, and a zram device as swap. Whether they can be had,
// and that they are given back however the program ends.
//
// A second process, the guardian, holds what there is to give back and waits for the end of a pipe that only this
// process holds: when this process goes, be it by a signal that cannot be caught, the guardian kills what is left in
// the groups, removes them, and takes the swap away. It is in a session of its own, so that what ends a terminal's
// programs or a process group leaves it alone. With swap, which is the whole machine's, there is one run at a time: a
// lock file says so, and says what a machine that lost its guardian too has left over.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "memory_group.hpp"

namespace bench {

class pressure_machine {
 public:
  // Takes the machine, with swap on a zram device of `swap_bytes` if that is not 0. Must be called before any thread
  // is started. Null, with the reason, where anything is missing or refused.
  static std::unique_ptr<pressure_machine> take(std::uint64_t swap_bytes, std::string& why_not);

  // Gives everything back and waits until that is done.
  ~pressure_machine();
  pressure_machine(const pressure_machine&) = delete;
  pressure_machine& operator=(const pressure_machine&) = delete;

  // A fresh group; at most one at a time.
  std::unique_ptr<memory_group> make_group(std::uint64_t limit_bytes);

  // "cgroup v1, zram0 of 256 MiB (lzo-rle)"
  [[nodiscard]] const std::string& description() const noexcept { return description_; }

 private:
  pressure_machine() = default;
  bool lock(std::string& why_not);
  bool find_device(std::string& why_not);
  bool start_guardian(std::string& why_not);
  bool start_swap(std::uint64_t bytes, std::string& why_not);

  group_hierarchy groups_;
  std::string group_prefix_;
  std::string device_;  // "zram0"; empty without swap
  std::string description_;
  bool swap_ = false;
  int lock_ = -1;
  int alive_ = -1;  // the guardian reads the other end
  int done_ = -1;   // the guardian holds the other end until it is done
  unsigned groups_made_ = 0;
};

}  // namespace bench
