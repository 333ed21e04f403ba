// SPDX-License-Identifier: MIT
#include "server/log.hpp"

#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

namespace scoot::server {

void start_log(int verbosity) {
  auto logger = std::make_shared<spdlog::logger>("scootd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  spdlog::set_default_logger(std::move(logger));
  set_log_verbosity(verbosity);
}

void mute_log() {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("muted", std::make_shared<spdlog::sinks::null_sink_mt>()));
}

void set_log_verbosity(int verbosity) noexcept {
  spdlog::set_level(verbosity > 1 ? spdlog::level::trace : verbosity > 0 ? spdlog::level::debug : spdlog::level::info);
}

void log_traffic(char direction, int id, std::string_view line) noexcept {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  // What a client sent goes to a terminal: nothing but printable characters may.
  std::string printable;
  for (const char c : line.substr(0, 1024)) printable += c >= ' ' && c <= '~' ? c : '?';
  spdlog::trace("{}{} {}", direction, id, printable);
}

}  // namespace scoot::server
