// SPDX-License-Identifier: MIT
//
// Traces made up from the statistics that Twitter published of its cache clusters (J. Yang, Y. Yue, K. V. Rashmi, "A
// large scale analysis of hundreds of in-memory cache clusters at Twitter", OSDI 2020; stat/2020Mar of
// github.com/twitter/cache-trace), or from a few that are built in.
//
// A population of objects has a Zipf popularity of the cluster's exponent. All of it is stored at the start, in random
// order. A share of the requests, the cluster's compulsory miss ratio, goes to new objects; of these the share of
// one-hit wonders is never seen again, each other takes the place of a random one in the population. Operations are
// drawn by the cluster's mix; new objects come by gets no more often than its published miss ratio allows, else by
// what stores. Keys have the cluster's size, values are log-normal about its mean, each object has one of the cluster's
// TTLs. The population is a sample of the cluster's working set, and time passes as if the requests were those to the
// sample. docs/benchmarks.md says what that leaves out. The same statistics and seed make the same trace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/request_trace.hpp"

namespace bench {

using tools::cache_operation;
using tools::request_trace;
using tools::trace_request;

struct cluster_statistics {
  std::string name;
  double key_bytes = 0;
  double value_bytes = 0;
  double requests_per_second = 0;
  double one_hit_share = 0;  // of the objects
  double new_share = 0;      // of the requests: the first of their object
  double working_set_bytes = 0;
  double zipf_alpha = 0;
  double miss_ratio = 1;                                       // as published; 1: not known
  std::vector<std::pair<double, std::uint32_t>> ttls;          // share, seconds
  std::vector<std::pair<double, cache_operation>> operations;  // share
};

// The clusters of a file in the format of twitter-2020-03-clusters.csv whose statistics are complete and that are read
// at all; `left_out` says of the others why. False, with the reason, if the file cannot be read or is damaged.
[[nodiscard]] bool read_clusters(const std::string& path, std::vector<cluster_statistics>& out,
                                 std::vector<std::string>& left_out, std::string& error);

// A few clusters of plain numbers, for runs without a file.
std::vector<cluster_statistics> built_in_clusters();

struct generator_options {
  std::uint64_t seed = 1;
  std::size_t requests = 3'000'000;  // after the population is stored
  std::size_t population = 200'000;
  double value_sigma = 0.5;  // of the logarithm of value sizes
  double drift = 0;          // of the requests, so many make a popular object change places with another
  double scan = 0;           // share of the requests that belong to scans of the whole population in order
};

// The first options.population requests store it.
request_trace generate_trace(const cluster_statistics& cluster, const generator_options& options);

}  // namespace bench
