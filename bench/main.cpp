// SPDX-License-Identifier: MIT
//
// scoot-bench: side-by-side runs of Scoot and what it is measured against. See docs/benchmarks.md.
#include <CLI/CLI.hpp>
#include <cstring>
#include <map>
#include <string>

#include "heap_bench.hpp"
#include "heap_child.hpp"
#include "moves_bench.hpp"
#include "policy_bench.hpp"
#include "pressure_bench.hpp"
#include "purgeable_bench.hpp"
#include "reaction_bench.hpp"
#include "replay_bench.hpp"
#include "report.hpp"
#include "restart_bench.hpp"
#include "server_bench.hpp"
#include "soak_bench.hpp"

namespace {

std::string command_line(int argc, char** argv) {
  std::string text = "scoot-bench";
  for (int i = 1; i < argc; ++i) text += std::string(" ") + argv[i];
  return text;
}

void add_heap_options(CLI::App& app, bench::heap_bench_options& o) {
  std::vector<std::string> names(std::begin(bench::heap_workloads), std::end(bench::heap_workloads));
  names.insert(names.end(), std::begin(bench::heap_adversaries), std::end(bench::heap_adversaries));
  app.add_option("--workload", o.workloads, "workloads and adversaries to run; all if not given")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  app.add_option("--allocators", o.allocators, "scoot, scoot-tight, glibc, jemalloc, mimalloc, tcmalloc")
      ->delimiter(',');
  app.add_option("--live-mib", o.live_mib, "live bytes in MiB; several, with commas, give a table each")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(4, 65536));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--seed", o.setup.seed, "seed of the first round")->capture_default_str();
  app.add_option("--volume", o.volume, "scales how often the live volume is replaced")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0));
  app.add_option_function<std::string>(
         "--budget",
         [&o](const std::string& text) {
           if (!bench::parse_budget(text, o.setup.budget_factor))
             throw CLI::ValidationError("--budget",
                                        "'" + text + "' is neither default, tight nor a factor of 1 to 100");
         },
         "Scoot's budget: default (1.25), tight (1.08) or a factor over the live bytes")
      ->default_str("default");
  app.add_option("--waste-target", o.setup.waste_target, "Scoot's heap_options::waste_target; 0: its own choice")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--move-kib", o.setup.move_kib, "Scoot's heap_options::move_bytes_max in KiB; 0: its own choice")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--alignment", o.setup.alignment,
                 "of Scoot's blocks; 4 is what they need, for they begin with a 4-byte number. A malloc can't be told")
      ->capture_default_str()
      ->check(CLI::IsMember({1, 2, 4, 8, 16}));
  app.add_option("--verify-every", o.verify_every, "of the blocks freed, one in so many is verified")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--phases", o.phases, "show every phase of every run on stderr");
}

void add_moves_options(CLI::App& app, bench::moves_bench_options& o) {
  app.add_option("--sizes", o.sizes, "sizes of blocks, in bytes")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(16, 8192));
  app.add_option("--live-mib", o.live_mib, "MiB of blocks, of which half are freed; several times the caches")
      ->capture_default_str()
      ->check(CLI::Range(4, 16384));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--seed", o.seed, "seed of the first round")->capture_default_str();
}

void add_soak_options(CLI::App& app, bench::soak_options& o) {
  app.add_option("--minutes", o.minutes, "how long; hours are 60 each")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 10'000.0));
  app.add_option("--live-mib", o.live_mib, "live bytes, in MiB")->capture_default_str()->check(CLI::Range(8, 65536));
  app.add_option("--seed", o.seed, "seed of the load")->capture_default_str();
  app.add_flag("--leak", o.leak, "lose one part in 32 in every cycle, to see that it is noticed");
}

void add_replay_options(CLI::App& app, bench::replay_options& o) {
  app.add_option("file", o.files, "recorded traces; without one, programs of our own choice are recorded and replayed");
  app.add_option("--allocators", o.allocators, "scoot, scoot-tight, glibc, jemalloc, mimalloc, tcmalloc")
      ->delimiter(',');
  app.add_option("--copies", o.copies, "copies of the trace at once; 0: as many as make 64 MiB live")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--folder", o.folder, "where traces of our own are written")->capture_default_str();
}

