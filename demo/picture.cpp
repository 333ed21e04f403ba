// SPDX-License-Identifier: MIT
#include "picture.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string_view>

#include "load.hpp"

namespace demo {
namespace {

constexpr double mib = 1 << 20;
constexpr double width = 960, left = 66, right = 168, plot_height = 300;
constexpr double heading = 66;      // title and what it shows
constexpr double death_row = 17;    // of the labels above the plot
constexpr double kind_row = 15;     // of the bars below it that show what the site has
constexpr double label_least = 33;  // between labels at the right
constexpr std::string_view ink = "#1f2328", soft = "#59636e", faint = "#e4e8ec";

struct colour_of {
  std::string_view name, colour;
};
constexpr std::array<colour_of, 5> colours = {{{"scoot", "#0b7d3e"},
                                               {"glibc", "#0969da"},
                                               {"jemalloc", "#bc4c00"},
                                               {"mimalloc", "#8250df"},
                                               {"tcmalloc", "#bf8700"}}};

std::string_view colour(const std::string& name) {
  for (const colour_of& c : colours)
    if (c.name == name) return c.colour;
  return ink;
}

template <class... Arguments>
std::string text(const char* format, Arguments... arguments) {
  char line[1024];
  std::snprintf(line, sizeof line, format, arguments...);
  return line;
}

double in_mib(std::size_t bytes) { return static_cast<double>(bytes) / mib; }
double millions(std::uint64_t n) { return static_cast<double>(n) / 1e6; }

class drawing {
 public:
  explicit drawing(const contest& of) : of_(of), o_(of.options()) {
    for (const contestant& c : of.all()) {
      if (c.state == fate::out_of_memory)
        dead_.push_back(&c);
      else if (!c.samples.empty())
        alive_.push_back(&c);
      most_ = std::max(most_, in_mib(c.resident_peak()));
    }
    std::stable_sort(dead_.begin(), dead_.end(),
                     [](const contestant* a, const contestant* b) { return a->last().requests < b->last().requests; });
    std::stable_sort(alive_.begin(), alive_.end(),
                     [](const contestant* a, const contestant* b) { return a->last().resident > b->last().resident; });
    most_ = std::max({most_, in_mib(o_.addresses), in_mib(o_.bytes)}) * 1.03;
    top_ = heading + death_row * static_cast<double>(dead_.size()) + (dead_.empty() ? 6 : 12);
    bottom_ = top_ + plot_height;
    height_ = bottom_ + 52 + kind_row * static_cast<double>(object_kinds.size()) + 10;
  }

  std::string draw() {
    begin();
    axes();
    kinds();
    levels();
    for (const contestant& c : of_.all()) {
      if (c.name != "scoot") line(c);
    }
    for (const contestant& c : of_.all()) {
      if (c.name == "scoot") line(c);
    }
    deaths();
    survivors();
    return out_ + "</svg>\n";
  }

 private:
  [[nodiscard]] double x(std::uint64_t requests) const {
    return left + static_cast<double>(requests) / static_cast<double>(o_.requests) * (width - left - right);
  }
  [[nodiscard]] double y(double megabytes) const { return bottom_ - megabytes / most_ * plot_height; }

  void write(double at_x, double at_y, const std::string& what, std::string_view fill, const char* more = "") {
    out_ +=
        text("<text x='%.1f' y='%.1f' fill='%.*s' %s>", at_x, at_y, static_cast<int>(fill.size()), fill.data(), more);
    out_ += what + "</text>\n";
  }
  void stroke(const std::string& path, std::string_view with, const char* more) {
    out_ += "<path fill='none' stroke='" + std::string(with) + "' " + more + " d='" + path + "'/>\n";
  }

  void begin() {
    const std::string what =
        o_.addresses != 0
            ? text("A cache of at most %.0f MiB under ulimit -v %.0f MiB", in_mib(o_.bytes), in_mib(o_.addresses))
            : text("A cache of at most %.0f MiB, without ulimit -v", in_mib(o_.bytes));
    out_ = text(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' height='%.0f' role='img' "
        "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif' font-size='13'>\n",
        width, height_, width, height_);
    out_ += "<title>" + what + ": memory held by the same program on each allocator</title>\n";
    out_ += text("<rect x='.5' y='.5' width='%.0f' height='%.0f' rx='8' fill='#fff' stroke='#d1d9e0'/>\n", width - 1,
                 height_ - 1);
    write(20, 30, what, ink, "font-size='18' font-weight='600'");
    write(20, 51,
          o_.survive ? "Memory held (RSS) by the same program on each allocator, given the same requests. Where malloc "
                       "refuses, the cache evicts more."
                     : "Memory held (RSS) by the same program on each allocator, given the same requests. "
                       "&#215; malloc refuses: the cache ends, as in 2003.",
          soft);
  }

