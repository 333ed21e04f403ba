// SPDX-License-Identifier: MIT
#include "server/http.hpp"

#include <arpa/inet.h>
#include <civetweb.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <exception>
#include <fstream>
#include <string_view>
#include <thread>

#include "scoot/version.h"
#include "server/feed.hpp"
#include "server/http_metrics.hpp"
#include "server/http_pages.hpp"
#include "server/http_snapshot.hpp"

namespace scoot::server {
namespace {

constexpr std::size_t token_bytes_min = 16;
constexpr std::size_t token_bytes_max = 512;

constexpr const char* json = "application/json";
constexpr const char* text = "text/plain; charset=utf-8";

void begin(mg_connection* to, int status, const char* type) {
  mg_response_header_start(to, status);
  mg_response_header_add(to, "Content-Type", type, -1);
  mg_response_header_add(to, "Cache-Control", "no-store", -1);
  mg_response_header_add(to, "X-Content-Type-Options", "nosniff", -1);
  mg_response_header_add(to, "Referrer-Policy", "no-referrer", -1);
  mg_response_header_add(
      to, "Content-Security-Policy",
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      -1);
}

int answer(mg_connection* to, int status, const char* type, std::string_view body) {
  begin(to, status, type);
  mg_response_header_add(to, "Content-Length", std::to_string(body.size()).c_str(), -1);
  if (status == 401) mg_response_header_add(to, "WWW-Authenticate", "Bearer", -1);
  if (status == 405) mg_response_header_add(to, "Allow", "GET, HEAD", -1);
  if (status == 503) mg_response_header_add(to, "Retry-After", "5", -1);
  mg_response_header_send(to);
  if (std::strcmp(mg_get_request_info(to)->request_method, "HEAD") != 0) mg_write(to, body.data(), body.size());
  return status;
}

std::string read_token(const std::string& path, std::string& token) {
  std::ifstream file(path);
  if (!file || !std::getline(file, token)) return "--http-token-file: cannot read a line of '" + path + "'";
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (token.size() < token_bytes_min || token.size() > token_bytes_max) {
    return "--http-token-file: the token in '" + path + "' must have " + std::to_string(token_bytes_min) + " to " +
           std::to_string(token_bytes_max) + " characters";
  }
  for (const char c : token) {
    if (c <= ' ' || c > '~') return "--http-token-file: the token in '" + path + "' has a character that no header may";
  }
  return {};
}

// Takes as long wherever the first difference is.
bool same(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

bool is_loopback(const std::string& host) {
  in_addr binary{};
  return inet_pton(AF_INET, host.c_str(), &binary) == 1 && ntohl(binary.s_addr) >> 24 == 127;
}

// The number in a query "number=N".
bool page_number(const char* query, std::uint64_t& number) {
  constexpr std::string_view name = "number=";
  const std::string_view given = query == nullptr ? "" : query;
  if (given.substr(0, name.size()) != name) return false;
  const char* const end = given.data() + given.size();
  const auto [at, error] = std::from_chars(given.data() + name.size(), end, number);
  return error == std::errc{} && at == end;
}

}  // namespace

http_server::http_server(const cache_window& window, const http_options& options)
    : window_(window), options_(options) {}

// civetweb looks whether it is to stop when something happens, or every two seconds: so we make something happen.
http_server::~http_server() {
  if (feed_ != nullptr) feed_->stop();
  if (context_ == nullptr) return;
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    mg_stop(context_);
    stopped = true;
  });
  while (!stopped) {
    mg_connection* const knock = mg_connect_client(options_.host.c_str(), port_, 0, nullptr, 0);
    if (knock != nullptr) mg_close_connection(knock);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  stopper.join();
}

std::string http_server::start() {
  if (!options_.token_file.empty()) {
    std::string token;
    if (std::string error = read_token(options_.token_file, token); !error.empty()) return error;
    authorization_ = "Bearer " + token;
  }
  feed_ = std::make_unique<feed>(window_);
  feed_->start();
  const std::string where = options_.host + ":" + options_.port;
  const std::string threads = std::to_string(viewers_max + others_max);
  const std::string milliseconds = std::to_string(1000 * request_seconds_max);
  const std::string header_bytes = std::to_string(header_bytes_max);
  const std::array<const char*, 17> wanted = {"listening_ports",
                                              where.c_str(),
                                              "num_threads",
                                              threads.c_str(),
                                              "request_timeout_ms",
                                              milliseconds.c_str(),
                                              "max_request_size",
                                              header_bytes.c_str(),
                                              "enable_keep_alive",
                                              "yes",
                                              "keep_alive_timeout_ms",
                                              milliseconds.c_str(),
                                              "enable_directory_listing",
                                              "no",
                                              "tcp_nodelay",
                                              "1",
                                              nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = &http_server::on_request;
  callbacks.log_message = [](const mg_connection* from, const char* message) {
    served_by(from).window_.log(module_log::debug, std::string("http: ") + message);
    return 1;
  };
  std::array<char, 256> why{};
  mg_error_data error{};
  error.text = why.data();
  error.text_buffer_size = why.size();
  mg_init_data init{};
  init.callbacks = &callbacks;
  init.user_data = this;
  init.configuration_options = const_cast<const char**>(wanted.data());
  mg_init_library(MG_FEATURES_DEFAULT);
  context_ = mg_start2(&init, &error);
  if (context_ == nullptr) return "--http: cannot listen on " + where + ": " + why.data();
  std::array<mg_server_port, 2> ports{};
  if (mg_get_server_ports(context_, static_cast<int>(ports.size()), ports.data()) > 0) {
    port_ = static_cast<std::uint16_t>(ports[0].port);
  }
  if (!is_loopback(options_.host) && authorization_.empty()) {
    window_.log(module_log::warning,
                "--http " + where + ": whoever reaches that address can look; --http-token-file asks for a token");
  }
  return {};
}

std::string http_server::address() const { return "http://" + options_.host + ":" + std::to_string(port_) + "/"; }

bool http_server::allowed(const mg_connection* from) const noexcept {
  if (authorization_.empty()) return true;
  const char* const given = mg_get_header(from, "Authorization");
  return given != nullptr && same(given, authorization_);
}

bool http_server::names_this_machine(const mg_connection* from) const noexcept {
  if (!authorization_.empty() || !is_loopback(options_.host)) return true;
  const char* const header = mg_get_header(from, "Host");
  if (header == nullptr) return true;  // no browser
  std::string host = header;
  host.resize(std::min(host.find(':'), host.size()));
  return host == "localhost" || is_loopback(host);
}

http_server& http_server::served_by(const mg_connection* one) noexcept {
  return *static_cast<http_server*>(mg_get_user_data(mg_get_context(one)));
}

int http_server::on_request(mg_connection* to) noexcept {
  try {
    return served_by(to).serve(to);
  } catch (const std::exception& error) {  // no memory
    served_by(to).window_.log(module_log::warning, std::string("http: ") + error.what());
    mg_disable_connection_keep_alive(to);
    return 500;
  }
}

int http_server::serve(mg_connection* to) {
  const mg_request_info& request = *mg_get_request_info(to);
  const std::string_view method = request.request_method;
  const std::string_view path = request.local_uri == nullptr ? "" : request.local_uri;
  if (request.content_length > 0 || mg_get_header(to, "Transfer-Encoding") != nullptr) {
    mg_disable_connection_keep_alive(to);
    return answer(to, 413, text, "requests have no body here\n");
  }
  if (method != "GET" && method != "HEAD") {
    mg_disable_connection_keep_alive(to);
    return answer(to, 405, text, "only GET and HEAD: nothing can be changed here\n");
  }
  if (!names_this_machine(to)) return answer(to, 421, text, "this is served to this machine under its own name only\n");
  if (path == "/healthz") return answer(to, 200, text, "ok\n");
  if (path == "/readyz") {
    const bool ready = window_.ready();
    return answer(to, ready ? 200 : 503, text, ready ? "ready\n" : "not accepting connections\n");
  }
  if (const http_page* page = find_http_page(path); page != nullptr) return answer(to, 200, page->type, page->body());
  return serve_data(to, request.local_uri);
}

int http_server::serve_data(mg_connection* to, const char* path) {
  const std::string_view what = path == nullptr ? "" : path;
  const bool known =
      what == "/metrics" || what == "/heap.json" || what == "/page.json" || what == "/chunk.json" || what == "/events";
  if (!known) return answer(to, 404, text, "there is no such page\n");
  if (!allowed(to)) return answer(to, 401, text, "a token is needed: Authorization: Bearer TOKEN\n");
  const bool head = std::strcmp(mg_get_request_info(to)->request_method, "HEAD") == 0;
  if (what == "/metrics") {
    const server_state* const state = window_.server();
    if (state == nullptr) return answer(to, 404, text, "there are no metrics here\n");
    return answer(to, 200, "text/plain; version=0.0.4; charset=utf-8", write_metrics(*state, window_, viewers_.load()));
  }
  if (what == "/page.json" || what == "/chunk.json") {
    std::uint64_t number = 0;
    if (!page_number(mg_get_request_info(to)->query_string, number))
      return answer(to, 400, text, "number=N is needed\n");
    const std::string body = what == "/page.json" ? feed_->describe(number) : feed_->describe_chunk(number);
    return body.empty() ? answer(to, 404, text, "nothing is known of it\n") : answer(to, 200, json, body);
  }
  if (what == "/heap.json") {
    begin(to, 200, json);
    mg_response_header_add(to, "Transfer-Encoding", "chunked", -1);
    mg_response_header_send(to);
    if (head) return 200;
    const bool whole = write_cache_snapshot(window_, [to](std::string_view piece) {
      return mg_send_chunk(to, piece.data(), static_cast<unsigned>(piece.size())) > 0;
    });
    if (!whole) {
      mg_disable_connection_keep_alive(to);
    } else {
      mg_send_chunk(to, "", 0);
    }
    return 200;
  }
  if (viewers_.fetch_add(1) >= viewers_max) {
    viewers_.fetch_sub(1);
    return answer(to, 503, text, "as many viewers as may be are looking already\n");
  }
  mg_disable_connection_keep_alive(to);
  begin(to, 200, "text/event-stream");
  mg_response_header_send(to);
  if (!head) stream_events(to);
  viewers_.fetch_sub(1);
  return 200;
}

void http_server::stream_events(mg_connection* to) {
  feed::viewer viewer(*feed_);
  std::string out;
  while (viewer.next(out)) {
    if (mg_write(to, out.data(), out.size()) != static_cast<int>(out.size())) return;
  }
}

namespace {

std::unique_ptr<http_service> start_service(const cache_window& window, const http_options& options,
                                            std::string& error) {
  auto made = std::make_unique<http_server>(window, options);
  error = made->start();
  if (!error.empty()) return nullptr;
  return made;
}

}  // namespace
}  // namespace scoot::server

extern "C" __attribute__((visibility("default"))) const scoot::server::http_module_entry scootd_http_module;
const scoot::server::http_module_entry scootd_http_module = {scoot::server::http_module_layout, SCOOT_VERSION,
                                                             &scoot::server::start_service};
