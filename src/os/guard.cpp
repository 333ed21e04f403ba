// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "os/os.hpp"
#include "os/purge.hpp"

// What Debian 12's headers may lack.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace scoot::os {

namespace {

bool guard_range(int file, char* address, std::size_t bytes) noexcept {
  uffdio_register range{};
  range.range.start = reinterpret_cast<std::uintptr_t>(address);
  range.range.len = bytes;
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  return ioctl(file, UFFDIO_REGISTER, &range) == 0;
}

bool put_zeros(int file, char* address, std::size_t bytes) noexcept {
  uffdio_zeropage zeros{};
  zeros.range.start = reinterpret_cast<std::uintptr_t>(address);
  zeros.range.len = bytes;
  while (ioctl(file, UFFDIO_ZEROPAGE, &zeros) != 0) {
    if (errno != EAGAIN) return false;  // somebody maps or unmaps memory: it goes on where it stopped
    if (zeros.zeropage > 0) {
      zeros.range.start += static_cast<std::uint64_t>(zeros.zeropage);
      zeros.range.len -= static_cast<std::uint64_t>(zeros.zeropage);
    }
    zeros.zeropage = 0;
  }
  return true;
}

int open_guard() noexcept {
  // The kernel's own accesses are to fail as well, which needs no privilege.
  const auto file = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
  if (file < 0) return -1;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_SIGBUS;
  if (ioctl(file, UFFDIO_API, &api) == 0) return file;
  close(file);
  return -1;
}

}  // namespace

page_guard::~page_guard() {
  if (file_ >= 0) close(file_);
}

bool page_guard::does_what_it_should() const noexcept {
  const std::size_t bytes = page_bytes();
  void* const got = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return false;
  char* const page = static_cast<char*>(got);
  char byte = 1;
  const bool right = guard_range(file_, page, bytes) && !keep_present(page, bytes) && !copy_present(&byte, page, 1) &&
                     put_zeros(file_, page, bytes) && copy_present(&byte, page, 1) && byte == 0 &&
                     keep_present(page, bytes);
  munmap(got, bytes);
  return right;
}

bool page_guard::protect(char* address, std::size_t bytes) noexcept {
  if (must_fail()) return false;
  file_ = open_guard();
  if (file_ < 0) return false;
  if (does_what_it_should() && guard_range(file_, address, bytes)) return true;
  close(file_);
  file_ = -1;
  return false;
}

bool page_guard::fill_absent(char* address, std::size_t bytes) noexcept {
  return !must_fail() && (put_zeros(file_, address, bytes) || errno == EEXIST);
}

bool page_guard::keep_present(char* address, std::size_t bytes) noexcept {
  return madvise(address, bytes, MADV_POPULATE_WRITE) == 0;
}

bool page_guard::copy_present(void* to, const char* from, std::size_t bytes) noexcept {
  const iovec local{to, bytes};
  const iovec remote{const_cast<char*>(from), bytes};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}

}  // namespace scoot::os
