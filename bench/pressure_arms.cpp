// SPDX-License-Identifier: MIT
#include "pressure_bench.hpp"

namespace bench {

const std::vector<pressure_arm>& pressure_arms() {
  static const std::vector<std::string> cold = {"--purgeable=112"};
  static const std::vector<pressure_arm> arms = {
      {"none", false, {}, false, false},
      {"purgeable", true, cold, false, false},
      {"purgeable-nice", true, cold, true, false},
  };
  return arms;
}

std::vector<std::string> pressure_arm_names() {
  std::vector<std::string> names;
  for (const pressure_arm& a : pressure_arms()) names.push_back(a.name);
  return names;
}

}  // namespace bench
