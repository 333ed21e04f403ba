// SPDX-License-Identifier: MIT
//
// A trace of cache requests in memory, and the readers of the formats that published traces come in.
//
//     oracle   libCacheSim's oracleGeneral: records of 24 bytes, little endian: uint32 time, uint64 object, uint32
//     size,
//              int64 index of the next access (-1: none)
//     csv      libCacheSim's: columns chosen by "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,,
//     has-header=true" twitter  time,key,key size,value size,client,operation,ttl (github.com/twitter/cache-trace)
//
// Objects are numbered in the order in which they come up, so that a model may keep its state in arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tools {

enum class cache_operation : std::uint8_t { get, set, add, replace, extend, count, remove };

// A request; count is incr and decr, extend is append and prepend, replace is cas too.
struct trace_request {
  std::uint32_t time = 0;    // seconds
  std::uint32_t object = 0;  // below request_trace::objects
  std::uint32_t value_bytes = 0;
  std::uint32_t ttl = 0;  // of what is stored; 0: never expires
  std::uint8_t key_bytes = 16;
  cache_operation operation = cache_operation::get;
};

struct request_trace {
  std::string name;
  std::vector<trace_request> requests;
  std::uint32_t objects = 0;
  std::uint64_t payload_bytes = 0;  // of keys and values of all objects, each at its first size
  std::uint64_t skipped = 0;        // records that are no request on an object of a size
  bool cut = false;                 // the file has more than was wanted
};

enum class trace_format : std::uint8_t { automatic, oracle, csv, twitter };

struct request_trace_options {
  trace_format format = trace_format::automatic;
  std::string csv;  // the columns, as libCacheSim takes them
  std::size_t requests_max = 3'000'000;
};

// False, with the reason and the place in `error`, if the file cannot be read or is damaged.
[[nodiscard]] bool read_request_trace(const std::string& path, const request_trace_options& options, request_trace& out,
                                      std::string& error);

// Sets objects and payload_bytes from the requests.
void summarise_requests(request_trace& t);

}  // namespace tools
