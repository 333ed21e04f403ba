// SPDX-License-Identifier: MIT
#include "screen.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "load.hpp"

namespace demo {
namespace {

constexpr double mib = 1 << 20;
constexpr int columns_least = 72;
constexpr int columns_besides_bar = 52;  // of a line of the table

double in_mib(std::size_t bytes) { return static_cast<double>(bytes) / mib; }
double millions(std::uint64_t n) { return static_cast<double>(n) / 1e6; }

template <class... Arguments>
std::string text(const char* format, Arguments... arguments) {
  char line[512];
  std::snprintf(line, sizeof line, format, arguments...);
  return line;
}

// What the site has at that part of its life.
std::string stored(double now) {
  std::string list;
  for (const object_kind& k : object_kinds) {
    if (now < k.from || now >= k.until) continue;
    list.append(list.empty() ? "" : ", ").append(k.name).append("s");
  }
  return list;
}

std::string ratio(const sample& s) {
  if (s.counts.bytes == 0) return "";
  return text("%.2f", static_cast<double>(s.resident) / static_cast<double>(s.counts.bytes));
}

std::string death(const contestant& c) {
  const sample& s = c.last();
  return text("out of memory at %.2f M requests, holding %.0f MiB for %.0f", millions(s.requests), in_mib(s.resident),
              in_mib(s.counts.bytes));
}

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

screen::screen(const contest& of) : of_(of), terminal_(isatty(STDOUT_FILENO) != 0) {
  const char* const kind = std::getenv("TERM");
  if (kind == nullptr || std::strcmp(kind, "dumb") == 0) terminal_ = false;
  colours_ = terminal_ && std::getenv("NO_COLOR") == nullptr;
}

void screen::introduce() const {
  const contest_options& o = of_.options();
  std::printf("A cache of 2003 that may hold %.0f MiB of items, on %zu allocators", in_mib(o.bytes), of_.all().size());
  if (o.addresses != 0)
    std::printf(", each process under ulimit -v %zu (%.0f MiB)", o.addresses >> 10, in_mib(o.addresses));
  std::printf(".\nAll get the same %.1f M requests of a site that grows (seed %llu).\n", millions(o.requests),
              static_cast<unsigned long long>(o.seed));
  if (!of_.page().empty()) std::printf("The heap of ours is on %s\n", of_.page().c_str());
  std::printf("\n");
  std::fflush(stdout);
}

void screen::draw() {
  if (terminal_) return draw_table();
  const auto tenth = static_cast<unsigned>(of_.requests() * 10 / of_.options().requests);
  for (const contestant& c : of_.all()) {
    const bool news =
        c.state != fate::working && c.last().requests > of_.requests() - of_.options().requests / of_.options().steps;
    if (news && c.state == fate::out_of_memory) std::printf("%-9s %s\n", c.name.c_str(), death(c).c_str());
    if (c.state != fate::working || tenth == told_) continue;
    const sample& s = c.last();
    std::printf("%-9s %5.2f M requests: holds %4.0f MiB for %4.0f (%s), %4.0f of addresses\n", c.name.c_str(),
                millions(s.requests), in_mib(s.resident), in_mib(s.counts.bytes), ratio(s).c_str(),
                in_mib(s.addresses));
  }
  told_ = tenth;
  std::fflush(stdout);
}

// name    [#########|##        ]  272 MiB  1.06   348  0.71
void screen::draw_table() {
  const contest_options& o = of_.options();
  const auto paint = [this](const char* code) { return colours_ ? code : ""; };
  const std::size_t columns = std::max<std::size_t>(terminal_columns(), columns_least);
  const std::size_t wide = std::min<std::size_t>(columns - columns_besides_bar, 60);
  std::size_t most = std::max(o.addresses, o.bytes);
  for (const contestant& c : of_.all()) most = std::max(most, c.resident_peak());
  const auto cells = [&](std::size_t bytes) { return bytes * wide / most; };

  std::string out;
  if (lines_ != 0) out += text("\033[%zuA", lines_);
  const auto line = [&](const std::string& content) { out += content + "\033[K\n"; };
  const double now = static_cast<double>(of_.requests()) / static_cast<double>(o.requests);
  line(text("%.2f of %.1f M requests   the site has %s", millions(of_.requests()), millions(o.requests),
            stored(std::min(now, 0.999)).c_str()));
  line(text("%-9s %-*s %8s %7s %10s %5s", "", static_cast<int>(wide) + 2, "memory held (RSS)", "MiB", "/ asked",
            "addresses", "hits"));
  for (const contestant& c : of_.all()) {
    const sample& s = c.last();
    if (c.state >= fate::out_of_memory) {
      const std::string end = c.state == fate::failed ? c.why : death(c);
      line(text("%s%-9s %.*s%s", paint("\033[31m"), c.name.c_str(), static_cast<int>(columns) - 11, end.c_str(),
                paint("\033[0m")));
      continue;
    }
    std::string bar(wide, ' ');
    for (std::size_t i = 0; i < std::min(cells(s.resident), wide); ++i) bar[i] = '#';
    if (cells(o.bytes) < wide) bar[cells(o.bytes)] = '|';
    const double hits =
        s.counts.gets == 0 ? 0 : static_cast<double>(s.counts.hits) / static_cast<double>(s.counts.gets);
    line(text("%s%-9s [%s] %8.0f %7s %10.0f %5.3f%s", paint(c.name == "scoot" ? "\033[32m" : "\033[36m"),
              c.name.c_str(), bar.c_str(), in_mib(s.resident), ratio(s).c_str(), in_mib(s.addresses), hits,
              paint("\033[0m")));
  }
  lines_ = of_.all().size() + 2;
  std::fputs(out.c_str(), stdout);
  std::fflush(stdout);
}

void screen::conclude() {
  const contest_options& o = of_.options();
  std::printf("\n%-9s %-14s %10s %12s %9s %9s %8s\n", "", "ended", "requests", "most held", "/ asked", "addresses",
              "CPU");
  for (const contestant& c : of_.all()) {
    std::size_t addresses = 0;
    double worst = 0;
    for (const sample& s : c.samples) {
      addresses = std::max(addresses, s.addresses);
      // While the cache fills, what the program itself holds would be the news.
      if (s.counts.bytes > o.bytes / 2)
        worst = std::max(worst, static_cast<double>(s.resident) / static_cast<double>(s.counts.bytes));
    }
    const char* const how = c.state == fate::out_of_memory ? "out of memory"
                            : c.state == fate::failed      ? "FAILED"
                                                           : "well";
    std::printf("%-9s %-14s %8.2f M %8.0f MiB %9.2f %5.0f MiB %6.1f s\n", c.name.c_str(), how,
                millions(c.last().requests), in_mib(c.resident_peak()), worst, in_mib(addresses),
                static_cast<double>(c.last().cpu_us) / 1e6);
  }
  std::fflush(stdout);
}

}  // namespace demo
