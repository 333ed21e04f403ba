// SPDX-License-Identifier: MIT
//
// session: what one client has said so far, and carrying it out. No I/O: bytes in, responses out.
//
//     start -> auth -> command, binary    by the first byte; auth only where names and passwords are asked for
//     command --dump----> walking    (all items, in turns)
//     command --get...--> retrieving (only while a long list of keys waits for room in the output)
//        |----set...----> value ----> value_end ----> command     (only when the block is large and not all here)
//        |----too large-> swallowing -----------------^
//
// A session needs no buffer of its own. run() is given the bytes at hand and says how many it used; the caller keeps
// the rest and comes again with more behind them. While a large value arrives, value_room() is the memory it goes to,
// so that the socket can be read straight into the item.
//
// Ownership: one per connection; holds at most one item under construction, which must be gone before the cache is.
// Threads: one at a time. Cost: nothing is allocated per request.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scoot/cache.hpp"
#include "server/binary_protocol.hpp"
#include "server/meta_protocol.hpp"
#include "server/protocol.hpp"
#include "server/response_buffer.hpp"
#include "server/server_state.hpp"

namespace scoot::server {

// What a session works with: its worker's.
struct session_context {
  server_state& state;
  worker_counters& counters;
  response_buffer& out;
};

enum class session_status : unsigned char {
  needs_input,  // all that can be done with these bytes is done
  output_full,  // send what is there, then come again with the bytes not used
  turn_over,    // as many commands were carried out as the turn allowed; bytes are left
  wait,         // what comes next is large, and too many values are pinned: send what is there, come again later
  watch,        // send what is there, then give the socket to server_state::watching, for watch_topics()
  close,        // send what is there, then close
};

struct session_progress {
  session_status status = session_status::needs_input;
  std::size_t used_bytes = 0;
};

// The key of an item under construction, for when that is no more; empty if nobody wants to know.
class kept_key {
 public:
  kept_key(const server_state& state, const pending_item& item) noexcept {
    if (!state.observes(watch_mutations | count_prefixes)) return;
    const std::string_view key = item.key();
    std::copy(key.begin(), key.end(), bytes_);
    count_ = key.size();
  }
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_, count_}; }

 private:
  char bytes_[key_bytes_max];
  std::size_t count_ = 0;
};

struct meta_store;  // a store as a meta command wants it

class session {
 public:
  // Blocks of at least this size that are not all at hand are received in place rather than buffered.
  static constexpr std::size_t in_place_bytes_min = std::size_t{8} << 10;
  // Values from which on it pays to read a command's first bytes apart, so that the value is copied once.
  static constexpr std::size_t large_value_bytes_min = std::size_t{32} << 10;

  explicit session(int id) noexcept : id_(id) {}

  // Carries out what `input` holds, at most `commands_left` commands (which it lowers), while the output has room.
  session_progress run(const session_context& with, std::string_view input, unsigned& commands_left) noexcept;

  struct room {
    char* data = nullptr;
    std::size_t bytes = 0;
  };
  // Where the next bytes of input belong if they are part of a large value; nowhere (0 bytes) otherwise.
  [[nodiscard]] room value_room() const noexcept {
    if (phase_ != phase::value) return {};
    // Nothing comes behind a binary value, so its last byte comes through run(), which finishes it.
    const std::size_t last = binary_ ? 1 : 0;
    return {incoming_.value() + value_received_, incoming_.value_bytes() - value_received_ - last};
  }
  // So many bytes were put into value_room().
  void value_arrived(std::size_t bytes) noexcept;

  // A value of at least large_value_bytes_min came or began to come since this was last asked.
  [[nodiscard]] bool took_large_value() noexcept { return std::exchange(large_value_, false); }

  [[nodiscard]] unsigned watch_topics() const noexcept { return watch_topics_; }

  // What comes next is a line, or the rest of one.
  [[nodiscard]] bool reads_lines() const noexcept { return phase_ == phase::command; }
  // Memory of a walk over the items, which drop_walk() ends: nothing may be run after that.
  [[nodiscard]] std::size_t walk_bytes() const noexcept;
  void drop_walk() noexcept { walk_.reset(); }

  // True if the client is not in the middle of something.
  [[nodiscard]] bool idle() const noexcept { return phase_ <= phase::binary; }

 private:
  enum class phase : unsigned char {
    start,
    auth,
    command,
    binary,
    retrieving,
    walking,
    value,
    value_end,
    swallowing,
    watching
  };
  enum class step : unsigned char { again, needs_input, output_full, turn_over, wait, watch, close };

  // On the way over all items.
  struct walk {
    enum class kind : unsigned char { metadump, mgdump, cachedump, sizes, prefixes };
    kind what = kind::sizes;
    std::uint64_t cursor = 0;
    std::uint64_t items_left = 0;                // cachedump
    std::size_t request_bytes = 0;               // still in the input
    std::map<std::size_t, std::uint64_t> sizes;  // sizes: items by steps of bytes, those that there are
    std::string prefix;                          // prefixes: the last that was told
    void count(std::size_t bytes) noexcept;
  };