void add_record_options(CLI::App& app, bench::record_options& o) {
  app.add_option("file", o.file, "the trace to write; must not exist")->required();
  app.add_option("program", o.program, "the program and its arguments; -- before those that begin with -")->required();
}

void add_server_options(CLI::App& app, bench::server_bench_options& o) {
  app.add_option("--scootd", o.scootd, "the scootd to run (default: the one built beside this program)");
  app.add_option("--scootd-options", o.scootd_options, "more options for scootd, separated by spaces");
  app.add_option("--latency-rate", o.latency_rate, "requests a second of the latency cells")
      ->capture_default_str()
      ->check(CLI::Range(100, 1'000'000));
  app.add_option("--memcached", o.memcached, "the memcached to run")->capture_default_str();
  app.add_option("--cells", o.cells, "what to measure; all if not given")
      ->delimiter(',')
      ->check(CLI::IsMember(bench::server_cells()));
  app.add_option("--rounds", o.rounds, "paired rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--seconds", o.seconds, "length of a measurement")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 600.0));
  app.add_option("--connections", o.connections, "connections of the client")
      ->capture_default_str()
      ->check(CLI::Range(1, 450));
  app.add_option("--threads", o.threads, "worker threads of the servers (-t)")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option("--fill-mib", o.fill_memory_mib, "memory limit (-m) of the servers that are filled")
      ->capture_default_str()
      ->check(CLI::Range(16, 65536));
  app.add_flag("--unix", o.unix_socket, "over a unix socket rather than TCP");
}

void add_policy_options(CLI::App& app, bench::policy_bench_options& o) {
  using format = bench::trace_format;
  app.add_option("FILE", o.files, "traces to replay; without any, a few made-up ones");
  app.add_option("--format", o.reading.format, "auto, oracle (libCacheSim's oracleGeneral), csv or twitter")
      ->transform(CLI::CheckedTransformer(std::map<std::string, format>{{"auto", format::automatic},
                                                                        {"oracle", format::oracle},
                                                                        {"csv", format::csv},
                                                                        {"twitter", format::twitter}},
                                          CLI::ignore_case));
  app.add_option("--csv", o.reading.csv, "columns of CSV traces: \"time-col=1, obj-id-col=2, obj-size-col=3\"");
  app.add_option("--clusters", o.clusters, "make traces from these statistics (twitter-2020-03-clusters.csv)");
  app.add_option("--only", o.only, "of the clusters, these")->delimiter(',')->allow_extra_args(false);
  app.add_option("--fractions", o.fractions, "budgets, as fractions of what all objects take (0.1)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0.0001, 10.0));
  app.add_option("--budget-mib", o.budget_mib, "budget of generated traces, by the number of their objects")
      ->capture_default_str()
      ->check(CLI::Range(2.0, 4096.0));
  app.add_option("--requests", o.reading.requests_max, "requests of a trace at most, 20 bytes of memory each")
      ->capture_default_str()
      ->check(CLI::Range(1000, 200'000'000));
  app.add_option("--seed", o.generating.seed, "of the generated traces and the cache")
      ->capture_default_str()
      ->check(CLI::Range(1U, ~0U));
  app.add_option("--value-sigma", o.generating.value_sigma, "spread of generated values: sigma of their logarithm")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 3.0));
  app.add_option("--drift", o.generating.drift, "share of the requests at which a popular object becomes another")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--scan", o.generating.scan, "share of the requests that belong to scans of all objects")
      ->check(CLI::Range(0.0, 0.5));
  app.add_option("--memcached", o.memcached, "check the model of memcached against this program");
  app.add_flag("--brief", o.brief, "replay through the cache and memcached's policy alone");
  app.add_flag("--offline", o.offline, "also replay through a policy that knows the future");
  app.add_option("--svg", o.svg, "draw the miss ratios to this file");
}

