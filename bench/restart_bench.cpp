// SPDX-License-Identifier: MIT
#include "restart_bench.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "clock.hpp"
#include "pressure_bench.hpp"
#include "process_memory.hpp"
#include "random.hpp"
#include "scoot/cache.hpp"

namespace bench {
namespace {

constexpr std::size_t key_bytes = 32;
constexpr std::size_t sampled_every_us = 500;

// Bytes in use on a file system.
std::size_t used_bytes(const std::string& folder) {
  struct statvfs s {};
  if (statvfs(folder.c_str(), &s) != 0) return 0;
  return (s.f_blocks - s.f_bfree) * s.f_frsize;
}

// The most that this process and the file system held together while it lived, above what they held before.
class peak_watch {
 public:
  explicit peak_watch(const std::string& folder)
      : folder_(folder), before_(sum()), thread_([this] {
          while (!stopped_) {
            peak_ = std::max(peak_, sum());
            usleep(sampled_every_us);
          }
        }) {}
  std::size_t stop() {
    stopped_ = true;
    thread_.join();
    return peak_ - std::min(peak_, before_);
  }

 private:
  [[nodiscard]] std::size_t sum() const { return resident_bytes(getpid()) + used_bytes(folder_); }
  const std::string folder_;
  std::size_t before_;
  std::size_t peak_ = 0;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

void print_key(char* to, std::uint64_t number) {
  std::snprintf(to, key_bytes + 1, "key:%028llu", static_cast<unsigned long long>(number));
}

// A value says which key it belongs to, at both ends.
void write_value(std::string& value, std::uint64_t number) {
  std::memcpy(value.data(), &number, sizeof number);
  std::memcpy(value.data() + value.size() - sizeof number, &number, sizeof number);
}
bool is_value(std::string_view value, std::uint64_t number) {
  return std::memcmp(value.data(), &number, sizeof number) == 0 &&
         std::memcmp(value.data() + value.size() - sizeof number, &number, sizeof number) == 0;
}

struct measured {
  double save_s = 0, load_s = 0, cpu_s = 0;
  double over_mib = 0;
  std::size_t items = 0;
  double file_mib = 0;
};

class measurement {
 public:
  measurement(const restart_bench_options& o, std::size_t value_bytes)
      : o_(o), value_(value_bytes, 'v'), path_(o.folder + "/scoot-bench-" + std::to_string(getpid())) {}

  // False, with a message, if something was lost or is wrong.
  bool run(measured& m, std::uint64_t seed) {
    scoot::cache_options options;
    options.budget_bytes = o_.mib << 20;
    std::unique_ptr<scoot::cache> items = scoot::cache::create(options);
    if (items == nullptr || !fill(*items, seed)) return say("cannot fill the cache");
    const std::size_t before = items->stats().items;
    peak_watch peak(o_.folder);
    const std::uint64_t cpu = cpu_ns();
    const std::uint64_t began = wall_ns();
    const scoot::restart_report saved = items->save(path_.c_str());
    items.reset();
    const std::uint64_t saved_at = wall_ns();
    options.restart_file = path_.c_str();
    items = scoot::cache::create(options);
    const std::uint64_t loaded_at = wall_ns();
    m.cpu_s = static_cast<double>(cpu_ns() - cpu) / 1e9;
    m.over_mib = static_cast<double>(peak.stop()) / 1048576;
    if (saved.outcome != scoot::restart_outcome::done) return say(saved.reason);
    if (items == nullptr || items->restarted().outcome != scoot::restart_outcome::done) return say("cannot be read");
    m.save_s = static_cast<double>(saved_at - began) / 1e9;
    m.load_s = static_cast<double>(loaded_at - saved_at) / 1e9;
    m.items = items->stats().items;
    m.file_mib = static_cast<double>(saved.file_bytes) / 1048576;
    if (m.items != before || saved.items != before) {
      std::fprintf(stderr, "scoot-bench: restart: of %zu items %llu were written, %zu are there, %llu had no room\n",
                   before, static_cast<unsigned long long>(saved.items), m.items,
                   static_cast<unsigned long long>(items->restarted().dropped_items));
      return false;
    }
    return check(*items, seed);
  }

