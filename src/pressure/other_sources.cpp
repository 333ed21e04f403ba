// SPDX-License-Identifier: MIT
//
// Alarms that are not a cgroup's alone: stall information, the service manager's protocol, FIFOs, the canary.
#include <errno.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "os/os.hpp"
#include "os/purge.hpp"
#include "pressure/source.hpp"

namespace scoot::pressure {

namespace {

// Triggers to ask the kernel for, the more sensitive first: who has no privilege must take windows of whole 2 s.
constexpr std::array<std::string_view, 2> triggers{"some 25000 500000", "some 100000 2000000"};

// A file or stream that becomes ready when something presses: POLLPRI for the kernel's files, else bytes to discard.
class ready_source final : public source {
 public:
  ready_source(os::descriptor file, short events, severity level) noexcept
      : file_(std::move(file)), events_(events), level_(level) {}

  [[nodiscard]] pollfd waits_for() const noexcept override { return {file_.get(), events_, 0}; }

  [[nodiscard]] alarm take(short revents) noexcept override {
    if ((revents & POLLPRI) != 0 && events_ == POLLPRI && (revents & POLLERR) == 0) return {.level = level_};
    if (events_ == POLLPRI) return {.level = severity::hint, .lost = ENODEV};  // the cgroup is gone
    char bytes[256];
    bool any = false;
    std::ptrdiff_t got = os::read_some(file_, bytes);
    // Who writes faster than this is read has to wait for the next time.
    for (int rounds = 0; got > 0 && rounds < 16; ++rounds) {
      any = true;
      got = os::read_some(file_, bytes);
    }
    const bool ended = got < 0 || (revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
    return {.level = any ? level_ : severity::none, .lost = ended ? EPIPE : 0};
  }

 private:
  os::descriptor file_;
  short events_;
  severity level_;
};

made_source own(os::opened got, short events, severity level, const path_text& where) noexcept {
  if (!got.file) return {nullptr, got.error, where};
  std::unique_ptr<source> made(new (std::nothrow) ready_source(std::move(got.file), events, level));
  const int error = made == nullptr ? ENOMEM : 0;
  return {std::move(made), error, where};
}

made_source make_psi(const path_text& path, severity level) noexcept {
  int error = 0;
  for (const std::string_view trigger : triggers) {
    os::opened got = os::open_file(path.c_str(), os::access::read_write);
    if (!got.file) return {nullptr, got.error, path};
    error = os::write_all(got.file, {trigger.data(), trigger.size() + 1});
    if (error == 0) return own(std::move(got), POLLPRI, level, path);
  }
  return {nullptr, error, path};
}

// Lines of a FIFO: each a number of bytes, or anything else for "some".
class fifo_source final : public source {
 public:
  explicit fifo_source(os::descriptor file) noexcept : file_(std::move(file)) {}

  [[nodiscard]] pollfd waits_for() const noexcept override { return {file_.get(), POLLIN, 0}; }

  [[nodiscard]] alarm take(short revents) noexcept override {
    alarm result;
    for (int rounds = 0; rounds < 16; ++rounds) {
      const std::ptrdiff_t got = os::read_some(file_, std::span(line_).subspan(held_));
      if (got < 0) result.lost = static_cast<int>(-got);
      if (got <= 0) break;
      held_ += static_cast<std::size_t>(got);
      take_lines(result);
    }
    if ((revents & (POLLERR | POLLNVAL)) != 0) result.lost = EPIPE;
    return result;
  }

 private:
  void take_lines(alarm& result) noexcept {
    std::string_view text(line_.data(), held_);
    while (text.find('\n') != std::string_view::npos) {
      const std::string_view line = next_line(text);
      const bool read_out = std::exchange(overlong_, false);
      const auto bytes = read_out ? std::nullopt : parse_bytes(line);
      if (bytes && *bytes != 0) {
        result.bytes = std::max(result.bytes, *bytes);
      } else {
        result.level = severity::some;
      }
    }
    held_ = text.size();
    if (held_ == line_.size()) {
      overlong_ = true;
      held_ = 0;
    }
    std::copy_n(text.data(), held_, line_.data());
  }

  os::descriptor file_;
  std::array<char, 256> line_{};
  std::size_t held_ = 0;
  bool overlong_ = false;
};

// Some pages that are offered to the kernel, and whether it took them. What it takes is laid out again a second later.
class canary_source final : public source {
 public:
  canary_source() = default;
  ~canary_source() override {
    if (pages_ != nullptr) os::unreserve(pages_, bytes());
  }

