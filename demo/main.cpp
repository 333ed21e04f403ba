// SPDX-License-Identifier: MIT
//
// scoot-demo: 2003 again. A cache like memcached's first one, on each malloc and on a heap that moves, side by side
// under the same `ulimit -v`, with the live page open on the heap (docs/demo.md).
//
// Exit status 0: measured, and nothing is wrong with the outcome; 1: something is, or a file could not be written.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "clock.hpp"
#include "contest.hpp"
#include "picture.hpp"
#include "screen.hpp"

namespace {

struct settings {
  std::size_t bytes_mib = 256;
  std::size_t addresses_mib = 384;
  std::size_t budget_mib = 0;
  double seconds = 60;
  double seconds_max = 110;
  bool smoke = false;
  bool open = true;
  std::string picture, figures;
};

std::string folder_of_this_program() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  const std::string whole(path, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  return whole.substr(0, whole.rfind('/'));
}

// In the browser, where there is a display; we don't wait for it, and nothing depends on it.
void open_in_browser(const std::string& address) {
  if (std::getenv("DISPLAY") == nullptr && std::getenv("WAYLAND_DISPLAY") == nullptr) return;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
  std::string name = "xdg-open", argument = address;
  char* const argv[] = {name.data(), argument.data(), nullptr};
  pid_t browser = 0;
  posix_spawnp(&browser, name.c_str(), &files, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&files);
}

void add_options(CLI::App& app, settings& s, demo::contest_options& o) {
  app.add_option("--allocators", o.names, "of scoot, glibc, jemalloc, mimalloc, tcmalloc; all if not given")
      ->delimiter(',');
  app.add_option("--items-mib", s.bytes_mib, "MiB of items that the cache may hold")
      ->capture_default_str()
      ->check(CLI::Range(16, 65536));
  app.add_option("--limit-mib", s.addresses_mib, "ulimit -v of each process, in MiB; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--budget-mib", s.budget_mib, "budget of the heap of ours (9/8 of the items)")
      ->check(CLI::Range(16, 131072));
  app.add_option("--requests", o.requests, "requests of the whole load")
      ->capture_default_str()
      ->check(CLI::Range(1000, 1'000'000'000));
  app.add_option("--steps", o.steps, "looks at the contestants")->capture_default_str()->check(CLI::Range(10, 2000));
  app.add_option("--seed", o.seed, "of the load")->capture_default_str();
  app.add_flag("--survive", o.survive, "when memory is refused, evict more rather than end as in 2003");
  app.add_option("--seconds", s.seconds, "take so long where the machine is fast enough, so that it can be watched")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600));
  app.add_option("--seconds-max", s.seconds_max, "stop after so long, wherever the load is then")
      ->capture_default_str()
      ->check(CLI::Range(1, 36000));
  app.add_option("--port", o.port, "of the live page on 127.0.0.1; 0: any")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  app.add_flag("!--no-open", s.open, "don't open the page in a browser");
  app.add_option("--svg", s.picture, "write the plot to this file");
  app.add_option("--csv", s.figures, "write the figures to this file");
  app.add_flag("--smoke", s.smoke, "a run of seconds, at small sizes");
}

// Leads them through the load, at the pace asked for. False if time was up before.
bool run(demo::contest& all, demo::screen& screen, const settings& s) {
  const std::uint64_t start = bench::wall_ns();
  const double pace_ns = s.seconds * 1e9 / all.options().steps;
  for (unsigned step = 1; all.step(); ++step) {
    screen.draw();
    const auto passed = static_cast<double>(bench::wall_ns() - start);
    if (passed > s.seconds_max * 1e9) return all.requests() == all.options().requests;
    if (const double rest = pace_ns * step - passed; rest > 0) usleep(static_cast<useconds_t>(rest / 1000));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A cache of 2003 on each malloc and on a heap that moves, under the same ulimit -v; docs/demo.md.",
               "scoot-demo"};
  settings s;
  demo::contest_options o;
  o.requests = 8'000'000;
  o.steps = 240;
  add_options(app, s, o);
  CLI11_PARSE(app, argc, argv);
  if (s.smoke) {
    s.bytes_mib = 32;
    s.addresses_mib = 112;  // what a program needs for itself does not get smaller
    o.requests = 600'000;
    o.steps = 30;
    if (app.count("--seconds") == 0) s.seconds = 0;
  }
  o.bytes = s.bytes_mib << 20;
  o.addresses = s.addresses_mib << 20;
  o.budget = s.budget_mib != 0 ? s.budget_mib << 20 : o.bytes + o.bytes / 8;
  o.folder = folder_of_this_program();
  signal(SIGPIPE, SIG_IGN);

  demo::contest all(o);
  if (!all.start()) return 1;
  demo::screen screen(all);
  screen.introduce();
  if (s.open && !s.smoke && !all.page().empty()) open_in_browser(all.page());
  if (!run(all, screen, s))
    std::printf("\nThis machine was too slow or too busy: stopped after %.0f s, at %.2f of %.1f M requests.\n",
                s.seconds_max, static_cast<double>(all.requests()) / 1e6, static_cast<double>(o.requests) / 1e6);
  all.end();
  screen.conclude();
  bool good = s.picture.empty() || demo::write_picture(all, s.picture);
  good = (s.figures.empty() || demo::write_figures(all, s.figures)) && good;
  if (const std::string complaint = all.complaint(); !complaint.empty()) {
    std::fprintf(stderr, "scoot-demo: %s\n", complaint.c_str());
    good = false;
  }
  return good ? 0 : 1;
}
