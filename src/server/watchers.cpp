// SPDX-License-Identifier: MIT
#include "server/watchers.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "server/protocol.hpp"

namespace scoot::server {
namespace {

constexpr auto pause = std::chrono::milliseconds(1);  // so that lines are sent together
constexpr int evictions_ms = 20;                      // as long may evictions wait, which wake nobody
constexpr std::size_t note_bytes = 64;                // of a line about lines that were skipped

struct topic_name {
  std::string_view name;
  unsigned bit;
};
constexpr topic_name topics[] = {{"fetchers", watch_fetchers},   {"mutations", watch_mutations},
                                 {"evictions", watch_evictions}, {"connevents", watch_connevents},
                                 {"deletions", watch_deletions}, {"sysevents", watch_sysevents},
                                 {"rawcmds", watch_rawcmds}};

}  // namespace

unsigned topic_of(std::string_view name) noexcept {
  for (const topic_name& one : topics) {
    if (one.name == name) return one.bit;
  }
  return 0;
}

event_text& event_text::word(std::string_view text) noexcept {
  const std::size_t bytes = std::min(text.size(), sizeof text_ - used_);
  std::memcpy(text_ + used_, text.data(), bytes);
  used_ += bytes;
  return *this;
}

event_text& event_text::number(std::string_view name, std::int64_t value) noexcept {
  char digits[24];
  const int bytes = std::snprintf(digits, sizeof digits, "%lld", static_cast<long long>(value));
  return word(name).word({digits, static_cast<std::size_t>(bytes)});
}

event_text& event_text::key(std::string_view key) noexcept {
  char escaped[3 * key_bytes_max];
  const char* const end = write_escaped(escaped, key.substr(0, key_bytes_max));
  return word(" key=").word({escaped, static_cast<std::size_t>(end - escaped)});
}

watchers::watcher::~watcher() {
  stream.reset();
  if (descriptor >= 0) close(descriptor);
}

watchers::~watchers() {
  {
    const std::lock_guard hold(lock_);
    stopping_ = true;
  }
  if (thread_.joinable()) {
    eventfd_write(wake_, 1);
    thread_.join();
  }
  {
    const std::lock_guard hold(lock_);
    all_.clear();
  }
  follow_topics();
  if (wake_ >= 0) close(wake_);
}

bool watchers::full() const noexcept {
  const std::lock_guard hold(lock_);
  return all_.size() >= watchers_max;
}

bool watchers::start() noexcept {
  if (thread_.joinable()) return true;
  if (wake_ < 0) wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_ < 0) return false;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void watchers::adopt(unsigned wanted, int descriptor, std::unique_ptr<tls_stream> stream) noexcept {
  const std::lock_guard one_at_a_time(change_lock_);
  bool taken = false;
  try {
    auto made = std::make_unique<watcher>();
    made->descriptor = std::exchange(descriptor, -1);
    made->stream = std::move(stream);
    made->topics = wanted;
    made->pending.reserve(buffer_bytes_);
    made->sending.reserve(buffer_bytes_);
    made->pending.append("OK\r\n");
    if (!full() && start()) {
      // First, so that nothing that happens after the OK is missed.
      if ((wanted & watch_evictions) != 0) items_.observe_evictions(&on_eviction, this);
      observed_.fetch_or(wanted, std::memory_order_relaxed);
      const std::lock_guard hold(lock_);
      all_.push_back(std::move(made));
      taken = true;
    } else {
      refuse(*made);
    }
  } catch (const std::bad_alloc&) {
    if (descriptor >= 0) {
      stream.reset();  // which says goodbye on the socket, so while the number is this socket's
      close(descriptor);
    }
  }
  if (!taken) {
    follow_topics();
    connections_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  eventfd_write(wake_, 1);  // look at it, too
}

void watchers::refuse(watcher& w) noexcept {
  w.sending.assign("SERVER_ERROR no thread for watchers\r\n");  // within what was reserved
  send(w);
}

void watchers::on_eviction(void* self, const item_view& item) noexcept {
  auto& me = *static_cast<watchers*>(self);
  const std::int64_t left = static_cast<std::int64_t>(item.expires_at) - me.items_.now();
  event_text line("eviction");
  line.key(item.key).word(item.read ? " fetch=yes" : " fetch=no");
  line.number(" ttl=", item.expires_at == expires_never ? -1 : left).number(" la=", item.idle_s).number(" clsid=", 1);
  line.number(" size=", static_cast<std::int64_t>(item.value.size()));
  // Under a shard's lock, where no system call is to be made: the thread looks for these by itself.
  (void)me.add(watch_evictions, line);
}

// Whoever observes looks at `observed`, and the cache is told whether its evictions are of interest.
void watchers::follow_topics() noexcept {
  unsigned bits = 0;
  {
    const std::lock_guard hold(lock_);
    for (const auto& one : all_) bits |= one->topics;
  }
  items_.observe_evictions((bits & watch_evictions) != 0 ? &on_eviction : nullptr, this);
  observed_.fetch_and(~watch_topics, std::memory_order_relaxed);
  observed_.fetch_or(bits, std::memory_order_relaxed);
}

void watchers::tell(unsigned topic, const event_text& what) noexcept {
  if (add(topic, what)) eventfd_write(wake_, 1);
}

// True if the thread should be woken.
bool watchers::add(unsigned topic, const event_text& what) noexcept {
  const std::lock_guard hold(lock_);
  timeval now{};
  gettimeofday(&now, nullptr);
  char head[80];
  const int head_bytes = std::snprintf(head, sizeof head, "ts=%lld.%d gid=%llu ", static_cast<long long>(now.tv_sec),
                                       static_cast<int>(now.tv_usec), static_cast<unsigned long long>(++number_));
  char line[sizeof head + sizeof(event_text) + 1];
  std::memcpy(line, head, static_cast<std::size_t>(head_bytes));
  std::size_t bytes = static_cast<std::size_t>(head_bytes);
  std::memcpy(line + bytes, what.text().data(), what.text().size());
  bytes += what.text().size();
  line[bytes++] = '\n';
  for (const auto& one : all_) {
    if ((one->topics & topic) != 0) add_line(*one, {line, bytes});
  }
  return topic != watch_evictions && !std::exchange(woken_, true);
}

void watchers::add_line(watcher& w, std::string_view line) noexcept {
  if (w.pending.size() + line.size() + note_bytes > buffer_bytes_) {
    ++w.skipped;
    ++skipped_;
    return;
  }
  if (w.skipped > 0) {
    char note[note_bytes];
    const int bytes = std::snprintf(note, sizeof note, "skipped=%llu\n", static_cast<unsigned long long>(w.skipped));
    w.pending.append(note, static_cast<std::size_t>(bytes));  // within what was reserved
    w.skipped = 0;
  }
  w.pending.append(line);
  ++sent_;
}

void watchers::run() noexcept {
  pollfd polled[watchers_max + 1];
  watcher* of[watchers_max + 1];
  for (;;) {
    nfds_t count = 1;
    unsigned all_topics = 0;
    polled[0] = {wake_, POLLIN, 0};
    {
      const std::lock_guard hold(lock_);
      if (stopping_) return;
      woken_ = false;
      for (const auto& one : all_) {
        if (count > watchers_max) break;
        all_topics |= one->topics;
        if (one->sending.empty()) one->sending.swap(one->pending);
        const bool sends = !one->sending.empty();
        polled[count] = {one->descriptor, static_cast<short>(sends ? POLLIN | POLLOUT : POLLIN), 0};
        of[count++] = one.get();
      }
    }
    if (poll(polled, count, (all_topics & watch_evictions) != 0 ? evictions_ms : -1) < 0) continue;
    bool dead = false;
    for (nfds_t i = 1; i < count; ++i) {
      if ((polled[i].revents & POLLOUT) != 0) send(*of[i]);
      if ((polled[i].revents & ~POLLOUT) != 0) look(*of[i]);
      dead |= of[i]->dead;
    }
    if (dead) bury();
    if ((polled[0].revents & POLLIN) != 0) {
      eventfd_t ignored = 0;
      eventfd_read(wake_, &ignored);
      std::this_thread::sleep_for(pause);
    }
  }
}

void watchers::send(watcher& w) noexcept {
  const char* const from = w.sending.data() + w.sent;
  const std::size_t left = w.sending.size() - w.sent;
  const ssize_t bytes =
      w.stream != nullptr ? w.stream->write(from, left) : ::send(w.descriptor, from, left, MSG_NOSIGNAL);
  if (bytes < 0) {
    w.dead = errno != EAGAIN && errno != EINTR;
    return;
  }
  w.sent += static_cast<std::size_t>(bytes);
  if (w.sent < w.sending.size()) return;
  w.sending.clear();
  w.sent = 0;
}

// What a watcher says is not listened to, but its end is.
void watchers::look(watcher& w) noexcept {
  char ignored[4096];
  const ssize_t bytes =
      w.stream != nullptr ? w.stream->read(ignored, sizeof ignored) : recv(w.descriptor, ignored, sizeof ignored, 0);
  if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EINTR)) w.dead = true;
}

void watchers::bury() noexcept {
  const std::lock_guard one_at_a_time(change_lock_);
  {
    const std::lock_guard hold(lock_);
    const auto gone = std::remove_if(all_.begin(), all_.end(), [](const auto& one) { return one->dead; });
    connections_.fetch_sub(static_cast<std::uint64_t>(all_.end() - gone), std::memory_order_relaxed);
    all_.erase(gone, all_.end());
  }
  follow_topics();
}

watchers::totals watchers::counted() const noexcept {
  const std::lock_guard hold(lock_);
  return {number_, sent_, skipped_, all_.size()};
}

}  // namespace scoot::server
