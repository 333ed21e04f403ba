// SPDX-License-Identifier: MIT
//
// The heap as JSON, straight into a sink: see docs/snapshot.md.
#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "base/bits.hpp"
#include "heap/heap_impl.hpp"
#include "heap/page_drawing.hpp"
#include "scoot/diagnosis.hpp"

namespace scoot {

namespace {

constexpr std::size_t pins_listed_max = 256;

// JSON in pieces. Commas come by themselves.
class json_writer {
 public:
  json_writer(snapshot_sink sink, void* context) noexcept : sink_(sink), context_(context) {}

  void open(const char* key, char bracket) noexcept {
    begin(key);
    put(bracket);
    first_ = true;
  }
  void close(char bracket) noexcept {
    put(bracket);
    first_ = false;
  }
  void number(const char* key, std::uint64_t value) noexcept {
    begin(key);
    char text[24];
    std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(value));
    put(text);
  }
  void truth(const char* key, bool value) noexcept {
    begin(key);
    put(value ? "true" : "false");
  }
  void address(const char* key, const void* value) noexcept {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx",
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(value)));
    string(key, text);
  }
  // Any bytes: those that are no ASCII are taken for Latin-1.
  void string(const char* key, const char* value) noexcept {
    begin(key);
    put('"');
    for (; *value != 0; ++value) {
      const auto c = static_cast<unsigned char>(*value);
      if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
        put(*value);
        continue;
      }
      char text[8];
      std::snprintf(text, sizeof text, "\\u%04x", unsigned{c});
      put(text);
    }
    put('"');
  }
  // Whether the sink took all of it.
  bool finish() noexcept {
    flush();
    return going_;
  }
  [[nodiscard]] bool going() const noexcept { return going_; }

 private:
  void begin(const char* key) noexcept {
    if (!first_) put(',');
    first_ = false;
    if (key == nullptr) return;
    put('"');
    put(key);
    put("\":");
  }
  void put(const char* text) noexcept {
    for (; *text != 0; ++text) put(*text);
  }
  void put(char c) noexcept {
    if (used_ == sizeof buffer_) flush();
    buffer_[used_++] = c;
  }
  void flush() noexcept {
    if (going_ && used_ != 0) going_ = sink_(context_, buffer_, used_);
    used_ = 0;
  }

  snapshot_sink sink_;
  void* context_;
  bool first_ = true;
  bool going_ = true;
  std::size_t used_ = 0;
  char buffer_[1024];
};

}  // namespace

// Writes the parts of a snapshot. A friend of heap_impl.
class snapshot_writer {
 public:
  snapshot_writer(const heap_impl& h, snapshot_sink sink, void* context, const snapshot_options& options) noexcept
      : h_(h), options_(options), out_(sink, context) {}

  bool write() noexcept {
    out_.open(nullptr, '{');
    out_.number("scoot_snapshot", 1);
    out_.number("page_bytes", h_.page_bytes_);
    out_.number("os_page_bytes", h_.os_page_);
    write_pool();
    write_heap();
    write_kinds();
    write_shelves();
    write_pages();
    write_pins();
    out_.close('}');
    return out_.finish();
  }

 private:
  void write_pool() noexcept {
    const page_pool_stats s = h_.get_pool().get_stats();
    out_.open("pool", '{');
    out_.number("budget_bytes", s.budget_bytes);
    out_.number("held_bytes", s.held_bytes);
    out_.number("held_bytes_peak", s.held_bytes_peak);
    out_.number("metadata_bytes", s.metadata_bytes);
    out_.number("idle_bytes", s.idle_bytes);
    out_.number("pages", s.pages);
    out_.number("address_bytes", s.address_bytes);
    out_.close('}');
  }

  void write_heap() noexcept {
    const heap_stats s = h_.get_stats();
    out_.open("heap", '{');
    out_.number("blocks", s.blocks);
    out_.number("live_bytes", s.live_bytes);
    out_.number("held_bytes", s.held_bytes);
    out_.number("hole_bytes", s.hole_bytes);
    out_.number("slack_bytes", s.slack_bytes);
    out_.number("metadata_bytes", s.metadata_bytes);
    out_.number("pages", s.pages);
    out_.number("shelves", s.shelves);
    out_.number("pinned_blocks", s.pinned_blocks);
    out_.number("allocations", s.allocations);
    out_.number("allocated_bytes", s.allocated_bytes);
    out_.number("blocks_moved", s.blocks_moved);
    out_.number("bytes_moved", s.bytes_moved);
    out_.number("blocks_dropped", s.blocks_dropped);
    out_.number("blocks_kept", s.blocks_kept);
    out_.number("failures", s.failures);
    out_.close('}');
  }

