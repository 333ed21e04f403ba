// SPDX-License-Identifier: MIT
#include "server/http_module.hpp"

#include <dlfcn.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <utility>

#include "scoot/version.h"

namespace scoot::server {
namespace {

constexpr const char* file_name = "scootd-http.so";

// Where it may be, in order. SCOOTD_MODULE_FOLDER is where it is installed, seen from the program's folder.
std::string find_module() {
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  if (length <= 0 || length == static_cast<ssize_t>(sizeof self))
    return SCOOTD_MODULE_FOLDER_ABSOLUTE "/scootd-http.so";
  const std::string program(self, static_cast<std::size_t>(length));
  const std::string folder = program.substr(0, program.rfind('/') + 1);
  std::string beside = folder + file_name;
  if (access(beside.c_str(), R_OK) == 0) return beside;
  return folder + SCOOTD_MODULE_FOLDER "/" + file_name;
}

}  // namespace

class http_module::window final : public cache_window {
 public:
  explicit window(server_state& state) noexcept : state_(state) {}
  [[nodiscard]] const char* name() const noexcept override { return "scootd"; }
  [[nodiscard]] std::chrono::steady_clock::time_point started() const noexcept override { return state_.started; }
  [[nodiscard]] bool ready() const noexcept override { return state_.serving.load() && state_.accepting.load(); }
  [[nodiscard]] std::uint64_t connections() const noexcept override {
    return state_.connections_now.load(std::memory_order_relaxed);
  }
  [[nodiscard]] const server_state* server() const noexcept override { return &state_; }
  [[nodiscard]] cache_stats stats() const noexcept override { return state_.items.stats(); }
  [[nodiscard]] worker_totals totals() const noexcept override { return state_.totals(); }
  [[nodiscard]] std::size_t list_page_use(std::size_t first, std::span<page_content> room) const noexcept override {
    return state_.items.list_page_use(first, room);
  }
  std::size_t list_pins(std::span<cache_pin> room) const noexcept override { return state_.items.list_pins(room); }
  std::size_t list_pin_holders(std::span<pin_holder> room) const noexcept override {
    return state_.items.list_pin_holders(room);
  }
  void log(module_log level, const std::string& text) const override {
    spdlog::log(level == module_log::warning ? spdlog::level::warn : spdlog::level::debug, "{}", text);
  }

 private:
  [[nodiscard]] std::uint64_t visit_pages_erased(std::uint64_t cursor, page_visitor_of_shards visit, void* context,
                                                 const page_visit& how) const noexcept override {
    return state_.items.visit_pages(
        cursor, [&](unsigned shard, const page_view& page) { visit(context, shard, page); }, how);
  }
  [[nodiscard]] std::uint64_t visit_cold_erased(std::uint64_t cursor, cold_visitor_of_shards visit,
                                                void* context) const noexcept override {
    return state_.items.visit_cold(cursor,
                                   [&](unsigned shard, const cold_chunk_view& chunk) { visit(context, shard, chunk); });
  }

  server_state& state_;
};

std::string http_module::load() {
  const std::string path = find_module();
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::string("--http: cannot load its module: ") + dlerror();
  const auto* const entry = static_cast<const http_module_entry*>(dlsym(library, "scootd_http_module"));
  if (entry == nullptr || entry->layout != http_module_layout || std::strcmp(entry->version, SCOOT_VERSION) != 0) {
    return "--http: " + path + " is not of this build of scootd";
  }
  entry_ = entry;
  return {};
}

std::unique_ptr<http_service> http_module::start(server_state& state, const http_options& options, std::string& error) {
  window_ = std::make_shared<window>(state);
  return entry_->start(*window_, options, error);
}

}  // namespace scoot::server
