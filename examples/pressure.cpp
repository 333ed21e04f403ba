// SPDX-License-Identifier: MIT
//
// A program with a cache of results that gives memory back when it gets short: it says what the cache holds, and frees
// the oldest results when it is asked to. Run it in a container with a memory limit and start something large beside
// it, or, to see it work at once, as it is: then it says itself that memory is short.
//
//     ./example_pressure [FIFO]      echo 50000000 > FIFO asks for 50 MB
#include "scoot/pressure.hpp"

#include <cstdio>
#include <deque>
#include <mutex>
#include <vector>

namespace {

class result_cache {
 public:
  void add(std::size_t bytes) {
    const std::lock_guard guard(lock_);
    results_.emplace_back(bytes, 'x');
    bytes_ += bytes;
  }

  // Runs on the monitor's thread. Large vectors go back to the system when they are freed; small objects may not, and
  // then the answer should be less.
  static std::size_t give_back(void* context, const scoot::pressure_notice& notice) noexcept {
    auto& cache = *static_cast<result_cache*>(context);
    const std::unique_lock guard(cache.lock_, std::try_to_lock);
    if (!guard) return 0;  // asked again in 10 ms: better than to wait for a thread that may not get a processor
    std::size_t given = 0;
    while (given < notice.give_back_bytes && !cache.results_.empty()) {
      given += cache.results_.front().size();
      cache.results_.pop_front();
    }
    cache.bytes_ -= given;
    std::printf("%s: %zu KiB are missing, asked for %zu, gave %zu; may hold %zu\n", to_string(notice.source),
                notice.deficit_bytes >> 10, notice.give_back_bytes >> 10, given >> 10, notice.target_bytes >> 10);
    return given;
  }

  static std::size_t held(void* context) noexcept {
    auto& cache = *static_cast<result_cache*>(context);
    const std::unique_lock guard(cache.lock_, std::try_to_lock);
    if (guard) cache.bytes_said_ = cache.bytes_;
    return cache.bytes_said_;
  }

 private:
  std::mutex lock_;
  std::deque<std::vector<char>> results_;  // the oldest first
  std::size_t bytes_ = 0;
  std::size_t bytes_said_ = 0;  // the monitor's thread's own
};

}  // namespace

int main(int argc, char** argv) {
  result_cache cache;
  scoot::pressure_options options;
  options.give_back = result_cache::give_back;
  options.held = result_cache::held;
  options.context = &cache;
  options.fifo = argc > 1 ? argv[1] : nullptr;
  const auto monitor = scoot::pressure_monitor::create(options);
  if (monitor == nullptr) return 1;

  for (int i = 0; i < 64; ++i) cache.add(std::size_t{1} << 20);
  if (!monitor->read_now(10'000)) return 1;
  const scoot::pressure_stats before = monitor->stats();
  std::printf("limit %llu MiB, of which %llu are available; the cache holds %zu\n",
              static_cast<unsigned long long>(before.limit_bytes >> 20),
              static_cast<unsigned long long>(before.available_bytes >> 20), before.held_bytes >> 20);
  if (argc > 1) {
    std::puts("listening; Enter ends it");
    (void)std::getchar();
    return 0;
  }
  monitor->report_shortage(std::size_t{16} << 20);
  do {
    if (!monitor->read_now(10'000)) return 1;
  } while (monitor->deficit_bytes() != 0);
  return monitor->stats().given_bytes >= std::size_t{16} << 20 ? 0 : 1;
}
