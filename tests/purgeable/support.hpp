// SPDX-License-Identifier: MIT
//
// For tests of purgeable memory: contents that tell of themselves whether they are whole, and a kernel that purges.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "os/os.hpp"
#include "os/purge.hpp"
#include "scoot/purgeable.hpp"

namespace scoot::testing {

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;

#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

inline std::unique_ptr<purgeable> make_region(std::size_t chunk_bytes, std::size_t chunks, bool guarded = false) {
  purgeable_options options;
  options.guarded = guarded;
  options.chunk_bytes = chunk_bytes;
  options.bytes_max = chunk_bytes * chunks;
  return purgeable::create(options);
}

// The 8 bytes at a place of a chunk: no two places or seeds have the same, and none is zero.
inline std::uint64_t pattern(std::uint64_t seed, std::size_t word) {
  std::uint64_t x = seed * 0x9e3779b97f4a7c15U + word * 0xbf58476d1ce4e5b9U + 1;
  x ^= x >> 29;
  return x | 1;
}

inline void fill(char* data, std::size_t bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes / 8; ++i) {
    const std::uint64_t x = pattern(seed, i);
    std::memcpy(data + i * 8, &x, 8);
  }
}

// Whether `bytes` bytes, which lay at the offset (a multiple of 8), are those of the seed.
inline bool intact(const char* data, std::size_t offset, std::size_t bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes / 8; ++i) {
    std::uint64_t x = 0;
    std::memcpy(&x, data + i * 8, 8);
    if (x != pattern(seed, offset / 8 + i)) return false;
  }
  return true;
}

// Has the kernel take what it may of a chunk. It drops every page that is offered and not locked for a moment by
// something else, so a test asks a few times.
inline void purge(const purgeable& region, std::uint32_t chunk, std::size_t bytes) {
  for (int i = 0; i < 3; ++i) (void)os::reclaim(region.data(chunk), bytes);
}

// Stays on one processor: the kernel puts pages on its lists in batches that each processor has for itself, and reclaim
// that is asked for finds only those of the processor it is asked on.
class one_processor {
 public:
  one_processor() {
    if (sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &here);
    moved_ = sched_setaffinity(0, sizeof here, &here) == 0;
  }
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;
  ~one_processor() {
    if (moved_) (void)sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  cpu_set_t before_{};
  bool moved_ = false;
};

// Most tests need a kernel that purges when it is asked to.
class purgeable_test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (purgeable::support() != purge_support::seen) GTEST_SKIP() << "this kernel does not purge on request";
  }
};

}  // namespace scoot::testing
