// SPDX-License-Identifier: MIT
#include "tools/heap_map.hpp"

#include <civetweb.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/address.hpp"

namespace tools {
namespace {

using nlohmann::json;

constexpr std::size_t fill_characters = 32;
constexpr std::size_t chunk_fill_characters = 64;
constexpr std::uint16_t http_port = 11280;
constexpr int http_timeout_ms = 10'000;

std::uint64_t number(const json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

std::string text(const json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

// A list of objects; false if it is none.
bool is_list(const json& object, const char* name) {
  const auto at = object.find(name);
  if (at == object.end() || !at->is_array()) return false;
  for (const json& one : *at) {
    if (!one.is_object()) return false;
  }
  return true;
}

bool parse_page(const json& one, const json& shelves, heap_map& out, std::string& error) {
  heap_map::page page;
  page.what = text(one, "use");
  page.address = text(one, "address");
  page.fill = text(one, "fill");
  const std::string place = "page " + std::to_string(out.pages.size()) + ": ";
  if (!page.fill.empty() &&
      (page.fill.size() != fill_characters || page.fill.find_first_not_of(".0123456789") != std::string::npos)) {
    return error = place + "its fill is not 32 of the characters '.' and '0' to '9'", false;
  }
  const std::uint64_t begin = number(one, "resident_begin"), end = number(one, "resident_end");
  const std::uint64_t missing = number(one, "missing_bytes");  // older snapshots have none
  if (begin > end || end > out.page_bytes || missing > end - begin) {
    return error = place + "more of it is resident than there is", false;
  }
  page.resident_bytes = end - begin - missing;
  page.pins = number(one, "pins");
  page.slots = number(one, "slots");
  page.holes = number(one, "holes");
  page.blocks = number(one, "blocks");
  page.run_bytes = number(one, "run_bytes");
  page.slot_bytes = number(one, "slot_bytes");
  if (one.contains("kind")) page.kind = static_cast<std::size_t>(number(one, "kind"));
  if (page.what == "shelf") {
    page.of = heap_map::use::shelf;
    const std::uint64_t shelf = one.contains("shelf") ? number(one, "shelf") : shelves.size();
    if (shelf >= shelves.size()) return error = place + "its shelf is not in the list of shelves", false;
    page.slot_bytes = number(shelves[shelf], "slot_bytes");
    page.kind = static_cast<std::size_t>(number(shelves[shelf], "kind"));
  } else if (page.what == "large") {
    page.of = heap_map::use::large;
    page.kind = heap_map::no_kind;  // of several
  } else if (page.what == "run" || page.what == "run_body") {
    page.of = heap_map::use::run;
    if (page.what == "run_body" && !out.pages.empty()) page.kind = out.pages.back().kind;
  } else {
    page.kind = heap_map::no_kind;
  }
  if (page.kind != heap_map::no_kind && page.kind >= out.kinds.size()) page.kind = heap_map::no_kind;
  out.pages.push_back(std::move(page));
  return true;
}

// The cold tier, which most snapshots lack.
bool parse_cold(const json& all, heap_map& out, std::string& error) {
  const auto cold = all.find("cold");
  if (cold == all.end()) return true;
  if (!cold->is_object() || !is_list(*cold, "chunks")) return error = "its cold tier has no list of chunks", false;
  out.chunk_bytes = number(*cold, "chunk_bytes");
  if ((*cold)["chunks"].size() > map_pages_max) return error = "has more than 1000000 chunks", false;
  for (const json& one : (*cold)["chunks"]) {
    heap_map::chunk chunk;
    chunk.state = text(one, "state");
    chunk.heap = number(one, "heap");
    chunk.used_bytes = number(one, "used_bytes");
    chunk.purged_bytes = number(one, "purged_bytes");
    chunk.items = number(one, "items");
    chunk.fill = text(one, "fill");
    const std::string place = "chunk " + std::to_string(out.chunks.size()) + ": ";
    if (chunk.used_bytes > out.chunk_bytes || chunk.purged_bytes > chunk.used_bytes) {
      return error = place + "more of it is used or purged than there is", false;
    }
    if (!chunk.fill.empty() &&
        (chunk.fill.size() != chunk_fill_characters || chunk.fill.find_first_not_of(".x9") != std::string::npos)) {
      return error = place + "its fill is not 64 of the characters '.', 'x' and '9'", false;
    }
    out.chunks.push_back(std::move(chunk));
  }
  return true;
}

// ---- where it comes from ------------------------------------------------------------------------------------------

bool read_stream(std::istream& in, std::string& out, std::string& error) {
  char buffer[65536];
  while (in.read(buffer, sizeof buffer) || in.gcount() > 0) {
    out.append(buffer, static_cast<std::size_t>(in.gcount()));
    if (out.size() > snapshot_bytes_max) return error = "is larger than 512 MiB", false;
  }
  return in.bad() ? (error = "cannot be read", false) : true;
}

bool read_token(const std::string& path, std::string& token, std::string& error) {
  if (path.empty()) return true;
  std::ifstream file(path);
  if (!file || !std::getline(file, token)) return error = path + ": cannot be read, or is empty", false;
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  for (const char c : token) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return error = path + ": is no token", false;
  }
  return true;
}

bool read_http(const address& from, const std::string& token, std::string& out, std::string& error) {
  char why[256] = "";
  const std::string where = from.text();
  const std::string authorization = token.empty() ? "" : "Authorization: Bearer " + token + "\r\n";
  const std::unique_ptr<mg_connection, void (*)(mg_connection*)> connected(
      mg_connect_client(from.host.c_str(), std::atoi(from.port.c_str()), 0, why, sizeof why), &mg_close_connection);
  if (!connected) return error = where + ": " + why, false;
  mg_printf(connected.get(), "GET /heap.json HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", where.c_str(),
            authorization.c_str());
  if (mg_get_response(connected.get(), why, sizeof why, http_timeout_ms) < 0) return error = where + ": " + why, false;
  const mg_response_info* const answer = mg_get_response_info(connected.get());
  char buffer[65536];
  int n = 0;
  while ((n = mg_read(connected.get(), buffer, sizeof buffer)) > 0) {
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > snapshot_bytes_max) return error = where + ": the answer is larger than 512 MiB", false;
  }
  if (answer->status_code == 200) return true;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  error = where + ": answers " + std::to_string(answer->status_code) + " to /heap.json: " + out.substr(0, 100);
  return false;
}

bool read_source(const map_options& o, std::string& out, std::string& error) {
  struct stat about {};
  bool good = false;
  if (o.source == "-") {
    good = read_stream(std::cin, out, error);
    if (!good) error = "standard input " + error;
    return good;
  }
  if (stat(o.source.c_str(), &about) == 0 && !S_ISSOCK(about.st_mode)) {
    if (S_ISDIR(about.st_mode)) return error = o.source + ": is a directory", false;
    std::ifstream file(o.source, std::ios::binary);
    if (!file) return error = o.source + ": " + std::strerror(errno), false;
    good = read_stream(file, out, error);
    if (!good) error = o.source + ": " + error;
    return good;
  }
  constexpr std::string_view scheme = "http://";
  std::string given = o.source;
  const bool url = given.compare(0, scheme.size(), scheme) == 0;
  if (url) given = given.substr(scheme.size(), given.find('/', scheme.size()) - scheme.size());
  address from;
  std::string token;
  if (!url && given.find('/') != std::string::npos) return error = given + ": " + std::strerror(ENOENT), false;
  if (!parse_address(given, http_port, from, error)) return false;
  if (!url && given.find(':') == std::string::npos && from.host == given) {
    return error = given + ": there is no such file, and for an address it lacks the port", false;
  }
  return read_token(o.token_file, token, error) && read_http(from, token, out, error);
}

int complain(const std::string& what) {
  std::fprintf(stderr, "scoot map: %s\n", what.c_str());
  return 1;
}

}  // namespace

bool parse_heap_map(std::string_view given, heap_map& out, std::string& error) {
  out = {};
  const json all = json::parse(given, nullptr, false);
  if (all.is_discarded()) return error = "is no JSON, or ends early", false;
  if (!all.is_object() || !all.contains("scoot_snapshot")) return error = "is no heap snapshot", false;
  if (number(all, "scoot_snapshot") != 1) {
    return error = "is a snapshot of a version other than 1, the one that is known here", false;
  }
  out.page_bytes = number(all, "page_bytes");
  if (out.page_bytes == 0) return error = "lacks page_bytes", false;
  for (const char* const list : {"kinds", "shelves", "pages"}) {
    if (!is_list(all, list)) return error = std::string("its ") + list + " are no list of objects", false;
  }
  if (all["pages"].size() > map_pages_max) return error = "has more than 1000000 pages", false;
  const json pool = all.value("pool", json::object()), heap = all.value("heap", json::object());
  if (!pool.is_object() || !heap.is_object()) return error = "its pool or heap is no object", false;
  out.budget_bytes = number(pool, "budget_bytes");
  out.held_bytes = number(pool, "held_bytes");
  out.live_bytes = number(heap, "live_bytes");
  out.hole_bytes = number(heap, "hole_bytes");
  out.pinned_blocks = number(heap, "pinned_blocks");
  out.pages_left_out = number(all, "pages_left_out");
  for (const json& kind : all["kinds"]) out.kinds.push_back(text(kind, "name"));
  for (const json& page : all["pages"]) {
    if (!parse_page(page, all["shelves"], out, error)) return false;
  }
  return parse_cold(all, out, error);
}

int run_map(const map_options& options) {
  std::string given, error;
  heap_map map;
  if (!read_source(options, given, error)) return complain(error);
  if (!parse_heap_map(given, map, error)) return complain(options.source + ": " + error);
  const std::string svg = svg_of(map, options.source == "-" ? "heap" : options.source);
  if (options.out == "-") {
    std::cout << svg << std::flush;
    return std::cout ? 0 : complain("standard output cannot be written");
  }
  std::ofstream file(options.out, std::ios::binary);
  file << svg << std::flush;
  return file ? 0 : complain(options.out + ": " + std::strerror(errno));
}

}  // namespace tools
