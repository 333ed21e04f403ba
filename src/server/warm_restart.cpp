// SPDX-License-Identifier: MIT
#include "server/warm_restart.hpp"

#include <spdlog/spdlog.h>

#include <string>

#include "server/process.hpp"

namespace scoot::server {
namespace {

constexpr double mebibyte = 1024.0 * 1024.0;
constexpr std::uint64_t least_us = 30'000'000;

double seconds(std::uint64_t us) noexcept { return static_cast<double>(us) / 1e6; }

// Whoever started us may be about to lose patience: four seconds a GiB are several times what it takes.
void ask_for_time(std::size_t bytes) {
  notify_starter("EXTEND_TIMEOUT_USEC=" + std::to_string(least_us + bytes / 256));
}

void tell_reading(const restart_report& r, const std::string& path) {
  switch (r.outcome) {
    case restart_outcome::nothing:
      spdlog::info("restart: there is no {}, so the cache begins empty", path);
      return;
    case restart_outcome::refused:
      spdlog::warn("restart: {} is not used, and the cache begins empty: {}", path, r.reason);
      return;
    default:
      break;
  }
  spdlog::info(
      "restart: {} items, {:.0f} MiB, are back from {} in {:.2f} s, after {} s; {} were expired, {} had no room",
      r.items, static_cast<double>(r.item_bytes) / mebibyte, path, seconds(r.elapsed_us), r.down_s, r.expired_items,
      r.dropped_items);
  if (r.damaged_chunks != 0) {
    spdlog::warn("restart: {} parts of {} are damaged, and what was in them is lost", r.damaged_chunks, path);
  }
}

}  // namespace

std::unique_ptr<cache> make_cache(cache_options wanted, const server_options& options) {
  if (options.restart_file.empty()) return cache::create(wanted);
  wanted.restart_file = options.restart_file.c_str();
  ask_for_time(options.memory_bytes);
  std::unique_ptr<cache> items = cache::create(wanted);
  if (items != nullptr) tell_reading(items->restarted(), options.restart_file);
  return items;
}

void leave_cache(cache& items, const server_options& options) {
  if (options.restart_file.empty()) return;
  ask_for_time(options.memory_bytes);
  spdlog::debug("restart: writing {}", options.restart_file);
  const restart_report r = items.save(options.restart_file.c_str());
  if (r.outcome == restart_outcome::done) {
    spdlog::info("restart: {} items, {:.0f} MiB, wait in {} after {:.2f} s", r.items,
                 static_cast<double>(r.item_bytes) / mebibyte, options.restart_file, seconds(r.elapsed_us));
  } else {
    spdlog::error("restart: nothing is kept in {}, so the next start is a cold one: {}", options.restart_file,
                  r.reason);
  }
}

}  // namespace scoot::server
