// SPDX-License-Identifier: MIT
#include "server/feed.hpp"

#include <pthread.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>

#include "scoot/version.h"
#include "server/feed_sample.hpp"
#include "server/http_module.hpp"

namespace scoot::server {
namespace {

using steady = std::chrono::steady_clock;

constexpr unsigned sample_ms = 1000;
constexpr unsigned sweep_share = 200;     // of the time, at most one part is spent sweeping
constexpr std::size_t use_step = 4096;    // pages asked for at a time whether they are used
constexpr std::size_t size_classes = 64;  // four to a doubling
constexpr std::size_t rows_a_kind = size_classes + 2;
constexpr std::size_t cold_chunks_a_visit = 256;
constexpr std::size_t holders_max = 16;

std::chrono::nanoseconds thread_cpu() noexcept {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

std::uint8_t part_of(std::size_t bytes, std::size_t page_bytes) noexcept {
  // What is not empty does not look so.
  return static_cast<std::uint8_t>(std::min<std::size_t>((bytes * 255 + page_bytes - 1) / page_bytes, 255));
}

feed_cell cell_of(const page_view& page, std::size_t page_bytes) noexcept {
  constexpr std::size_t most = 0xffff;
  feed_cell cell;
  cell.content = static_cast<std::uint8_t>(page.content);
  cell.kind = page.of.index;
  cell.live = part_of(page.live_bytes, page_bytes);
  cell.resident = part_of(page.resident_bytes(), page_bytes);
  const std::size_t size = page.content == page_content::shelf   ? page.slot_bytes
                           : page.content == page_content::large ? page.blocks
                                                                 : (page.slot_bytes + page_bytes - 1) / page_bytes;
  cell.size = static_cast<std::uint16_t>(std::min(size, most));
  cell.pins = static_cast<std::uint16_t>(std::min<std::size_t>(page.pins, most));
  cell.arrivals = page.arrivals;
  cell.departures = page.departures;
  return cell;
}

feed_cell cell_of(const cold_chunk_view& chunk) noexcept {
  feed_cell cell;
  if (chunk.state == chunk_state::free) return cell;
  cell.kind = 0;
  cell.content = chunk.state == chunk_state::purged ? cell_purged : cell_offered;
  cell.departures = chunk.state == chunk_state::purged ? 64 : static_cast<std::uint16_t>(std::popcount(chunk.purged));
  cell.resident = part_of(chunk.used_bytes, chunk.bytes);
  cell.live = part_of(chunk.used_bytes - chunk.purged_bytes, chunk.bytes);
  cell.size = static_cast<std::uint16_t>(std::min<std::size_t>(chunk.items, 0xffff));
  cell.arrivals = static_cast<std::uint16_t>(chunk.filled);
  return cell;
}

// [[holder, blocks, bytes, age of the oldest in ms, bytes stranded], ...]
std::string holders_as_json(const cache_window& window) {
  std::array<pin_holder, holders_max> room;
  const std::size_t lines = window.list_pin_holders(room);
  nlohmann::json list = nlohmann::json::array();
  for (const pin_holder& one : std::span(room).first(lines)) {
    list.push_back({one.holder, one.blocks, one.bytes, one.age_ns_max / 1'000'000, one.stranded_bytes});
  }
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void add_base64(std::span<const unsigned char> bytes, std::string& out) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::size_t at = out.size();
  out.resize(at + (bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const unsigned three = unsigned{bytes[i]} << 16 | (left > 1 ? unsigned{bytes[i + 1]} << 8 : 0) |
                           (left > 2 ? unsigned{bytes[i + 2]} : 0);
    out[at++] = digits[three >> 18];
    out[at++] = digits[three >> 12 & 63];
    out[at++] = left > 1 ? digits[three >> 6 & 63] : '=';
    out[at++] = left > 2 ? digits[three & 63] : '=';
  }
}

void add_event(std::string& out, std::string_view name, std::string_view data) {
  out.append("event: ").append(name).append("\ndata: ").append(data).append("\n\n");
}

}  // namespace

feed::feed(const cache_window& window) : window_(window), rows_(kinds_max * rows_a_kind) {}

void feed::start() {
  const cache_stats now = window_.stats();
  page_bytes_ = now.pool.page_bytes;
  shards_ = now.shards;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "scootd-feed");
    run();
  });
}

