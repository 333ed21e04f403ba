// SPDX-License-Identifier: MIT
//
// The drawing of a heap_map. Cells lie in rows, group by group:
//
//     shelves, by slot size     |####.|####.|###. |        a cell: 32 columns, as dark as they are full
//     large space               |#.##.|
//     blocks of their own       |#####|#####|
//     the cold tier's chunks    |##xx.|#####|               what the kernel took in a colour of its own
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <tuple>

#include "tools/heap_map.hpp"
#include "tools/top_screen.hpp"

namespace tools {
namespace {

constexpr std::size_t width = 1000, margin = 16, line = 18;
constexpr std::size_t drawn = width - 2 * margin;

constexpr const char* style = R"(<style>
text{font:12px system-ui,sans-serif;fill:#222}.h{font-size:16px;font-weight:600}.s{fill:#666}
.bg{fill:#fff}.e{fill:#e8e8e8}.n{fill:none;stroke:#ccc;stroke-width:.5}.p{fill:none;stroke:#d00;stroke-width:1}
.k0{fill:#0072b2}.k1{fill:#d55e00}.k2{fill:#009e73}.k3{fill:#cc79a7}.k4{fill:#b58900}.k5{fill:#56b4e9}.k6{fill:#7b5ea7}.k7{fill:#8c564b}.kx{fill:#777}.o{fill:#2a9d8f}.x{fill:#d6146e}
@media(prefers-color-scheme:dark){text{fill:#ddd}.s{fill:#999}.bg{fill:#16181c}.e{fill:#2c3036}.n{stroke:#444}.p{stroke:#f66}}
</style>
)";

// For text and attributes; what XML cannot hold becomes a question mark.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? '?' : c;
    }
  }
  return out;
}

const char* kind_class(std::size_t kind) {
  static constexpr std::array<const char*, 8> names = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
  return kind == heap_map::no_kind ? "kx" : names[kind % names.size()];
}

std::string piece(std::size_t number) { return std::to_string(number); }
std::string_view piece(std::string_view text) { return text; }

// Text and numbers, one after the other.
template <class... Parts>
void append(std::string& to, const Parts&... parts) {
  ((to += piece(parts)), ...);
}

template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string text;
  append(text, parts...);
  return text;
}

class drawing {
 public:
  explicit drawing(const heap_map& map) : map_(map) {}

  std::string draw(const std::string& title) {
    write(title, margin, 2 * line, "h");
    const std::string used = map_.held_bytes == 0 ? "" : share(map_.live_bytes, map_.held_bytes);
    const std::string more =
        map_.pages_left_out == 0 ? "" : joined("; ", map_.pages_left_out, " more pages are left out");
    write(joined(bytes(map_.held_bytes), " held of a budget of ", bytes(map_.budget_bytes), ", ",
                 bytes(map_.live_bytes), " live", used, ", ", bytes(map_.hole_bytes), " in holes; ", map_.pages.size(),
                 " pages of ", bytes(map_.page_bytes), ", ", map_.pinned_blocks, " pinned blocks", more),
          margin, 3 * line + 2, "s");
    y_ = 4 * line;
    draw_legend();
    draw_pages();
    draw_chunks();
    char head[160];
    std::snprintf(head, sizeof head,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %zu %zu\" role=\"img\" aria-label=\"", width,
                  y_ + margin);
    std::string all = head;
    all.append(escaped(title)).append("\">\n").append(style);
    all.append("<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n").append(out_).append("</svg>\n");
    return all;
  }

 private:
  static std::string bytes(std::uint64_t n) { return bytes_in_short(static_cast<double>(n)); }

  static std::string share(std::uint64_t part, std::uint64_t of) {
    char text[32];
    std::snprintf(text, sizeof text, " (%.3f)", static_cast<double>(part) / static_cast<double>(of));
    return text;
  }

  void write(const std::string& text, std::size_t x, std::size_t y, const char* kind) {
    append(out_, "<text x=\"", x, "\" y=\"", y, "\" class=\"", kind, "\">", escaped(text), "</text>\n");
  }

