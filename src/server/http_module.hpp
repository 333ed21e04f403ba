// SPDX-License-Identifier: MIT
//
// http_module: what is served over HTTP (http.hpp) is an object of its own, scootd-http.so, which a server with --http
// loads: civetweb, prometheus-cpp and what uses them would else be .4 MiB of resident memory of every server.
//
//     scootd ----dlopen----> scootd-http.so: scootd_http_module.start(window, ...) --> http_service
//       ^----cache_window----'   civetweb, prometheus-cpp
//
// The module is linked with nothing of scootd: of the state it reads the data, and calls what is virtual. Both are of
// one build; load() refuses a module that says otherwise. It lies beside scootd, or where packages put it.
//
// Ownership: the service must go before the state. Threads: as http.hpp says. Failure: texts that say what is wrong.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "scoot/cache.hpp"
#include "server/options.hpp"
#include "server/server_state.hpp"

namespace scoot::server {

enum class module_log : unsigned char { debug, warning };

// What the module sees: the server and its cache, or the heap of any program that lets it be looked at.
class cache_window {
 public:
  [[nodiscard]] virtual const char* name() const noexcept = 0;  // of the program, as it may stand in JSON
  [[nodiscard]] virtual std::chrono::steady_clock::time_point started() const noexcept = 0;
  [[nodiscard]] virtual bool ready() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t connections() const noexcept = 0;
  [[nodiscard]] virtual const server_state* server() const noexcept = 0;  // for metrics; null: there are none
  [[nodiscard]] virtual cache_stats stats() const noexcept = 0;
  [[nodiscard]] virtual worker_totals totals() const noexcept = 0;
  [[nodiscard]] virtual std::size_t list_page_use(std::size_t first, std::span<page_content> room) const noexcept = 0;
  virtual std::size_t list_pins(std::span<cache_pin> room) const noexcept = 0;
  virtual std::size_t list_pin_holders(std::span<pin_holder> room) const noexcept = 0;
  virtual void log(module_log level, const std::string& text) const = 0;

  // As of the cache: visit(unsigned shard, const page_view&).
  template <class Visit>
  [[nodiscard]] std::uint64_t visit_pages(std::uint64_t cursor, Visit&& visit,
                                          const page_visit& how = {}) const noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return visit_pages_erased(
        cursor,
        [](void* context, unsigned shard, const page_view& page) noexcept {
          (*static_cast<visitor*>(context))(shard, page);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))), how);
  }
  // visit(unsigned shard, const cold_chunk_view&)
  template <class Visit>
  [[nodiscard]] std::uint64_t visit_cold(std::uint64_t cursor, Visit&& visit) const noexcept {
    using visitor = std::remove_reference_t<Visit>;
    return visit_cold_erased(
        cursor,
        [](void* context, unsigned shard, const cold_chunk_view& chunk) noexcept {
          (*static_cast<visitor*>(context))(shard, chunk);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visit))));
  }

 protected:
  ~cache_window() = default;
  using cold_visitor_of_shards = void (*)(void* context, unsigned shard, const cold_chunk_view& chunk) noexcept;
  [[nodiscard]] virtual std::uint64_t visit_cold_erased(std::uint64_t cursor, cold_visitor_of_shards visit,
                                                        void* context) const noexcept = 0;
  using page_visitor_of_shards = void (*)(void* context, unsigned shard, const page_view& page) noexcept;
  [[nodiscard]] virtual std::uint64_t visit_pages_erased(std::uint64_t cursor, page_visitor_of_shards visit,
                                                         void* context, const page_visit& how) const noexcept = 0;
};

// What is served, until it is destroyed.
class http_service {
 public:
  virtual ~http_service() = default;
  // Where the page is: "http://127.0.0.1:11280/".
  [[nodiscard]] virtual std::string address() const = 0;
};

// What the module exports, under the name scootd_http_module.
struct http_module_entry {
  std::size_t layout;  // http_module_layout of the build
  const char* version;
  // Begins to serve; null, with what is wrong.
  std::unique_ptr<http_service> (*start)(const cache_window& window, const http_options& options, std::string& error);
};

// Differs between builds that could not understand each other.
inline constexpr std::size_t http_module_layout = sizeof(server_state) * 1000003 + sizeof(cache_stats) * 1009 +
                                                  sizeof(page_view) + sizeof(cold_chunk_view) * 31 +
                                                  sizeof(http_options);

class http_module {
 public:
  // Loads the module, for good. What is wrong, or empty.
  [[nodiscard]] std::string load();
  // Begins to serve; the module must be loaded. Null, with what is wrong.
  [[nodiscard]] std::unique_ptr<http_service> start(server_state& state, const http_options& options,
                                                    std::string& error);

 private:
  class window;

  const http_module_entry* entry_ = nullptr;
  std::shared_ptr<const cache_window> window_;
};

}  // namespace scoot::server
