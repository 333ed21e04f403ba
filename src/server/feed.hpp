// SPDX-License-Identifier: MIT
//
// feed: what the live page draws: a sample of the counters each second, and while somebody looks, every page of memory
// several times a second, the chunks of the cold tier among it.
//
//     cache --(a few pages at a time, under one shard's lock)--> sampler thread --> table: a cell a page, and when it
//     changed last --> each viewer takes what changed since it last looked, as server-sent events
//
// A viewer that is slow misses nothing: it takes the latest state of more cells the next time. A sweep over the pages
// begins at most every sweep_ms, and later if the last one took more than 1/200 of the time, so that it costs at most
// half a percent of a core whatever the number of pages; a viewer is sent at most cells_max cells at a time.
//
// Memory, outside of the cache's budget: some 100 KiB, and 40 bytes a page while somebody looks. Threads: any.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "scoot/cache.hpp"

namespace scoot::server {

class cache_window;

// Contents of the cold tier's cells, beside page_content's.
inline constexpr std::uint8_t cell_offered = 16;
inline constexpr std::uint8_t cell_purged = 17;  // all of it, and not used since

// A page of memory as the page draws it, or a chunk of the cold tier. Sent as it lies in memory, so little-endian.
struct feed_cell {
  std::uint8_t content = 0;   // a page_content, or one of the above
  std::uint8_t kind = 0xff;   // index, or 0xff
  std::uint8_t live = 0;      // 255ths of the page; of a chunk, what is used and was not purged
  std::uint8_t resident = 0;  // the same; of a chunk, what is used, purged or not
  std::uint16_t size = 0;     // shelf: bytes of a slot; large: blocks; run: pages; chunk: items
  std::uint16_t pins = 0;
  std::uint16_t arrivals = 0;    // both wrap; of a chunk, which one it is that its shard filled
  std::uint16_t departures = 0;  // of a chunk, parts that were purged

  friend bool operator==(const feed_cell&, const feed_cell&) = default;
};
static_assert(sizeof(feed_cell) == 12);

class feed {
 public:
  static constexpr unsigned sweep_ms = 250;
  static constexpr std::size_t history_max = 600;  // samples, one a second
  static constexpr std::size_t cells_max = 8192;   // a viewer is sent at a time, after the first time

  explicit feed(const cache_window& window);
  ~feed() { stop(); }
  feed(const feed&) = delete;
  feed& operator=(const feed&) = delete;

  void start();
  void stop();  // viewers come to their end

  // One page in detail, as JSON; empty if it is not known. The same of a chunk of the cold tier.
  [[nodiscard]] std::string describe(std::uint64_t number);
  [[nodiscard]] std::string describe_chunk(std::uint64_t number);

 private:
  // Cells, and in which sweep they changed last.
  struct table {
    std::vector<feed_cell> cells;
    std::vector<std::uint32_t> changed;
  };

 public:
  // Somebody who looks. Used by one thread.
  class viewer {
   public:
    explicit viewer(feed& from);
    ~viewer();
    viewer(const viewer&) = delete;
    viewer& operator=(const viewer&) = delete;

    // Waits for news and writes them as server-sent events. False at the end.
    bool next(std::string& out);

   private:
    // What was sent of a table.
    struct progress {
      std::uint32_t since = 0;  // cells that changed later than this sweep are to be sent, ...
      std::uint32_t until = 0;  // ... and when all of them were, this is what was sent
      std::size_t at = 0;       // where among the cells to go on
      std::size_t told_cells = 0;
    };
    void add_cells(const table& of, progress& sent, const char* count_name, const char* name, std::string& out);

    feed& from_;
    bool begun_ = false;
    std::uint64_t sampled_ = 0;  // number of the last sample sent
    std::uint32_t swept_ = 0;    // number of the last sweep looked at
    progress pages_, cold_;
    std::string told_pins_;
  };

 private:
  struct seen_page {
    std::uint64_t number;
    std::uint64_t cursor;
    feed_cell cell;
  };
  // What is counted up over one sweep, by kind and size.
  struct size_row {
    std::uint8_t kind = 0;
    std::uint8_t content = 0;
    std::uint32_t bytes_least = 0, bytes_most = 0;  // of slots
    std::uint64_t pages = 0, blocks = 0, live_bytes = 0, hole_bytes = 0, resident_bytes = 0;
  };

  static constexpr std::size_t kinds_max = 8;  // told apart in the table of sizes

  void run();
  void sweep();
  void count(const page_view& page);
  void note(const std::vector<seen_page>& pages);
  void note_unused();
  void sweep_cold();
  void finish_sweep();
  [[nodiscard]] std::string greeting() const;

  const cache_window& window_;
  std::size_t page_bytes_ = 0;
  unsigned shards_ = 0;

  // The sampler thread's own.
  std::vector<size_row> rows_;
  std::array<const char*, kinds_max> kinds_{};

  std::mutex mutex_;  // all below
  std::condition_variable news_, wake_;
  bool stopping_ = false;
  unsigned viewers_ = 0;
  std::uint64_t samples_ = 0;         // ever
  std::deque<std::string> history_;   // the last of them, as JSON
  std::string sizes_, names_, pins_;  // JSON
  std::uint32_t sweeps_ = 0;
  table pages_;
  table cold_;                          // of chunk n of shard s: number n * shards + s
  std::vector<std::uint32_t> found_;    // in which sweep, last
  std::vector<std::uint64_t> cursors_;  // where it was found
  std::thread thread_;
};

}  // namespace scoot::server
