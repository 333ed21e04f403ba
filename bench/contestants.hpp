// SPDX-License-Identifier: MIT
//
// Whom the heap benches compare: Scoot, and the malloc peers that are installed; how a child process is told of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "child_process.hpp"

namespace bench {

struct contestant {
  std::string name;
  std::string library;  // for LD_PRELOAD; empty: none
  bool scoot = false;
};

// How the children of a run are set up.
struct child_setup {
  std::uint64_t seed = 1;
  double budget_factor = 1.25;  // of Scoot's budget over the live bytes; scoot-tight has its own
  double waste_target = 0;      // see scoot::heap_options; 0: the heap's own choice
  std::size_t move_kib = 0;     // likewise
  std::size_t alignment = 8;    // of Scoot's blocks
};

constexpr double budget_factor_default = 1.25;
constexpr double budget_factor_tight = 1.08;
constexpr unsigned child_timeout_s = 1800;

// Those named, or, if none are, Scoot and all peers. Peers that are not installed are left out, with a note. False,
// with a message, if a name is unknown or nobody is left.
bool choose_contestants(const std::vector<std::string>& names, std::vector<contestant>& chosen);

double budget_factor(const child_setup& setup, const contestant& c);

// The arguments that every measuring child takes: whether it is Scoot's, the seed of the round, Scoot's settings.
std::vector<std::string> common_arguments(const child_setup& setup, const contestant& c, unsigned round,
                                          std::size_t live_bytes);

using series = std::map<std::string, std::vector<double>>;  // by figure, a value a round

void collect(const child_answer& answer, series& into);

}  // namespace bench
