// SPDX-License-Identifier: MIT
//
// The contract with the operating system for those who watch it: small files, descriptors that become ready, and how
// the calling thread is scheduled. The only caller of eventfd, inotify, poll and of the kernel's pressure files.
//
// Ownership: a descriptor closes itself. Failure: an empty descriptor and the errno. For tests, any call that the
// kernel may refuse can be made to fail (fail_nth_event_call). Threads: functions from any thread; a descriptor like a
// plain value.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace scoot::os {

class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept;
  ~descriptor();
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

struct opened {
  descriptor file;
  int error = 0;  // errno, if there is no file
};

enum class access : unsigned char { read, write, read_write };

// Opens a file that exists, without blocking, also if it is a FIFO.
[[nodiscard]] opened open_file(const char* path, access how) noexcept;

// Opens a FIFO so that it never ends: made if it is missing. ENOTSUP if it is something else.
[[nodiscard]] opened open_fifo(const char* path) noexcept;

enum class file_type : unsigned char { none, plain, fifo, device, socket, other };
[[nodiscard]] file_type type_of(const char* path) noexcept;

// Connects to a unix stream socket.
[[nodiscard]] opened connect_socket(const char* path) noexcept;

// A counter that becomes readable: raise() it, drain() it.
[[nodiscard]] opened make_event() noexcept;
void raise(const descriptor& event) noexcept;

// Becomes readable when the file is changed, deleted or moved: by its own system of watches, of which there are few.
[[nodiscard]] opened watch_file(const char* path) noexcept;

// Reads what is there, at most buffer.size(); 0 at the end or if nothing is there; -errno.
[[nodiscard]] std::ptrdiff_t read_some(const descriptor& file, std::span<char> buffer) noexcept;

// The file from its start, as far as the buffer goes; -errno.
[[nodiscard]] std::ptrdiff_t read_from_start(const descriptor& file, std::span<char> buffer) noexcept;

// Writes all of it; 0 or errno.
[[nodiscard]] int write_all(const descriptor& file, std::string_view text) noexcept;

// Sleeps until one is ready or the time is over; the number that are ready, 0 after an interruption too.
int wait(std::span<pollfd> descriptors, std::uint64_t timeout_ns) noexcept;

enum class scheduling : unsigned char { plain, raised, realtime };

// Asks for SCHED_FIFO of the given priority for the calling thread; else for a better nice value; says what it got.
[[nodiscard]] scheduling ask_for_scheduling(int priority) noexcept;

// Touches the calling thread's stack below here, and keeps it in memory if that is permitted, until destroyed.
class stack_lock {
 public:
  static constexpr std::size_t stack_bytes = std::size_t{64} << 10;
  stack_lock() noexcept;
  stack_lock(const stack_lock&) = delete;
  stack_lock& operator=(const stack_lock&) = delete;
  ~stack_lock();
  [[nodiscard]] bool locked() const noexcept { return locked_; }

 private:
  std::uintptr_t address_;
  bool locked_;
};

// Processor time of the calling thread.
[[nodiscard]] std::uint64_t thread_cpu_ns() noexcept;

// Test seam: the n-th call (1 is the next) of a function here that can fail does so, with this errno, once; 0 stops
// that. Of wait that is an interruption; of ask_for_scheduling and stack_lock, that they get nothing.
void fail_nth_event_call(std::uint64_t n, int error) noexcept;

// Test seam: such calls so far.
[[nodiscard]] std::uint64_t event_calls_made() noexcept;

}  // namespace scoot::os
