// SPDX-License-Identifier: MIT
#include "heap_child.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {
namespace {

bool take(const char* argument, const char* name, const char** value) noexcept {
  const std::size_t n = std::strlen(name);
  if (std::strncmp(argument, name, n) != 0 || argument[n] != '=') return false;
  *value = argument + n + 1;
  return true;
}

bool parse(int argc, char** argv, child_options& o) noexcept {
  for (int i = 1; i < argc; ++i) {
    const char* v = nullptr;
    if (take(argv[i], "workload", &v)) {
      o.workload = v;
    } else if (take(argv[i], "scoot", &v)) {
      o.scoot = *v == '1';
    } else if (take(argv[i], "live_bytes", &v)) {
      o.live_bytes = std::strtoull(v, nullptr, 10);
    } else if (take(argv[i], "volume", &v)) {
      o.volume = std::strtod(v, nullptr);
    } else if (take(argv[i], "seed", &v)) {
      o.seed = std::strtoull(v, nullptr, 10);
    } else if (take(argv[i], "samples", &v)) {
      o.samples = static_cast<unsigned>(std::strtoul(v, nullptr, 10));
    } else if (take(argv[i], "verify_every", &v)) {
      o.verify_every = std::max(1U, static_cast<std::uint32_t>(std::strtoul(v, nullptr, 10)));
    } else if (take(argv[i], "damage", &v)) {
      o.damage = *v == '1';
    } else if (take(argv[i], "phases", &v)) {
      o.phases = *v == '1';
    } else if (take(argv[i], "operations", &v)) {
      o.operations = std::strtoull(v, nullptr, 10);
    } else if (take(argv[i], "budget", &v)) {
      o.setup.budget = std::strtoull(v, nullptr, 10);
    } else if (take(argv[i], "waste_target", &v)) {
      o.setup.waste_target = std::strtod(v, nullptr);
    } else if (take(argv[i], "move_bytes_max", &v)) {
      o.setup.move_bytes_max = std::strtoull(v, nullptr, 10);
    } else {
      std::fprintf(stderr, "scoot-bench: unknown child argument %s\n", argv[i]);
      return false;
    }
  }
  return true;
}

}  // namespace

int run_child(int argc, char** argv) {
  child_options options;
  if (argc < 1 || !parse(argc, argv, options)) return 2;
  if (std::strcmp(argv[0], "probe") == 0) {
    const std::string_view name = running_malloc();
    std::printf("%.*s 1\n", static_cast<int>(name.size()), name.data());
    return 0;
  }
  if (std::strcmp(argv[0], "heap") == 0) return run_heap_workload(options);
  if (std::strcmp(argv[0], "speed") == 0) return run_speed(options);
  return 2;
}

}  // namespace bench
