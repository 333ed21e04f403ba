// SPDX-License-Identifier: MIT
#include "heap_child.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "pressure_roles.hpp"
#include "reaction_bench.hpp"

namespace bench {
namespace {

struct argument {
  const char* name;
  void (*set)(child_options&, const char*);
};

std::uint64_t whole(const char* text) { return std::strtoull(text, nullptr, 10); }

constexpr argument arguments[] = {
    {"workload", [](child_options& o, const char* v) { o.workload = v; }},
    {"scoot", [](child_options& o, const char* v) { o.scoot = *v == '1'; }},
    {"live_bytes", [](child_options& o, const char* v) { o.live_bytes = whole(v); }},
    {"volume", [](child_options& o, const char* v) { o.volume = std::strtod(v, nullptr); }},
    {"seed", [](child_options& o, const char* v) { o.seed = whole(v); }},
    {"samples", [](child_options& o, const char* v) { o.samples = static_cast<unsigned>(whole(v)); }},
    {"verify_every",
     [](child_options& o, const char* v) { o.verify_every = std::max(1U, static_cast<std::uint32_t>(whole(v))); }},
    {"damage", [](child_options& o, const char* v) { o.damage = *v == '1'; }},
    {"phases", [](child_options& o, const char* v) { o.phases = *v == '1'; }},
    {"operations", [](child_options& o, const char* v) { o.operations = whole(v); }},
    {"block_bytes", [](child_options& o, const char* v) { o.block_bytes = static_cast<std::uint32_t>(whole(v)); }},
    {"seconds", [](child_options& o, const char* v) { o.seconds = std::strtod(v, nullptr); }},
    {"file", [](child_options& o, const char* v) { o.file = v; }},
    {"copies", [](child_options& o, const char* v) { o.copies = std::max(1U, static_cast<std::uint32_t>(whole(v))); }},
    {"first_only", [](child_options& o, const char* v) { o.first_only = *v == '1'; }},
    {"budget", [](child_options& o, const char* v) { o.setup.budget = whole(v); }},
    {"waste_target", [](child_options& o, const char* v) { o.setup.waste_target = std::strtod(v, nullptr); }},
    {"move_bytes_max", [](child_options& o, const char* v) { o.setup.move_bytes_max = whole(v); }},
    {"alignment", [](child_options& o, const char* v) { o.setup.alignment = whole(v); }},
};

bool parse_one(const char* text, child_options& o) {
  const char* equals = std::strchr(text, '=');
  if (equals == nullptr) return false;
  const std::string_view name(text, static_cast<std::size_t>(equals - text));
  for (const argument& a : arguments) {
    if (name != a.name) continue;
    a.set(o, equals + 1);
    return true;
  }
  return false;
}

bool parse(int argc, char** argv, child_options& o) {
  for (int i = 1; i < argc; ++i) {
    if (parse_one(argv[i], o)) continue;
    std::fprintf(stderr, "scoot-bench: unknown child argument %s\n", argv[i]);
    return false;
  }
  return true;
}

}  // namespace

int run_child(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[0], "pressure") == 0) return run_pressure_role(argc - 1, argv + 1);
  if (argc >= 2 && std::strcmp(argv[0], "reaction") == 0) return run_reaction_role(argc - 1, argv + 1);
  child_options options;
  if (argc < 1 || !parse(argc, argv, options)) return 2;
  if (std::strcmp(argv[0], "probe") == 0) {
    const std::string_view name = running_malloc();
    std::printf("%.*s 1\n", static_cast<int>(name.size()), name.data());
    return 0;
  }
  if (std::strcmp(argv[0], "heap") == 0) return run_heap_workload(options);
  if (std::strcmp(argv[0], "adversary") == 0) return run_heap_adversary(options);
  if (std::strcmp(argv[0], "soak") == 0) return run_heap_soak(options);
  if (std::strcmp(argv[0], "replay") == 0) return run_heap_replay(options);
  if (std::strcmp(argv[0], "moves") == 0) return run_moves(options);
  if (std::strcmp(argv[0], "speed") == 0) return run_speed(options);
  return 2;
}

}  // namespace bench
