// SPDX-License-Identifier: MIT
//
// What a process holds, as the kernel counts it. Reads /proc with a buffer on the stack, so that looking allocates
// nothing.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace bench {

// Bytes this process holds: its proportional share of anonymous, shared and swapped memory (smaps_rollup's Pss_Anon,
// Pss_Shmem and SwapPss) and its page tables (VmPTE). File-backed memory, that is code, is left out: its share changes
// when other processes map the same libraries. Aborts if /proc cannot be read.
std::size_t held_bytes() noexcept;

// Resident set of another process in bytes (VmRSS); 0 if it is gone.
std::size_t resident_bytes(pid_t process) noexcept;

// Address space of another process in bytes (VmSize), which ulimit -v limits; 0 if it is gone.
std::size_t address_bytes(pid_t process) noexcept;

// Most the resident set of another process ever was (VmHWM); 0 if it is gone.
std::size_t resident_bytes_peak(pid_t process) noexcept;

// CPU time in nanoseconds that all threads of another process have used: the sum over /proc/PID/task/*/schedstat.
// 0 if it is gone.
unsigned long long process_cpu_ns(pid_t process) noexcept;

}  // namespace bench
