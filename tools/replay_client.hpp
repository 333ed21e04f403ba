// SPDX-License-Identifier: MIT
//
// The connections of a replay. Requests go out in the trace's order, each object's over one connection, so that the
// requests for an object are served in order:
//
//     trace  g7 g2 s7 g9 g2 ...   ->  object % connections  ->  up to `depth` in flight on each, answers in order
//
// A get that misses is followed by a set at once, in the place of the get. While it is not known whether an object is
// there, further requests for it wait: with pipelining, too, a miss is counted and filled once. One thread; all waiting
// is in poll().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/address.hpp"
#include "tools/replay.hpp"

namespace tools {

class replay_client {
 public:
  replay_client(const request_trace& trace, const replay_options& options);

  [[nodiscard]] bool connect(const address& to, std::string& error);

  // Sends everything and reads every answer. Calls `progress` some times a second; when that answers false, sends no
  // more and ends when the answers to what was sent are there. False, with the reason, if the server is lost.
  [[nodiscard]] bool run(const std::function<bool(const replay_result&)>& progress, std::string& error);

  [[nodiscard]] const replay_result& result() const noexcept { return result_; }

 private:
  enum class what : std::uint8_t { get, fill, store, other };

  struct flight {
    std::uint64_t sent_ns = 0;
    std::uint32_t request = 0;  // index in the trace
    what kind = what::get;
    bool clears = false;  // it will tell whether the object is there, and others wait for that
    bool hit = false;     // its value has begun
  };

  struct lane {
    connection socket;
    std::string out;
    std::size_t sent = 0;
    std::string in;
    std::size_t skip = 0;  // bytes of a value still to come
    std::deque<flight> flights;
    std::size_t unstamped = 0;  // the last so many flights are not handed to the kernel yet
  };

  void dispatch();
  void compose(lane& l, std::uint32_t index);
  void store(lane& l, std::uint32_t index, std::string_view command, what kind, bool clears);
  void append_key(std::string& out, const trace_request& q) const;
  bool flush(lane& l, std::string& error);
  bool receive(lane& l, std::string& error);
  bool parse(lane& l, std::string& error);
  bool take_line(lane& l, std::string_view line, std::string& error);
  bool take_get_line(lane& l, flight& f, std::string_view line, std::string& error);
  void count_error(std::string_view line);
  [[nodiscard]] bool idle() const noexcept;

  const request_trace& trace_;
  const replay_options& options_;
  std::vector<lane> lanes_;
  std::vector<bool> known_;    // of objects: what was sent last, if all goes well, leaves it there
  std::vector<bool> unclear_;  // of objects: a get or fill is on its way that will tell
  std::string pattern_;        // values are pieces of it
  std::size_t digits_ = 1;     // at least, of the objects' numbers in keys
  std::uint32_t next_ = 0;     // request
  bool stop_ = false;
  replay_result result_;
};

}  // namespace tools
