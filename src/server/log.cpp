// SPDX-License-Identifier: MIT
#include "server/log.hpp"

#include <spdlog/details/os.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace scoot::server {
namespace {

std::string_view name_of(spdlog::level::level_enum level) noexcept {
  constexpr std::string_view names[] = {"trace", "debug", "info", "warn", "error", "error", "off"};
  return names[level];
}

// {"time":"2026-01-31T12:00:00.123456Z","level":"info","pid":7,"message":"..."}
class json_formatter : public spdlog::formatter {
 public:
  explicit json_formatter(std::string end) : end_(std::move(end)) {}
  void format(const spdlog::details::log_msg& what, spdlog::memory_buf_t& line) override {
    const auto since = what.time.time_since_epoch();
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(since).count() % 1'000'000;
    const std::tm utc = spdlog::details::os::gmtime(spdlog::log_clock::to_time_t(what.time));
    nlohmann::ordered_json object;
    object["time"] = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                                 utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, us);
    object["level"] = name_of(what.level);
    object["pid"] = getpid();
    object["message"] = std::string_view(what.payload.data(), what.payload.size());
    // A path may be anything; what is not UTF-8 is replaced.
    const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    line.append(text.data(), text.data() + text.size());
    line.append(end_.data(), end_.data() + end_.size());
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<json_formatter>(end_);
  }

 private:
  std::string end_;
};

// Before each line its level as sd-daemon(3) has it: systemd takes it off.
class journal_formatter : public spdlog::formatter {
 public:
  explicit journal_formatter(std::unique_ptr<spdlog::formatter> inner) : inner_(std::move(inner)) {}
  void format(const spdlog::details::log_msg& what, spdlog::memory_buf_t& line) override {
    constexpr int levels[] = {LOG_DEBUG, LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR, LOG_CRIT, LOG_DEBUG};
    fmt::format_to(std::back_inserter(line), "<{}>", levels[what.level]);
    inner_->format(what, line);
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<journal_formatter>(inner_->clone());
  }

 private:
  std::unique_ptr<spdlog::formatter> inner_;
};

// systemd names the device and inode of the socket that leads to the journal, since standard error may be another.
bool leads_to_journal() noexcept {
  const char* const stream = std::getenv("JOURNAL_STREAM");
  struct stat about {};
  if (stream == nullptr || fstat(STDERR_FILENO, &about) != 0) return false;
  return stream == std::to_string(about.st_dev) + ":" + std::to_string(about.st_ino);
}

void open_log(log_target to, log_form as) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (to == log_target::syslog) {
    sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("scootd", LOG_PID, LOG_DAEMON, true);
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  const std::string end = to == log_target::syslog ? "" : "\n";
  std::unique_ptr<spdlog::formatter> form;
  if (as == log_form::json) {
    form = std::make_unique<json_formatter>(end);
  } else {
    const char* const pattern = to == log_target::standard_error ? "%Y-%m-%d %H:%M:%S.%e %l: %v" : "%v";
    form = std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::local, end);
  }
  if (to == log_target::journal) form = std::make_unique<journal_formatter>(std::move(form));
  auto logger = std::make_shared<spdlog::logger>("scootd", std::move(sink));
  logger->set_level(spdlog::get_level());
  logger->set_formatter(std::move(form));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

void start_log(const server_options& options) {
  log_target to = options.log_to;
  if (to == log_target::automatic) to = leads_to_journal() ? log_target::journal : log_target::standard_error;
  open_log(to, options.log_as);
  set_log_verbosity(options.verbosity);
}

void log_from_background(const server_options& options) {
  if (options.log_to != log_target::automatic) return;
  open_log(log_target::syslog, options.log_as);
}

void mute_log() {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("muted", std::make_shared<spdlog::sinks::null_sink_mt>()));
}

void set_log_verbosity(int verbosity) noexcept {
  constexpr spdlog::level::level_enum levels[] = {spdlog::level::err, spdlog::level::warn, spdlog::level::info,
                                                  spdlog::level::debug, spdlog::level::trace};
  spdlog::set_level(levels[std::clamp(verbosity, verbosity_least, verbosity_most) - verbosity_least]);
}

void log_traffic(char direction, int id, std::string_view line) noexcept {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  // What a client sent goes to a terminal: nothing but printable characters may.
  std::string printable;
  for (const char c : line.substr(0, 1024)) printable += c >= ' ' && c <= '~' ? c : '?';
  spdlog::trace("{}{} {}", direction, id, printable);
}

}  // namespace scoot::server
