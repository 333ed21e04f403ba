// SPDX-License-Identifier: MIT
//
// Alarms of cgroups, by the kernel's own descriptors.
#include <errno.h>
#include <stdio.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <utility>

#include "pressure/source.hpp"

namespace scoot::pressure {

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

// Reads the counter of an eventfd: how often it was raised.
std::uint64_t drain(const os::descriptor& event) noexcept {
  std::uint64_t count = 0;
  return os::read_some(event, {reinterpret_cast<char*>(&count), sizeof(count)}) == sizeof(count) ? count : 0;
}

// cgroup v1: has an eventfd raised about a file of the cgroup, as the arguments say; the kernel forgets it when either
// is closed. When the cgroup is removed it raises it too.
struct registration {
  os::descriptor event;
  os::descriptor file;

  [[nodiscard]] int make(const level& cgroup, const char* name, const char* arguments) noexcept {
    os::opened target = os::open_file(in_folder(cgroup.folder, name).c_str(), os::access::read);
    if (!target.file) return target.error;
    os::opened control = os::open_file(in_folder(cgroup.folder, "cgroup.event_control").c_str(), os::access::write);
    if (!control.file) return control.error;
    os::opened made = os::make_event();
    if (!made.file) return made.error;
    char text[96];
    const int length = snprintf(text, sizeof(text), "%d %d %s", made.file.get(), target.file.get(), arguments);
    if (length < 0 || static_cast<std::size_t>(length) >= sizeof(text)) return EINVAL;
    if (const int error = os::write_all(control.file, {text, static_cast<std::size_t>(length)}); error != 0) {
      return error;
    }
    event = std::move(made.file);
    file = std::move(target.file);
    return 0;
  }

  [[nodiscard]] bool gone() const noexcept {
    char byte;
    return os::read_from_start(file, {&byte, 1}) < 0;
  }
};

// Usage passes the limit less the headroom, in either direction. Set anew when limit or headroom have changed by an
// eighth of the headroom.
class threshold_source final : public source {
 public:
  explicit threshold_source(const level& cgroup) noexcept : folder_(cgroup.folder) {}

  [[nodiscard]] int set(const level& cgroup, std::uint64_t headroom) noexcept {
    char text[32];
    at_ = (cgroup.limit > headroom ? cgroup.limit - headroom : 0) & ~std::uint64_t{0xfff};
    (void)snprintf(text, sizeof(text), "%llu", static_cast<unsigned long long>(at_));
    registration next;
    const int error = next.make(cgroup, "memory.usage_in_bytes", text);
    if (error == 0) current_ = std::move(next);
    return error;
  }

  [[nodiscard]] pollfd waits_for() const noexcept override { return {current_.event.get(), POLLIN, 0}; }

  [[nodiscard]] alarm take(short) noexcept override {
    (void)drain(current_.event);
    if (current_.gone()) return {.level = severity::hint, .lost = ENODEV};
    return {.level = severity::hint};
  }

  void follow(const level& cgroup, std::uint64_t headroom) noexcept override {
    if (!(cgroup.folder == folder_) || cgroup.limit == no_limit) return;
    const std::uint64_t wanted = cgroup.limit > headroom ? cgroup.limit - headroom : 0;
    const std::uint64_t off = wanted > at_ ? wanted - at_ : at_ - wanted;
    if (off > std::max(headroom / 8, mib / 4)) (void)set(cgroup, headroom);  // refused: the old one stays
  }

 private:
  path_text folder_;
  std::uint64_t at_ = 0;
  registration current_;
};

// memory.pressure_level: how hard it was to reclaim something.
class level_source final : public source {
 public:
  // To wait for one is enough: what is critical raises the eventfds of those who asked for medium too.
  [[nodiscard]] int set(const level& cgroup) noexcept {
    const int error = medium_.make(cgroup, "memory.pressure_level", "medium");
    return error != 0 ? error : critical_.make(cgroup, "memory.pressure_level", "critical");
  }

  [[nodiscard]] pollfd waits_for() const noexcept override { return {medium_.event.get(), POLLIN, 0}; }

