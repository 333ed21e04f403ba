// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "clock.hpp"

namespace bench {

summary summarise(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  summary s;
  s.min = values.front();
  s.max = values.back();
  s.median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  return s;
}

std::string format_fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    if (row.size() > widths.size()) widths.resize(row.size(), 0);
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const int width = static_cast<int>(widths[i]);
      std::printf(i < 2 ? "%-*s  " : "%*s  ", width, row[i].c_str());
    }
    std::putchar('\n');
  }
  std::fflush(stdout);
}

void progress(const std::string& line) {
  static std::uint64_t last = 0;
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } else if (last == 0 || wall_ns() - last > 5'000'000'000U) {
    last = wall_ns();
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void progress_done() {
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
}

std::string commit() {
  std::string text;
  FILE* git = popen("git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null", "r");
  if (git != nullptr) {
    char buffer[128];
    if (std::fgets(buffer, sizeof buffer, git) != nullptr) text = buffer;
    pclose(git);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "unknown" : text;
}

bool write_json(const std::string& path, const json_rows& rows, const std::string& command) {
  const std::string now = commit();
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (nlohmann::ordered_json row : rows) {
    row["commit"] = now;
    row["command"] = command;
    array.push_back(std::move(row));
  }
  std::ofstream file(path, std::ios::trunc);
  file << array.dump(1) << '\n';
  file.close();
  if (!file) {
    std::fprintf(stderr, "scoot-bench: cannot write %s\n", path.c_str());
    return false;
  }
  return true;
}

}  // namespace bench
