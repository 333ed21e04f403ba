// SPDX-License-Identifier: MIT
#include "pressure/levels.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "pressure/targets.hpp"

namespace scoot::pressure {

namespace {

constexpr std::uint64_t second = 1'000'000'000;

std::uint64_t subtract(std::uint64_t a, std::uint64_t b) noexcept { return a > b ? a - b : 0; }

// What was refused, rather than not there, sets `missed`: descriptors may have run out for a moment.
os::descriptor open_noting(const char* path, bool& missed) noexcept {
  os::opened got = os::open_file(path, os::access::read);
  if (got.error != 0 && got.error != ENOENT && got.error != ENOTDIR) missed = true;
  return std::move(got.file);
}

os::descriptor open_in(const path_text& folder, std::string_view name, bool& missed) noexcept {
  return open_noting(in_folder(folder, name).c_str(), missed);
}

// A file that holds one number.
std::optional<std::uint64_t> read_number(const os::descriptor& file) noexcept {
  char buffer[64];
  const std::ptrdiff_t got = file ? os::read_from_start(file, buffer) : -1;
  return got <= 0 ? std::nullopt : parse_bytes({buffer, static_cast<std::size_t>(got)});
}

// Calls use(line) for each line of the file until that answers true. Lines that are too long for the buffer are left
// out.
template <class Use>
bool any_line(const char* path, bool& missed, Use use) noexcept {
  const os::descriptor file = open_noting(path, missed);
  if (!file) return false;
  char buffer[4096];
  std::size_t held = 0;
  bool skipping = false;
  for (;;) {
    const std::ptrdiff_t more = os::read_some(file, std::span(buffer).subspan(held));
    if (more < 0) missed = true;
    if (more <= 0) return held != 0 && !skipping && use(std::string_view(buffer, held));
    held += static_cast<std::size_t>(more);
    std::string_view text(buffer, held);
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      if (!skipping && use(text.substr(0, end))) return true;
      skipping = false;
      text.remove_prefix(end + 1);
    }
    held = text.size();
    if (held == sizeof(buffer)) {
      skipping = true;
      held = 0;
    }
    std::copy_n(text.data(), held, buffer);
  }
}

}  // namespace

bool memory_levels::find(std::uint64_t now_ns) noexcept {
  count_ = 0;
  stale_ = false;
  missed_ = false;
  machine_bytes_ = no_limit;
  level& machine = levels_[count_++];
  machine = level();
  machine.folder.append(root_).append("/proc/meminfo");
  machine.stat = open_noting(machine.folder.c_str(), missed_);
  read_machine(machine);
  stale_ = false;  // a machine that cannot be read is no reason to look again at once

  if (!find_cgroup(cgroup_version::v1, "memory")) (void)find_cgroup(cgroup_version::v2, "");
  for (std::size_t i = 1; i < count_; ++i) read_cgroup(levels_[i]);
  for (std::size_t i = 0; i < count_; ++i) levels_[i].due_ns = now_ns;
  place_ = 0;
  check();
  return tightest() != nullptr;
}

// The leaf's folder: by each mount of that hierarchy until one works.
bool memory_levels::find_cgroup(cgroup_version version, std::string_view controller) noexcept {
  path_text cgroup;
  path_text file(root_);
  const bool listed = any_line(file.append("/proc/self/cgroup").c_str(), missed_, [&](std::string_view line) {
    const auto found = parse_cgroup_line(line);
    if (!found || (controller.empty() ? !found->controllers.empty() : !lists(found->controllers, controller))) {
      return false;
    }
    cgroup.append(found->path);
    return true;
  });
  if (!listed) return false;
  path_text mounts(root_);
  return any_line(mounts.append("/proc/self/mountinfo").c_str(), missed_, [&](std::string_view line) {
    const auto mount = parse_mount_line(line);
    if (!mount || mount->type != (version == cgroup_version::v1 ? "cgroup" : "cgroup2")) return false;
    if (version == cgroup_version::v1 && !lists(mount->options, controller)) return false;
    path_text top(root_);
    append_unescaped(top, mount->point);
    path_text leaf(root_);
    append_cgroup_folder(leaf, *mount, cgroup.view());
    if (add_cgroup_levels(leaf, top.view().size(), version)) return true;
    // The path may be of another namespace than the mount: then the mount point is the best guess.
    return !(leaf == top) && add_cgroup_levels(top, top.view().size(), version);
  });
}

// The levels from the leaf up to the mount point. False if the leaf has no memory controller.
bool memory_levels::add_cgroup_levels(const path_text& leaf, std::size_t top_size, cgroup_version version) noexcept {
  const bool v1 = version == cgroup_version::v1;
  if (leaf.view().empty()) return false;
  if (os::type_of(in_folder(leaf, v1 ? "memory.usage_in_bytes" : "memory.current").c_str()) == os::file_type::none) {
    return false;
  }
  path_text folder(leaf);
  while (count_ < levels_max) {
    level& l = levels_[count_];
    l = level();
    l.version = version;
    l.folder = folder;
    l.limit_file = open_in(folder, v1 ? "memory.limit_in_bytes" : "memory.max", missed_);
    if (!v1) l.high_file = open_in(folder, "memory.high", missed_);
    ++count_;
    const std::size_t end = folder.view().rfind('/');
    if (end == std::string_view::npos || end < top_size) break;
    folder.shorten(end);
  }
  return true;
}