  void write_kinds() noexcept {
    out_.open("kinds", '[');
    for (std::size_t i = 0; i < h_.kinds() && out_.going(); ++i) {
      const kind_stats s = h_.get_kind_stats(static_cast<std::uint8_t>(i));
      out_.open(nullptr, '{');
      out_.string("name", s.name);
      out_.number("alignment", s.alignment);
      out_.truth("movable", s.movable);
      out_.number("blocks", s.blocks);
      out_.number("live_bytes", s.live_bytes);
      out_.number("held_bytes", s.held_bytes);
      out_.number("hole_bytes", s.hole_bytes);
      out_.number("shelves", s.shelves);
      out_.number("pinned_blocks", s.pinned_blocks);
      out_.number("stranded_bytes", s.stranded_bytes);
      out_.number("blocks_moved", s.blocks_moved);
      out_.number("bytes_moved", s.bytes_moved);
      out_.number("blocks_dropped", s.blocks_dropped);
      out_.number("blocks_kept", s.blocks_kept);
      out_.close('}');
    }
    out_.close(']');
  }

  void write_shelves() noexcept {
    out_.open("shelves", '[');
    for (const shelf* s : h_.shelves_) {
      out_.open(nullptr, '{');
      out_.number("kind", s->kind);
      out_.number("slot_bytes", s->slot);
      out_.number("pages", s->page_count);
      out_.number("holes", s->holes);
      out_.number("parked", s->parked);
      out_.close('}');
    }
    out_.close(']');
  }

  // False if the page is one too many.
  bool begin_page(const page_info* page, const char* use) noexcept {
    if (pages_written_ == options_.pages_max || !out_.going()) {
      ++pages_left_out_;
      return false;
    }
    ++pages_written_;
    out_.open(nullptr, '{');
    out_.address("address", page->base);
    out_.string("use", use);
    out_.number("resident_begin", page->resident_begin);
    out_.number("resident_end", page->resident_end);
    out_.number("missing_bytes", page->missing_bytes());
    out_.number("pins", page->pins);
    return true;
  }

  void write_shelf_page(std::size_t index, const shelf& s, const page_info* page) noexcept {
    if (!begin_page(page, "shelf")) return;
    out_.number("shelf", index);
    out_.number("slots", s.fresh_of(page));
    out_.number("holes", page->holes);
    out_.number("withdrawn", page->withdrawn);
    page_drawing fill(h_.page_bytes_);
    fill.add(s, page);
    out_.string("fill", fill.draw(page));
    out_.close('}');
  }

  void write_large_page(const large_page* in) noexcept {
    if (!begin_page(in->page, "large")) return;
    out_.number("blocks", in->count);
    page_drawing fill(h_.page_bytes_);
    fill.add(in, h_.os_page_);
    out_.string("fill", fill.draw(in->page));
    out_.close('}');
  }

  void write_run(const page_info* first) noexcept {
    for (std::size_t i = 0; i * h_.page_bytes_ < first->run_bytes; ++i) {
      const page_info* page = first + i;
      if (!begin_page(page, i == 0 ? "run" : "run_body")) continue;
      if (i == 0) {
        out_.number("kind", page->kind);
        out_.number("run_bytes", page->run_bytes);
      }
      page_drawing fill(h_.page_bytes_);
      fill.add_live(0, std::min(h_.page_bytes_, first->run_bytes - i * h_.page_bytes_));
      out_.string("fill", fill.draw(page));
      out_.close('}');
    }
  }

  void write_pages() noexcept {
    out_.open("pages", '[');
    for (std::uint32_t i = 0; i < h_.shelves_.size(); ++i) {
      const shelf& s = *h_.shelves_[i];
      for (std::uint32_t p = 0; p < s.page_count; ++p) write_shelf_page(i, s, s.pages[p]);
    }
    for (const large_page* in : h_.large_.pages()) write_large_page(in);
    for (const page_info* first : h_.runs_) write_run(first);
    out_.close(']');
    out_.number("pages_left_out", pages_left_out_);
  }

  void write_pins() noexcept {
    std::array<pin_info, pins_listed_max> pins;
    const std::span<pin_info> room(pins.data(), std::min(options_.pins_max, pins.size()));
    const std::size_t count = list_pins(h_, room);
    out_.open("pins", '[');
    for (const pin_info& pin : room.first(std::min(count, room.size()))) {
      out_.open(nullptr, '{');
      out_.address("address", pin.block);
      out_.number("bytes", pin.bytes);
      out_.number("kind", pin.of.index);
      out_.string("holder", pin.holder);
      out_.number("pins", pin.pins);
      out_.number("age_ns", pin.age_ns);
      out_.number("stranded_bytes", pin.stranded_bytes);
      out_.close('}');
    }
    out_.close(']');
    out_.number("pins_left_out", count - std::min(count, room.size()));
  }

  const heap_impl& h_;
  const snapshot_options options_;
  json_writer out_;
  std::size_t pages_written_ = 0;
  std::size_t pages_left_out_ = 0;
};

bool write_snapshot(const heap& h, snapshot_sink sink, void* context, const snapshot_options& options) noexcept {
  const auto& self = static_cast<const heap_impl&>(h);
  const heap_impl::visit_scope scope(self, "snapshot_sink");
  return snapshot_writer(self, sink, context, options).write();
}

}  // namespace scoot
