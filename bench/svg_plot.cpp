// SPDX-License-Identifier: MIT
#include "svg_plot.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace bench {
namespace {

constexpr double left = 70, right = 190, top = 40, bottom = 90, width = 1000, height = 520;
constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                   "#e69f00", "#56b4e9", "#000000", "#999999"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return text;
}

// 1, 2 or 5 times a power of ten, so that some five of them make the span.
double tick_step(double span) {
  const double raw = span / 5, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

struct scale {
  double low = 0, high = 1, from = 0, to = 1;
  bool log = false;
  [[nodiscard]] double of(double x) const {
    const double t = log ? (std::log(x) - std::log(low)) / (std::log(high) - std::log(low)) : (x - low) / (high - low);
    return from + t * (to - from);
  }
};

void text_at(std::ostream& out, double x, double y, const std::string& text, const char* more) {
  out << "<text x='" << number(x) << "' y='" << number(y) << "' " << more << ">" << escaped(text) << "</text>\n";
}

void draw_x_axis(std::ostream& out, const plot& p, const scale& x) {
  std::vector<std::pair<double, std::string>> ticks;
  if (!p.x_names.empty()) {
    for (std::size_t i = 0; i < p.x_names.size(); ++i) ticks.emplace_back(static_cast<double>(i), p.x_names[i]);
  } else if (p.log_x) {
    for (double at = std::pow(2, std::ceil(std::log2(x.low))); at <= x.high * 1.0001; at *= 2)
      ticks.emplace_back(at, number(at));
  } else {
    const double step = tick_step(x.high - x.low);
    for (double at = std::ceil(x.low / step) * step; at <= x.high * 1.0001; at += step)
      ticks.emplace_back(at, number(at));
  }
  for (const auto& [at, label] : ticks) {
    const double px = x.of(at);
    std::ostringstream turned;
    turned << "text-anchor='end' transform='rotate(-60 " << number(px) << " " << number(height - bottom + 16) << ")'";
    text_at(out, px, height - bottom + 16, label, turned.str().c_str());
  }
  text_at(out, (left + width - right) / 2, height - 6, p.x_label, "text-anchor='middle'");
}

void draw_y_axis(std::ostream& out, const plot& p, const scale& y) {
  const double step = tick_step(y.high - y.low);
  for (double at = std::ceil(y.low / step) * step; at <= y.high * 1.0001; at += step) {
    out << "<path d='M" << left << " " << number(y.of(at)) << "H" << width - right << "' stroke='#ddd'/>\n";
    text_at(out, left - 6, y.of(at) + 4, number(at), "text-anchor='end'");
  }
  std::ostringstream turned;
  turned << "text-anchor='middle' transform='rotate(-90 18 " << (top + height - bottom) / 2 << ")'";
  text_at(out, 18, (top + height - bottom) / 2, p.y_label, turned.str().c_str());
}

}  // namespace

bool write_svg(const std::string& path, const plot& p) {
  scale x{0, 1, left + 10, width - right - 10, p.log_x}, y{0, 0, height - bottom, top, false};
  bool first = true;
  for (const plot_series& s : p.series) {
    for (const auto& [px, py] : s.points) {
      x.low = first ? px : std::min(x.low, px);
      x.high = first ? px : std::max(x.high, px);
      y.high = std::max(y.high, py);
      first = false;
    }
    for (const auto& range : s.ranges) y.high = std::max(y.high, range.second);
  }
  if (x.high <= x.low) x.high = p.log_x ? x.low * 2 : x.low + 1;
  y.high = y.high > 0 ? y.high * 1.05 : 1;

  std::ostringstream out;
  out << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " << width << " " << height
      << "' font-family='sans-serif' font-size='11'>\n<rect width='100%' height='100%' fill='#fff'/>\n";
  text_at(out, left, 22, p.title, "font-size='15'");
  draw_y_axis(out, p, y);
  draw_x_axis(out, p, x);
  for (std::size_t i = 0; i < p.series.size(); ++i) {
    const plot_series& s = p.series[i];
    const char* const colour = colours[i % std::size(colours)];
    const double key_y = top + 18 * static_cast<double>(i);
    text_at(out, width - right + 26, key_y + 4, s.name, "");
    out << "<g fill='" << colour << "' stroke='" << colour << "'><circle cx='" << width - right + 14 << "' cy='"
        << key_y << "' r='4'/>\n";
    if (p.lines) {
      out << "<path fill='none' stroke-width='2' d='";
      for (std::size_t k = 0; k < s.points.size(); ++k)
        out << (k == 0 ? "M" : "L") << number(x.of(s.points[k].first)) << " " << number(y.of(s.points[k].second));
      out << "'/>\n";
    }
    for (std::size_t k = 0; k < s.ranges.size(); ++k)
      out << "<path d='M" << number(x.of(s.points[k].first)) << " " << number(y.of(s.ranges[k].first)) << "V"
          << number(y.of(s.ranges[k].second)) << "'/>\n";
    for (const auto& [px, py] : s.points)
      out << "<circle cx='" << number(x.of(px)) << "' cy='" << number(y.of(py)) << "' r='3'/>\n";
    out << "</g>\n";
  }
  out << "</svg>\n";
  std::ofstream file(path, std::ios::trunc);
  file << out.str();
  file.close();
  if (file) return true;
  std::fprintf(stderr, "scoot-bench: cannot write %s\n", path.c_str());
  return false;
}

}  // namespace bench