  // Of `level` tenths opacity.
  void box(const char* kind, std::size_t x, std::size_t y, std::size_t w, std::size_t h, unsigned level = 10) {
    append(out_, "<path class=\"", kind, "\" d=\"M", x, " ", y, "h", w, "v", h, "h-", w, "z\"");
    if (level < 10) append(out_, " opacity=\".", std::size_t{level}, "\"");
    out_ += "/>";
  }

  void draw_legend() {
    std::size_t x = margin;
    const auto entry = [&](const char* kind, const std::string& text) {
      const std::size_t wide = 18 + 7 * std::min<std::size_t>(text.size(), 60) + 14;
      if (x > margin && x + wide > width - margin) {
        x = margin;
        y_ += line;
      }
      box(kind, x, y_ + 2, 12, 12);
      write(text.substr(0, 60), x + 18, y_ + 12, "");
      x += wide;
    };
    for (std::size_t kind = 0; kind < std::min<std::size_t>(map_.kinds.size(), 64); ++kind) {
      if (!map_.kinds[kind].empty()) entry(kind_class(kind), map_.kinds[kind]);
    }
    entry("kx", "of several kinds");
    entry("e", "nothing live");
    entry("n", "not resident");
    entry("p", "pinned blocks");
    if (!map_.chunks.empty()) {
      entry("o", "offered to the kernel");
      entry("x", "purged");
    }
    y_ += line + 6;
  }

  [[nodiscard]] std::vector<std::size_t> order() const {
    std::vector<std::size_t> pages(map_.pages.size());
    std::iota(pages.begin(), pages.end(), std::size_t{0});
    std::stable_sort(pages.begin(), pages.end(), [this](std::size_t a, std::size_t b) {
      const heap_map::page &p = map_.pages[a], &q = map_.pages[b];
      return std::tuple(p.of, p.of == heap_map::use::shelf ? p.kind : 0, p.slot_bytes) <
             std::tuple(q.of, q.of == heap_map::use::shelf ? q.kind : 0, q.slot_bytes);
    });
    return pages;
  }

  void draw_pages() {
    constexpr std::array<const char*, 4> titles = {"shelves, by kind and slot size", "large space",
                                                   "blocks of a page and more", "other pages"};
    const bool detailed = map_.pages.size() <= detailed_pages_max;
    const auto side = static_cast<std::size_t>(std::sqrt(
        static_cast<double>(drawn) * drawn / static_cast<double>(std::max<std::size_t>(map_.pages.size(), 1))));
    const std::size_t w = detailed ? 32 : std::clamp<std::size_t>(side, 3, 12), h = detailed ? 12 : w;
    const std::size_t gap = detailed ? 2 : 1, per_row = drawn / (w + gap);
    const std::vector<std::size_t> pages = order();
    for (std::size_t i = 0; i < pages.size();) {
      const heap_map::use group = map_.pages[pages[i]].of;
      std::size_t end = i;
      while (end < pages.size() && map_.pages[pages[end]].of == group) ++end;
      y_ += line;
      write(joined(titles[static_cast<std::size_t>(group)], ": ", end - i, " pages"), margin, y_, "");
      y_ += 6;
      for (std::size_t n = 0; i < end; ++i, ++n) {
        draw_page(map_.pages[pages[i]], margin + n % per_row * (w + gap), y_ + n / per_row * (h + gap), w, h, detailed);
        if (i + 1 == end) y_ += (n / per_row + 1) * (h + gap);
      }
    }
  }

  void draw_page(const heap_map::page& page, std::size_t x, std::size_t y, std::size_t w, std::size_t h,
                 bool detailed) {
    append(out_, "<g><title>", escaped(describe(page)), "</title>");
    box("n", x, y, w, h);
    const char* const kind = kind_class(page.kind);
    if (detailed && !page.fill.empty()) {
      for (std::size_t at = 0; at < page.fill.size();) {
        std::size_t end = at;
        while (end < page.fill.size() && page.fill[end] == page.fill[at]) ++end;
        const char c = page.fill[at];
        if (c != '.') box("e", x + at, y, end - at, h);
        if (c > '0') box(kind, x + at, y, end - at, h, level_of(static_cast<unsigned>(c - '0')));
        at = end;
      }
    } else if (!page.fill.empty()) {
      unsigned sum = 0;
      for (const char c : page.fill) sum += c == '.' ? 0 : static_cast<unsigned>(c - '0');
      if (page.resident_bytes > 0) box("e", x, y, w, h);
      if (sum > 0) box(kind, x, y, w, h, level_of((sum + 31) / 32));
    } else if (page.resident_bytes > 0) {
      box("e", x, y, w, h);
    }
    if (page.pins > 0) box("p", x, y, w, h);
    out_ += "</g>\n";
  }

