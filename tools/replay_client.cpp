// SPDX-License-Identifier: MIT
#include "tools/replay_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace tools {
namespace {

constexpr std::size_t line_bytes_max = 2048;
constexpr std::size_t pattern_bytes = 4096;
constexpr std::uint64_t progress_every_ns = 200'000'000;

std::uint64_t now_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

bool begins(std::string_view text, std::string_view with) noexcept { return text.substr(0, with.size()) == with; }

// A command and what it becomes when it stores.
std::string_view command_of(cache_operation operation) noexcept {
  switch (operation) {
    case cache_operation::add:
      return "add";
    case cache_operation::replace:
      return "replace";
    case cache_operation::extend:
      return "append";
    default:
      return "set";
  }
}

}  // namespace

replay_client::replay_client(const request_trace& trace, const replay_options& options)
    : trace_(trace), options_(options), lanes_(options.connections), known_(trace.objects), unclear_(trace.objects) {
  pattern_.reserve(pattern_bytes);
  std::uint32_t random = 1;
  while (pattern_.size() < pattern_bytes) {
    random = random * 1664525 + 1013904223;
    pattern_ += static_cast<char>('a' + (random >> 24) % 26);
  }
  digits_ = std::to_string(trace.objects > 0 ? trace.objects - 1 : 0).size();
}

bool replay_client::connect(const address& to, std::string& error) {
  const auto timeout = std::chrono::seconds(options_.timeout_s);
  for (lane& l : lanes_) {
    if (!l.socket.open(to, options_.access, timeout, error)) return false;
  }
  return true;
}

// As long as the trace says, where the prefix leaves room.
void replay_client::append_key(std::string& out, const trace_request& q) const {
  char number[16];
  const auto [end, failed] = std::to_chars(number, number + sizeof number, q.object);
  (void)failed;
  const auto bytes = static_cast<std::size_t>(end - number);
  const std::size_t wanted = std::max<std::size_t>(q.key_bytes, options_.prefix.size() + digits_);
  out += options_.prefix;
  out.append(wanted - options_.prefix.size() - bytes, '0');
  out.append(number, bytes);
}

void replay_client::store(lane& l, std::uint32_t index, std::string_view command, what kind, bool clears) {
  const trace_request& q = trace_.requests[index];
  std::size_t bytes = std::min(q.value_bytes, options_.value_bytes_max);
  // What is appended makes the object as large as the trace says it then is; how much that is it does not say.
  if (command == "append") bytes = 1;
  l.out += command;
  l.out += ' ';
  append_key(l.out, q);
  l.out += " 0 ";
  l.out += std::to_string(options_.ttl ? q.ttl : 0);
  l.out += ' ';
  l.out += std::to_string(bytes);
  l.out += "\r\n";
  for (std::size_t left = bytes, at = q.object % 61; left > 0; at = 0) {
    const std::size_t part = std::min(left, pattern_bytes - at);
    l.out.append(pattern_, at, part);
    left -= part;
  }
  l.out += "\r\n";
  l.flights.push_back({0, index, kind, clears});
  ++l.unstamped;
}

void replay_client::compose(lane& l, std::uint32_t index) {
  const trace_request& q = trace_.requests[index];
  what kind = what::other;
  switch (q.operation) {
    case cache_operation::set:
    case cache_operation::add:
    case cache_operation::replace:
    case cache_operation::extend:
      if (q.operation == cache_operation::set || q.operation == cache_operation::add) known_[q.object] = true;
      return store(l, index, command_of(q.operation), what::store, false);
    case cache_operation::get:
      kind = what::get;
      unclear_[q.object] = !known_[q.object];
      l.out += "get ";
      append_key(l.out, q);
      break;
    case cache_operation::count:
      l.out += "incr ";
      append_key(l.out, q);
      l.out += " 1";
      break;
    case cache_operation::remove:
      known_[q.object] = false;
      l.out += "delete ";
      append_key(l.out, q);
      break;
  }
  l.out += "\r\n";
  l.flights.push_back({0, index, kind, unclear_[q.object]});
  ++l.unstamped;
}

void replay_client::dispatch() {
  while (!stop_ && next_ < trace_.requests.size()) {
    const std::uint32_t object = trace_.requests[next_].object;
    lane& l = lanes_[object % lanes_.size()];
    if (l.flights.size() >= options_.depth || unclear_[object]) return;
    compose(l, next_++);
  }
}

// Writes what the kernel takes.
bool replay_client::flush(lane& l, std::string& error) {
  if (l.unstamped > 0) {
    const std::uint64_t now = now_ns();
    for (; l.unstamped > 0; --l.unstamped) l.flights[l.flights.size() - l.unstamped].sent_ns = now;
  }
  while (l.sent < l.out.size()) {
    const ssize_t n = l.socket.write_some(l.out.data() + l.sent, l.out.size() - l.sent);
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error = std::string("lost the connection: ") + std::strerror(errno), false;
    l.sent += static_cast<std::size_t>(n);
    result_.bytes_sent += static_cast<std::size_t>(n);
  }
  l.out.clear();
  l.sent = 0;
  return true;
}

bool replay_client::receive(lane& l, std::string& error) {
  char buffer[65536];
  for (;;) {
    const ssize_t n = l.socket.read_some(buffer, sizeof buffer);
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error = std::string("lost the connection: ") + std::strerror(errno), false;
    if (n == 0) return error = "the server closed the connection", false;
    result_.bytes_received += static_cast<std::size_t>(n);
    std::string_view got(buffer, static_cast<std::size_t>(n));
    const std::size_t skipped = std::min(l.skip, l.in.empty() ? got.size() : 0);
    l.skip -= skipped;
    got.remove_prefix(skipped);
    l.in += got;
    if (!parse(l, error)) return false;
    if (static_cast<std::size_t>(n) < sizeof buffer && !l.socket.pending()) return true;
  }
}

