// SPDX-License-Identifier: MIT
#include "contestants.hpp"

#include <cstdio>
#include <optional>

#include "allocators.hpp"

namespace bench {
namespace {

std::optional<contestant> find_contestant(const std::string& name) {
  if (name == "scoot" || name == "scoot-tight") return contestant{name, "", true};
  for (const peer& p : peers)
    if (p.name == name) return contestant{name, p.library, false};
  return std::nullopt;
}

// Whether a process started with the library really runs on that malloc.
bool installed(const contestant& c) {
  if (c.scoot) return true;
  const child_result r = run_self({"probe"}, c.library, 30);
  return r.ok && r.answer.count(c.name) != 0;
}

}  // namespace

bool choose_contestants(const std::vector<std::string>& names, std::vector<contestant>& chosen) {
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    wanted.emplace_back("scoot");
    for (const peer& p : peers) wanted.emplace_back(p.name);
  }
  for (const std::string& name : wanted) {
    const std::optional<contestant> c = find_contestant(name);
    if (!c) {
      std::fprintf(stderr, "scoot-bench: no allocator is called %s\n", name.c_str());
      return false;
    }
    if (installed(*c))
      chosen.push_back(*c);
    else
      std::fprintf(stderr, "scoot-bench: %s is left out: %s is not installed\n", name.c_str(), c->library.c_str());
  }
  if (chosen.empty()) std::fputs("scoot-bench: no allocator is left to measure\n", stderr);
  return !chosen.empty();
}

double budget_factor(const child_setup& setup, const contestant& c) {
  return c.name == "scoot-tight" ? budget_factor_tight : setup.budget_factor;
}

std::vector<std::string> common_arguments(const child_setup& setup, const contestant& c, unsigned round,
                                          std::size_t live_bytes) {
  std::vector<std::string> a;
  a.push_back(std::string("scoot=") + (c.scoot ? "1" : "0"));
  a.push_back("seed=" + std::to_string(setup.seed + round));
  a.push_back("live_bytes=" + std::to_string(live_bytes));
  const double budget = budget_factor(setup, c) * static_cast<double>(live_bytes);
  a.push_back("budget=" + std::to_string(static_cast<std::size_t>(budget)));
  a.push_back("waste_target=" + std::to_string(setup.waste_target));
  a.push_back("move_bytes_max=" + std::to_string(setup.move_kib << 10));
  a.push_back("alignment=" + std::to_string(setup.alignment));
  return a;
}

void collect(const child_answer& answer, series& into) {
  for (const auto& figure : answer) into[figure.first].push_back(figure.second);
}

}  // namespace bench
