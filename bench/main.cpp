// SPDX-License-Identifier: MIT
//
// scoot-bench: side-by-side runs of Scoot and what it is measured against. See docs/benchmarks.md.
#include <CLI/CLI.hpp>
#include <cstring>
#include <string>

#include "heap_bench.hpp"
#include "heap_child.hpp"

namespace {

std::string command_line(int argc, char** argv) {
  std::string text = "scoot-bench";
  for (int i = 1; i < argc; ++i) text += std::string(" ") + argv[i];
  return text;
}

void add_heap_options(CLI::App& app, bench::heap_bench_options& o) {
  app.add_option("--workload", o.workloads, "workloads to run (steady, shift, frag-grow, shrink)")
      ->delimiter(',')
      ->check(CLI::IsMember({"steady", "shift", "frag-grow", "shrink"}));
  app.add_option("--allocators", o.allocators, "scoot, scoot-tight, glibc, jemalloc, mimalloc, tcmalloc")
      ->delimiter(',');
  app.add_option("--live-mib", o.live_mib, "live bytes, in MiB")->capture_default_str()->check(CLI::Range(4, 65536));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--seed", o.seed, "seed of the first round")->capture_default_str();
  app.add_option("--volume", o.volume, "scales how often the live volume is replaced")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--budget", o.budget, "Scoot's budget: default (1.25), tight (1.05) or a factor over the live bytes")
      ->capture_default_str();
  app.add_option("--waste-target", o.waste_target, "Scoot's heap_options::waste_target; 0: its own choice")
      ->capture_default_str();
  app.add_option("--move-kib", o.move_kib, "Scoot's heap_options::move_bytes_max in KiB; 0: its own choice")
      ->capture_default_str();
  app.add_option("--verify-every", o.verify_every, "of the blocks freed, one in so many is verified")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--phases", o.phases, "show every phase of every run on stderr");
  app.add_flag("--smoke", o.smoke, "a run of seconds at a small size that checks plausibility");
  app.add_option("--json", o.json, "write the figures to this file");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 3 && std::strcmp(argv[1], "--child") == 0) return bench::run_child(argc - 2, argv + 2);

  CLI::App app{"Runs Scoot beside what it is measured against; docs/benchmarks.md defines every figure.",
               "scoot-bench"};
  app.require_subcommand(1);
  bench::heap_bench_options heap;
  heap.command = command_line(argc, argv);
  CLI::App* heap_command = app.add_subcommand("heap", "the relocating heap beside malloc implementations");
  CLI::App* speed_command = heap_command->add_subcommand("speed", "CPU time of allocate and free in hot loops");
  add_heap_options(*heap_command, heap);
  speed_command->fallthrough();

  CLI11_PARSE(app, argc, argv);
  if (speed_command->parsed()) return bench::run_speed_bench(heap);
  if (heap_command->parsed()) return bench::run_heap_bench(heap);
  return 2;
}