void feed::stop() {
  {
    const std::lock_guard hold(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  news_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void feed::run() {
  auto sample_at = steady::now();
  auto sweep_at = sample_at;
  sampler sample(window_);
  for (;;) {
    bool looked_at = false;
    {
      std::unique_lock hold(mutex_);
      const auto due = [&] {
        const auto now = steady::now();
        return stopping_ || now >= sample_at || (viewers_ != 0 && now >= sweep_at);
      };
      while (!due()) wake_.wait_until(hold, viewers_ != 0 ? std::min(sample_at, sweep_at) : sample_at);
      if (stopping_) return;
      looked_at = viewers_ != 0;
      if (!looked_at && !pages_.cells.empty()) {
        pages_ = {};
        cold_ = {};
        found_ = {};
        cursors_ = {};
      }
    }
    const auto now = steady::now();
    if (now >= sample_at) {
      sample_at = std::max(sample_at + std::chrono::milliseconds(sample_ms), now);
      std::string row = sample.take();
      const std::lock_guard hold(mutex_);
      history_.push_back(std::move(row));
      if (history_.size() > history_max) history_.pop_front();
      ++samples_;
      news_.notify_all();
    }
    if (looked_at && now >= sweep_at) {
      const auto before = thread_cpu();
      sweep();
      const auto rest = std::max<std::chrono::nanoseconds>((thread_cpu() - before) * sweep_share,
                                                           std::chrono::milliseconds(sweep_ms));
      sweep_at = now + std::chrono::duration_cast<steady::duration>(rest);
    }
  }
}

// ---- looking at the pages ------------------------------------------------------------------------------------------

void feed::sweep() {
  for (size_row& row : rows_) row = {};
  std::vector<seen_page> pages;
  pages.reserve(page_visit{}.pages_max);
  std::uint64_t cursor = 0;
  do {
    pages.clear();
    // Nothing but noting down: a shard's lock is held.
    cursor = window_.visit_pages(cursor, [&](unsigned shard, const page_view& page) {
      if (pages.size() == pages.capacity()) return;
      pages.push_back({page.number, cache::cursor_of(shard, page), cell_of(page, page_bytes_)});
      count(page);
    });
    note(pages);
  } while (cursor != 0);
  note_unused();
  sweep_cold();
  finish_sweep();
}

void feed::count(const page_view& page) {
  const std::size_t kind = std::min<std::size_t>(page.of.index, kinds_max - 1);
  std::size_t row = size_classes + (page.content == page_content::large ? 0 : 1);
  if (page.content == page_content::shelf) {
    const auto exponent = static_cast<unsigned>(std::bit_width(page.slot_bytes)) - 1;
    row = std::min(4 * exponent + (page.slot_bytes << 2 >> exponent & 3), size_classes - 1);
  }
  size_row& to = rows_[kind * rows_a_kind + row];
  if (to.pages == 0) {
    to.kind = static_cast<std::uint8_t>(kind);
    to.content = static_cast<std::uint8_t>(page.content);
    to.bytes_least = ~std::uint32_t{0};
    kinds_[kind] = page.kind_name;
  }
  ++to.pages;
  if (page.content == page_content::shelf) {
    to.bytes_least = std::min(to.bytes_least, static_cast<std::uint32_t>(page.slot_bytes));
    to.bytes_most = std::max(to.bytes_most, static_cast<std::uint32_t>(page.slot_bytes));
    to.hole_bytes += page.holes * page.slot_bytes;
  } else if (page.content == page_content::large) {
    to.hole_bytes += page.resident_bytes() - std::min(page.live_bytes, page.resident_bytes());
  }
  to.blocks += page.blocks;
  to.live_bytes += page.live_bytes;
  to.resident_bytes += page.resident_bytes();
}

void feed::note(const std::vector<seen_page>& pages) {
  const std::lock_guard hold(mutex_);
  for (const seen_page& page : pages) {
    if (page.number >= pages_.cells.size()) {
      const std::size_t size = page.number + 1;
      pages_.cells.resize(size);
      pages_.changed.resize(size, sweeps_ + 1);
      found_.resize(size);
      cursors_.resize(size);
    }
    if (pages_.cells[page.number] != page.cell) {
      pages_.cells[page.number] = page.cell;
      pages_.changed[page.number] = sweeps_ + 1;
    }
    found_[page.number] = sweeps_ + 1;
    cursors_[page.number] = page.cursor;
  }
}

// What was not found in a heap is in no heap's hands, or changed hands while we looked: the pool knows.
void feed::note_unused() {
  std::vector<page_content> use(use_step);
  std::size_t told = use_step;
  for (std::size_t first = 0; told == use_step; first += use_step) {
    told = window_.list_page_use(first, use);
    const std::lock_guard hold(mutex_);
    for (std::size_t i = 0; i < told && first + i < pages_.cells.size(); ++i) {
      feed_cell& cell = pages_.cells[first + i];
      const auto known = static_cast<page_content>(cell.content);
      if (use[i] == known) continue;
      if (use[i] == page_content::used && known > page_content::used) continue;
      cell = {};
      cell.content = static_cast<std::uint8_t>(use[i]);
      pages_.changed[first + i] = sweeps_ + 1;
    }
  }
}

void feed::sweep_cold() {
  struct seen {
    std::size_t number;
    feed_cell cell;
  };
  std::vector<seen> chunks;
  chunks.reserve(cold_chunks_a_visit);
  std::uint64_t cursor = 0;
  do {
    chunks.clear();
    cursor = window_.visit_cold(cursor, [&](unsigned shard, const cold_chunk_view& chunk) {
      if (chunks.size() == chunks.capacity()) return;
      chunks.push_back({std::size_t{chunk.number} * shards_ + shard, cell_of(chunk)});
    });
    const std::lock_guard hold(mutex_);
    for (const seen& one : chunks) {
      if (one.number >= cold_.cells.size()) {
        cold_.cells.resize(one.number + 1);
        cold_.changed.resize(one.number + 1, sweeps_ + 1);
      }
      if (cold_.cells[one.number] == one.cell) continue;
      cold_.cells[one.number] = one.cell;
      cold_.changed[one.number] = sweeps_ + 1;
    }
  } while (cursor != 0);
}

void feed::finish_sweep() {
  std::string sizes = "[";
  for (const size_row& row : rows_) {
    if (row.pages == 0) continue;
    char text[256];
    const int bytes =
        std::snprintf(text, sizeof text, "%s[%u,%u,%u,%u,%llu,%llu,%llu,%llu,%llu]", sizes.size() == 1 ? "" : ",",
                      row.kind, row.content, row.bytes_most == 0 ? 0 : row.bytes_least, row.bytes_most,
                      static_cast<unsigned long long>(row.pages), static_cast<unsigned long long>(row.blocks),
                      static_cast<unsigned long long>(row.live_bytes), static_cast<unsigned long long>(row.hole_bytes),
                      static_cast<unsigned long long>(row.resident_bytes));
    sizes.append(text, static_cast<std::size_t>(bytes));
  }
  sizes += "]";
  std::string names = "[";
  for (const char* name : kinds_) {
    names.append(names.size() == 1 ? "\"" : ",\"").append(name == nullptr ? "" : name).append("\"");
  }
  names += "]";
  std::string pins = holders_as_json(window_);
  const std::lock_guard hold(mutex_);
  pins_ = std::move(pins);
  sizes_ = std::move(sizes);
  names_ = std::move(names);
  ++sweeps_;
  news_.notify_all();
}

std::string feed::describe(std::uint64_t number) {
  std::uint64_t cursor = 0;
  {
    const std::lock_guard hold(mutex_);
    if (number >= pages_.cells.size() || found_[number] == 0) return {};
    cursor = cursors_[number];
  }
  page_view found;
  bool same = false;
  unsigned shard_found = 0;
  static_cast<void>(window_.visit_pages(cursor,
                                        [&](unsigned shard, const page_view& page) {
                                          if (same || page.number != number) return;
                                          same = true;
                                          found = page;
                                          shard_found = shard;
                                        },
                                        {.pages_max = 1, .draw = true}));
  return same ? page_as_json(found, shard_found) : std::string();
}

std::string feed::describe_chunk(std::uint64_t number) {
  {
    const std::lock_guard hold(mutex_);
    if (number >= cold_.cells.size()) return {};
  }
  std::string json;
  const auto shard = static_cast<unsigned>(number % shards_);
  const auto wanted = static_cast<std::uint32_t>(number / shards_);
  cold_chunk_view found;
  bool same = false;
  static_cast<void>(window_.visit_cold(cache::cold_cursor_of(shard, wanted), [&](unsigned in, const auto& chunk) {
    if (in != shard || chunk.number != wanted) return;
    found = chunk;
    same = true;
  }));
  return same ? chunk_as_json(found, shard, number) : std::string();
}

// ---- viewers -------------------------------------------------------------------------------------------------------

std::string feed::greeting() const {
  const auto began = std::chrono::system_clock::now() - (steady::now() - window_.started());
  const cache_stats c = window_.stats();
  return std::string(R"({"name":")") + window_.name() + R"(","version":")" + SCOOT_VERSION + R"(","began":)" +
         std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(began.time_since_epoch()).count()) +
         R"(,"page_bytes":)" + std::to_string(page_bytes_) + R"(,"shards":)" + std::to_string(c.shards) +
         R"(,"sweep_ms":)" + std::to_string(sweep_ms) + R"(,"fields":)" + sampler::fields() + "}";
}

feed::viewer::viewer(feed& from) : from_(from) {
  const std::lock_guard hold(from_.mutex_);
  ++from_.viewers_;
  from_.wake_.notify_all();
}

feed::viewer::~viewer() {
  const std::lock_guard hold(from_.mutex_);
  --from_.viewers_;
}

bool feed::viewer::next(std::string& out) {
  out.clear();
  if (!begun_) {
    begun_ = true;
    add_event(out, "hello", from_.greeting());
    std::string rows = "[";
    const std::lock_guard hold(from_.mutex_);
    for (const std::string& row : from_.history_) rows.append(rows.size() == 1 ? "" : ",").append(row);
    sampled_ = from_.samples_;
    swept_ = from_.sweeps_;
    add_event(out, "history", rows + "]");
    return !from_.stopping_;
  }
  std::unique_lock hold(from_.mutex_);
  from_.news_.wait(hold, [this] {
    return from_.stopping_ || from_.samples_ != sampled_ || (from_.sweeps_ != swept_ && !from_.pages_.cells.empty());
  });
  if (from_.stopping_) return false;
  if (from_.sweeps_ != swept_ && !from_.pages_.cells.empty()) {
    swept_ = from_.sweeps_;
    add_cells(from_.pages_, pages_, "cells", "pages", out);
    add_cells(from_.cold_, cold_, "cold_cells", "cold", out);
  }
  if (from_.samples_ != sampled_) {
    const auto news = std::min<std::uint64_t>(from_.samples_ - sampled_, from_.history_.size());
    for (auto row = from_.history_.end() - static_cast<std::ptrdiff_t>(news); row != from_.history_.end(); ++row) {
      add_event(out, "sample", *row);
    }
    sampled_ = from_.samples_;
    if (!from_.sizes_.empty()) {
      add_event(out, "kinds", from_.names_);
      add_event(out, "sizes", from_.sizes_);
    }
    if (from_.pins_ != told_pins_) {
      told_pins_ = from_.pins_;
      add_event(out, "pins", told_pins_);
    }
  }
  return true;
}

void feed::viewer::add_cells(const table& of, progress& sent, const char* count_name, const char* name,
                             std::string& out) {
  struct record {
    std::uint32_t number;
    feed_cell cell;
  };
  static_assert(sizeof(record) == 16 && std::endian::native == std::endian::little);
  if (sent.told_cells != of.cells.size()) {
    sent.told_cells = of.cells.size();
    add_event(out, count_name, std::to_string(sent.told_cells));
  }
  if (sent.at == 0) sent.until = from_.sweeps_;
  const std::size_t most = sent.since == 0 ? ~std::size_t{0} : cells_max;
  std::vector<record> records;
  while (sent.at < of.cells.size() && records.size() < most) {
    if (of.changed[sent.at] > sent.since) {
      records.push_back({static_cast<std::uint32_t>(sent.at), of.cells[sent.at]});
    }
    ++sent.at;
  }
  if (sent.at >= of.cells.size()) {
    sent.at = 0;
    sent.since = sent.until;
  }
  if (records.empty()) return;
  out.append("event: ").append(name).append("\ndata: ");
  add_base64({reinterpret_cast<const unsigned char*>(records.data()), records.size() * sizeof(record)}, out);
  out += "\n\n";
}

}  // namespace scoot::server