  void draw_chunks() {
    if (map_.chunks.empty()) return;
    const bool detailed = map_.chunks.size() <= detailed_pages_max;
    const std::size_t w = detailed ? 32 : 6, h = detailed ? 12 : 6, gap = detailed ? 2 : 1, per_row = drawn / (w + gap);
    y_ += line;
    write(joined("cold tier: ", map_.chunks.size(), " chunks of ", bytes(map_.chunk_bytes)), margin, y_, "");
    y_ += 6;
    for (std::size_t n = 0; n < map_.chunks.size(); ++n) {
      const heap_map::chunk& chunk = map_.chunks[n];
      const std::size_t x = margin + n % per_row * (w + gap), y = y_ + n / per_row * (h + gap);
      append(out_, "<g><title>chunk ", n, ": ", escaped(chunk.state), ", ", chunk.items, " items, ",
             bytes(chunk.used_bytes), " filled, ", bytes(chunk.purged_bytes), " purged</title>");
      box("n", x, y, w, h);
      if (chunk.state == "purged") {
        box("x", x, y, w, h, 4);
      } else if (map_.chunk_bytes != 0) {
        // Two characters to a column.
        const auto part = [&](std::uint64_t of) { return static_cast<std::size_t>(of * w / map_.chunk_bytes); };
        if (!detailed || chunk.fill.empty()) {
          const std::size_t there = part(chunk.used_bytes - chunk.purged_bytes);
          if (there > 0) box("o", x, y, there, h);
          if (part(chunk.purged_bytes) > 0) box("x", x + there, y, part(chunk.purged_bytes), h);
        }
        for (std::size_t at = 0; detailed && at < chunk.fill.size();) {
          const auto kind_at = [&](std::size_t i) {
            return chunk.fill[i] == 'x' || chunk.fill[i + 1] == 'x' ? 'x' : chunk.fill[i];
          };
          std::size_t end = at;
          while (end < chunk.fill.size() && kind_at(end) == kind_at(at)) end += 2;
          if (kind_at(at) != '.') box(kind_at(at) == 'x' ? "x" : "o", x + at / 2, y, (end - at) / 2, h);
          at = end;
        }
      }
      out_ += "</g>\n";
    }
    y_ += ((map_.chunks.size() - 1) / per_row + 1) * (h + gap);
  }

  // 1 to 9 as tenths of opacity, 10 for full.
  static unsigned level_of(unsigned fill) { return fill >= 9 ? 10 : fill + 1; }

  [[nodiscard]] std::string describe(const heap_map::page& page) const {
    std::string text = joined(page.address, " ", page.what);
    if (page.kind < map_.kinds.size()) append(text, " of ", map_.kinds[page.kind]);
    if (page.of == heap_map::use::shelf) {
      append(text, ": slots of ", page.slot_bytes, " bytes, ", page.slots, " in use or holes, ", page.holes, " holes");
    }
    if (page.of == heap_map::use::large) append(text, ": ", page.blocks, " blocks");
    if (page.run_bytes > 0) append(text, ": a block of ", page.run_bytes, " bytes");
    if (page.pins > 0) append(text, ", ", page.pins, " pinned");
    append(text, "; ", bytes(page.resident_bytes), " resident");
    return text;
  }

  const heap_map& map_;
  std::string out_;
  std::size_t y_ = 0;
};

}  // namespace

std::string svg_of(const heap_map& map, const std::string& title) { return drawing(map).draw(title); }

}  // namespace tools
