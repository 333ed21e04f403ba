// SPDX-License-Identifier: MIT
#include "os/purge.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/bits.hpp"
#include "os/os.hpp"

// What Debian 12's headers may lack; the numbers are the kernel's for every architecture we build for.
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

namespace scoot::os {

namespace {

std::atomic<page_census> first_census{page_census::scan};

bool advise(char* address, std::size_t bytes, int advice) noexcept {
  return !must_fail() && madvise(address, bytes, advice) == 0;
}

// PAGEMAP_SCAN as in Linux 6.7's linux/fs.h.
struct scanned_region {
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t categories;
};
struct scan_arguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t regions_max;
  std::uint64_t pages_max;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_any_of;
  std::uint64_t return_mask;
};
constexpr std::uint64_t is_present = 1U << 3, is_swapped = 1U << 4, is_zero_page = 1U << 5;
constexpr auto pagemap_scan = _IOWR('f', 16, scan_arguments);

// Opened for each census: a descriptor that is kept would be the parent's memory in a child, and closed behind our
// back by programs that close all they do not know.
class pagemap_file {
 public:
  pagemap_file() noexcept : file_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {}
  pagemap_file(const pagemap_file&) = delete;
  pagemap_file& operator=(const pagemap_file&) = delete;
  ~pagemap_file() {
    if (file_ >= 0) close(file_);
  }
  [[nodiscard]] int get() const noexcept { return file_; }

 private:
  int file_;
};

void set_bits(std::uint64_t* words, std::size_t begin, std::size_t end) noexcept {
  for (std::size_t i = begin; i < end; ++i) base::set_bit(words, i);
}

bool by_scan(int file, const char* address, std::size_t pages, std::uint64_t* absent) noexcept {
  scanned_region regions[64];
  const std::uint64_t first = reinterpret_cast<std::uintptr_t>(address);
  scan_arguments a{};
  a.size = sizeof a;
  a.begin = first;
  a.end = first + pages * page_bytes();
  a.regions = reinterpret_cast<std::uintptr_t>(regions);
  a.regions_max = std::size(regions);
  a.return_mask = is_present | is_swapped | is_zero_page;
  while (a.begin < a.end) {
    const int found = ioctl(file, pagemap_scan, &a);
    if (found < 0 || a.walk_end <= a.begin) return false;
    for (int i = 0; i < found; ++i) {
      const scanned_region& r = regions[i];
      const bool gone =
          (r.categories & is_swapped) == 0 && ((r.categories & is_present) == 0 || (r.categories & is_zero_page) != 0);
      if (!gone) continue;
      const auto page_of = [&](std::uint64_t at) { return static_cast<std::size_t>(at - first) / page_bytes(); };
      set_bits(absent, page_of(r.begin), page_of(r.end));
    }
    a.begin = a.walk_end;
  }
  return true;
}

bool by_table(int file, const char* address, std::size_t pages, std::uint64_t* absent) noexcept {
  constexpr std::uint64_t present_or_swapped = std::uint64_t{3} << 62;
  std::uint64_t words[256];
  const std::uint64_t first = reinterpret_cast<std::uintptr_t>(address) / page_bytes();
  for (std::size_t done = 0; done < pages;) {
    const std::size_t wanted = std::min(pages - done, std::size(words)) * sizeof words[0];
    const ssize_t got = pread64(file, words, wanted, static_cast<off64_t>((first + done) * sizeof words[0]));
    if (got <= 0 || got % static_cast<ssize_t>(sizeof words[0]) != 0) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof words[0]; ++i, ++done) {
      if ((words[i] & present_or_swapped) == 0) base::set_bit(absent, done);
    }
  }
  return true;
}

bool by_mincore(const char* address, std::size_t pages, std::uint64_t* absent) noexcept {
  unsigned char resident[256];
  char* at = const_cast<char*>(address);
  for (std::size_t done = 0; done < pages;) {
    const std::size_t count = std::min(pages - done, std::size(resident));
    if (mincore(at + done * page_bytes(), count * page_bytes(), resident) != 0) return false;
    for (std::size_t i = 0; i < count; ++i, ++done) {
      if ((resident[i] & 1) == 0) base::set_bit(absent, done);
    }
  }
  return true;
}

}  // namespace

bool offer(char* address, std::size_t bytes) noexcept { return advise(address, bytes, MADV_FREE); }

bool keep_from_children(char* address, std::size_t bytes) noexcept { return advise(address, bytes, MADV_DONTFORK); }

bool wipe_in_children(char* address, std::size_t bytes) noexcept { return advise(address, bytes, MADV_WIPEONFORK); }

void unlock(char* address, std::size_t bytes) noexcept { munlock(address, bytes); }

bool reclaim(char* address, std::size_t bytes) noexcept { return advise(address, bytes, MADV_PAGEOUT); }

bool find_absent(const char* address, std::size_t pages, std::uint64_t* absent, page_census& used) noexcept {
  const std::size_t words = (pages + 63) / 64;
  std::fill_n(absent, words, 0);
  if (must_fail()) return false;
  const page_census first = first_census.load(std::memory_order_relaxed);
  if (first <= page_census::table) {
    const pagemap_file file;
    used = page_census::scan;
    if (file.get() >= 0 && first == page_census::scan && by_scan(file.get(), address, pages, absent)) return true;
    used = page_census::table;
    std::fill_n(absent, words, 0);
    if (file.get() >= 0 && by_table(file.get(), address, pages, absent)) return true;
    std::fill_n(absent, words, 0);
  }
  used = page_census::mincore;
  return by_mincore(address, pages, absent);
}

void limit_census(page_census first) noexcept { first_census.store(first, std::memory_order_relaxed); }

}  // namespace scoot::os