  void axes() {
    const double step = most_ > 2000 ? 500 : most_ > 700 ? 200 : most_ > 150 ? 100 : 20;
    for (double at = 0; at < most_; at += step) {
      stroke(text("M%.1f %.1fH%.1f", left, y(at), width - right), at == 0 ? "#8c959f" : faint, "");
      write(left - 9, y(at) + 4, text("%.0f", at), soft, "text-anchor='end' font-size='12'");
    }
    out_ += text(
        "<text transform='translate(20 %.1f) rotate(-90)' text-anchor='middle' font-size='12' fill='%.*s'>MiB "
        "held</text>\n",
        y(most_ / 2), static_cast<int>(soft.size()), soft.data());
    const double total = millions(o_.requests);
    const double tick = total > 50 ? 10 : total > 20 ? 5 : total > 3 ? 1 : total > 1 ? 0.5 : 0.1;
    for (int i = 0; tick * i <= total * 1.0001; ++i) {
      const double at = left + tick * i / total * (width - left - right);
      stroke(text("M%.1f %.1fv4", at, bottom_), "#8c959f", "");
      write(at, bottom_ + 18, text("%g", tick * i), soft, "text-anchor='middle' font-size='12'");
    }
    write((left + width - right) / 2, bottom_ + 35, "million requests", soft, "text-anchor='middle' font-size='12'");
  }

  // What the site has, and when.
  void kinds() {
    double at = bottom_ + 46;
    for (const object_kind& k : object_kinds) {
      const auto place = [&](double part) { return left + std::clamp(part, 0.0, 1.0) * (width - left - right); };
      const double from = place(k.from), in = place(k.from + fading), until = place(k.until),
                   gone = place(k.until - fading);
      out_ += text("<path fill='#d6dee6' d='M%.1f %.1fL%.1f %.1fH%.1fL%.1f %.1fZ'/>\n", from, at + 11, in, at, gone,
                   until, at + 11);
      const std::string size =
          k.value_bytes < 1000 ? text("%.0f B", k.value_bytes) : text("%.0f KB", k.value_bytes / 1000);
      write(std::max(from, left) + 20, at + 9.5, std::string(k.name) + "s, " + size, soft, "font-size='11'");
      at += kind_row;
    }
    write(left - 9, bottom_ + 46 + 9.5, "stored:", soft, "text-anchor='end' font-size='11'");
  }

  void levels() {
    if (o_.addresses != 0) {
      const double at = y(in_mib(o_.addresses));
      stroke(text("M%.1f %.1fH%.1f", left, at, width - right), "#cf222e", "stroke-dasharray='6 4'");
      write(width - right + 8, at + 4, text("ulimit -v %.0f MiB", in_mib(o_.addresses)), "#cf222e");
    }
    // What the cache asked for: the same for all, so it is told by who got furthest.
    const contestant* furthest = nullptr;
    for (const contestant& c : of_.all())
      if (furthest == nullptr || c.last().requests > furthest->last().requests) furthest = &c;
    if (furthest == nullptr || o_.survive) return;
    std::string path;
    for (const sample& s : furthest->samples)
      path += text("%c%.1f %.1f", path.empty() ? 'M' : 'L', x(s.requests), y(in_mib(s.counts.bytes)));
    stroke(path, "#59636e", "stroke-width='1.5' stroke-dasharray='2 3'");
  }

  void line(const contestant& c) {
    if (c.samples.empty()) return;
    std::string path = text("M%.1f %.1f", x(0), y(in_mib(c.ready.resident)));
    for (const sample& s : c.samples) path += text("L%.1f %.1f", x(s.requests), y(in_mib(s.resident)));
    stroke(
        path, colour(c.name),
        c.name == "scoot" ? "stroke-width='3.5' stroke-linejoin='round'" : "stroke-width='2' stroke-linejoin='round'");
  }

