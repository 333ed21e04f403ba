// SPDX-License-Identifier: MIT
#include "os/os.hpp"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/bits.hpp"

// What Debian 12's headers may lack; the number is the kernel's for every architecture we build for.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

namespace scoot::os {

namespace {

std::atomic<std::uint64_t> calls{0};
std::atomic<std::uint64_t> failing_call{0};
std::atomic<bool> refusing_reserve{false};
std::atomic<bool> refusing_give_back{false};

}  // namespace

bool must_fail() noexcept {
  return calls.fetch_add(1, std::memory_order_relaxed) + 1 == failing_call.load(std::memory_order_relaxed);
}

std::size_t page_bytes() noexcept {
  static const std::size_t bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

namespace {

// After mlockall(MCL_FUTURE) all that is made usable would be resident at once, touched or not. Only the kernel says
// whether this is locked: by what it refuses.
void lock_when_touched(char* address, std::size_t bytes) noexcept {
  const int error = errno;
  if (madvise(address, page_bytes(), MADV_DONTNEED) != 0 && errno == EINVAL) {
    if (mlock2(address, bytes, MLOCK_ONFAULT) != 0) munlock(address, bytes);
  }
  errno = error;
}

}  // namespace

char* reserve(std::size_t bytes, std::size_t alignment) noexcept {
  if (must_fail() || refusing_reserve.load(std::memory_order_relaxed)) return nullptr;
  const std::size_t extra = alignment > page_bytes() ? alignment : 0;
  if (bytes + extra < bytes) return nullptr;
  void* got = mmap(nullptr, bytes + extra, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) return nullptr;
#ifdef MADV_NOHUGEPAGE
  // What is resident is counted by OS pages: a huge page behind one touch would not be. Refused where there are none.
  (void)madvise(got, bytes + extra, MADV_NOHUGEPAGE);
#endif
  char* first = static_cast<char*>(got);
  lock_when_touched(first, bytes + extra);
  if (extra == 0) return first;
  const auto address = reinterpret_cast<std::uintptr_t>(first);
  const std::size_t before = base::round_up(address, alignment) - address;
  if (before != 0) munmap(first, before);
  if (extra != before) munmap(first + before + bytes, extra - before);
  return first + before;
}

bool make_usable(char* address, std::size_t bytes) noexcept {
  if (must_fail()) return false;
  return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool give_back(char* address, std::size_t bytes) noexcept {
  if (must_fail() || refusing_give_back.load(std::memory_order_relaxed)) return false;
  const int error = errno;
  // Locked memory: kernels from 5.18 on take it back all the same, and lock what is touched of it again.
  const bool given = madvise(address, bytes, MADV_DONTNEED) == 0 ||
                     (errno == EINVAL && madvise(address, bytes, MADV_DONTNEED_LOCKED) == 0);
  errno = error;
  return given;
}

void make_resident(char* address, std::size_t bytes) noexcept {
  static std::atomic<bool> unknown{false};  // to kernels before 5.14
  if (unknown.load(std::memory_order_relaxed)) return;
  const int error = errno;
  if (madvise(address, bytes, MADV_POPULATE_WRITE) != 0 && errno == EINVAL) {
    unknown.store(true, std::memory_order_relaxed);
  }
  errno = error;
}

void unreserve(char* address, std::size_t bytes) noexcept { munmap(address, bytes); }

bool read_if_there(const void* from, void* to, std::size_t bytes) noexcept {
  const iovec there{const_cast<void*>(from), bytes};
  const iovec here{to, bytes};
  const ssize_t got = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
  if (got < 0 && errno != EFAULT) {  // a sandbox
    memcpy(to, from, bytes);
    return true;
  }
  return got == static_cast<ssize_t>(bytes);
}

namespace {

std::uint64_t read_clock(clockid_t clock) noexcept {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t now_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }

std::uint64_t coarse_now_ns() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
  return read_clock(CLOCK_MONOTONIC_COARSE);
#else
  return now_ns();
#endif
}

void fail_nth_call(std::uint64_t n) noexcept { failing_call.store(n == 0 ? 0 : calls.load() + n); }

void refuse_reserve(bool refuse) noexcept { refusing_reserve.store(refuse); }

void refuse_give_back(bool refuse) noexcept { refusing_give_back.store(refuse); }

std::uint64_t calls_made() noexcept { return calls.load(); }

}  // namespace scoot::os
