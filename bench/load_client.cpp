// SPDX-License-Identifier: MIT
#include "load_client.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <deque>

#include "clock.hpp"

namespace bench {
namespace {

constexpr std::size_t input_capacity = std::size_t{256} << 10;
constexpr std::size_t value_bytes_max = std::size_t{64} << 10;
constexpr std::size_t pattern_shifts = 61;  // values of neighbouring keys start at different places of the pattern
constexpr int answer_timeout_ms = 10'000;

}  // namespace

struct load_client::connection {
  int fd = -1;
  std::string out;
  std::size_t sent = 0;
  std::vector<char> in = std::vector<char>(input_capacity);
  std::size_t begin = 0;  // of what was received and not yet parsed
  std::size_t end = 0;
  std::vector<load_request> batch;
  std::size_t answered = 0;         // requests of the batch
  std::uint32_t answered_keys = 0;  // keys of a get that were answered or skipped
  bool idle = true;
  std::uint64_t due_ns = 0;  // of the request under way, in an open loop
};

load_client::load_client() {
  random_source random(7);
  pattern_.resize(value_bytes_max + pattern_shifts);
  for (char& c : pattern_) c = static_cast<char>('a' + random.below(26));
}

load_client::~load_client() {
  for (const auto& c : connections_)
    if (c->fd >= 0) close(c->fd);
  if (epoll_ >= 0) close(epoll_);
}

bool load_client::fail(const std::string& what) {
  error_ = what;
  return false;
}

void load_client::make_key(char* key, std::uint32_t index) const noexcept {
  std::memcpy(key, key_prefix_.data(), key_prefix_.size());
  for (std::size_t i = load_key_bytes; i-- > key_prefix_.size();) {
    key[i] = static_cast<char>('0' + index % 10);
    index /= 10;
  }
}

void load_client::append_value(std::string& out, std::uint32_t index) const {
  out.append(pattern_, index % pattern_shifts, form_.value_bytes);
}

bool load_client::value_matches(const char* data, std::uint32_t index) const {
  return std::memcmp(data, pattern_.data() + index % pattern_shifts, form_.value_bytes) == 0;
}

bool load_client::open_one(const endpoint& to, connection& c) {
  sockaddr_in inet{};
  sockaddr_un local{};
  inet.sin_family = AF_INET;
  inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  inet.sin_port = htons(to.port);
  local.sun_family = AF_UNIX;
  if (to.path.size() + 1 > sizeof local.sun_path) return fail("the socket's path is too long");
  std::memcpy(local.sun_path, to.path.c_str(), to.path.size() + 1);
  const bool tcp = to.path.empty();
  const auto* address = tcp ? reinterpret_cast<const sockaddr*>(&inet) : reinterpret_cast<const sockaddr*>(&local);
  const auto length = static_cast<socklen_t>(tcp ? sizeof inet : sizeof local);
  const std::uint64_t deadline = wall_ns() + 5'000'000'000U;
  do {
    c.fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c.fd < 0) return fail("no socket");
    if (::connect(c.fd, address, length) == 0) {
      const int on = 1;
      if (tcp) setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return true;
    }
    close(c.fd);
    c.fd = -1;
    usleep(10'000);
  } while (wall_ns() < deadline);
  return fail("the server does not accept connections");
}

bool load_client::connect(const endpoint& to, unsigned connections) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return fail("no epoll");
  for (unsigned i = 0; i < connections; ++i) {
    connections_.push_back(std::make_unique<connection>());
    if (!open_one(to, *connections_.back())) return false;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = i;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_.back()->fd, &event) != 0) return fail("epoll_ctl");
  }
  return true;
}

// Writes what is left of the batch. Waits where the server does not read; the server is waiting for nothing else.
bool load_client::flush(connection& c) {
  while (c.sent < c.out.size()) {
    const ssize_t n = send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      c.sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      pollfd p{c.fd, POLLOUT | POLLIN, 0};
      if (poll(&p, 1, answer_timeout_ms) <= 0) return fail("the server reads nothing");
      if ((p.revents & POLLIN) != 0 && !receive(c)) return false;
    } else if (errno != EINTR) {
      return fail(std::string("send: ") + std::strerror(errno));
    }
  }
  return true;
}

