// SPDX-License-Identifier: MIT
//
// The contract with the operating system about memory that it may take back by itself, and what has become of it.
//
// As in os.hpp: addresses and sizes are multiples of page_bytes(); a call that fails has changed nothing, unless its
// comment says more; for tests, fail_nth_call makes any of them fail; threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

namespace scoot::os {

// Allows the kernel to drop these pages when it likes, unless they are written to first; dropped, they read as zeros.
// False: refused, perhaps for a part only. Pages that are swapped out are dropped at once.
[[nodiscard]] bool offer(char* address, std::size_t bytes) noexcept;

// A child made by fork() shall not have this memory.
[[nodiscard]] bool keep_from_children(char* address, std::size_t bytes) noexcept;

// A child made by fork() shall read zeros here.
[[nodiscard]] bool wipe_in_children(char* address, std::size_t bytes) noexcept;

// Undoes what mlockall did to it, so that it can be offered. Refusals do not matter: offers will be refused then.
void unlock(char* address, std::size_t bytes) noexcept;

// Asks the kernel to reclaim these pages now: offered ones are dropped, others swapped out if they can be. True: it
// was asked, not that it has done so. Linux 5.4.
[[nodiscard]] bool reclaim(char* address, std::size_t bytes) noexcept;

// Ways to learn which pages are neither in memory nor in swap; the first that works is taken.
enum class page_census : unsigned char {
  scan,     // PAGEMAP_SCAN: runs of pages, Linux 6.7
  table,    // /proc/self/pagemap: a word a page
  mincore,  // takes swapped pages for dropped ones: the caller has to look
};

// Sets a bit for each of the pages (at most census_pages_max) that is not there; the others' bits are cleared. A
// dropped page that was read since counts as absent under `scan` only. `used` says which way was taken. False: nobody
// knows.
inline constexpr std::size_t census_pages_max = 4096;
[[nodiscard]] bool find_absent(const char* address, std::size_t pages, std::uint64_t* absent,
                               page_census& used) noexcept;

// Test seam: ways before this one are not tried.
void limit_census(page_census first) noexcept;

// Guards memory: a thread that touches a page that is not there gets SIGBUS, rather than a page of zeros. By
// userfaultfd, Linux 5.14; the guard ends with its object.
class page_guard {
 public:
  page_guard() noexcept = default;
  page_guard(const page_guard&) = delete;
  page_guard& operator=(const page_guard&) = delete;
  ~page_guard();

  // False: refused, or the kernel does not do all that is needed; nothing is guarded then.
  [[nodiscard]] bool protect(char* address, std::size_t bytes) noexcept;
  [[nodiscard]] bool on() const noexcept { return file_ >= 0; }

  // Puts zeros where there is nothing.
  [[nodiscard]] bool fill_absent(char* address, std::size_t bytes) noexcept;

  // Has the kernel keep pages, as if they were written to. False: not all of them are there.
  [[nodiscard]] static bool keep_present(char* address, std::size_t bytes) noexcept;

  // Copies bytes, of any number and anywhere. False: not all of them are there.
  [[nodiscard]] static bool copy_present(void* to, const char* from, std::size_t bytes) noexcept;

 private:
  [[nodiscard]] bool does_what_it_should() const noexcept;
  int file_ = -1;
};

}  // namespace scoot::os
