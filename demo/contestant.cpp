// SPDX-License-Identifier: MIT
//
// A contestant of the demo: the cache of 2003 on one malloc, or (DEMO_ON_SCOOT) on a relocating heap, at work on the
// load as far as its parent, scoot-demo, says:
//
//     argv       NAME=VALUE.., see `settings`
//     stdout     "ready URL"; the URL only where there is a page
//     stdin      "N": make N requests more
//     stdout     "at REQUESTS ITEMS BYTES GETS HITS SETS EVICTIONS REFUSALS CPU_US"
//                "out REQUESTS BYTES": memory for a block of so many bytes was refused. The line above follows, and
//                nothing more
//
// It ends at the end of its input. Exit status 0: all went well; 2: it cannot be started like that; 3: out of memory,
// as 2003's ended; 4: an item does not hold what was stored.
#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cache_2003.hpp"
#include "load.hpp"

#ifdef DEMO_ON_SCOOT
#include "heap_page.hpp"
#endif

namespace demo {
namespace {

struct settings {
  std::uint64_t bytes = 0;     // that the items may have
  std::uint64_t requests = 0;  // of the whole load
  std::uint64_t seed = 1;
  std::uint64_t survive = 0;  // 1: when memory is refused, evict more rather than end
  std::uint64_t budget = 0;   // on scoot: of the page pool
  std::uint64_t port = 0;     // of the page; 0: any
  const char* expected = "";  // a symbol that only the malloc has which is meant
};

bool parse(int argc, char** argv, settings& s) {
  for (int i = 1; i < argc; ++i) {
    const char* const equals = std::strchr(argv[i], '=');
    if (equals == nullptr) return false;
    const std::string_view name(argv[i], static_cast<std::size_t>(equals - argv[i]));
    const std::uint64_t number = std::strtoull(equals + 1, nullptr, 10);
    if (name == "bytes") {
      s.bytes = number;
    } else if (name == "requests") {
      s.requests = number;
    } else if (name == "seed") {
      s.seed = number;
    } else if (name == "survive") {
      s.survive = number;
    } else if (name == "budget") {
      s.budget = number;
    } else if (name == "port") {
      s.port = number;
    } else if (name == "expected") {
      s.expected = equals + 1;
    } else {
      return false;
    }
  }
  return s.bytes != 0 && s.requests != 0;
}

// To the parent, and nothing but these lines; a short one needs no memory.
template <class... Arguments>
void say(int to, const char* format, Arguments... arguments) noexcept {
  char line[256];
  const int n = std::snprintf(line, sizeof line, format, arguments...);
  if (write(to, line, static_cast<std::size_t>(n)) != n) _exit(2);  // nobody is there
}

unsigned long long cpu_us() noexcept {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto us = [](const timeval& t) { return t.tv_sec * 1'000'000LL + t.tv_usec; };
  return static_cast<unsigned long long>(us(use.ru_utime) + us(use.ru_stime));
}

// What a value is filled with, so that an item that got mixed up with another is noticed.
char fill_of(std::string_view key) noexcept {
  unsigned sum = 0;
  for (const char c : key) sum = sum * 31 + static_cast<unsigned char>(c);
  return static_cast<char>(sum ^ sum >> 8);
}

bool is_whole(item* it, char fill) noexcept {
  const char* const value = it->value();
  return value[0] == fill && value[it->value_bytes / 2] == fill && value[it->value_bytes - 1] == fill;
}

enum class outcome { done, out_of_memory, damaged };

class contestant {
 public:
  contestant(const settings& s, cache_2003& items, int to)
      : settings_(s), items_(items), load_(s.seed, s.bytes, s.requests), to_(to) {}

