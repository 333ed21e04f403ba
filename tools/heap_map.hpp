// SPDX-License-Identifier: MIT
//
// `scoot map`: a heap snapshot (docs/snapshot.md, version 1) as a drawing.
//
//     file, standard input or a scootd's /heap.json  ->  read_heap_map()  ->  heap_map  ->  svg_of()
//
// Every page is a cell: its kind is its colour, what is live in each 1/32 of it how dark that is. Fields that are not
// known are ignored and those of no need here may be missing, so snapshots of later versions of the schema's minor kind
// and of whole caches are drawn as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tools {

inline constexpr std::size_t snapshot_bytes_max = std::size_t{512} << 20;
inline constexpr std::size_t map_pages_max = 1'000'000;

struct heap_map {
  enum class use : std::uint8_t { shelf, large, run, other };  // in the order in which they are drawn

  struct page {
    use of = use::other;
    std::string what;     // as the snapshot says: "shelf", "large", "run", "run_body", "idle", ...
    std::string address;  // text
    std::size_t kind = no_kind;
    std::uint64_t slot_bytes = 0;  // of a shelf's page
    std::uint64_t slots = 0, holes = 0, blocks = 0, run_bytes = 0, pins = 0;
    std::uint64_t resident_bytes = 0;
    std::string fill;  // 32 characters, or empty where it is not known
  };
  static constexpr std::size_t no_kind = ~std::size_t{0};

  // Of the cold tier of a cache.
  struct chunk {
    std::string state;  // as the snapshot says: "offered", "partly_purged", "purged", "free"
    std::uint64_t heap = 0, used_bytes = 0, purged_bytes = 0, items = 0;
    std::string fill;  // 64 characters, or empty where it is not known
  };

  std::uint64_t page_bytes = 0;
  std::uint64_t budget_bytes = 0, held_bytes = 0, live_bytes = 0, hole_bytes = 0, pinned_blocks = 0;
  std::vector<std::string> kinds;  // names, by index
  std::vector<page> pages;
  std::uint64_t pages_left_out = 0;
  std::uint64_t chunk_bytes = 0;
  std::vector<chunk> chunks;
};

// False, with the reason, if the text is no snapshot.
[[nodiscard]] bool parse_heap_map(std::string_view json, heap_map& out, std::string& error);

// A drawing that needs nothing else, for light and dark surroundings. Up to detailed_pages_max pages show which parts
// of a page are in use; of more, how much of a page is.
inline constexpr std::size_t detailed_pages_max = 8192;
[[nodiscard]] std::string svg_of(const heap_map& map, const std::string& title);

struct map_options {
  std::string source;      // a file, "-" or the address of a scootd's HTTP port
  std::string out = "-";   // a file, "-": standard output
  std::string token_file;  // of the HTTP port
};

// 0; 1 if the snapshot cannot be had or is none, or the drawing cannot be written.
int run_map(const map_options& options);

}  // namespace tools
