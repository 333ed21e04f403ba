// SPDX-License-Identifier: MIT
//
// watchers: clients that sent `watch` and are told, a line each, what others do.
//
//     workers, cache --tell()--> a buffer for each watcher --thread--> its socket
//
// Lines have memcached 1.6's form: "ts=<s>.<us> gid=<number> type=...". A watcher has two buffers of a bounded size,
// one that is written to and one that is sent; while the first is full lines are skipped, and how many were is told
// before the next one ("skipped=<n>"). Nobody waits for a watcher.
//
// While nobody watches there is no thread and no buffer, and all that others do is to look at one number.
//
// Ownership: a watcher's socket belongs to this from adopt() on. Threads: any. Evictions come under a shard's lock:
// then lock_ is taken for a moment, under which nothing else is locked and no system call made. Failure: without memory
// or thread a watcher is closed, and told so if it can be.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "scoot/cache.hpp"
#include "server/tls.hpp"

namespace scoot::server {

// Topics, and what else makes a server look closer at what it does: bits of server_state::observed.
inline constexpr unsigned watch_fetchers = 1;
inline constexpr unsigned watch_mutations = 2;
inline constexpr unsigned watch_evictions = 4;
inline constexpr unsigned watch_connevents = 8;
inline constexpr unsigned watch_deletions = 16;
inline constexpr unsigned watch_sysevents = 32;  // of which there are none
inline constexpr unsigned watch_rawcmds = 64;
inline constexpr unsigned watch_topics = 127;
inline constexpr unsigned count_prefixes = 128;  // `stats detail on`

// The bit of a topic's name; 0 if there is no such topic.
[[nodiscard]] unsigned topic_of(std::string_view name) noexcept;

// A line's end "<key>=<value>..." in memory on the stack.
class event_text {
 public:
  explicit event_text(std::string_view type) noexcept { word("type=").word(type); }
  [[nodiscard]] static event_text plain(std::string_view text) noexcept {
    event_text line;
    line.word(text);
    return line;
  }
  event_text& word(std::string_view text) noexcept;
  event_text& number(std::string_view name, std::int64_t value) noexcept;
  event_text& key(std::string_view key) noexcept;  // as in a URI
  [[nodiscard]] std::string_view text() const noexcept { return {text_, used_}; }

 private:
  event_text() = default;
  char text_[1200];
  std::size_t used_ = 0;
};

class watchers {
 public:
  static constexpr std::size_t watchers_max = 20;

  // Keeps the topics' bits of `observed`, lowers `connections` for each that ends.
  watchers(cache& items, std::atomic<unsigned>& observed, std::atomic<std::uint64_t>& connections,
           std::size_t buffer_bytes) noexcept
      : items_(items), observed_(observed), connections_(connections), buffer_bytes_(buffer_bytes) {}
  watchers(const watchers&) = delete;
  watchers& operator=(const watchers&) = delete;
  ~watchers();

  [[nodiscard]] bool full() const noexcept;
  // Takes a connected, non-blocking socket, says OK to it and then what happens from now on.
  void adopt(unsigned topics, int descriptor, std::unique_ptr<tls_stream> stream) noexcept;
  void tell(unsigned topic, const event_text& what) noexcept;

  struct totals {
    std::uint64_t told = 0, sent = 0, skipped = 0;  // events; lines to watchers, and those that they missed
    std::size_t watching = 0;
  };
  [[nodiscard]] totals counted() const noexcept;
  // For each: void(int descriptor). They stay open meanwhile.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const std::lock_guard hold(lock_);
    for (const auto& one : all_) visit(one->descriptor);
  }

 private:
  struct watcher {
    ~watcher();
    unsigned topics = 0;
    int descriptor = -1;
    bool dead = false;
    std::unique_ptr<tls_stream> stream;
    std::uint64_t skipped = 0;
    std::string pending;   // under lock_
    std::string sending;   // the thread's
    std::size_t sent = 0;  // of sending
  };

  static void on_eviction(void* self, const item_view& item) noexcept;
  [[nodiscard]] bool start() noexcept;
  static void refuse(watcher& w) noexcept;
  [[nodiscard]] bool add(unsigned topic, const event_text& what) noexcept;
  void run() noexcept;
  void add_line(watcher& w, std::string_view line) noexcept;
  static void send(watcher& w) noexcept;
  static void look(watcher& w) noexcept;
  void bury() noexcept;
  void follow_topics() noexcept;

  cache& items_;
  std::atomic<unsigned>& observed_;
  std::atomic<std::uint64_t>& connections_;
  const std::size_t buffer_bytes_;

  std::mutex change_lock_;   // over adopting and ending; taken before any other, never under a shard's
  mutable std::mutex lock_;  // all below
  std::vector<std::unique_ptr<watcher>> all_;
  std::uint64_t number_ = 0;  // of the last event
  std::uint64_t sent_ = 0, skipped_ = 0;
  bool woken_ = false;
  bool stopping_ = false;
  int wake_ = -1;  // an event descriptor
  std::thread thread_;
};

}  // namespace scoot::server
