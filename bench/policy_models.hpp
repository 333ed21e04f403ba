// SPDX-License-Identifier: MIT
//
// What a trace is replayed through: scoot::cache itself, and models of other policies over the numbers of objects.
//
// The models hold no values, only which objects are there. Expired items leave them at once, at no cost: that favours
// the models, since memcached's crawler comes by every minute or so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tools/request_trace.hpp"

namespace bench {

using tools::cache_operation;
using tools::request_trace;
using tools::trace_request;

class replayed_cache {
 public:
  virtual ~replayed_cache() = default;
  virtual void pass_time(std::uint32_t now) = 0;  // seconds since the start; called when it changes
  virtual bool get(const trace_request& q) = 0;   // true: it is there; counts as a use
  virtual void remove(const trace_request& q) = 0;
  enum class when : std::uint8_t { always, absent, present };
  // May evict; may refuse what is too large. False if it is not `condition`.
  virtual bool store(const trace_request& q, when condition) = 0;
  [[nodiscard]] virtual std::uint64_t evictions() const = 0;
  [[nodiscard]] virtual std::size_t payload_bytes() const = 0;  // keys and values held
  [[nodiscard]] virtual std::size_t items() const = 0;
  [[nodiscard]] virtual std::string damage() const { return {}; }  // says what was wrong, if anything ever was
};

// scoot::cache with that budget, on the trace's clock; every value read is checked. Null if there is no memory.
std::unique_ptr<replayed_cache> make_scoot(std::size_t budget_bytes, std::uint64_t seed);

// Each holds as many bytes of keys and values as that, with no overhead.
std::unique_ptr<replayed_cache> make_lru(const request_trace& t, std::size_t payload_bytes);
std::unique_ptr<replayed_cache> make_sieve(const request_trace& t,
                                           std::size_t payload_bytes);  // Y. Zhang et al., NSDI 2024
// Knows the future: of 64 objects drawn it evicts the one whose bytes times the requests until its next get are most
// (L. Belady, 1966, by bytes). Not quite the optimum, which is NP-hard, but what no policy that has to guess reaches.
// Replays only the requests of `t` itself.
std::unique_ptr<replayed_cache> make_offline(const request_trace& t, std::size_t payload_bytes);

struct memcached_model_options {
  std::size_t memory_bytes = 0;
  std::size_t page_bytes = 0;  // 1 MiB in memcached; less where a small budget stands for a large one
  bool slabs = true;           // false: one queue of each kind, memory_bytes of keys and values, no overhead
  bool table = false;          // its hash table is part of memory_bytes; else on top, as that of -m is
};
// memcached 1.6.18 as it is configured by default: segmented LRU, slab classes by 1.25 from 96 bytes, slab automove.
std::unique_ptr<replayed_cache> make_memcached(const request_trace& t, const memcached_model_options& options);

}  // namespace bench
