// SPDX-License-Identifier: MIT
//
// heap_page: the live page of scootd (docs/design/page.md) over the heap of the demo's cache, in the cache's process.
//
// Nobody but the cache's thread may use its heap and counts while it works. So it works under a lock that it gives up
// between two requests as soon as somebody wants to look:
//
//     cache    lock | request | request | yield: unlock, wait, lock | request ...
//     looker                       wanted --^   lock, look, unlock
//
// Ownership: refers to cache and memory, which must outlive it. Threads: those of the HTTP server.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "cache_2003.hpp"
#include "memory.hpp"
#include "server/http.hpp"
#include "server/http_module.hpp"

namespace demo {

class turns {
 public:
  // The cache's thread.
  void lock() noexcept { mutex_.lock(); }
  void unlock() noexcept { mutex_.unlock(); }
  void yield() noexcept {
    if (wanted_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      give_way();
  }

  // A look by another thread.
  class look {
   public:
    explicit look(turns& at) noexcept : at_(at) {
      at_.wanted_.fetch_add(1);
      at_.mutex_.lock();
    }
    ~look() {
      at_.mutex_.unlock();
      at_.wanted_.fetch_sub(1);
    }
    look(const look&) = delete;
    look& operator=(const look&) = delete;

   private:
    turns& at_;
  };

 private:
  void give_way() noexcept;

  std::mutex mutex_;
  std::atomic<unsigned> wanted_{0};
};

class heap_page final : public scoot::server::cache_window {
 public:
  heap_page(const cache_2003& items, const memory& from, turns& at) : items_(items), memory_(from), turns_(at) {}

  // Serves it on 127.0.0.1 (port 0: any free one). What is wrong, or empty.
  [[nodiscard]] std::string start(unsigned port);
  [[nodiscard]] std::string address() const { return server_->address(); }

  [[nodiscard]] const char* name() const noexcept override { return "scoot demo"; }
  [[nodiscard]] std::chrono::steady_clock::time_point started() const noexcept override { return started_; }
  [[nodiscard]] bool ready() const noexcept override { return true; }
  [[nodiscard]] std::uint64_t connections() const noexcept override { return 0; }
  [[nodiscard]] const scoot::server::server_state* server() const noexcept override { return nullptr; }
  [[nodiscard]] scoot::cache_stats stats() const noexcept override;
  [[nodiscard]] scoot::server::worker_totals totals() const noexcept override { return {}; }
  [[nodiscard]] std::size_t list_page_use(std::size_t first,
                                          std::span<scoot::page_content> room) const noexcept override;
  // Nothing is pinned, and there is no cold tier.
  std::size_t list_pins(std::span<scoot::cache_pin> /*room*/) const noexcept override { return 0; }
  std::size_t list_pin_holders(std::span<scoot::pin_holder> /*room*/) const noexcept override { return 0; }
  void log(scoot::server::module_log level, const std::string& text) const override;

 private:
  [[nodiscard]] std::uint64_t visit_cold_erased(std::uint64_t /*cursor*/, cold_visitor_of_shards /*visit*/,
                                                void* /*context*/) const noexcept override {
    return 0;
  }
  [[nodiscard]] std::uint64_t visit_pages_erased(std::uint64_t cursor, page_visitor_of_shards visit, void* context,
                                                 const scoot::page_visit& how) const noexcept override;

  const cache_2003& items_;
  const memory& memory_;
  turns& turns_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::unique_ptr<scoot::server::http_server> server_;
};

// Lets malloc hold address space for the page's own needs: where addresses are limited (ulimit -v) a page pool may take
// what is left of them. False if it is not to be had.
[[nodiscard]] bool keep_addresses(std::size_t bytes) noexcept;

}  // namespace demo