// Writes the connection's next batch to its output; leaves the batch empty if there is none.
bool load_client::compose(connection& c, const next_batch& next) {
  c.batch.clear();
  c.answered = 0;
  c.answered_keys = 0;
  next(c.batch);
  if (c.batch.empty()) return false;
  c.out.clear();
  c.sent = 0;
  char key[load_key_bytes];
  const std::string bytes = std::to_string(form_.value_bytes);
  const std::string set_tail =
      form_.meta ? " " + bytes + "\r\n" : " 0 " + std::to_string(form_.exptime) + " " + bytes + "\r\n";
  for (const load_request& r : c.batch) {
    if (r.set) {
      make_key(key, r.first);
      c.out.append(form_.meta ? "ms " : "set ").append(key, sizeof key).append(set_tail);
      append_value(c.out, r.first);
    } else if (form_.meta) {
      make_key(key, r.first);
      c.out.append("mg ").append(key, sizeof key).append(" k v");
    } else {
      c.out.append("get");
      for (std::uint32_t i = 0; i < r.keys; ++i) {
        make_key(key, r.index(i));
        c.out.append(" ").append(key, sizeof key);
      }
    }
    c.out.append("\r\n");
  }
  return true;
}

bool load_client::send_next(connection& c, const next_batch& next) {
  if (compose(c, next)) return flush(c);
  c.idle = true;
  --running_;
  return true;
}

bool load_client::receive(connection& c) {
  if (c.begin > 0) {
    std::memmove(c.in.data(), c.in.data() + c.begin, c.end - c.begin);
    c.end -= c.begin;
    c.begin = 0;
  }
  if (c.end == c.in.size()) return fail("an answer is larger than any that was asked for");
  const ssize_t n = recv(c.fd, c.in.data() + c.end, c.in.size() - c.end, MSG_DONTWAIT);
  if (n == 0) return fail("the server closed a connection");
  if (n < 0 && errno != EAGAIN && errno != EINTR) return fail(std::string("recv: ") + std::strerror(errno));
  if (n > 0) c.end += static_cast<std::size_t>(n);
  return parse(c);
}

int load_client::parse_set(connection& c) {
  const std::string_view stored = form_.meta ? "HD\r\n" : "STORED\r\n";
  if (c.end - c.begin < stored.size()) return 0;
  if (c.in[c.begin] == 'S' && c.in[c.begin + 1] == 'E') return parse_refusal(c);
  if (std::memcmp(c.in.data() + c.begin, stored.data(), stored.size()) != 0) {
    error_ = "answer to set: " + std::string(c.in.data() + c.begin, std::min<std::size_t>(c.end - c.begin, 60));
    return -1;
  }
  c.begin += stored.size();
  ++result_.operations;
  return 1;
}

// SERVER_ERROR <why>\r\n: the server has no memory for the value, and has read it all the same.
int load_client::parse_refusal(connection& c) {
  const char* at = c.in.data() + c.begin;
  const std::size_t have = c.end - c.begin;
  const auto* newline = static_cast<const char*>(std::memchr(at, '\n', have));
  if (newline == nullptr) return 0;
  const std::string_view line(at, static_cast<std::size_t>(newline - at));
  if (line.substr(0, 13) != "SERVER_ERROR " || line.back() != '\r') {
    error_ = "answer to set: " + std::string(line.substr(0, 60));
    return -1;
  }
  if (result_.refused++ == 0) result_.refusal = std::string(line.substr(0, line.size() - 1));
  ++result_.operations;
  c.begin += line.size() + 1;
  return 1;
}

// VALUE <key> <flags> <bytes>\r\n<data>\r\n for those of the keys that are there, in order, then END\r\n.
int load_client::parse_get(connection& c) {
  const load_request& r = c.batch[c.answered];
  constexpr std::string_view value = "VALUE ";
  constexpr std::string_view end = "END\r\n";
  for (;;) {
    const char* at = c.in.data() + c.begin;
    const std::size_t have = c.end - c.begin;
    if (have < end.size()) return 0;
    if (std::memcmp(at, end.data(), end.size()) == 0) {
      result_.misses += r.keys - c.answered_keys;
      for (std::uint32_t i = c.answered_keys; on_miss && i < r.keys; ++i) on_miss(r.index(i));
      result_.operations += r.keys;
      c.begin += end.size();
      c.answered_keys = 0;
      return 1;
    }
    const auto* newline = static_cast<const char*>(std::memchr(at, '\n', have));
    if (newline == nullptr) return 0;
    const auto head = static_cast<std::size_t>(newline + 1 - at);
    std::size_t flags = 1;
    std::size_t bytes = 0;
    const char* numbers = at + value.size() + load_key_bytes + 1;
    bool good = head > value.size() + load_key_bytes + 4 && std::memcmp(at, value.data(), value.size()) == 0;
    if (good) {
      const auto first = std::from_chars(numbers, newline, flags);
      good = first.ec == std::errc{} && *first.ptr == ' ' &&
             std::from_chars(first.ptr + 1, newline, bytes).ec == std::errc{};
    }
    if (!good || flags != 0 || bytes != form_.value_bytes) {
      error_ = "answer to get: " + std::string(at, std::min<std::size_t>(have, 60));
      return -1;
    }
    if (have < head + bytes + 2) return 0;
    char key[load_key_bytes];
    std::uint32_t i = c.answered_keys;
    for (; i < r.keys; ++i) {
      make_key(key, r.index(i));
      if (std::memcmp(at + value.size(), key, sizeof key) == 0) break;
      ++result_.misses;
      if (on_miss) on_miss(r.index(i));
    }
    if (i == r.keys) {
      error_ = "a get was answered with a key that it did not ask for";
      return -1;
    }
    if (!check_value(newline + 1, r.index(i))) return -1;
    c.answered_keys = i + 1;
    c.begin += head + bytes + 2;
  }
}

