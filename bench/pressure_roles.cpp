// SPDX-License-Identifier: MIT
#include "pressure_roles.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "clock.hpp"

namespace bench {
namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t sweeps_max = 1 << 16;

// Waits until `until_ns` or the input says or ends something: true if so.
bool input_before(std::uint64_t until_ns) {
  for (;;) {
    const std::uint64_t now = wall_ns();
    const std::uint64_t left = until_ns > now ? until_ns - now : 0;
    const timespec wait{static_cast<time_t>(left / 1'000'000'000U), static_cast<long>(left % 1'000'000'000U)};
    pollfd p{STDIN_FILENO, POLLIN, 0};
    const int ready = ppoll(&p, 1, &wait, nullptr);
    if (ready > 0) return true;
    if (ready == 0) return false;
  }
}

std::uint64_t* take(std::size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  madvise(p, bytes, MADV_NOHUGEPAGE);
  return static_cast<std::uint64_t*>(p);
}

struct sweep {
  std::uint64_t start_ns;
  std::uint64_t length_ns;
};

int victim(std::size_t bytes, std::uint64_t period_us) {
  constexpr std::size_t words = page_bytes / sizeof(std::uint64_t);
  const std::size_t pages = bytes / page_bytes;
  std::uint64_t* const memory = take(bytes);
  if (memory == nullptr) return 1;
  for (std::size_t i = 0; i < pages * words; ++i) memory[i] = i * 0x9e3779b97f4a7c15U;  // nothing that compresses away
  for (std::size_t i = 0; i < pages; ++i) memory[i * words] = i;
  std::vector<sweep> sweeps;
  sweeps.reserve(sweeps_max);
  std::puts("ready");
  std::fflush(stdout);
  bool intact = true;
  std::uint64_t rounds = 0;
  for (std::uint64_t next = wall_ns(); !input_before(next); next += period_us * 1000) {
    const std::uint64_t start = wall_ns();
    for (std::size_t i = 0; i < pages; ++i) {
      std::uint64_t& word = memory[i * words];
      intact = intact && word == i + rounds;
      ++word;
    }
    ++rounds;
    const std::uint64_t end = wall_ns();
    if (sweeps.size() < sweeps_max) sweeps.push_back({start, end - start});
    if (end > next + period_us * 1000) next = end;  // late: no sweeps to catch up
  }
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  for (const sweep& s : sweeps) std::printf("sweep %" PRIu64 " %" PRIu64 "\n", s.start_ns, s.length_ns);
  std::printf("faults %ld\n", used.ru_majflt);
  if (intact) std::puts("intact");
  return 0;
}

int burst(std::size_t bytes, double mib_per_s) {
  constexpr std::size_t step = 64 * page_bytes;
  std::uint64_t* const memory = take(bytes);
  if (memory == nullptr) return 1;
  std::puts("ready");
  std::fflush(stdout);
  char line[16];
  if (std::fgets(line, sizeof line, stdin) == nullptr) return 0;
  const std::uint64_t start = wall_ns();
  for (std::size_t at = 0; at < bytes; at += step) {
    const std::size_t n = at + step < bytes ? step : bytes - at;
    std::uint64_t* const words = memory + at / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < n / sizeof(std::uint64_t); ++i) words[i] = (at + i) * 0x9e3779b97f4a7c15U;
    if (mib_per_s <= 0) continue;
    const std::uint64_t due =
        start + static_cast<std::uint64_t>(static_cast<double>(at + n) / mib_per_s / 1048576 * 1e9);
    const std::uint64_t now = wall_ns();
    if (due > now) usleep(static_cast<useconds_t>((due - now) / 1000));
  }
  std::printf("done %" PRIu64 "\n", wall_ns() - start);
  std::fflush(stdout);
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
  }
  return 0;
}

int hog() {
  while (!input_before(0)) {
    for (const std::uint64_t until = wall_ns() + 1'000'000; wall_ns() < until;) {
    }
  }
  return 0;
}

}  // namespace

int run_pressure_role(int argc, char** argv) {
  const std::string_view role = argv[0];
  const auto number = [&](int i) { return i < argc ? std::strtoull(argv[i], nullptr, 10) : 0ULL; };
  if (role == "victim" && argc == 3) return victim(number(1), number(2));
  if (role == "burst" && argc == 3) return burst(number(1), static_cast<double>(number(2)));
  if (role == "hog") return hog();
  return 2;
}

}  // namespace bench
