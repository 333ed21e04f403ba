// SPDX-License-Identifier: MIT
//
// A memory cgroup with a limit, of either version, in which a trial of `scoot-bench pressure` runs; and the swap it
// runs with. All of it belongs to the machine, not to this process: see pressure_machine.hpp for who cleans up.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

// Where groups can be made, and what the files of a group are called there.
struct group_hierarchy {
  std::string root;
  int version = 1;

  // The machine's, if this process may make groups in it; nothing else.
  static std::optional<group_hierarchy> find(const std::string& mount = "/sys/fs/cgroup");
};

class memory_group {
 public:
  // Makes a group of at most `limit_bytes`, swap not counted; without `swap`, none of it is ever swapped out. The group
  // is not there, and error() says why, if that fails.
  memory_group(const group_hierarchy& where, const std::string& name, std::uint64_t limit_bytes, bool swap);

  // Kills what is left in the group and removes it.
  ~memory_group();
  memory_group(const memory_group&) = delete;
  memory_group& operator=(const memory_group&) = delete;

  [[nodiscard]] bool there() const noexcept { return error_.empty(); }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  // Moves this process into the group. Makes no allocation: it is for processes that were just forked.
  bool join() const noexcept;

  [[nodiscard]] std::string usage_file() const;
  [[nodiscard]] std::uint64_t usage_bytes() const;
  [[nodiscard]] std::uint64_t oom_kills() const;

  // What of the group is in swap now. Nothing if that could not be told, since usage changed while it was read.
  [[nodiscard]] std::optional<std::uint64_t> swapped_bytes() const;

  // At least so much was in swap at some time. With version 1, what is less than a batch of charges a processor is not
  // seen: the counter of both is raised before that of memory refuses.
  [[nodiscard]] std::uint64_t swapped_bytes_peak() const;

  [[nodiscard]] std::uint64_t limit_bytes() const noexcept { return limit_; }

 private:
  group_hierarchy where_;
  std::string path_;
  std::string join_path_;
  std::uint64_t limit_;
  std::string error_;
};

// Kills all processes of the group in that folder, one by one, and removes it. True if it is gone.
bool remove_group(const std::string& path) noexcept;

// Pages that the whole machine wrote to swap since it started, those of zeros, which are only noted, included.
std::uint64_t swapped_out_pages();

// Bytes of a process that are in swap now (VmSwap); 0 if it is gone.
std::uint64_t swapped_bytes(pid_t process);

// Small files of /proc and /sys: the whole text (empty if it cannot be read), the number after a word in it, and
// writing to one. Nothing else reads them here.
std::string read_text(const std::string& path);
std::uint64_t number_after(const std::string& text, const std::string& word);
bool write_text(const std::string& path, const std::string& text);

}  // namespace bench
