// SPDX-License-Identifier: MIT
#include "purgeable_bench.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "clock.hpp"
#include "pressure_bench.hpp"
#include "random.hpp"
#include "scoot/purgeable.hpp"

namespace bench {
namespace {

constexpr std::size_t item_bytes = 100;

struct figure {
  const char* name;
  const char* what;
};
// In the order of the table.
constexpr figure figures[] = {
    {"pin_ns", "pin, offered chunk, the same 100 bytes"},
    {"unpin_ns", "unpin"},
    {"pin_kept_ns", "pin and unpin, kept chunk, the same 100 bytes"},
    {"pin_offered_ns", "pin and unpin, offered chunk, the same 100 bytes"},
    {"mutex_ns", "peer: std::mutex, lock and unlock"},
    {"mlock_ns", "peer: mlock and munlock of an OS page"},
    {"mincore_ns", "peer: mincore of an OS page"},
    {"read_ns", "read_if_present, offered chunk, the same 100 bytes"},
    {"memcpy_ns", "peer: memcpy of 100 bytes"},
    {"pin_random_ns", "pin, load and unpin, offered chunks, random places"},
    {"read_random_ns", "read_if_present of 100 bytes, offered chunks, random places"},
    {"load_random_ns", "peer: load at random places"},
    {"pin_first_ns", "first pin of an OS page since it was offered, and unpin"},
    {"offer_page_ns", "offer, an OS page"},
    {"sweep_page_ns", "sweep, an OS page, nothing purged"},
    {"renew_page_ns", "free and allocate, an OS page, without filling it"},
    {"fill_page_ns", "fill an OS page of a new chunk"},
};

// The compiler must not know that a value is not used.
void use(std::uint64_t value) noexcept { asm volatile("" : : "r"(value) : "memory"); }

class measurement {
 public:
  explicit measurement(const purgeable_bench_options& o)
      : o_(o), page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))), chunk_bytes_(o.chunk_kib << 10) {
    scoot::purgeable_options options;
    options.chunk_bytes = chunk_bytes_;
    options.bytes_max = o.mib << 20;
    region_ = scoot::purgeable::create(options);
    chunks_ = static_cast<std::uint32_t>(options.bytes_max / chunk_bytes_);
    random_source random(o.seed);
    for (std::size_t i = 0; i < places_max; ++i) {
      places_.push_back({random.below(chunks_), random.below(static_cast<std::uint32_t>(chunk_bytes_ - item_bytes))});
    }
  }

  // False if the region did not do what was asked of it.
  bool run_round() {
    if (region_ == nullptr) return false;
    for (std::uint32_t i = 0; i < chunks_; ++i) good_ &= region_->allocate() != scoot::purgeable::no_chunk;
    if (!good_) return false;
    const std::size_t pages = chunks_ * (chunk_bytes_ / page_);
    time("fill_page_ns", pages, [&] {
      for (std::uint32_t i = 0; i < chunks_; ++i) std::memset(region_->data(i), 'a', chunk_bytes_);
    });
    time("pin_kept_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) pin_and_unpin({0, 5000});
    });
    time("offer_page_ns", pages, [&] {
      for (std::uint32_t i = 0; i < chunks_; ++i) {
        good_ &= region_->offer(i, chunk_bytes_) == scoot::offer_status::offered;
      }
    });
    time("sweep_page_ns", pages, [&] {
      while (!region_->sweep({}, SIZE_MAX).complete) {
      }
    });
    measure_reads();
    time("pin_first_ns", pages, [&] {
      for (std::uint32_t i = 0; i < chunks_; ++i) {
        for (std::uint32_t at = 0; at < chunk_bytes_; at += static_cast<std::uint32_t>(page_)) pin_and_unpin({i, at});
      }
    });
    time("pin_offered_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) pin_and_unpin({0, 5000});
    });
    const std::size_t batch = scoot::purgeable::pins_max / 2;
    time("pin_ns", batch, [&] {
      for (std::size_t i = 0; i < batch; ++i) good_ &= region_->pin(0, 5000, item_bytes) == scoot::presence::present;
    });
    time("unpin_ns", batch, [&] {
      for (std::size_t i = 0; i < batch; ++i) region_->unpin(0);
    });
    time("pin_random_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        const place p = places_[i % places_max];
        good_ &= region_->pin(p.chunk, p.offset, item_bytes) == scoot::presence::present;
        use(static_cast<unsigned char>(region_->data(p.chunk)[p.offset]));
        region_->unpin(p.chunk);
      }
    });
    measure_peers();
    time("renew_page_ns", pages, [&] {
      for (std::uint32_t i = 0; i < chunks_; ++i) region_->free(i);
      for (std::uint32_t i = 0; i < chunks_; ++i) good_ &= region_->allocate() != scoot::purgeable::no_chunk;
    });
    for (std::uint32_t i = 0; i < chunks_; ++i) region_->free(i);
    return good_;
  }

  [[nodiscard]] const std::vector<double>& of(const char* name) const { return results_.at(name); }

 private:
  struct place {
    std::uint32_t chunk;
    std::uint32_t offset;
  };
  static constexpr std::size_t places_max = 1U << 18;

  template <typename Work>
  void time(const char* name, std::size_t times, const Work& work) {
    const std::uint64_t begin = cpu_ns();
    work();
    results_[name].push_back(static_cast<double>(cpu_ns() - begin) / static_cast<double>(times));
  }

  void pin_and_unpin(place p) noexcept {
    good_ &= region_->pin(p.chunk, p.offset, item_bytes) == scoot::presence::present;
    region_->unpin(p.chunk);
  }

  void measure_reads() {
    char copy[item_bytes];
    time("read_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        good_ &= region_->read_if_present(0, 5000, item_bytes, copy) == scoot::presence::present;
        use(static_cast<unsigned char>(copy[i % item_bytes]));
      }
    });
    time("read_random_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        const place p = places_[i % places_max];
        good_ &= region_->read_if_present(p.chunk, p.offset, item_bytes, copy) == scoot::presence::present;
        use(static_cast<unsigned char>(copy[i % item_bytes]));
      }
    });
  }

  void measure_peers() {
    std::mutex mutex;
    time("mutex_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        mutex.lock();
        use(i);
        mutex.unlock();
      }
    });
    char copy[item_bytes];
    const char* volatile from = region_->data(0) + 5000;
    time("memcpy_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        std::memcpy(copy, from, item_bytes);
        use(static_cast<unsigned char>(copy[i % item_bytes]));
      }
    });
    time("load_random_ns", o_.accesses, [&] {
      for (std::size_t i = 0; i < o_.accesses; ++i) {
        const place p = places_[i % places_max];
        use(static_cast<unsigned char>(region_->data(p.chunk)[p.offset]));
      }
    });
    const std::size_t calls = o_.accesses / 64;
    char* const page = region_->data(0);
    time("mlock_ns", calls, [&] {
      for (std::size_t i = 0; i < calls; ++i) {
        good_ &= mlock(page, page_) == 0;
        good_ &= munlock(page, page_) == 0;
      }
    });
    time("mincore_ns", calls, [&] {
      unsigned char resident = 0;
      for (std::size_t i = 0; i < calls; ++i) good_ &= mincore(page, page_, &resident) == 0;
    });
  }

  const purgeable_bench_options o_;
  const std::size_t page_;
  const std::size_t chunk_bytes_;
  std::uint32_t chunks_ = 0;
  std::unique_ptr<scoot::purgeable> region_;
  std::vector<place> places_;
  std::map<std::string, std::vector<double>> results_;
  bool good_ = true;
};

}  // namespace

