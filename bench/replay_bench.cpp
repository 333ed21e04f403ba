// SPDX-License-Identifier: MIT
//
// The parent of `scoot-bench replay`. What is measured is in heap_replay.cpp.
#include "replay_bench.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "record.hpp"
#include "trace.hpp"

namespace bench {
namespace {

constexpr double live_wanted = 64 << 20;
constexpr double operations_wanted = 10e6;  // more copies than make so many operations are not worth the time
constexpr double operations_wanted_smoke = 2e5;
constexpr std::uint32_t copies_max = 4096;

// Programs that we record ourselves, with scripts of ours.
struct own_program {
  const char* name;
  const char* program;
  std::vector<std::string> arguments;
  const char* input;  // under traces/; empty: none
};

std::vector<own_program> own_programs() {
  const std::string scripts = SCOOT_BENCH_TRACES;
  return {{"sqlite3", "sqlite3", {"-batch", ":memory:"}, "library.sql"}, {"perl", "perl", {scripts + "/words.pl"}, ""}};
}

bool on_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    if (access((rest.substr(0, colon) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.erase(0, colon + 1);
  }
  return false;
}

// Records our programs anew, and names the traces. False if one failed.
bool record_own(const replay_options& o, std::vector<std::string>& files) {
  std::error_code failed;
  std::filesystem::create_directories(o.folder, failed);
  if (failed) {
    std::fprintf(stderr, "scoot-bench: cannot make the folder %s: %s\n", o.folder.c_str(), failed.message().c_str());
    return false;
  }
  for (const own_program& p : own_programs()) {
    if (!on_path(p.program)) {
      std::fprintf(stderr, "scoot-bench: %s is left out: it is not installed\n", p.name);
      continue;
    }
    progress(std::string("recording ") + p.name);
    record_request request;
    request.file = o.folder + "/" + p.name + ".trace";
    request.program = p.arguments;
    request.program.insert(request.program.begin(), p.program);
    if (*p.input != '\0') request.input = std::string(SCOOT_BENCH_TRACES) + "/" + p.input;
    request.quiet = true;
    unlink(request.file.c_str());
    if (const int status = record_program(request); status != 0) {
      std::fprintf(stderr, "scoot-bench: recording %s failed (exit status %d)\n", p.name, status);
      return false;
    }
    files.push_back(request.file);
  }
  progress_done();
  return true;
}

std::uint32_t copies_for(const replay_options& o, const trace& t) {
  if (o.copies != 0) return o.copies;
  const double wanted = o.smoke ? operations_wanted_smoke : operations_wanted;
  const double by_live = live_wanted / std::max(t.live_bytes_mean(), 1.0);
  const double by_time = wanted / static_cast<double>(std::max<std::size_t>(t.size(), 1));
  return static_cast<std::uint32_t>(std::clamp(std::min(by_live, by_time), 1.0, static_cast<double>(copies_max)));
}

std::vector<std::string> table_row(const std::string& name, const series& s) {
  const auto median = [&](const char* figure) { return summarise(s.at(figure)).median; };
  const summary cpu = summarise(s.at("cpu_ns_per_op"));
  constexpr double mib = 1 << 20;
  return {name,
          "",
          format_fixed(median("utilisation_end"), 3),
          format_fixed(median("utilisation_mean"), 3),
          format_fixed(median("utilisation_worst"), 3),
          format_fixed(median("peak_live_bytes") / mib, 1),
          format_fixed(median("peak_bytes") / mib, 1),
          format_fixed(median("left_bytes") / mib, 1),
          format_fixed(cpu.median, 1),
          format_fixed(cpu.min, 0) + "-" + format_fixed(cpu.max, 0),
          format_fixed(median("moved_bytes") / mib, 1),
          format_fixed(median("moved_bytes_per_allocated_byte"), 3)};
}

nlohmann::ordered_json json_row(const std::string& file, const std::string& allocator, const series& s) {
  nlohmann::ordered_json row;
  row["trace"] = file;
  row["allocator"] = allocator;
  for (const auto& figure : s)
    if (figure.first != "verified") row[figure.first] = summarise(figure.second).median;
  row["cpu_ns_per_op_min"] = summarise(s.at("cpu_ns_per_op")).min;
  row["cpu_ns_per_op_max"] = summarise(s.at("cpu_ns_per_op")).max;
  row["rounds"] = s.at("cpu_ns_per_op").size();
  return row;
}

// One trace over all contestants. False if it is damaged, or a run failed.
bool replay_file(const replay_options& o, const std::string& file, const std::vector<contestant>& contestants,
                 json_rows& rows) {
  std::uint32_t copies = 0;
  {
    trace t;
    std::string error;
    if (!t.load(file, error)) {
      std::fprintf(stderr, "scoot-bench: %s: %s\n", file.c_str(), error.c_str());
      return false;
    }
    copies = copies_for(o, t);
    std::printf("%s: %zu operations on %llu blocks, %llu bytes live at most; %u copies at once\n", file.c_str(),
                t.size(), static_cast<unsigned long long>(t.objects()),
                static_cast<unsigned long long>(t.live_bytes_peak()), copies);
  }
  bool ok = true;
  std::map<std::string, series> results;
  for (unsigned round = 0; round < o.rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const contestant& c = contestants[(i + round) % contestants.size()];
      progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  replay " + file + "  " +
               c.name);
      const child_result r =
          run_self({"replay", "file=" + file, "copies=" + std::to_string(copies), "samples=200",
                    std::string("scoot=") + (c.scoot ? "1" : "0"), "volume=" + std::to_string(budget_factor({}, c))},
                   c.library, child_timeout_s);
      if (!r.ok || r.answer.count("verified") == 0) {
        std::fprintf(stderr, "scoot-bench: replay of %s over %s failed: %s\n", file.c_str(), c.name.c_str(),
                     r.error.c_str());
        ok = false;
        continue;
      }
      collect(r.answer, results[c.name]);
    }
  }
  progress_done();
  std::vector<std::vector<std::string>> table = {{"allocator", "", "end", "mean", "worst", "live MiB", "peak MiB",
                                                  "left MiB", "cpu ns/op", "min-max", "moved MiB", "moved B/B"}};
  for (const contestant& c : contestants) {
    if (results.count(c.name) == 0) continue;
    table.push_back(table_row(c.name, results[c.name]));
    rows.push_back(json_row(file, c.name, results[c.name]));
    rows.back()["copies"] = copies;
  }
  print_table(table);
  return ok;
}

}  // namespace

int run_replay_bench(replay_options o, json_rows& rows) {
  if (o.smoke) o.rounds = 1;
  std::vector<contestant> contestants;
  if (!choose_contestants(o.allocators, contestants)) return 1;
  bool ok = true;
  if (o.files.empty()) ok = record_own(o, o.files);
  if (ok && o.files.empty()) std::fputs("scoot-bench: no program to record is installed\n", stderr);
  for (const std::string& file : o.files) ok = replay_file(o, file, contestants, rows) && ok;
  std::printf("medians of %u; commit %s\n", o.rounds, commit().c_str());
  return ok && !o.files.empty() ? 0 : 1;
}

}  // namespace bench
