// SPDX-License-Identifier: MIT
#include "pressure_bench.hpp"

namespace bench {

const std::vector<pressure_arm>& pressure_arms() {
  const std::string cold = "--purgeable=112", psi = "--pressure=system_psi,cgroup_psi",
                    watermark = "--pressure=headroom";
  static const std::vector<pressure_arm> arms = {
      // name, whether it has a cold tier, options, processes that keep the processors busy, real-time scheduling
      {"none", false, {}, false, false},
      {"signal", false, {psi}, false, false},
      {"watermark", false, {watermark}, false, false},
      {"watermark-nice", false, {watermark}, true, false},
      {"watermark-nice-fifo", false, {watermark}, true, true},
      {"purgeable", true, {cold}, false, false},
      {"purgeable-nice", true, {cold}, true, false},
      {"both", true, {cold, watermark}, false, false},
  };
  return arms;
}

std::vector<std::string> pressure_arm_names() {
  std::vector<std::string> names;
  for (const pressure_arm& a : pressure_arms()) names.push_back(a.name);
  return names;
}

}  // namespace bench