 private:
  static bool say(const char* what) {
    std::fprintf(stderr, "scoot-bench: restart: %s\n", what);
    return false;
  }

  // Until it evicts, and then a third as much again with reads between, so that what is old and what is used lie about.
  bool fill(scoot::cache& c, std::uint64_t seed) {
    random_source random(seed);
    char key[key_bytes + 1];
    std::uint64_t stored = 0, goal = 0;
    for (; goal == 0 || stored < goal; ++stored) {
      print_key(key, stored);
      write_value(value_, stored);
      if (c.store({key, key_bytes}, value_) != scoot::cache_status::ok) return false;
      if (goal == 0 && stored % 1024 == 0 && c.stats().evictions != 0) goal = stored + stored / 3;
      if (goal != 0) {
        print_key(key, random.below(static_cast<std::uint32_t>(stored)));
        (void)c.get({key, key_bytes}, [](const scoot::item_view&) {});
      }
    }
    stored_ = stored;
    return true;
  }

  bool check(scoot::cache& c, std::uint64_t seed) {
    random_source random(seed + 1);
    char key[key_bytes + 1];
    std::size_t hits = 0, wrong = 0;
    for (std::size_t i = 0; i < 100'000; ++i) {
      const std::uint64_t number = random.below(static_cast<std::uint32_t>(stored_));
      print_key(key, number);
      (void)c.get({key, key_bytes}, [&](const scoot::item_view& view) {
        ++hits;
        wrong += view.value.size() != value_.size() || !is_value(view.value, number);
      });
    }
    return (hits > 50'000 && wrong == 0) || say("values are wrong or gone");
  }

  const restart_bench_options& o_;
  std::string value_;
  const std::string path_;
  std::uint64_t stored_ = 0;
};

}  // namespace

int run_restart_bench(restart_bench_options o, json_rows& rows) {
  if (o.smoke) {
    o.mib = 16;
    o.rounds = 1;
  }
  struct statvfs room {};
  if (statvfs(o.folder.c_str(), &room) != 0 || room.f_bavail * room.f_frsize < (o.mib << 20)) {
    std::fprintf(stderr, "scoot-bench: restart is skipped: no room for %zu MiB in %s\n", o.mib, o.folder.c_str());
    return skipped_status;
  }
  std::vector<std::vector<std::string>> table = {
      {"value", "items", "file MiB", "save s", "load s", "both s", "min-max", "CPU s", "over MiB"}};
  for (const std::size_t value_bytes : o.value_bytes) {
    std::vector<double> save, load, both, cpu, over;
    measured m;
    for (unsigned round = 0; round < o.rounds; ++round) {
      progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  restart, values of " +
               std::to_string(value_bytes) + " bytes");
      if (!measurement(o, value_bytes).run(m, o.seed + round)) return 1;
      save.push_back(m.save_s);
      load.push_back(m.load_s);
      both.push_back(m.save_s + m.load_s);
      cpu.push_back(m.cpu_s);
      over.push_back(m.over_mib);
    }
    const summary sum = summarise(both);
    table.push_back({std::to_string(value_bytes), std::to_string(m.items), format_fixed(m.file_mib, 0),
                     format_fixed(summarise(save).median, 2), format_fixed(summarise(load).median, 2),
                     format_fixed(sum.median, 2), format_fixed(sum.min, 2) + "-" + format_fixed(sum.max, 2),
                     format_fixed(summarise(cpu).median, 2), format_fixed(summarise(over).max, 1)});
    nlohmann::ordered_json row;
    row["bench"] = "restart";
    row["mib"] = o.mib;
    row["value_bytes"] = value_bytes;
    row["rounds"] = o.rounds;
    row["items"] = m.items;
    row["save_s"] = summarise(save).median;
    row["load_s"] = summarise(load).median;
    row["both_s"] = sum.median;
    row["cpu_s"] = summarise(cpu).median;
    row["over_mib"] = summarise(over).max;
    rows.push_back(row);
  }
  progress_done();
  std::printf("A full cache of %zu MiB to a file in %s and back; wall time, medians of %u; commit %s\n", o.mib,
              o.folder.c_str(), o.rounds, commit().c_str());
  print_table(table);
  return 0;
}

}  // namespace bench