bool replay_client::parse(lane& l, std::string& error) {
  std::size_t at = 0;
  for (;;) {
    const std::size_t skipped = std::min(l.skip, l.in.size() - at);
    l.skip -= skipped;
    at += skipped;
    if (l.skip > 0) break;
    const std::size_t end = l.in.find('\n', at);
    if (end == std::string::npos) {
      if (l.in.size() - at > line_bytes_max) return error = "the server sent a line that does not end", false;
      break;
    }
    std::string_view line(l.in.data() + at, end - at);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    at = end + 1;
    if (!take_line(l, line, error)) return false;
  }
  l.in.erase(0, at);
  return true;
}

void replay_client::count_error(std::string_view line) {
  if (result_.errors++ == 0) result_.first_error = line;
}

bool replay_client::take_get_line(lane& l, flight& f, std::string_view line, std::string& error) {
  const trace_request& q = trace_.requests[f.request];
  if (begins(line, "VALUE ")) {
    std::string key;
    append_key(key, q);
    const std::size_t last = line.rfind(' ');
    std::size_t bytes = 0;
    const auto [end, failed] = std::from_chars(line.data() + last + 1, line.data() + line.size(), bytes);
    if (f.hit || line.substr(6, key.size() + 1) != key + " " || failed != std::errc{} ||
        end != line.data() + line.size()) {
      return error = "not an answer to get " + key + ": " + std::string(line.substr(0, 80)), false;
    }
    f.hit = true;
    l.skip = bytes + 2;
    return true;
  }
  const bool end = line == "END";
  if (!end) count_error(line);
  const bool late = f.request >= trace_.requests.size() / 2;
  ++result_.gets;
  result_.hits += f.hit;
  result_.late_gets += late;
  result_.late_hits += late && f.hit;
  ++result_.requests;
  result_.get_ns.add(now_ns() - f.sent_ns);
  const std::uint32_t index = f.request;
  const bool fill = end && !f.hit;
  const bool clears = f.clears;
  if (clears) {
    known_[q.object] = f.hit;
    unclear_[q.object] = fill;
  }
  l.flights.pop_front();
  if (fill) {
    ++result_.fills;
    store(l, index, "set", what::fill, clears);
  }
  return true;
}

bool replay_client::take_line(lane& l, std::string_view line, std::string& error) {
  if (l.flights.empty()) return error = "the server said unasked: " + std::string(line.substr(0, 80)), false;
  flight& f = l.flights.front();
  const std::uint32_t object = trace_.requests[f.request].object;
  // A count of what is no number is the trace's doing; every other CLIENT_ERROR, and ERROR, means that we are not
  // understood.
  const bool count = trace_.requests[f.request].operation == cache_operation::count && f.kind == what::other;
  if (line == "ERROR" || (begins(line, "CLIENT_ERROR") && !count)) {
    return error = "the server does not take the request: " + std::string(line.substr(0, 80)), false;
  }
  const bool failed = begins(line, "SERVER_ERROR");
  if (f.kind == what::get) {
    if (!failed && line != "END" && !begins(line, "VALUE ")) {
      return error = "not an answer to get: " + std::string(line.substr(0, 80)), false;
    }
    return take_get_line(l, f, line, error);
  }
  if (failed) count_error(line);
  if (f.kind == what::other) {
    ++result_.others;
  } else {
    const bool stored = line == "STORED";
    if (!stored && !failed && line != "NOT_STORED") {
      return error = "not an answer to set: " + std::string(line.substr(0, 80)), false;
    }
    result_.stored += stored;
    result_.refused += failed;
    result_.stores += f.kind == what::store;
    result_.store_ns.add(now_ns() - f.sent_ns);
    if (f.clears) {
      unclear_[object] = false;
      known_[object] = stored;
    } else if (failed) {
      known_[object] = false;
    }
  }
  result_.requests += f.kind != what::fill;
  l.flights.pop_front();
  return true;
}

bool replay_client::idle() const noexcept {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const lane& l) { return l.flights.empty(); });
}

bool replay_client::run(const std::function<bool(const replay_result&)>& progress, std::string& error) {
  const std::uint64_t start = now_ns();
  std::uint64_t told = start, heard = start;
  std::vector<pollfd> polled(lanes_.size());
  bool good = true;
  while (good) {
    dispatch();
    for (lane& l : lanes_) good = good && flush(l, error);
    if (!good || ((stop_ || next_ == trace_.requests.size()) && idle())) break;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      const short out = lanes_[i].out.empty() ? 0 : POLLOUT;
      polled[i] = {lanes_[i].socket.fd(), static_cast<short>(POLLIN | out), 0};
    }
    const int n = poll(polled.data(), polled.size(), 100);
    const std::uint64_t now = now_ns();
    if (n > 0) heard = now;
    if (now - heard > options_.timeout_s * std::uint64_t{1'000'000'000}) {
      error = "no answer for " + std::to_string(options_.timeout_s) + " s";
      good = false;
    }
    for (std::size_t i = 0; good && n > 0 && i < lanes_.size(); ++i) {
      if ((polled[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) good = receive(lanes_[i], error);
    }
    if (now - told >= progress_every_ns) {
      told = now;
      result_.seconds = static_cast<double>(now - start) / 1e9;
      if (!progress(result_)) stop_ = result_.interrupted = true;
    }
  }
  result_.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return good;
}

}  // namespace tools
