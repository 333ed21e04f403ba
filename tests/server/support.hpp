// SPDX-License-Identifier: MIT
//
// What the server's tests and fuzz targets share: a small cache with a clock that the test sets, and a dialogue with a
// session without any socket.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "scoot/cache.hpp"
#include "server/response_buffer.hpp"
#include "server/server_state.hpp"
#include "server/session.hpp"

namespace scoot::testing {

inline constexpr std::uint32_t first_second = 1'800'000'000;

// Everything that a session works with.
class session_world {
 public:
  explicit session_world(std::size_t budget_bytes = std::size_t{8} << 20,
                         std::size_t item_bytes_max = std::size_t{1} << 20, bool evict = true)
      : items(make(budget_bytes, item_bytes_max, evict)),
        state(*items, make_options(budget_bytes, item_bytes_max, evict)),
        with{state, state.counters.front(), out} {}

  std::uint32_t second = first_second;
  std::unique_ptr<cache> items;
  server::server_options options;
  server::server_state state;
  server::response_buffer out;
  server::session_context with;

 private:
  std::unique_ptr<cache> make(std::size_t budget_bytes, std::size_t item_bytes_max, bool evict) {
    cache_options wanted;
    wanted.budget_bytes = budget_bytes;
    wanted.shards = 2;
    wanted.item_bytes_max = item_bytes_max;
    wanted.evict = evict;
    wanted.maintenance_thread = false;
    wanted.clock = [](void* self) { return static_cast<session_world*>(self)->second; };
    wanted.clock_context = this;
    std::unique_ptr<cache> made = cache::create(wanted);
    if (made == nullptr) std::abort();
    return made;
  }
  const server::server_options& make_options(std::size_t budget_bytes, std::size_t item_bytes_max, bool evict) {
    options.memory_bytes = budget_bytes;
    options.item_bytes_max = item_bytes_max;
    options.evict = evict;
    options.threads = 1;
    return options;
  }
};

// Takes all that is pending out of a buffer, as a socket would, `step` bytes at most at a time.
inline std::string take_all(server::response_buffer& out, std::size_t step = SIZE_MAX) {
  std::string text;
  while (!out.empty()) {
    iovec vectors[8];
    const std::size_t count = out.gather(vectors, 8);
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count && taken < step; ++i) {
      const std::size_t bytes = std::min(vectors[i].iov_len, step - taken);
      text.append(static_cast<const char*>(vectors[i].iov_base), bytes);
      taken += bytes;
    }
    if (taken == 0) std::abort();
    out.drop(taken);
  }
  out.clear();
  return text;
}

// One client's conversation, without a socket: what connection does with a session, and nothing else.
class dialogue {
 public:
  explicit dialogue(session_world& world) : world_(world) {}

  // The client says this much more; returns what it is answered.
  std::string say(std::string_view bytes) {
    std::string answer;
    while (!bytes.empty() && !closed_) {
      if (const auto room = session_.value_room(); room.bytes > 0 && unread_.empty()) {
        const std::size_t count = std::min(room.bytes, bytes.size());
        std::memcpy(room.data, bytes.data(), count);
        session_.value_arrived(count);
        bytes.remove_prefix(count);
        continue;
      }
      unread_.append(bytes);
      bytes = {};
      carry_out(answer);
    }
    return answer;
  }
  [[nodiscard]] bool closed() const { return closed_; }
  [[nodiscard]] bool idle() const { return session_.idle() && unread_.empty(); }
  unsigned commands_per_turn = 1000;
  std::size_t turns = 0;
  std::size_t most_pending = 0;  // bytes in the output when it was sent

 private:
  void carry_out(std::string& answer) {
    for (;;) {
      unsigned left = commands_per_turn;
      const server::session_progress progress = session_.run(world_.with, unread_, left);
      most_pending = std::max(most_pending, world_.out.pending_bytes());
      unread_.erase(0, progress.used_bytes);
      answer += take_all(world_.out);
      if (progress.status == server::session_status::turn_over) ++turns;
      if (progress.status == server::session_status::close) closed_ = true;
      if (closed_ || progress.status == server::session_status::needs_input) return;
    }
  }

  session_world& world_;
  server::session session_{0};
  std::string unread_;
  bool closed_ = false;
};

}  // namespace scoot::testing
