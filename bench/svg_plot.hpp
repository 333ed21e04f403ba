// SPDX-License-Identifier: MIT
//
// A plot as an SVG file: series of points over a linear or logarithmic axis, or over names.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bench {

struct plot_series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y; by rising x
  std::vector<std::pair<double, double>> ranges;  // from, to: how far each point may lie off; none, or one a point
};

struct plot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<std::string> x_names;  // if not empty, x is a number of these, from 0
  std::vector<plot_series> series;
  bool lines = true;
  bool log_x = false;  // every x is above 0
};

// False, with a message on stderr, if the file cannot be written.
bool write_svg(const std::string& path, const plot& p);

}  // namespace bench
