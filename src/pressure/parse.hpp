// SPDX-License-Identifier: MIT
//
// Pure parsers of what the kernel writes about memory, and the paths to it. Each survives any bytes: what is not as
// expected is an empty result. Nothing here allocates or throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace scoot::pressure {

inline constexpr std::uint64_t no_limit = ~std::uint64_t{0};

// A path of bounded length. What does not fit makes it invalid, and then it is the empty path, which nothing opens.
class path_text {
 public:
  path_text() = default;
  explicit path_text(std::string_view text) noexcept { append(text); }
  path_text& append(std::string_view text) noexcept;
  [[nodiscard]] const char* c_str() const noexcept { return bytes_; }
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_, size_}; }
  void shorten(std::size_t size) noexcept;
  [[nodiscard]] bool operator==(const path_text& other) const noexcept { return view() == other.view(); }

 private:
  static constexpr std::size_t bytes_max = 1024;
  std::size_t size_ = 0;
  bool overflown_ = false;
  char bytes_[bytes_max] = {};
};

// The path of what has this name in the folder.
[[nodiscard]] path_text in_folder(const path_text& folder, std::string_view name) noexcept;

// Takes the first line off the text, without its end.
[[nodiscard]] std::string_view next_line(std::string_view& text) noexcept;

// Takes the first word off the text; words are separated by blanks.
[[nodiscard]] std::string_view next_word(std::string_view& text) noexcept;

// A decimal number and nothing else but white space around it; above 2^64-1 it is that. "max" is no_limit.
[[nodiscard]] std::optional<std::uint64_t> parse_bytes(std::string_view text) noexcept;

// The value in the line "name value", as in memory.stat and memory.events.
[[nodiscard]] std::optional<std::uint64_t> find_field(std::string_view text, std::string_view name) noexcept;

// The value in the line "name:   value kB" of /proc/meminfo, in bytes.
[[nodiscard]] std::optional<std::uint64_t> find_meminfo(std::string_view text, std::string_view name) noexcept;

// A line of /proc/PID/cgroup: "9:memory,cpu:/path"; the unified hierarchy has no controllers.
struct cgroup_line {
  std::string_view controllers;
  std::string_view path;
};
[[nodiscard]] std::optional<cgroup_line> parse_cgroup_line(std::string_view line) noexcept;

// Whether a list separated by commas has this word.
[[nodiscard]] bool lists(std::string_view list, std::string_view word) noexcept;

// A line of /proc/PID/mountinfo; paths still with their escapes.
struct mount_line {
  std::string_view root;   // of what is mounted, inside of its file system
  std::string_view point;  // where
  std::string_view type;
  std::string_view options;  // of the file system
};
[[nodiscard]] std::optional<mount_line> parse_mount_line(std::string_view line) noexcept;

// Appends a path of mountinfo, its escapes (\040) resolved.
void append_unescaped(path_text& path, std::string_view escaped) noexcept;

// Where a cgroup lies in the file system: its path, by /proc/PID/cgroup, seen through a mount whose root is given. Of
// a path outside the mount's root, as a foreign cgroup namespace shows it, only the mount point can be told.
void append_cgroup_folder(path_text& folder, const mount_line& mount, std::string_view cgroup) noexcept;

// Decodes base64. The bytes written, or nothing if it is none or does not fit.
[[nodiscard]] std::optional<std::size_t> decode_base64(std::string_view text, std::span<char> bytes) noexcept;

}  // namespace scoot::pressure