void add_pressure_options(CLI::App& app, bench::pressure_options& o) {
  app.add_option("--scootd", o.scootd, "the scootd to run (default: the one built beside this program)");
  app.add_option("--arms", o.arms, "how memory is given back; all if not given")
      ->delimiter(',')
      ->check(CLI::IsMember(bench::pressure_arm_names()));
  app.add_option("--rates", o.rates, "bursts, in MiB a second")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  app.add_option("--patterns", o.patterns, "how the cache is used: zipf, uniform")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::IsMember({"zipf", "uniform"}));
  app.add_option("--trials", o.trials, "trials of each arm, rate and pattern")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--seed", o.seed, "of the order of the trials and of what they look up")->capture_default_str();
  app.add_flag("--no-swap", o.no_swap, "without swap: what counts is whom the kernel kills");
  app.add_option("--csv", o.csv, "write a line a trial to this file");
  app.add_option("--svg", o.svg, "draw plots to files whose names begin with this");
}

void add_purgeable_options(CLI::App& app, bench::purgeable_bench_options& o) {
  app.add_option("--mib", o.mib, "MiB of chunks; several times the caches")
      ->capture_default_str()
      ->check(CLI::Range(1, 16384));
  app.add_option("--chunk-kib", o.chunk_kib, "KiB of a chunk, a power of two")
      ->capture_default_str()
      ->check(CLI::Range(16, 16384));
  app.add_option("--accesses", o.accesses, "accesses timed at once")
      ->capture_default_str()
      ->check(CLI::Range(1000, 1'000'000'000));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--seed", o.seed, "of the random places")->capture_default_str();
}

void add_reaction_options(CLI::App& app, bench::reaction_options& o) {
  app.add_option("--signals", o.signals, "signals of each arm")->capture_default_str()->check(CLI::Range(1, 10'000));
  app.add_option("--bursts", o.bursts, "bursts of each arm")->capture_default_str()->check(CLI::Range(0, 1000));
  app.add_option("--rate", o.rate_mib_s, "of a burst, in MiB a second")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
}

void add_restart_options(CLI::App& app, bench::restart_bench_options& o) {
  app.add_option("--mib", o.mib, "the cache's budget in MiB, all of which is used")
      ->capture_default_str()
      ->check(CLI::Range(8, 1 << 20));
  app.add_option("--value-bytes", o.value_bytes, "sizes of values; several, with commas, are a line each")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(16, 500'000));
  app.add_option("--rounds", o.rounds, "rounds, of which the medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 99));
  app.add_option("--folder", o.folder, "where the file is written: on a file system in memory")->capture_default_str();
  app.add_option("--seed", o.seed, "seed of the first round")->capture_default_str();
}

// What can be run, and how.
struct commands {
  bool smoke = false;
  bench::heap_bench_options heap_options;
  bench::moves_bench_options moves_options;
  bench::soak_options soak_options;
  bench::replay_options replay_options;
  bench::record_options record_options;
  bench::server_bench_options server_options;
  bench::policy_bench_options policy_options;
  bench::purgeable_bench_options purgeable_options;
  bench::pressure_options pressure_options;
  bench::reaction_options reaction_options;
  bench::restart_bench_options restart_options;
  CLI::App *heap, *speed, *moves, *soak, *replay, *record, *policy, *server, *purgeable, *pressure, *restart, *reaction;
};

void declare(CLI::App& app, commands& all) {
  all.heap = app.add_subcommand("heap", "the relocating heap beside malloc implementations");
  all.speed = all.heap->add_subcommand("speed", "CPU time of allocate and free in hot loops");
  all.moves = app.add_subcommand("moves", "blocks moved by the heap beside memcpy of the same blocks");
  all.soak = app.add_subcommand("soak", "the heap under shifting load for long; its bloat must stay flat");
  all.replay = app.add_subcommand("replay", "traces of real programs over the heap and malloc peers");
  all.record = app.add_subcommand("record", "records what a program asks of malloc, for replay");
  all.policy = app.add_subcommand("policy", "what scoot::cache misses beside other policies");
  all.server = app.add_subcommand("server", "scootd beside memcached");
  all.purgeable =
      app.add_subcommand("purgeable", "pins and reads of purgeable memory beside locks, system calls and plain access");
  all.pressure =
      app.add_subcommand("pressure", "whether something swaps or dies when a burst needs the cache's memory");
  all.restart = app.add_subcommand("restart", "how long a full cache takes to a file in memory and back");
  all.reaction =
      app.add_subcommand("reaction", "how long until a program hears that memory is short, beside busy ones");
  add_heap_options(*all.heap, all.heap_options);
  all.speed
      ->add_option("--processes", all.heap_options.processes,
                   "fresh processes in which the first loop is repeated; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  add_moves_options(*all.moves, all.moves_options);
  add_soak_options(*all.soak, all.soak_options);
  add_replay_options(*all.replay, all.replay_options);
  add_record_options(*all.record, all.record_options);
  add_policy_options(*all.policy, all.policy_options);
  add_server_options(*all.server, all.server_options);
  add_purgeable_options(*all.purgeable, all.purgeable_options);
  add_pressure_options(*all.pressure, all.pressure_options);
  add_restart_options(*all.restart, all.restart_options);
  add_reaction_options(*all.reaction, all.reaction_options);
  for (CLI::App* command : {all.heap, all.speed, all.moves, all.soak, all.replay, all.server, all.policy, all.pressure,
                            all.purgeable, all.reaction, all.restart})
    command->fallthrough();
}

int run(const commands& all, bool everything, bench::json_rows& rows) {
  int status = 0;
  if (everything || (all.heap->parsed() && !all.speed->parsed())) {
    status |= bench::run_heap_bench(all.heap_options, rows);
  }
  if (everything || all.speed->parsed()) status |= bench::run_speed_bench(all.heap_options, rows);
  if (everything || all.moves->parsed()) status |= bench::run_moves_bench(all.moves_options, rows);
  if (all.soak->parsed()) status |= bench::run_soak(all.soak_options, rows);
  if (everything || all.replay->parsed()) status |= bench::run_replay_bench(all.replay_options, rows);
  if (everything || all.server->parsed()) status |= bench::run_server_bench(all.server_options, rows);
  if (everything || all.policy->parsed()) status |= bench::run_policy_bench(all.policy_options, rows);
  if (everything || all.purgeable->parsed()) {
    const int purged = bench::run_purgeable_bench(all.purgeable_options, rows);
    if (all.purgeable->parsed() || purged != bench::skipped_status) status |= purged;
  }
  if (all.pressure->parsed()) status |= bench::run_pressure_bench(all.pressure_options, rows);
  if (all.reaction->parsed()) status |= bench::run_reaction_bench(all.reaction_options, rows);
  if (all.restart->parsed()) status |= bench::run_restart_bench(all.restart_options, rows);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 3 && std::strcmp(argv[1], "--child") == 0) return bench::run_child(argc - 2, argv + 2);

  CLI::App app{"Runs Scoot beside what it is measured against; docs/benchmarks.md defines every figure.",
               "scoot-bench"};
  commands all;
  std::string json;
  app.add_flag("--smoke", all.smoke, "runs of seconds at small sizes that check plausibility");
  app.add_option("--json", json, "write the figures to this file, one array of flat objects");
  declare(app, all);
  app.footer("Without a name, all of them run but soak, record, pressure, reaction and restart.");

  CLI11_PARSE(app, argc, argv);
  for (bool* smoke :
       {&all.heap_options.smoke, &all.moves_options.smoke, &all.soak_options.smoke, &all.replay_options.smoke,
        &all.server_options.smoke, &all.policy_options.smoke, &all.pressure_options.smoke, &all.purgeable_options.smoke,
        &all.reaction_options.smoke, &all.restart_options.smoke})
    *smoke = all.smoke;
  if (all.record->parsed()) return bench::run_record(all.record_options);
  bench::json_rows rows;
  int status = run(all, app.get_subcommands().empty(), rows);
  if (status == bench::skipped_status) return status;
  if (!json.empty() && !bench::write_json(json, rows, command_line(argc, argv))) status |= 1;
  return status;
}
