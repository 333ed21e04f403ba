// SPDX-License-Identifier: MIT
#include "tools/replay.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/address.hpp"
#include "tools/replay_client.hpp"

namespace tools {
namespace {

volatile std::sig_atomic_t interrupted = 0;

extern "C" void note_interrupt(int) { interrupted = 1; }

int complain(const std::string& what) {
  std::fprintf(stderr, "scoot replay: %s\n", what.c_str());
  return 1;
}

double ratio(std::uint64_t part, std::uint64_t of) {
  return of == 0 ? 0 : static_cast<double>(part) / static_cast<double>(of);
}

// On a terminal one line that is written over; else a line every ten seconds.
class progress_line {
 public:
  explicit progress_line(bool quiet, std::size_t requests)
      : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0), requests_(requests) {}

  void show(const replay_result& r) {
    const double rate = (static_cast<double>(r.requests) - static_cast<double>(last_requests_)) /
                        std::max(r.seconds - last_seconds_, 1e-9);
    if (quiet_ || (!terminal_ && r.seconds - last_seconds_ < 10)) return;
    last_requests_ = r.requests;
    last_seconds_ = r.seconds;
    std::fprintf(stderr, "%s%5.1f %%  %llu of %zu requests, %.0f/s, hit ratio %.4f%s", terminal_ ? "\r" : "",
                 100 * ratio(r.requests, requests_), static_cast<unsigned long long>(r.requests), requests_, rate,
                 ratio(r.hits, r.gets), terminal_ ? "   " : "\n");
    std::fflush(stderr);
    open_ = terminal_;
  }

  void end() {
    if (open_) std::fputs("\r                                                                              \r", stderr);
    open_ = false;
  }

 private:
  bool quiet_, terminal_, open_ = false;
  std::size_t requests_;
  std::uint64_t last_requests_ = 0;
  double last_seconds_ = 0;
};

nlohmann::ordered_json latencies(const histogram& h) {
  return {{"count", h.total()},
          {"p50_us", static_cast<double>(h.quantile(0.5)) / 1e3},
          {"p99_us", static_cast<double>(h.quantile(0.99)) / 1e3},
          {"p999_us", static_cast<double>(h.quantile(0.999)) / 1e3},
          {"max_us", static_cast<double>(h.max()) / 1e3}};
}

void write_json(const replay_options& o, const request_trace& t, const replay_result& r) {
  const nlohmann::ordered_json all = {{"trace", o.file},
                                      {"address", o.address},
                                      {"connections", o.connections},
                                      {"depth", o.depth},
                                      {"requests", r.requests},
                                      {"objects", t.objects},
                                      {"interrupted", r.interrupted},
                                      {"seconds", r.seconds},
                                      {"requests_per_second", static_cast<double>(r.requests) / r.seconds},
                                      {"gets", r.gets},
                                      {"hits", r.hits},
                                      {"hit_ratio", ratio(r.hits, r.gets)},
                                      {"second_half_gets", r.late_gets},
                                      {"second_half_hit_ratio", ratio(r.late_hits, r.late_gets)},
                                      {"fills", r.fills},
                                      {"stores", r.stores},
                                      {"stored", r.stored},
                                      {"refused", r.refused},
                                      {"other_requests", r.others},
                                      {"errors", r.errors},
                                      {"first_error", r.first_error},
                                      {"bytes_sent", r.bytes_sent},
                                      {"bytes_received", r.bytes_received},
                                      {"get_latency", latencies(r.get_ns)},
                                      {"store_latency", latencies(r.store_ns)}};
  std::printf("%s\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void write_latencies(const char* name, const histogram& h) {
  if (h.total() == 0) return;
  std::printf("  %-12s %9.1f %9.1f %9.1f %9.1f us\n", name, static_cast<double>(h.quantile(0.5)) / 1e3,
              static_cast<double>(h.quantile(0.99)) / 1e3, static_cast<double>(h.quantile(0.999)) / 1e3,
              static_cast<double>(h.max()) / 1e3);
}

void write_report(const replay_options& o, const request_trace& t, const replay_result& r) {
  using wide = unsigned long long;
  constexpr double mib = 1 << 20;
  std::printf("trace          %s: %zu requests for %u objects, %.1f MiB of keys and values\n", t.name.c_str(),
              t.requests.size(), t.objects, static_cast<double>(t.payload_bytes) / mib);
  std::printf("server         %s over %u connections, up to %u requests in flight on each\n", o.address.c_str(),
              o.connections, o.depth);
  std::printf("throughput     %.0f requests/s: %llu in %.2f s%s; %.1f MiB sent, %.1f MiB received\n",
              static_cast<double>(r.requests) / r.seconds, static_cast<wide>(r.requests), r.seconds,
              r.interrupted ? ", interrupted" : "", static_cast<double>(r.bytes_sent) / mib,
              static_cast<double>(r.bytes_received) / mib);
  std::printf("hit ratio      %.4f of %llu gets; in the second half of the trace %.4f\n", ratio(r.hits, r.gets),
              static_cast<wide>(r.gets), ratio(r.late_hits, r.late_gets));
  std::printf("stores         %llu after a miss, %llu of the trace; %llu were stored, %llu refused\n",
              static_cast<wide>(r.fills), static_cast<wide>(r.stores), static_cast<wide>(r.stored),
              static_cast<wide>(r.refused));
  if (r.others > 0) std::printf("others         %llu deletes and counts\n", static_cast<wide>(r.others));
  if (r.errors > 0) {
    std::printf("errors         %llu, the first: %s\n", static_cast<wide>(r.errors), r.first_error.c_str());
  }
  std::printf("latency              p50       p99     p99.9       max\n");
  write_latencies("get", r.get_ns);
  write_latencies("store", r.store_ns);
}

}  // namespace

int run_replay(const replay_options& options) {
  address to;
  request_trace trace;
  std::string error;
  if (!parse_address(options.address, 11211, to, error)) return complain(error);
  if (!read_request_trace(options.file, options.reading, trace, error)) return complain(error);
  if (trace.requests.empty()) return complain(options.file + ": has no requests");
  if (trace.skipped != 0) {
    complain(options.file + ": " + std::to_string(trace.skipped) + " records without a usable size are left out");
  }
  if (trace.cut) {
    complain(options.file + ": only its first " + std::to_string(trace.requests.size()) + " requests (--requests)");
  }
  replay_client client(trace, options);
  if (!client.connect(to, error)) return complain(error);
  interrupted = 0;
  struct sigaction on_interrupt {};
  struct sigaction before {};
  on_interrupt.sa_handler = note_interrupt;
  sigaction(SIGINT, &on_interrupt, &before);
  progress_line line(options.quiet, trace.requests.size());
  const bool good = client.run(
      [&line](const replay_result& so_far) {
        line.show(so_far);
        return interrupted == 0;
      },
      error);
  sigaction(SIGINT, &before, nullptr);
  line.end();
  if (!good) {
    return complain(to.text() + ": " + error + ", after " + std::to_string(client.result().requests) + " of " +
                    std::to_string(trace.requests.size()) + " requests");
  }
  if (options.json) {
    write_json(options, trace, client.result());
  } else {
    write_report(options, trace, client.result());
  }
  return client.result().interrupted ? 130 : 0;
}

}  // namespace tools