// VA <bytes> k<key>\r\n<data>\r\n, or EN\r\n.
int load_client::parse_meta_get(connection& c) {
  const std::uint32_t index = c.batch[c.answered].first;
  const char* at = c.in.data() + c.begin;
  const std::size_t have = c.end - c.begin;
  if (have < 4) return 0;
  if (std::memcmp(at, "EN\r\n", 4) == 0) {
    ++result_.misses;
    if (on_miss) on_miss(index);
    ++result_.operations;
    c.begin += 4;
    return 1;
  }
  const std::string bytes = std::to_string(form_.value_bytes);
  const std::size_t head = 3 + bytes.size() + 2 + load_key_bytes + 2;
  if (have < head + form_.value_bytes + 2 && std::memcmp(at, "VA", 2) == 0) return 0;
  char key[load_key_bytes];
  make_key(key, index);
  const char* const key_at = at + 3 + bytes.size() + 2;
  if (std::memcmp(at, "VA ", 3) != 0 || std::memcmp(at + 3, bytes.data(), bytes.size()) != 0 ||
      std::memcmp(key_at - 2, " k", 2) != 0 || std::memcmp(key_at, key, sizeof key) != 0 ||
      std::memcmp(at + head - 2, "\r\n", 2) != 0) {
    error_ = "answer to mg: " + std::string(at, std::min<std::size_t>(have, 60));
    return -1;
  }
  if (!check_value(at + head, index)) return -1;
  ++result_.operations;
  c.begin += head + form_.value_bytes + 2;
  return 1;
}

// The value and its end of line.
bool load_client::check_value(const char* value, std::uint32_t index) {
  const bool verify = ++values_seen_ % form_.verify_every == 0;
  const char* const end = value + form_.value_bytes;
  if (end[0] != '\r' || end[1] != '\n' || (verify && !value_matches(value, index))) {
    return fail("a value is not what was stored");
  }
  if (verify) ++result_.verified;
  ++result_.hits;
  return true;
}

bool load_client::parse(connection& c) {
  while (c.answered < c.batch.size()) {
    const bool set = c.batch[c.answered].set;
    const int done = set ? parse_set(c) : form_.meta ? parse_meta_get(c) : parse_get(c);
    if (done <= 0) return done == 0;
    ++c.answered;
  }
  return c.begin == c.end || fail("the server sent more than it was asked for");
}

void load_client::begin_run(const load_form& form) {
  result_ = load_result{};
  form_ = form;
  form_.value_bytes = std::min(form.value_bytes, value_bytes_max);
  form_.verify_every = std::max(form.verify_every, 1U);
  char prefix[load_key_bytes + 1];
  std::snprintf(prefix, sizeof prefix, "scoot-bench-%08zu-", form_.value_bytes);
  key_prefix_ = prefix;
}

load_result load_client::run(const load_form& form, const next_batch& next) {
  begin_run(form);
  running_ = connections_.size();
  const std::uint64_t start = wall_ns();
  bool good = true;
  for (const auto& c : connections_) {
    c->idle = false;
    good = good && send_next(*c, next);
  }
  std::array<epoll_event, 64> events{};
  while (good && running_ > 0) {
    const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), answer_timeout_ms);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      good = fail("the server answers nothing");
      break;
    }
    for (int i = 0; good && i < n; ++i) {
      connection& c = *connections_[events[static_cast<std::size_t>(i)].data.u32];
      good = receive(c);
      if (good && !c.idle && c.answered == c.batch.size()) good = send_next(c, next);
    }
  }
  result_.seconds = static_cast<double>(wall_ns() - start) / 1e9;
  result_.ok = good;
  result_.error = good ? "" : error_;
  return result_;
}

