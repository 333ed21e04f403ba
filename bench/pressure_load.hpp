// SPDX-License-Identifier: MIT
//
// The users of the cache in a trial of `scoot-bench pressure`: a thread that looks items up and, as programs that use a
// cache do, stores again what it misses. Values are checked (load_client.hpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "load_client.hpp"

namespace bench {

enum class access_pattern { zipf, uniform };

struct load_plan {
  std::uint32_t items = 0;
  std::size_t value_bytes = 1000;
  access_pattern pattern = access_pattern::zipf;
  double alpha = 0.99;  // of zipf
  std::uint64_t seed = 1;
};

// A batch of lookups and when its answers were there.
struct load_sample {
  std::uint64_t at_ns = 0;
  std::uint32_t gets = 0;
  std::uint32_t misses = 0;
};

class cache_load {
 public:
  explicit cache_load(const load_plan& plan) : plan_(plan) {}
  ~cache_load() { stop(); }
  cache_load(const cache_load&) = delete;
  cache_load& operator=(const cache_load&) = delete;

  // Stores every item, in the order of their numbers. False, with error(), on failure.
  bool fill(const endpoint& to);

  // The part of a random sample of `count` items, drawn by `seed` and the plan's, that the cache does not have.
  // Negative on failure. Not while the thread runs.
  double missing_part(std::uint32_t count, std::uint64_t seed);

  // Starts the thread at `rate` lookups a second; 0: as many as the server answers.
  void start(double rate);

  // Ends the thread if it runs. False, with error(), if the server failed or a value was wrong.
  bool stop();

  // True while the thread runs and nothing failed.
  [[nodiscard]] bool running() const noexcept { return running_.load(std::memory_order_acquire); }

  // Of lookups whose answers came within [from, to): the part that hit. Negative without any.
  [[nodiscard]] double hit_rate(std::uint64_t from_ns, std::uint64_t to_ns) const;

  // How many lookups were answered until now.
  [[nodiscard]] std::uint64_t lookups() const noexcept { return lookups_.load(std::memory_order_relaxed); }

  // How many items were stored again until now.
  [[nodiscard]] std::uint64_t refilled() const noexcept { return refilled_.load(std::memory_order_relaxed); }

  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  void serve();

  load_plan plan_;
  load_client client_;
  std::thread thread_;
  double rate_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> running_{false};
  std::atomic<std::uint64_t> lookups_{0};
  std::atomic<std::uint64_t> refilled_{0};
  // Written by the thread, read by others up to what samples_made_ says; never reallocated while it runs.
  std::vector<load_sample> samples_;
  std::atomic<std::size_t> samples_made_{0};
  std::string error_;
};

}  // namespace bench
