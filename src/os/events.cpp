// SPDX-License-Identifier: MIT
#include "os/events.hpp"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace scoot::os {

namespace {

std::atomic<std::uint64_t> calls{0};
std::atomic<std::uint64_t> failing_call{0};
std::atomic<int> failing_error{0};

// Counts a call; the errno if the test seam wants it to fail.
int injected_error() noexcept {
  const bool fails = calls.fetch_add(1, std::memory_order_relaxed) + 1 == failing_call.load(std::memory_order_relaxed);
  return fails ? failing_error.load(std::memory_order_relaxed) : 0;
}

opened from(int fd) noexcept {
  if (fd < 0) return {descriptor(), errno};
  return {descriptor(fd), 0};
}

}  // namespace

descriptor& descriptor::operator=(descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

descriptor::~descriptor() {
  if (fd_ >= 0) close(fd_);
}

opened open_file(const char* path, access how) noexcept {
  if (const int error = injected_error(); error != 0) return {descriptor(), error};
  const int mode = how == access::read ? O_RDONLY : how == access::write ? O_WRONLY : O_RDWR;
  return from(open(path, mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

opened open_fifo(const char* path) noexcept {
  if (const int error = injected_error(); error != 0) return {descriptor(), error};
  // Made only if it is missing: who is sandboxed may be allowed to open files and not to make them.
  if (type_of(path) == file_type::none && mkfifo(path, 0600) != 0 && errno != EEXIST) return {descriptor(), errno};
  if (type_of(path) != file_type::fifo) return {descriptor(), ENOTSUP};
  // Held open for writing too, so that it does not end when a writer leaves.
  return from(open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK));
}

file_type type_of(const char* path) noexcept {
  struct stat status {};
  if (stat(path, &status) != 0) return file_type::none;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return file_type::plain;
    case S_IFIFO:
      return file_type::fifo;
    case S_IFCHR:
      return file_type::device;
    case S_IFSOCK:
      return file_type::socket;
    default:
      return file_type::other;
  }
}

opened connect_socket(const char* path) noexcept {
  if (const int error = injected_error(); error != 0) return {descriptor(), error};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = strlen(path);
  if (length >= sizeof(address.sun_path)) return {descriptor(), ENAMETOOLONG};
  memcpy(address.sun_path, path, length + 1);
  opened made = from(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.file) return made;
  if (connect(made.file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return {descriptor(), errno};
  }
  return made;
}

opened make_event() noexcept {
  if (const int error = injected_error(); error != 0) return {descriptor(), error};
  return from(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void raise(const descriptor& event) noexcept {
  const std::uint64_t one = 1;
  (void)!write(event.get(), &one, sizeof(one));  // it can only fail for being raised already
}

opened watch_file(const char* path) noexcept {
  if (const int error = injected_error(); error != 0) return {descriptor(), error};
  opened made = from(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (made.file && inotify_add_watch(made.file.get(), path, IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF) < 0) {
    return {descriptor(), errno};
  }
  return made;
}

std::ptrdiff_t read_some(const descriptor& file, std::span<char> buffer) noexcept {
  if (const int error = injected_error(); error != 0) return -error;
  const ssize_t got = read(file.get(), buffer.data(), buffer.size());
  if (got >= 0) return got;
  return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

std::ptrdiff_t read_from_start(const descriptor& file, std::span<char> buffer) noexcept {
  if (const int error = injected_error(); error != 0) return -error;
  std::size_t held = 0;
  while (held < buffer.size()) {
    const ssize_t got = pread(file.get(), buffer.data() + held, buffer.size() - held, static_cast<off_t>(held));
    if (got < 0) return errno == EINTR ? static_cast<std::ptrdiff_t>(held) : -errno;
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
  }
  return static_cast<std::ptrdiff_t>(held);
}

int write_all(const descriptor& file, std::string_view text) noexcept {
  if (const int error = injected_error(); error != 0) return error;
  while (!text.empty()) {
    ssize_t put = send(file.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == ENOTSOCK) put = write(file.get(), text.data(), text.size());
    if (put < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return 0;
}

int wait(std::span<pollfd> descriptors, std::uint64_t timeout_ns) noexcept {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000U);
  timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000U);
  const int ready = injected_error() != 0 ? -1 : ppoll(descriptors.data(), descriptors.size(), &timeout, nullptr);
  if (ready >= 0) return ready;
  for (pollfd& each : descriptors) each.revents = 0;
  return 0;
}

scheduling ask_for_scheduling(int priority) noexcept {
  if (priority <= 0 || injected_error() != 0) return scheduling::plain;
  sched_param parameters{};
  const int most = sched_get_priority_max(SCHED_FIFO);
  parameters.sched_priority = priority < most ? priority : most;
  if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters) == 0) return scheduling::realtime;
  // Linux keeps a nice value for each thread.
  const auto thread = static_cast<id_t>(gettid());
  const int before = getpriority(PRIO_PROCESS, thread);
  for (const int wanted : {-20, -10, -5, -1, 0}) {
    if (wanted < before && setpriority(PRIO_PROCESS, thread, wanted) == 0) return scheduling::raised;
  }
  return scheduling::plain;
}

stack_lock::stack_lock() noexcept {
  char bytes[stack_bytes];
  for (std::size_t i = 0; i < sizeof(bytes); i += 1024) const_cast<volatile char*>(bytes)[i] = 0;
  address_ = reinterpret_cast<std::uintptr_t>(bytes);
  locked_ = injected_error() == 0 && mlock(bytes, sizeof(bytes)) == 0;
}

stack_lock::~stack_lock() {
  if (locked_) munlock(reinterpret_cast<void*>(address_), stack_bytes);
}

std::uint64_t thread_cpu_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

void fail_nth_event_call(std::uint64_t n, int error) noexcept {
  failing_error.store(error);
  failing_call.store(n == 0 ? 0 : calls.load() + n);
}

std::uint64_t event_calls_made() noexcept { return calls.load(); }

}  // namespace scoot::os
