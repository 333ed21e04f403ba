// SPDX-License-Identifier: MIT
#include "contest.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "allocators.hpp"
#include "process_memory.hpp"

namespace demo {
namespace {

constexpr int patience_ms = 30'000;                            // for a step, on a machine with much else to do
constexpr rlim_t stack_bytes = rlim_t{512} << 10;              // of a thread; the page has 24, and stacks are addresses
constexpr std::size_t page_bytes_max = std::size_t{16} << 20;  // that serving the page may hold, in use

struct program_of {
  std::string file, preload, symbol;
};

// False if there is nobody of that name.
bool find_program(const std::string& name, program_of& found) {
  if (name == "scoot") {
    found = {"scoot-demo-scoot", "", ""};
    return true;
  }
  for (const auto& [peer, preload, symbol] : bench::peers) {
    if (peer != name) continue;
    found = {"scoot-demo-malloc", preload, symbol};
    return true;
  }
  return false;
}

// In the new process, before the program: what `ulimit -v` does. A malloc may complain; the outcome says as much.
bool prepare_process(std::size_t bytes, bool quiet) {
  if (quiet) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, STDERR_FILENO) < 0) return false;
  }
  const rlimit stack{stack_bytes, stack_bytes};
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_STACK, &stack) != 0 || setrlimit(RLIMIT_CORE, &none) != 0) return false;
  const rlimit limit{bytes, bytes};
  return bytes == 0 || setrlimit(RLIMIT_AS, &limit) == 0;
}

std::string ending(int status) {
  if (WIFSIGNALED(status)) return std::string("ended by a signal: ") + strsignal(WTERMSIG(status));
  if (WEXITSTATUS(status) == 4) return "an item did not hold what was stored";
  return "ended with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::size_t contestant::resident_peak() const noexcept {
  std::size_t most = 0;
  for (const sample& s : samples) most = std::max(most, s.resident);
  return most;
}

bool contest::start() {
  std::vector<std::string> names = options_.names;
  if (names.empty()) {
    names.emplace_back("scoot");
    for (const bench::peer& p : bench::peers) names.emplace_back(p.name);
  }
  processes_ = std::vector<bench::role_process>(names.size());
  for (const std::string& name : names) {
    if (!start_one(name)) return false;
  }
  if (contestants_.empty()) std::fputs("scoot-demo: no allocator is left\n", stderr);
  return !contestants_.empty();
}

bool contest::start_one(const std::string& name) {
  program_of found;
  if (!find_program(name, found)) {
    std::fprintf(stderr, "scoot-demo: no allocator is called %s\n", name.c_str());
    return false;
  }
  const auto argument = [](const char* of, std::uint64_t value) { return std::string(of) + std::to_string(value); };
  bench::program program{
      options_.folder + "/" + found.file,
      {found.file, argument("bytes=", options_.bytes), argument("requests=", options_.requests),
       argument("seed=", options_.seed), argument("survive=", options_.survive ? 1 : 0),
       argument("budget=", options_.budget), argument("port=", options_.port), "expected=" + found.symbol},
      {"PATH=/usr/bin:/bin", "LC_ALL=C"}};
  if (!found.preload.empty()) program.environment.push_back("LD_PRELOAD=" + found.preload);
  bench::role_process& process = processes_[contestants_.size()];
  const std::size_t addresses = options_.addresses;
  const bool quiet = !found.preload.empty();
  std::string line;
  if (!process.start(program, [addresses, quiet] { return prepare_process(addresses, quiet); }) ||
      !process.hear(line, patience_ms) || line.rfind("ready", 0) != 0) {
    std::vector<std::string> rest;
    const int status = process.end(rest, 1000);
    if (!found.preload.empty()) {
      std::fprintf(stderr, "scoot-demo: %s is left out: %s does not work here\n", name.c_str(), found.preload.c_str());
      return true;
    }
    std::fprintf(stderr, "scoot-demo: cannot start %s: %s\n", program.path.c_str(), ending(status).c_str());
    return false;
  }
  if (line.size() > 6) page_ = line.substr(6);
  contestants_.emplace_back();
  contestants_.back().name = name;
  look(contestants_.size() - 1, contestants_.back().ready);
  return true;
}

void contest::look(std::size_t i, sample& into) const {
  into.resident = bench::resident_bytes(processes_[i].id());
  into.addresses = bench::address_bytes(processes_[i].id());
}

bool contest::step() {
  const std::uint64_t step = (options_.requests + options_.steps - 1) / options_.steps;
  const std::uint64_t n = std::min(step, options_.requests - requests_);
  const auto working = [](const contestant& c) { return c.state == fate::working; };
  if (n == 0 || std::none_of(contestants_.begin(), contestants_.end(), working)) return false;
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    if (working(contestants_[i])) processes_[i].tell(std::to_string(n));
  }
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    if (working(contestants_[i])) hear(i);
  }
  // Only now, when nobody works.
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    contestant& c = contestants_[i];
    if (!working(c)) continue;
    look(i, c.samples.back());
    if (c.refused != 0) finish(i);
  }
  requests_ += n;
  return true;
}

// What it did in this step.
void contest::hear(std::size_t i) {
  contestant& c = contestants_[i];
  sample s;
  std::string line;
  bool heard = processes_[i].hear(line, patience_ms);
  std::uint64_t at = 0;
  if (heard && std::sscanf(line.c_str(), "out %" SCNu64 " %zu", &at, &c.refused) == 2)
    heard = processes_[i].hear(line, patience_ms);
  heard = heard &&
          std::sscanf(line.c_str(),
                      "at %" SCNu64 " %zu %zu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
                      &s.requests, &s.counts.items, &s.counts.bytes, &s.counts.gets, &s.counts.hits, &s.counts.sets,
                      &s.counts.evictions, &s.counts.refusals, &s.cpu_us) == 9;
  if (heard) {
    c.samples.push_back(s);
  } else if (processes_[i].running()) {
    processes_[i].kill_now();
    c.state = fate::failed;
    c.why = "did not answer for " + std::to_string(patience_ms / 1000) + " s";
  } else {
    finish(i);
  }
}

// It ended, or ends now: sees how.
void contest::finish(std::size_t i) {
  contestant& c = contestants_[i];
  std::vector<std::string> rest;
  const int status = processes_[i].end(rest, patience_ms);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 3 && c.refused != 0) {
    c.state = fate::out_of_memory;
  } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && c.refused == 0) {
    c.state = fate::done;
  } else {
    c.state = fate::failed;
    c.why = ending(status);
  }
}

void contest::end() {
  for (std::size_t i = 0; i < contestants_.size(); ++i) {
    if (contestants_[i].state == fate::working) finish(i);
  }
}

std::string contest::complaint() const {
  for (const contestant& c : contestants_) {
    if (c.state == fate::failed) return c.name + ": " + c.why;
    if (c.name != "scoot") continue;
    if (c.state == fate::out_of_memory) return "scoot ran out of memory";
    const std::size_t most = options_.budget + c.ready.resident + options_.bytes / 32 + page_bytes_max;
    if (c.resident_peak() > most) {
      return "scoot held " + std::to_string(c.resident_peak() >> 20) + " MiB, and may hold " +
             std::to_string(most >> 20);
    }
  }
  return {};
}

}  // namespace demo