  outcome request() noexcept {
    const load::request wanted = load_.next();
    ++requests_;
    const char fill = fill_of(wanted.key);
    if (!wanted.changed) {
      if (item* const found = items_.get(wanted.key); found != nullptr)
        return is_whole(found, fill) ? outcome::done : outcome::damaged;
    }
    item* made = items_.set(wanted.key, wanted.value_bytes);
    while (made == nullptr && settings_.survive != 0 && give_way()) made = items_.set(wanted.key, wanted.value_bytes);
    if (made == nullptr) {
      say(to_, "out %llu %zu\n", requests_, sizeof(item) + wanted.key.size() + wanted.value_bytes);
      return outcome::out_of_memory;
    }
    std::memset(made->value(), fill, wanted.value_bytes);
    return outcome::done;
  }

  void report() const noexcept {
    const cache_counts& c = items_.counts();
    using number = unsigned long long;
    say(to_, "at %llu %zu %zu %llu %llu %llu %llu %llu %llu\n", requests_, c.items, c.bytes, number{c.gets},
        number{c.hits}, number{c.sets}, number{c.evictions}, number{c.refusals}, cpu_us());
  }

 private:
  // Drops 1/1024 of what the items may have; one at a time, with a refusal each, takes some allocators minutes.
  bool give_way() noexcept {
    const std::size_t before = items_.counts().bytes, enough = settings_.bytes / 1024;
    while (before - items_.counts().bytes < enough && items_.evict()) {
    }
    return items_.counts().bytes < before;
  }

  const settings& settings_;
  cache_2003& items_;
  load load_;
  const int to_;
  unsigned long long requests_ = 0;
};

// The next number on stdin; false at its end.
bool next_number(std::uint64_t& n) noexcept {
  n = 0;
  char c = 0;
  while (read(STDIN_FILENO, &c, 1) == 1) {
    if (c == '\n') return true;
    n = n * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return false;
}

// Works as far as it is told. `Turns` has lock, unlock and yield; see heap_page.hpp.
template <class Turns>
int work(contestant& who, Turns& at) noexcept {
  std::uint64_t n = 0;
  while (next_number(n)) {
    at.lock();
    outcome what = outcome::done;
    for (; n != 0 && what == outcome::done; --n) {
      what = who.request();
      at.yield();
    }
    at.unlock();
    if (what == outcome::damaged) return 4;
    who.report();
    if (what == outcome::done) continue;
    while (next_number(n)) {  // until we were looked at
    }
    return 3;
  }
  return 0;
}

// log2 of the buckets: one for each 256 bytes, as many as 2003's cache had for 256 MiB.
std::size_t log2_buckets(std::uint64_t bytes) noexcept {
  std::size_t log2 = 10;
  while ((std::uint64_t{256} << log2) < bytes) ++log2;
  return log2;
}

#ifdef DEMO_ON_SCOOT

constexpr std::size_t page_addresses = std::size_t{12} << 20;  // for the page's server to allocate

int run(const settings& s, int to) {
  memory from;
  cache_2003 items(from, s.bytes, log2_buckets(s.bytes));
  if (!keep_addresses(page_addresses) || !from.open(s.budget, s.budget + s.budget / 16, items)) {
    std::fputs("there is no room for the heap\n", stderr);
    return 2;
  }
  turns at;
  heap_page page(items, from, at);
  if (const std::string error = page.start(static_cast<unsigned>(s.port)); !error.empty()) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  contestant who(s, items, to);
  say(to, "ready %s\n", page.address().c_str());
  return work(who, at);
}

#else

struct no_turns {
  void lock() noexcept {}
  void unlock() noexcept {}
  void yield() noexcept {}
};

int run(const settings& s, int to) {
  memory from;
  cache_2003 items(from, s.bytes, log2_buckets(s.bytes));
  contestant who(s, items, to);
  no_turns at;
  say(to, "%s\n", "ready");
  return work(who, at);
}

#endif

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  demo::settings settings;
  if (!demo::parse(argc, argv, settings)) {
    std::fputs("this is run by scoot-demo\n", stderr);
    return 2;
  }
  if (settings.expected[0] != '\0' && dlsym(RTLD_DEFAULT, settings.expected) == nullptr) {
    std::fprintf(stderr, "there is no %s: another malloc is at work than is meant\n", settings.expected);
    return 2;
  }
  // stdout is for our lines alone, whatever a library prints.
  const int to = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  return demo::run(settings, to);
}
