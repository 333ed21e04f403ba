// SPDX-License-Identifier: MIT
//
// contest: the contestants (contestant.cpp) as processes of their own under the same limit of addresses, led through
// the same load step by step: all of them make so many requests, and when the last has, each is looked at. So samples
// of the same number are of the same moment in the site's life, and whoever is slower delays the others, not the
// comparison.
//
// Ownership: its processes are killed when it goes, and by the kernel if we are killed. Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cache_2003.hpp"
#include "child_process.hpp"

namespace demo {

struct contest_options {
  std::vector<std::string> names;  // scoot and malloc peers; empty: all
  std::string folder;              // where the contestants' programs are
  std::size_t bytes = 0;           // that the items may have
  std::size_t addresses = 0;       // that a process may have (ulimit -v); 0: no limit
  std::size_t budget = 0;          // of the heap of ours
  std::uint64_t requests = 0;      // of the whole load, ...
  unsigned steps = 1;              // ... made in so many steps
  std::uint64_t seed = 1;
  unsigned port = 0;     // of the page
  bool survive = false;  // they evict more when memory is refused, rather than end
};

// One look at a contestant, between two requests.
struct sample {
  std::uint64_t requests = 0;
  std::size_t resident = 0;   // bytes (VmRSS)
  std::size_t addresses = 0;  // bytes (VmSize)
  std::uint64_t cpu_us = 0;
  cache_counts counts;
};

enum class fate : unsigned char { working, done, out_of_memory, failed };

struct contestant {
  std::string name;
  fate state = fate::working;
  std::string why;          // failed
  std::size_t refused = 0;  // out of memory: bytes that it asked for
  sample ready;             // before the first request
  std::vector<sample> samples;

  [[nodiscard]] const sample& last() const noexcept { return samples.empty() ? ready : samples.back(); }
  [[nodiscard]] std::size_t resident_peak() const noexcept;
};

class contest {
 public:
  explicit contest(contest_options options) : options_(std::move(options)) {}

  // Starts all of them; those whose library is not installed are left out, with a message on stderr. False, with a
  // message, if there is nobody, or one cannot be started.
  [[nodiscard]] bool start();
  // The next step. False if there is none: they made all requests, or ended.
  bool step();
  // Ends those that still work.
  void end();

  [[nodiscard]] const contest_options& options() const noexcept { return options_; }
  [[nodiscard]] const std::vector<contestant>& all() const noexcept { return contestants_; }
  [[nodiscard]] const std::string& page() const noexcept { return page_; }     // where it is; empty if ours isn't there
  [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }  // made so far, by whoever lives
  // What is wrong with the outcome: a contestant ended otherwise than out of memory, ours did at all or held more than
  // it may. Empty: nothing.
  [[nodiscard]] std::string complaint() const;

 private:
  [[nodiscard]] bool start_one(const std::string& name);
  void look(std::size_t i, sample& into) const;
  void hear(std::size_t i);
  void finish(std::size_t i);

  contest_options options_;
  std::vector<contestant> contestants_;
  std::vector<bench::role_process> processes_;
  std::string page_;
  std::uint64_t requests_ = 0;
};

}  // namespace demo
