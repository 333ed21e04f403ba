// SPDX-License-Identifier: MIT
//
// The workloads of `scoot-bench heap`. What each stands for is written in docs/benchmarks.md.
#include <cstdio>

#include "heap_child.hpp"
#include "heap_engine.hpp"

namespace bench {
namespace {

constexpr double mean_size = 300;
constexpr double sigma = 1;

size_distribution large_sizes() noexcept { return size_distribution::lognormal(20'000, sigma, 128U << 10); }

template <class Allocator>
void steady(heap_engine<Allocator>& engine, double volume) {
  const auto sizes = size_distribution::lognormal(mean_size, sigma);
  engine.fill("fill", sizes, counting::peak_only);
  engine.replace("replace fifo", sizes, victim::oldest, 2 * volume);
  engine.replace("replace random", sizes, victim::random, 3 * volume);
  engine.replace("replace mixed", sizes, victim::mixed, 3 * volume);
}

template <class Allocator>
void steady_large(heap_engine<Allocator>& engine, double volume) {
  const auto sizes = large_sizes();
  engine.fill("fill", sizes, counting::peak_only);
  engine.replace("replace fifo", sizes, victim::oldest, 2 * volume);
  engine.replace("replace random", sizes, victim::random, 3 * volume);
  engine.replace("replace mixed", sizes, victim::mixed, 3 * volume);
}

template <class Allocator>
void shift(heap_engine<Allocator>& engine, double volume) {
  const auto sizes = size_distribution::lognormal(mean_size, sigma);
  engine.fill("fill x1", sizes, counting::peak_only);
  engine.replace("replace x0.3", size_distribution::lognormal(mean_size * 0.3, sigma), victim::random, 3 * volume);
  engine.replace("replace x3", size_distribution::lognormal(mean_size * 3, sigma), victim::random, 3 * volume);
  engine.replace("replace x1", sizes, victim::random, 3 * volume);
}

template <class Allocator>
void frag_grow(heap_engine<Allocator>& engine, double /*volume*/) {
  const auto small = size_distribution::uniform(64, 512);
  const auto large = size_distribution::uniform(1024, 8192);
  engine.fill("fill small", small, counting::peak_only);
  engine.empty("free 90%", 0.1);
  engine.fill("refill large", large, counting::refill);
  engine.empty("free 90%", 0.1);
  engine.fill("refill small", small, counting::refill);
}

template <class Allocator>
void shrink(heap_engine<Allocator>& engine, double /*volume*/) {
  engine.fill("fill", size_distribution::lognormal(mean_size, sigma), counting::peak_only);
  engine.empty("free 90%", 0.1);
  engine.give_back("give back");
}

// Most blocks that can be live at once, with some room to spare.
std::size_t table_capacity(const child_options& o) {
  const double mean_min = o.workload == "steady-large" ? large_sizes().mean()
                          : o.workload == "shift"      ? size_distribution::lognormal(mean_size * 0.3, sigma).mean()
                          : o.workload == "frag-grow"  ? size_distribution::uniform(64, 512).mean()
                                                       : size_distribution::lognormal(mean_size, sigma).mean();
  return static_cast<std::size_t>(static_cast<double>(o.live_bytes) / mean_min * 1.1) + 4096;
}

template <class Allocator>
void report_phases(const heap_engine<Allocator>& engine) {
  constexpr double mib = 1 << 20;
  for (const phase_result& p : engine.phases()) {
    std::fprintf(stderr, "  %-15s live %7.1f held %7.1f max %7.1f MiB", p.name, static_cast<double>(p.live_end) / mib,
                 static_cast<double>(p.held_end) / mib, static_cast<double>(p.held_max) / mib);
    if (p.worst > 0) std::fprintf(stderr, "  steady %.3f worst %.3f", p.steady, p.worst);
    if (p.operations > 0)
      std::fprintf(stderr, "  %6.1f ns/op", static_cast<double>(p.cpu_ns) / static_cast<double>(p.operations));
    if (p.moved_bytes > 0 && p.allocated_bytes > 0)
      std::fprintf(stderr, "  moved %.3f B/B",
                   static_cast<double>(p.moved_bytes) / static_cast<double>(p.allocated_bytes));
    if (p.moved_bytes > 0 && p.allocated_bytes == 0)
      std::fprintf(stderr, "  moved %.1f MiB", static_cast<double>(p.moved_bytes) / mib);
    std::fputc('\n', stderr);
  }
}

template <class Allocator>
void report(const heap_engine<Allocator>& engine, std::uint64_t moved) {
  const run_totals& t = engine.totals();
  const double us = engine.scale().ns_per_tick() / 1000;
  const auto per = [](std::uint64_t a, std::uint64_t b) {
    return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b);
  };
  std::printf("utilisation_steady %.6f\n",
              t.steady_samples == 0 ? 0 : t.steady_sum / static_cast<double>(t.steady_samples));
  std::printf("utilisation_worst %.6f\n", t.worst);
  std::printf("peak_bytes %zu\n", t.peak);
  std::printf("cpu_ns_per_op %.3f\n", per(t.cpu_ns, t.operations));
  std::printf("call_ns_per_op %.3f\n", per(t.timed_ticks, t.timed_operations) * us * 1000);
  std::printf("moved_bytes_per_allocated_byte %.6f\n", per(moved, t.allocated_bytes));
  std::printf("pause_us_p9999 %.3f\n", static_cast<double>(engine.pauses().quantile(0.9999)) * us);
  std::printf("pause_us_max %.3f\n", static_cast<double>(engine.pauses().max()) * us);
  std::printf("metadata_part %.6f\n", t.metadata_part);
  std::printf("give_back_ms %.3f\n", static_cast<double>(t.give_back_wall_ns) / 1e6);
  std::printf("operations %llu\n", static_cast<unsigned long long>(t.operations));
  std::printf("preempted_operations %llu\n", static_cast<unsigned long long>(t.preempted));
  std::printf("retries %llu\n", static_cast<unsigned long long>(t.retries));
}

template <class Allocator>
int run(const child_options& o) {
  typename heap_engine<Allocator>::setup setup;
  setup.target_bytes = o.live_bytes;
  setup.capacity = table_capacity(o);
  setup.seed = o.seed;
  setup.samples = o.samples;
  setup.verify_every = o.verify_every;
  setup.damage = o.damage;
  setup.scoot = o.setup;
  // Never destroyed: the process ends, and the engine is too large for the stack.
  auto& engine = *new heap_engine<Allocator>(setup);
  if (o.workload == "steady") {
    steady(engine, o.volume);
  } else if (o.workload == "steady-large") {
    steady_large(engine, o.volume);
  } else if (o.workload == "shift") {
    shift(engine, o.volume);
  } else if (o.workload == "frag-grow") {
    frag_grow(engine, o.volume);
  } else if (o.workload == "shrink") {
    shrink(engine, o.volume);
  } else {
    return 2;
  }
  if (o.phases) {
    report_phases(engine);
    engine.allocator().describe();
  }
  report(engine, engine.allocator().bytes_moved());
  engine.finish();
  std::printf("verified 1\n");
  return 0;
}

}  // namespace

int run_heap_workload(const child_options& options) {
  return options.scoot ? run<scoot_allocator>(options) : run<malloc_allocator>(options);
}

}  // namespace bench
