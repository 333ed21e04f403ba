// SPDX-License-Identifier: MIT
//
// http_server: what scootd tells people and tools over HTTP (--http): the live page, metrics, snapshots, health.
//
//     /            the page; its style, scripts and plots beside it
//     /events      what the page draws, as server-sent events      /page.json?number=N   one page of memory, in detail
//     /chunk.json?number=N  the same of a chunk of the cold tier
//     /metrics     for Prometheus                                  /heap.json            a snapshot (docs/snapshot.md)
//     /healthz     200 while the process answers                   /readyz               200 while clients are accepted
//
// Everything only reads. With a token, all but the page itself and the last two want "Authorization: Bearer TOKEN".
// Without one and on loopback, requests must name this machine as their host, so that a foreign web page cannot read
// them through a name that it lets point here.
//
// A program that is no scootd can show its heap like that, and has no metrics then.
//
// Ownership: refers to the window, which must outlive it. Threads: civetweb's, viewers_max + others_max of them; each
// viewer of /events keeps one. Failure: start() says what is wrong; a peer that is slow or ill-behaved is cut off after
// request_seconds_max. Cost: beside the sampling (feed.hpp) nothing while nobody asks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "server/http_module.hpp"
#include "server/options.hpp"

struct mg_connection;
struct mg_context;

namespace scoot::server {

class feed;

class http_server final : public http_service {
 public:
  static constexpr unsigned viewers_max = 16;         // of /events, at a time; more are told 503
  static constexpr unsigned others_max = 6;           // requests served beside them
  static constexpr unsigned request_seconds_max = 5;  // for a request's header to come, or for a peer to take anything
  static constexpr unsigned header_bytes_max = 8192;

  http_server(const cache_window& window, const http_options& options);
  ~http_server() override;  // ends open streams and waits for them
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;

  // Begins to serve. What is wrong, or empty.
  [[nodiscard]] std::string start();
  [[nodiscard]] std::string address() const override;

 private:
  [[nodiscard]] static http_server& served_by(const mg_connection* one) noexcept;
  static int on_request(mg_connection* to) noexcept;
  int serve(mg_connection* to);
  int serve_data(mg_connection* to, const char* path);
  [[nodiscard]] bool allowed(const mg_connection* from) const noexcept;
  [[nodiscard]] bool names_this_machine(const mg_connection* from) const noexcept;
  void stream_events(mg_connection* to);

  const cache_window& window_;
  const http_options options_;
  std::string authorization_;  // what the header must be; empty: anything
  std::unique_ptr<feed> feed_;
  mg_context* context_ = nullptr;
  std::atomic<unsigned> viewers_{0};
  std::uint16_t port_ = 0;
};

}  // namespace scoot::server
