// SPDX-License-Identifier: MIT
//
// A load client for servers that speak memcached's text and meta commands: one thread, several connections, each with a
// batch of requests in flight and the next batch sent when the last answer has come (a closed loop), or requests at a
// given rate, of which each is timed from the moment it was due (an open loop).
//
// Keys are 32 bytes and name the value's size and an index; a value is a function of its key, so that any answer can
// be checked. Every answer's shape, key and length are checked, and the bytes of a sample of the values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "random.hpp"
#include "tools/histogram.hpp"

namespace bench {

using tools::histogram;

inline constexpr std::size_t load_key_bytes = 32;

struct endpoint {
  std::uint16_t port = 0;  // on 127.0.0.1
  std::string path;        // of a unix socket, used instead where it is not empty
};

// One request: a set of the key `first`, or a get of `keys` keys: first, first + stride, ... modulo `wrap`.
struct load_request {
  bool set = false;
  std::uint32_t first = 0;
  std::uint32_t keys = 1;
  std::uint32_t stride = 1;
  std::uint32_t wrap = UINT32_MAX;

  [[nodiscard]] std::uint32_t index(std::uint32_t i) const noexcept {
    return static_cast<std::uint32_t>((first + std::uint64_t{i} * stride) % wrap);
  }
};

// How requests and values look.
struct load_form {
  std::size_t value_bytes = 100;
  unsigned verify_every = 16;  // one in so many of the values read is checked whole
  bool meta = false;           // mg and ms instead of get and set; gets are of one key then
  unsigned exptime = 0;        // of sets
};

struct load_result {
  bool ok = false;
  std::string error;             // why not
  std::uint64_t operations = 0;  // keys read or written
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t verified = 0;  // values of which every byte was checked
  std::uint64_t refused = 0;   // sets that were answered SERVER_ERROR; they are operations too
  std::string refusal;         // the first such answer
  double seconds = 0;
};

class load_client {
 public:
  // Fills the batch with the next requests of a connection; leaves it empty when there are no more.
  using next_batch = std::function<void(std::vector<load_request>&)>;

  load_client();
  ~load_client();
  load_client(const load_client&) = delete;
  load_client& operator=(const load_client&) = delete;

  // Called with every key that a get did not find, if it is set; what `next` then gives may store it.
  std::function<void(std::uint32_t)> on_miss;

  // Opens the connections, trying for up to five seconds while the server refuses. False, with error(), if it stays so.
  bool connect(const endpoint& to, unsigned connections);

  // Runs batches over all connections until `next` has no more and every answer has come. After a failure the
  // connections are of no more use.
  load_result run(const load_form& form, const next_batch& next);

  // Sends the single requests of `next` at a steady rate (per second) to whichever connections are free, and adds the
  // nanoseconds from the moment each was due until its answer was there. Spins on the processor.
  load_result run_paced(const load_form& form, double rate, const next_batch& next, histogram& latency_ns);

  // Sends a line and returns the first line of the answer without its end; empty if there is none.
  std::string command(const std::string& line);

  // The value of the statistic `name` as `stats` gives it; empty if there is none.
  std::string statistic(const std::string& name);

  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  struct connection;

  bool open_one(const endpoint& to, connection& c);
  bool send_next(connection& c, const next_batch& next);
  bool compose(connection& c, const next_batch& next);
  bool flush(connection& c);
  bool receive(connection& c);
  bool parse(connection& c);
  // Consume one answer at the front of the input. 1: done; 0: more bytes are needed; -1: it is wrong, see error_.
  int parse_set(connection& c);
  int parse_refusal(connection& c);
  int parse_get(connection& c);
  int parse_meta_get(connection& c);
  bool check_value(const char* value, std::uint32_t index);
  void begin_run(const load_form& form);
  bool fail(const std::string& what);
  void append_value(std::string& out, std::uint32_t index) const;
  [[nodiscard]] bool value_matches(const char* data, std::uint32_t index) const;
  void make_key(char* key, std::uint32_t index) const noexcept;

  std::vector<std::unique_ptr<connection>> connections_;
  int epoll_ = -1;
  std::string error_;
  std::string pattern_;     // values are pieces of it
  std::string key_prefix_;  // the part of the keys that a run has in common
  load_form form_;
  std::uint64_t values_seen_ = 0;
  std::size_t running_ = 0;
  load_result result_;
};

// Batches of `depth` requests until `seconds` have passed: gets of `keys_per_get` keys and set_percent sets, keys
// random among `keys`.
load_client::next_batch random_load(std::uint32_t keys, unsigned depth, unsigned keys_per_get, unsigned set_percent,
                                    double seconds, std::uint64_t seed);

// Every key of [first, first + count) once: sets in batches, or gets of 100 keys.
load_client::next_batch sequential_load(bool set, std::uint32_t first, std::uint32_t count);

}  // namespace bench