void memory_levels::read_limits(level& l) noexcept {
  std::uint64_t limit = l.hidden_limit;
  for (const os::descriptor* file : {&l.limit_file, &l.high_file}) {
    if (!*file) continue;
    const auto value = read_number(*file);
    if (!value) stale_ = true;
    limit = std::min(limit, value.value_or(no_limit));
  }
  // A limit at or above the memory of the machine is none: v1 says so with a number near 2^63.
  l.limit = limit >= machine_bytes_ || limit > no_limit / 4 ? no_limit : limit;
}

void memory_levels::read_cgroup(level& l) noexcept {
  const bool v1 = l.version == cgroup_version::v1;
  read_limits(l);
  if (l.limit == no_limit) {
    l.limited = false;
    l.usage = os::descriptor();
    l.stat = os::descriptor();
    return;
  }
  if (!l.usage) l.usage = open_in(l.folder, v1 ? "memory.usage_in_bytes" : "memory.current", missed_);
  if (!l.stat) l.stat = open_in(l.folder, "memory.stat", missed_);
  const auto used = read_number(l.usage);
  if (!used) {
    stale_ = true;
    return;
  }
  char buffer[8192];
  const std::ptrdiff_t got = l.stat ? os::read_from_start(l.stat, buffer) : 0;
  if (got <= 0) stale_ = true;
  const std::string_view stat(buffer, got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::uint64_t inactive = find_field(stat, v1 ? "total_inactive_file" : "inactive_file").value_or(0);
  const std::uint64_t active = find_field(stat, v1 ? "total_active_file" : "active_file").value_or(0);
  const std::uint64_t droppable = std::min(*used, inactive > no_limit - active / 2 ? no_limit : inactive + active / 2);
  l.used = *used;
  l.available = subtract(l.limit, *used - droppable);
  l.over = subtract(*used - droppable, l.limit);
  l.limited = true;
}

void memory_levels::read_machine(level& l) noexcept {
  char buffer[4096];
  const std::ptrdiff_t got = l.stat ? os::read_from_start(l.stat, buffer) : 0;
  const std::string_view text(buffer, got > 0 ? static_cast<std::size_t>(got) : 0);
  const auto total = find_meminfo(text, "MemTotal");
  const auto available = find_meminfo(text, "MemAvailable");
  if (!total || !available) {
    stale_ = true;
    return;
  }
  machine_bytes_ = *total;
  l.limit = *total;
  l.available = std::min(*available, *total);
  l.used = *total - l.available;
  l.limited = true;
}

// v1 tells in the leaf what limit holds there, of ancestors beyond the mount too. Theirs is put on the topmost level
// that can be seen, of which the usage comes nearest.
void memory_levels::apply_hidden_limit() noexcept {
  if (count_ < 2 || levels_[1].version != cgroup_version::v1) return;
  const os::descriptor file = open_in(levels_[1].folder, "memory.stat", missed_);
  char buffer[8192];
  const std::ptrdiff_t got = file ? os::read_from_start(file, buffer) : 0;
  if (got < 0) missed_ = true;
  const auto told =
      find_field({buffer, got > 0 ? static_cast<std::size_t>(got) : 0}, "hierarchical_memory_limit").value_or(no_limit);
  level& top = levels_[count_ - 1];
  top.hidden_limit = no_limit;
  read_limits(top);
  std::uint64_t seen = no_limit;
  for (std::size_t i = 1; i < count_; ++i) seen = std::min(seen, levels_[i].limit);
  if (told < seen) top.hidden_limit = told;
  read_cgroup(top);
}

void memory_levels::read(std::uint64_t now_ns, std::uint64_t headroom) noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    level& l = levels_[i];
    if (now_ns < l.due_ns) continue;
    if (i == 0) {
      read_machine(l);
    } else {
      read_cgroup(l);
    }
    l.due_ns = now_ns + (l.limited ? pacing::time_to_use_ns(subtract(l.available, headroom)) : second);
  }
}

const level* memory_levels::tightest() const noexcept {
  const level* least = nullptr;
  for (std::size_t i = 0; i < count_; ++i) {
    const level& l = levels_[i];
    if (!l.limited) continue;
    if (least == nullptr || l.available < least->available || l.over > least->over) least = &l;
  }
  return least;
}

const level* memory_levels::limiting_cgroup() const noexcept {
  if (count_ < 2) return nullptr;
  const level* least = &levels_[1];
  for (std::size_t i = 2; i < count_; ++i) {
    if (levels_[i].limit < least->limit) least = &levels_[i];
  }
  return least;
}

std::uint64_t memory_levels::effective_limit() const noexcept {
  std::uint64_t least = no_limit;
  for (std::size_t i = 0; i < count_; ++i) {
    if (levels_[i].limited) least = std::min(least, levels_[i].limit);
  }
  return least;
}

void memory_levels::check() noexcept {
  if (place_ != 0 && missed_) stale_ = true;
  apply_hidden_limit();
  path_text file(root_);
  std::uint64_t hash = 0xcbf29ce484222325U;
  (void)any_line(file.append("/proc/self/cgroup").c_str(), missed_, [&](std::string_view line) {
    for (const char c : line) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    hash = (hash ^ '\n') * 0x100000001b3U;
    return false;
  });
  if (place_ != 0 && place_ != hash) stale_ = true;
  place_ = hash;
}

}  // namespace scoot::pressure