  [[nodiscard]] alarm take(short) noexcept override {
    (void)drain(medium_.event);
    const bool critical = drain(critical_.event) != 0;
    if (medium_.gone()) return {.level = severity::hint, .lost = ENODEV};
    return {.level = critical ? severity::severe : severity::some};
  }

 private:
  registration medium_;
  registration critical_;
};

// memory.events: counters of what went wrong. "max" and "low" may only mean that file pages or offered memory were
// dropped, so that they are hints; "high" throttles us, and "oom" is the last warning.
class events_source final : public source {
 public:
  [[nodiscard]] int set(const path_text& path) noexcept {
    os::opened got = os::open_file(path.c_str(), os::access::read);
    if (!got.file) return got.error;
    file_ = std::move(got.file);
    os::opened watch = os::watch_file(path.c_str());
    watch_ = std::move(watch.file);  // none: the file itself can be waited for, if it is the kernel's
    const auto counted = count();
    if (!counted) return EINVAL;
    last_ = *counted;
    return 0;
  }

  [[nodiscard]] pollfd waits_for() const noexcept override {
    return watch_ ? pollfd{watch_.get(), POLLIN, 0} : pollfd{file_.get(), POLLPRI, 0};
  }

  [[nodiscard]] alarm take(short) noexcept override {
    if (watch_) {
      alignas(8) char changes[4096];
      while (os::read_some(watch_, changes) > 0) {
      }
    }
    const auto now = count();
    if (!now) return {.level = severity::hint, .lost = ENODEV};
    alarm result;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if ((*now)[i] != last_[i]) result.level = std::max(result.level, names[i].level);
    }
    last_ = *now;
    return result;
  }

 private:
  struct counter {
    std::string_view name;
    severity level;
  };
  static constexpr std::array<counter, 5> names{counter{"low", severity::hint}, counter{"high", severity::some},
                                                counter{"max", severity::hint}, counter{"oom", severity::severe},
                                                counter{"oom_kill", severity::severe}};
  using counts = std::array<std::uint64_t, names.size()>;

  // The counters; those that an older kernel does not have are 0. Nothing if none is there.
  [[nodiscard]] std::optional<counts> count() noexcept {
    char buffer[512];
    const std::ptrdiff_t got = os::read_from_start(file_, buffer);
    if (got <= 0) return std::nullopt;
    counts result{};
    bool any = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto value = find_field({buffer, static_cast<std::size_t>(got)}, names[i].name);
      any = any || value.has_value();
      result[i] = value.value_or(0);
    }
    return any ? std::optional(result) : std::nullopt;
  }

  os::descriptor file_;
  os::descriptor watch_;
  counts last_{};
};

template <class Source, class Set>
made_source make(path_text where, Set set) noexcept {
  made_source result;
  result.where = where;
  std::unique_ptr<Source> made(new (std::nothrow) Source());
  result.error = made == nullptr ? ENOMEM : set(*made);
  if (result.error == 0) result.made = std::move(made);
  return result;
}

}  // namespace

made_source make_cgroup_threshold(const level& cgroup) noexcept {
  made_source result;
  if (cgroup.version != cgroup_version::v1 || cgroup.limit == no_limit) {
    result.error = ENOENT;
    return result;
  }
  result.where = in_folder(cgroup.folder, "memory.usage_in_bytes");
  std::unique_ptr<threshold_source> made(new (std::nothrow) threshold_source(cgroup));
  result.error = made == nullptr ? ENOMEM : made->set(cgroup, cgroup.limit / 32);
  if (result.error == 0) result.made = std::move(made);
  return result;
}

made_source make_cgroup_level(const level& cgroup) noexcept {
  if (cgroup.version != cgroup_version::v1) return {nullptr, ENOENT, path_text()};
  return make<level_source>(in_folder(cgroup.folder, "memory.pressure_level"),
                            [&](level_source& made) { return made.set(cgroup); });
}

made_source make_cgroup_events(const level& cgroup) noexcept {
  if (cgroup.version != cgroup_version::v2) return {nullptr, ENOENT, path_text()};
  const path_text path = in_folder(cgroup.folder, "memory.events");
  return make<events_source>(path, [&](events_source& made) { return made.set(path); });
}

}  // namespace scoot::pressure