int run_purgeable_bench(purgeable_bench_options o, json_rows& rows) {
  if (scoot::purgeable::support() == scoot::purge_support::refused) {
    std::fprintf(stderr, "scoot-bench: purgeable is skipped: this kernel takes no offers\n");
    return skipped_status;
  }
  if (o.smoke) {
    o.mib = 8;
    o.rounds = 3;
    o.accesses = 1U << 16;
  }
  // A second thread, which only waits: alone, the C library's mutex does without atomic operations.
  std::mutex end_of_company;
  end_of_company.lock();
  std::thread company([&] { const std::scoped_lock wait(end_of_company); });
  measurement m(o);
  bool good = true;
  for (unsigned round = 0; round < o.rounds && good; ++round) {
    progress("round " + std::to_string(round + 1) + "/" + std::to_string(o.rounds) + "  purgeable memory");
    good = m.run_round();
  }
  end_of_company.unlock();
  company.join();
  progress_done();
  if (!good) {
    std::fprintf(stderr, "scoot-bench: purgeable: something was lost or refused, or there is too little memory\n");
    return 1;
  }
  std::vector<std::vector<std::string>> table = {{"what", "", "CPU ns", "min-max"}};
  nlohmann::ordered_json row;
  row["mib"] = o.mib;
  row["chunk_kib"] = o.chunk_kib;
  row["rounds"] = o.rounds;
  for (const figure& f : figures) {
    const summary s = summarise(m.of(f.name));
    table.push_back({f.what, "", format_fixed(s.median, 1), format_fixed(s.min, 1) + "-" + format_fixed(s.max, 1)});
    row[f.name] = s.median;
  }
  std::printf("CPU time of purgeable memory; %zu MiB in chunks of %zu KiB; medians of %u; commit %s\n", o.mib,
              o.chunk_kib, o.rounds, commit().c_str());
  print_table(table);
  rows.push_back(row);
  const double pin = summarise(m.of("pin_offered_ns")).min;
  const bool plausible = pin > 0.5 && pin < summarise(m.of("mlock_ns")).max;
  if (o.smoke && !plausible) std::fprintf(stderr, "scoot-bench: implausible: a pin takes %g ns\n", pin);
  return o.smoke && !plausible ? 1 : 0;
}

}  // namespace bench