  step begin(const session_context& with, std::string_view input) noexcept;
  step run_command(const session_context& with, std::string_view& input) noexcept;
  step execute(const session_context& with, const request& what, std::string_view& input,
               std::size_t line_bytes) noexcept;
  step run_store(const session_context& with, const request& what, std::string_view& input,
                 std::size_t line_bytes) noexcept;
  [[nodiscard]] cache_status begin_value(const session_context& with, std::string_view key, std::size_t value_bytes,
                                         const store_options& options, std::string_view kept) noexcept;
  void refuse_value(const session_context& with, cache_status status) noexcept;
  step receive_value(const session_context& with, std::string_view& input) noexcept;
  step finish_value(const session_context& with, std::string_view& input) noexcept;
  step swallow(std::string_view& input) noexcept;
  static void refuse_binary(const session_context& with, std::string_view input) noexcept;
  void run_arithmetic(const session_context& with, const request& what) noexcept;
  static void flush(const session_context& with, std::uint32_t at) noexcept;
  step shut_down(const session_context& with, std::string_view how) noexcept;
  static void set_verbosity(const session_context& with, std::uint64_t level) noexcept;

  // session_retrieval.cpp
  step resume_retrieval(const session_context& with, std::string_view& input) noexcept;
  step run_retrieval(const session_context& with, std::string_view keys, std::string_view& input,
                     std::size_t line_bytes) noexcept;
  [[nodiscard]] bool retrieve(const session_context& with, std::span<const std::string_view> keys, bool whole) noexcept;
  bool has_to_wait(const session_context& with, std::string_view key) const noexcept;
  std::size_t answerable_now(const session_context& with, std::span<const std::string_view> keys) const noexcept;

  // session_meta.cpp
  step run_meta(const session_context& with, std::string_view line, std::string_view& input,
                std::size_t line_bytes) noexcept;
  step meta_get(const session_context& with, const meta_request& what) noexcept;
  step meta_set(const session_context& with, const meta_request& what, std::string_view line, std::string_view& input,
                std::size_t line_bytes) noexcept;
  void finish_meta_value(const session_context& with, std::string_view line) noexcept;
  void meta_stored(const session_context& with, const meta_request& what, cache_status status,
                   meta_store& wanted) noexcept;
  void meta_remove(const session_context& with, const meta_request& what) noexcept;
  void meta_arithmetic(const session_context& with, const meta_request& what) noexcept;
  void meta_debug(const session_context& with, const meta_request& what) noexcept;
  void meta_reply(const session_context& with, std::string_view status, const meta_request& what) noexcept;

  // session_binary.cpp
  step run_auth(const session_context& with, std::string_view& input) noexcept;
  step run_binary(const session_context& with, std::string_view& input) noexcept;
  step binary_execute(const session_context& with, const binary_request& what) noexcept;
  step binary_get(const session_context& with, const binary_request& what) noexcept;
  step binary_set(const session_context& with, const binary_request& what, std::string_view head,
                  std::string_view& input, std::size_t frame_bytes) noexcept;
  void finish_binary_value(const session_context& with) noexcept;
  void binary_stored(const session_context& with, const binary_request& what, cache_status status,
                     const stored_item& stored) noexcept;
  void binary_arithmetic(const session_context& with, const binary_request& what) noexcept;
  void binary_sasl(const session_context& with, const binary_request& what) noexcept;
  static void binary_reply(const session_context& with, const binary_request& what, binary_status status,
                           std::string_view value, std::uint64_t cas = 0) noexcept;
  static void binary_error(const session_context& with, const binary_request& what, binary_status status) noexcept;

  // session_admin.cpp
  step begin_walk(const session_context& with, walk::kind what, std::uint64_t items_max,
                  std::size_t request_bytes) noexcept;
  step run_walk(const session_context& with, std::string_view& input) noexcept;
  void finish_walk(const session_context& with, std::string_view request_text) noexcept;
  step run_stats(const session_context& with, std::string_view arguments, std::size_t line_bytes) noexcept;
  step run_lru_crawler(const session_context& with, std::string_view arguments, std::size_t line_bytes) noexcept;
  void run_slabs(const session_context& with, std::string_view arguments) noexcept;

  // session_observed.cpp: while somebody watches, or prefixes are counted
  step begin_watch(const session_context& with, std::string_view arguments) noexcept;
  void observe_fetch(const session_context& with, std::string_view key, bool found, std::size_t bytes) const noexcept;
  void observe_store(const session_context& with, std::string_view key, const store_options& options,
                     cache_status status, std::size_t bytes) const noexcept;
  cache_status remove_observed(const session_context& with, std::string_view key, const remove_options& options,
                               std::string_view command) const noexcept;
  std::uint64_t tell_prefixes(const session_context& with) noexcept;
  step stats_detail(const session_context& with, std::string_view arguments, std::size_t line_bytes) noexcept;

  // Once for each command: not again when one that had to wait is tried again.
  void note_command(const session_context& with, std::string_view line) const noexcept {
    if (waits_) [[unlikely]]
      return;
    if (with.state.verbosity.load(std::memory_order_relaxed) > 1 || with.state.observes(watch_rawcmds)) [[unlikely]]
      tell_command(with, line);
  }
  void tell_command(const session_context& with, std::string_view line) const noexcept;
  void reply(const session_context& with, std::string_view text) noexcept;
  void reply_stored(const session_context& with, cache_status status, std::size_t value_bytes) noexcept;

  int id_ = 0;  // for messages
  phase phase_ = phase::start;
  bool noreply_ = false;
  bool binary_ = false;
  bool needs_auth_ = false;
  bool large_value_ = false;
  bool waits_ = false;            // what comes next had to wait when it was tried last
  verb verb_ = verb::quit;        // of the command under way
  std::uint32_t expires_at_ = 0;  // gat, gats
  store_options store_options_;   // value
  pending_item incoming_;
  std::unique_ptr<walk> walk_;
  std::unique_ptr<std::string> kept_;  // value: the request that it belongs to, where store_options_ do not tell all
  std::size_t value_received_ = 0;
  std::size_t swallow_bytes_ = 0;
  unsigned watch_topics_ = 0;
};

}  // namespace scoot::server