load_result load_client::run_paced(const load_form& form, double rate, const next_batch& next, histogram& latency_ns) {
  begin_run(form);
  std::deque<connection*> free;  // taken in turn
  for (const auto& c : connections_) free.push_back(c.get());
  const std::uint64_t start = wall_ns();
  std::uint64_t sent = 0;
  bool more = true;
  bool good = true;
  std::uint64_t last_answer = start;
  std::array<epoll_event, 64> events{};
  while (good && (more || free.size() < connections_.size())) {
    const std::uint64_t now = wall_ns();
    while (good && more && !free.empty()) {
      const std::uint64_t due = start + static_cast<std::uint64_t>(static_cast<double>(sent) * 1e9 / rate);
      if (due > now) break;
      connection& c = *free.front();
      more = compose(c, next);
      if (!more) break;
      free.pop_front();
      c.idle = false;
      c.due_ns = due;
      ++sent;
      good = flush(c);
    }
    const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; good && i < n; ++i) {
      connection& c = *connections_[events[static_cast<std::size_t>(i)].data.u32];
      good = receive(c);
      if (!good || c.idle || c.answered < c.batch.size()) continue;
      last_answer = wall_ns();
      latency_ns.add(last_answer - c.due_ns);
      c.idle = true;
      free.push_back(&c);
    }
    if (free.size() == connections_.size()) last_answer = now;
    if (now > last_answer + answer_timeout_ms * 1'000'000ULL) good = fail("the server answers nothing");
  }
  result_.seconds = static_cast<double>(wall_ns() - start) / 1e9;
  result_.ok = good;
  result_.error = good ? "" : error_;
  return result_;
}

std::string load_client::command(const std::string& line) {
  connection& c = *connections_.front();
  const std::string request = line + "\r\n";
  if (send(c.fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  std::string text;
  while (text.find("\r\n") == std::string::npos) {
    pollfd p{c.fd, POLLIN, 0};
    char buffer[512];
    if (poll(&p, 1, answer_timeout_ms) <= 0) return "";
    const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
    if (n <= 0) return "";
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text.substr(0, text.find("\r\n"));
}

std::string load_client::statistic(const std::string& name) {
  connection& c = *connections_.front();
  constexpr std::string_view request = "stats\r\n";
  if (send(c.fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  std::string text;
  while (text.size() < 5 || text.compare(text.size() - 5, 5, "END\r\n") != 0) {
    pollfd p{c.fd, POLLIN, 0};
    char buffer[4096];
    if (poll(&p, 1, answer_timeout_ms) <= 0) return "";
    const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
    if (n <= 0) return "";
    text.append(buffer, static_cast<std::size_t>(n));
  }
  const std::string line = "STAT " + name + " ";
  const std::size_t at = text.find(line);
  if (at == std::string::npos) return "";
  return text.substr(at + line.size(), text.find("\r\n", at) - at - line.size());
}

load_client::next_batch random_load(std::uint32_t keys, unsigned depth, unsigned keys_per_get, unsigned set_percent,
                                    double seconds, std::uint64_t seed) {
  const std::uint64_t deadline = wall_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  return [=, random = random_source(seed)](std::vector<load_request>& batch) mutable {
    if (wall_ns() >= deadline) return;
    for (unsigned i = 0; i < depth; ++i) {
      load_request r;
      r.set = random.below(100) < set_percent;
      r.keys = r.set ? 1 : keys_per_get;
      r.first = random.below(keys);
      r.stride = 7919;  // a prime: the keys of a get lie apart
      r.wrap = keys;
      batch.push_back(r);
    }
  };
}

load_client::next_batch sequential_load(bool set, std::uint32_t first, std::uint32_t count) {
  constexpr std::uint32_t sets = 256;
  constexpr std::uint32_t keys_per_get = 100;
  return [=, done = std::uint32_t{0}](std::vector<load_request>& batch) mutable {
    const std::uint32_t step = std::min(set ? sets : keys_per_get, count - done);
    if (step == 0) return;
    if (!set) {
      batch.push_back({false, first + done, step, 1, UINT32_MAX});
    } else {
      for (std::uint32_t i = 0; i < step; ++i) batch.push_back({true, first + done + i, 1, 1, UINT32_MAX});
    }
    done += step;
  };
}

}  // namespace bench
