// SPDX-License-Identifier: MIT
//
// `scoot replay`: sends the requests of a cache trace to a server that speaks memcached's text protocol, stores what a
// get misses, and says how often that was and how long answers took. docs/tools.md says what a trace becomes.
//
// The whole trace is read and checked before anything is sent: 20 bytes of memory a request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tools/histogram.hpp"
#include "tools/request_trace.hpp"
#include "tools/tls_session.hpp"

namespace tools {

inline constexpr unsigned replay_connections_max = 256;
inline constexpr unsigned replay_depth_max = 1024;
inline constexpr std::size_t replay_prefix_max = 100;

struct replay_options {
  std::string file;
  std::string address;
  access_options access;
  request_trace_options reading;
  unsigned connections = 4;
  unsigned depth = 8;                         // requests in flight on a connection
  std::uint32_t value_bytes_max = 1'000'000;  // larger values are cut to this
  std::string prefix = "replay:";             // of all keys
  bool ttl = false;                           // store with the trace's times to live
  unsigned timeout_s = 10;                    // without any answer
  bool json = false;
  bool quiet = false;  // no progress
};

// What came of it.
struct replay_result {
  std::uint64_t requests = 0;  // of the trace, answered
  std::uint64_t gets = 0, hits = 0;
  std::uint64_t late_gets = 0, late_hits = 0;  // of these in the second half of the trace
  std::uint64_t fills = 0;                     // stores after a miss
  std::uint64_t stores = 0;                    // of the trace: sets, adds, replacements, appends
  std::uint64_t stored = 0;                    // of both
  std::uint64_t refused = 0;                   // of both, by an error such as an item that is too large
  std::uint64_t others = 0;                    // deletes and counts of the trace
  std::uint64_t errors = 0;                    // requests answered with SERVER_ERROR, `refused` included
  std::string first_error;
  std::uint64_t bytes_sent = 0, bytes_received = 0;
  double seconds = 0;
  bool interrupted = false;
  histogram get_ns, store_ns;  // from when a request was handed to the kernel until its answer was read
};

// Runs it: 0; 1 if the trace can't be read or the server is lost, which stderr then says; 130 if it was interrupted
// (SIGINT), with the figures so far.
int run_replay(const replay_options& options);

}  // namespace tools
