// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "clock.hpp"
#include "reaction_bench.hpp"
#include "scoot/pressure.hpp"
#include "scoot/purgeable.hpp"

namespace bench {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t os_page = 4096;

char* take(std::size_t bytes) {
  void* got = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  madvise(got, bytes, MADV_NOHUGEPAGE);
  return static_cast<char*>(got);
}

void touch(char* memory, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += os_page) memory[i] = 1;
}

void wait_for_end() {
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
  }
}

// Memory by the MiB, given back on notice. Only the monitor's thread touches it once the monitor runs.
struct holder {
  std::vector<char*> chunks;
};

std::size_t give_back(void* context, const scoot::pressure_notice& notice) noexcept {
  char line[80];
  const int length = std::snprintf(line, sizeof line, "notice %" PRIu64 " %s\n", wall_ns(), to_string(notice.source));
  (void)!write(STDOUT_FILENO, line, static_cast<std::size_t>(length));
  // A signal asks for a byte, to see only how long it takes.
  if (notice.give_back_bytes < os_page) return notice.give_back_bytes;
  auto& chunks = static_cast<holder*>(context)->chunks;
  std::size_t given = 0;
  for (; given < notice.give_back_bytes && !chunks.empty(); given += mib) {
    munmap(chunks.back(), mib);
    chunks.pop_back();
  }
  return given;
}

// For all threads that are made from now on too.
bool be_nice(int nice) { return nice == 0 || setpriority(PRIO_PROCESS, 0, nice) == 0; }

int own_by_monitor(std::size_t held_mib, int nice, int priority, const char* fifo) {
  holder held;
  for (std::size_t i = 0; i < held_mib; ++i) {
    held.chunks.push_back(take(mib));
    if (held.chunks.back() == nullptr) return 1;
    touch(held.chunks.back(), mib);
  }
  if (!be_nice(nice)) return 1;
  scoot::pressure_options options;
  options.give_back = give_back;
  options.held = [](void* context) noexcept { return static_cast<holder*>(context)->chunks.size() * mib; };
  options.context = &held;
  options.fifo = fifo;
  options.realtime_priority = priority;
  const auto monitor = scoot::pressure_monitor::create(options);
  if (monitor == nullptr || !monitor->read_now(10'000)) return 1;
  std::printf("ready %d\n", static_cast<int>(monitor->stats().scheduling));
  std::fflush(stdout);
  wait_for_end();
  return 0;
}

int own_purgeable(std::size_t held_mib, int nice) {
  scoot::purgeable_options options;
  options.bytes_max = held_mib * mib;
  const auto region = scoot::purgeable::create(options);
  if (region == nullptr) return 1;
  for (std::size_t i = 0; i < options.bytes_max / options.chunk_bytes; ++i) {
    const std::uint32_t chunk = region->allocate();
    if (chunk == scoot::purgeable::no_chunk) return 1;
    touch(region->data(chunk), options.chunk_bytes);
    if (region->offer(chunk, options.chunk_bytes) != scoot::offer_status::offered) return 1;
  }
  if (!be_nice(nice)) return 1;
  std::puts("ready 0");
  std::fflush(stdout);
  wait_for_end();
  return 0;
}

int burst(std::size_t bytes, double mib_per_s, std::uint64_t level, const std::string& usage_file) {
  constexpr std::size_t step = 64 << 10;
  char* const memory = take(bytes);
  if (memory == nullptr) return 1;
  std::puts("ready");
  std::fflush(stdout);
  char line[16];
  if (std::fgets(line, sizeof line, stdin) == nullptr) return 0;
  const int usage = open(usage_file.c_str(), O_RDONLY | O_CLOEXEC);
  const auto used = [&] {
    char text[32] = {};
    return pread(usage, text, sizeof text - 1, 0) > 0 ? std::strtoull(text, nullptr, 10) : 0;
  };
  bool crossed = false;
  const std::uint64_t start = wall_ns();
  for (std::size_t at = 0; at < bytes; at += step) {
    if (!crossed && used() + step >= level) {
      crossed = true;
      std::printf("crossed %" PRIu64 "\n", wall_ns());
      std::fflush(stdout);
    }
    touch(memory + at, step);
    const std::uint64_t due =
        start + static_cast<std::uint64_t>(static_cast<double>(at + step) / mib_per_s / static_cast<double>(mib) * 1e9);
    const std::uint64_t now = wall_ns();
    if (due > now) usleep(static_cast<useconds_t>((due - now) / 1000));
  }
  std::puts("done");
  std::fflush(stdout);
  wait_for_end();
  return 0;
}

}  // namespace

int run_reaction_role(int argc, char** argv) {
  const std::string_view role = argv[0];
  const auto number = [&](int i) { return std::strtoull(argv[i], nullptr, 10); };
  if (role == "owner" && argc == 6 && std::strcmp(argv[1], "monitor") == 0) {
    return own_by_monitor(number(2), static_cast<int>(number(3)), static_cast<int>(number(4)), argv[5]);
  }
  if (role == "owner" && argc == 4 && std::strcmp(argv[1], "purgeable") == 0) {
    return own_purgeable(number(2), static_cast<int>(number(3)));
  }
  if (role == "burst" && argc == 5) {
    return burst(number(1) * mib, static_cast<double>(number(2)), number(3), argv[4]);
  }
  return 2;
}

}  // namespace bench