  [[nodiscard]] int lay() noexcept {
    if (pages_ == nullptr) {
      pages_ = os::reserve(bytes(), os::page_bytes());
      if (pages_ == nullptr) return ENOMEM;
      if (!os::make_usable(pages_, bytes())) return ENOMEM;
      (void)os::keep_from_children(pages_, bytes());
    }
    for (std::size_t i = 0; i < pages_count; ++i) {
      volatile char* page = pages_ + i * os::page_bytes();
      *page = 1;
    }
    // Twice: what is offered waits in a batch of this processor, where reclaim on another does not see it, until more
    // comes or the next call of this kind.
    if (!os::offer(pages_, bytes()) || !os::offer(pages_, bytes())) return ENOTSUP;
    laid_ns_ = os::now_ns();
    laid_ = true;
    return gone() ? ENOTSUP : 0;
  }

  [[nodiscard]] pollfd waits_for() const noexcept override { return {-1, 0, 0}; }

  [[nodiscard]] alarm take(short) noexcept override {
    if (laid_ && gone()) {
      laid_ = false;
      return {.level = severity::hint, .purged = true};
    }
    if (laid_ || os::now_ns() - laid_ns_ < 1'000'000'000) return {};
    return {.lost = lay()};
  }

 private:
  static constexpr std::size_t pages_count = 16;
  static std::size_t bytes() noexcept { return pages_count * os::page_bytes(); }

  // Whether any page is; no if nobody can say.
  [[nodiscard]] bool gone() const noexcept {
    std::uint64_t absent = 0;
    os::page_census used{};
    return os::find_absent(pages_, pages_count, &absent, used) && absent != 0;
  }

  char* pages_ = nullptr;
  std::uint64_t laid_ns_ = 0;
  bool laid_ = false;
};

}  // namespace

made_source make_canary() noexcept {
  std::unique_ptr<canary_source> made(new (std::nothrow) canary_source());
  const int error = made == nullptr ? ENOMEM : made->lay();
  if (error != 0) made.reset();
  return {std::move(made), error, path_text()};
}

made_source make_cgroup_psi(const level& cgroup) noexcept {
  if (cgroup.version != cgroup_version::v2) return {nullptr, ENOENT, path_text()};
  path_text path(cgroup.folder);
  return make_psi(path.append("/memory.pressure"), severity::some);
}

// A hint only: stalls may be those of a container that has reached its own limit.
made_source make_system_psi(const char* root) noexcept {
  path_text path(root);
  return make_psi(path.append("/proc/pressure/memory"), severity::hint);
}

made_source make_service_manager(const char* root, const char* watch, const char* write) noexcept {
  if (watch == nullptr || *watch == '\0') return {nullptr, ENOENT, path_text()};
  path_text path(watch);
  if (path.view() == "/dev/null") return {nullptr, ENOENT, path};  // the service manager does not want it
  if (!path.view().starts_with('/')) return {nullptr, EBADMSG, path};
  path = path_text(root);
  path.append(watch);
  char setup[4096];
  std::size_t setup_bytes = 0;
  if (write != nullptr) {
    const auto decoded = decode_base64(write, setup);
    if (!decoded) return {nullptr, EBADMSG, path};
    setup_bytes = *decoded;
  }
  const os::file_type type = os::type_of(path.c_str());
  const auto how = setup_bytes != 0 ? os::access::read_write : os::access::read;
  os::opened got;
  short events = POLLIN;
  switch (type) {
    case os::file_type::none:
      return {nullptr, ENOENT, path};
    case os::file_type::socket:
      got = os::connect_socket(path.c_str());
      break;
    case os::file_type::fifo:
      got = os::open_file(path.c_str(), os::access::read_write);
      break;
    case os::file_type::plain:
      got = os::open_file(path.c_str(), how);
      events = POLLPRI;
      break;
    default:
      return {nullptr, EBADMSG, path};
  }
  if (got.file && setup_bytes != 0) {
    const int error = os::write_all(got.file, {setup, setup_bytes});
    if (error != 0) return {nullptr, error, path};
  }
  return own(std::move(got), events, severity::some, path);
}

made_source make_fifo(const char* name) noexcept {
  if (name == nullptr || *name == '\0') return {nullptr, ENOENT, path_text()};
  const path_text path(name);
  if (path.view().empty()) return {nullptr, ENAMETOOLONG, path};
  os::opened got = os::open_fifo(path.c_str());
  if (!got.file) return {nullptr, got.error, path};
  std::unique_ptr<source> made(new (std::nothrow) fifo_source(std::move(got.file)));
  const int error = made == nullptr ? ENOMEM : 0;
  return {std::move(made), error, path};
}

}  // namespace scoot::pressure