  // Above the plot, the first to die highest: so no label crosses another's line.
  void deaths() {
    for (std::size_t i = 0; i < dead_.size(); ++i) {
      const contestant& c = *dead_[i];
      const sample& s = c.last();
      const double at_x = x(s.requests), at_y = y(in_mib(s.resident));
      const double label = heading + death_row * static_cast<double>(i + 1) - 4;
      stroke(text("M%.1f %.1fV%.1f", at_x, at_y - 7, label - 4), colour(c.name), "stroke-width='1' opacity='.55'");
      stroke(text("M%.1f %.1fl10 10m-10 0l10 -10", at_x - 5, at_y - 5), colour(c.name),
             "stroke-width='3' stroke-linecap='round'");
      const std::string what =
          text("<tspan font-weight='600'>%s</tspan> out of memory at %.2f M, holding %.0f MiB for %.0f", c.name.c_str(),
               millions(s.requests), in_mib(s.resident), in_mib(s.counts.bytes));
      const bool turned = at_x > width * 0.62;
      write(at_x + (turned ? -6 : 6), label, what, colour(c.name),
            turned ? "text-anchor='end' paint-order='stroke' stroke='#fff' stroke-width='4'" : "");
    }
  }

  // At the right, beside the ends of their lines, the fullest highest.
  void survivors() {
    struct label {
      double at;
      const contestant* who;  // null: what was asked for
    };
    std::vector<label> labels;
    for (const contestant* c : alive_) labels.push_back({y(in_mib(c->last().resident)), c});
    if (!o_.survive && !of_.all().empty()) labels.push_back({y(in_mib(o_.bytes)), nullptr});
    std::stable_sort(labels.begin(), labels.end(), [](const label& a, const label& b) { return a.at < b.at; });
    double before = o_.addresses != 0 ? y(in_mib(o_.addresses)) - 8 : 0;
    for (label& l : labels) before = l.at = std::max(l.at, before + label_least);
    double below = bottom_ + 10;
    for (auto l = labels.rbegin(); l != labels.rend(); ++l) below = l->at = std::min(l->at, below - label_least);
    for (const label& l : labels) {
      const double at = width - right + 8;
      if (l.who == nullptr) {
        write(at, l.at + 4, text("asked for: %.0f MiB", in_mib(o_.bytes)), soft);
        continue;
      }
      const sample& s = l.who->last();
      const bool done = l.who->state == fate::done && s.requests == o_.requests;
      write(at, l.at, text("<tspan font-weight='600'>%s</tspan> %s", l.who->name.c_str(), done ? "lives" : "(stopped)"),
            colour(l.who->name));
      write(at, l.at + 14, text("%.0f MiB, at most %.0f", in_mib(s.resident), in_mib(l.who->resident_peak())), soft,
            "font-size='12'");
    }
  }

  const contest& of_;
  const contest_options& o_;
  std::vector<const contestant*> dead_, alive_;
  double most_ = 0;  // MiB
  double top_ = 0, bottom_ = 0, height_ = 0;
  std::string out_;
};

bool write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::trunc);
  file << content;
  file.close();
  if (file) return true;
  std::fprintf(stderr, "scoot-demo: cannot write %s\n", path.c_str());
  return false;
}

const char* word(const contestant& c, const sample& s) {
  if (&s != &c.last()) return "working";
  return c.state == fate::out_of_memory ? "out_of_memory" : c.state == fate::failed ? "failed" : "working";
}

}  // namespace

bool write_picture(const contest& of, const std::string& path) { return write_file(path, drawing(of).draw()); }

bool write_figures(const contest& of, const std::string& path) {
  const contest_options& o = of.options();
  std::string out = text("# items at most %zu bytes, ulimit -v %zu bytes, seed %llu, budget of scoot %zu bytes\n",
                         o.bytes, o.addresses, static_cast<unsigned long long>(o.seed), o.budget);
  out +=
      "allocator,state,requests,resident_bytes,address_bytes,cpu_us,items,item_bytes,gets,hits,sets,evictions,"
      "refusals\n";
  for (const contestant& c : of.all()) {
    for (const sample& s : c.samples) {
      using number = unsigned long long;
      out += text("%s,%s,%llu,%zu,%zu,%llu,%zu,%zu,%llu,%llu,%llu,%llu,%llu\n", c.name.c_str(), word(c, s),
                  number{s.requests}, s.resident, s.addresses, number{s.cpu_us}, s.counts.items, s.counts.bytes,
                  number{s.counts.gets}, number{s.counts.hits}, number{s.counts.sets}, number{s.counts.evictions},
                  number{s.counts.refusals});
    }
  }
  return write_file(path, out);
}

}  // namespace demo
