// SPDX-License-Identifier: MIT
//
// `scoot-bench heap speed`: CPU time of one allocate and one free in small hot loops, one thread. Blocks of 16 to 1024
// bytes, uniform, and larger ones where the pattern says so; each gets its 4-byte id written, which Scoot's mover needs
// and the peers write as well.
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include "clock.hpp"
#include "heap_child.hpp"

namespace bench {
namespace {

constexpr std::uint32_t batch = 1024;
constexpr std::uint32_t set_blocks = 16U << 10;
constexpr std::uint32_t sizes_drawn = 4096;
constexpr unsigned repeats = 15;

template <class Allocator>
class speed_run {
 public:
  explicit speed_run(const child_options& o)
      : allocator_(o.setup, entries_.data()), random_(o.seed), pairs_(std::max<std::uint64_t>(o.operations, batch)) {
    draw_sizes(size_distribution::uniform(16, 1024));
    for (std::uint32_t i = 0; i < batch; ++i) shuffled_[i] = i;
    for (std::uint32_t i = batch - 1; i > 0; --i) std::swap(shuffled_[i], shuffled_[random_.below(i + 1)]);
  }

  void pair(const char* name) {
    measure(name, [&] {
      for (std::uint64_t i = 0; i < pairs_; ++i) {
        get(0, i);
        put(0);
      }
    });
  }

  enum class order { fifo, lifo, random };

  void batches(const char* name, order how) {
    measure(name, [&] {
      for (std::uint64_t done = 0; done < pairs_; done += batch) {
        for (std::uint32_t i = 0; i < batch; ++i) get(i, done + i);
        if (how == order::fifo) {
          for (std::uint32_t i = 0; i < batch; ++i) put(i);
        } else if (how == order::lifo) {
          for (std::uint32_t i = batch; i-- > 0;) put(i);
        } else {
          for (std::uint32_t i = 0; i < batch; ++i) put(shuffled_[i]);
        }
      }
    });
  }

  void working_set(const char* name, std::uint32_t blocks, const size_distribution& sizes) {
    draw_sizes(sizes);
    for (std::uint32_t i = 0; i < blocks; ++i) get(i, i);
    measure(name, [&] {
      for (std::uint64_t i = 0; i < pairs_; ++i) {
        const std::uint32_t id = random_.below(blocks);
        put(id);
        get(id, random_.next());
      }
    });
    for (std::uint32_t i = 0; i < blocks; ++i) put(i);
  }

 private:
  void draw_sizes(const size_distribution& sizes) {
    for (std::uint32_t& s : sizes_) s = sizes.draw(random_);
  }
  void get(std::uint32_t id, std::uint64_t n) {
    void* block = allocator_.allocate(sizes_[n % sizes_drawn]);
    if (block == nullptr) [[unlikely]]
      block_table::fail("out of memory", id);
    std::memcpy(block, &id, sizeof id);
    entries_[id].block = static_cast<unsigned char*>(block);
  }
  void put(std::uint32_t id) { allocator_.free(entries_[id].block); }

  // Runs the loop once to warm up and `repeats` times for the figures: of which it prints the median.
  template <class Loop>
  void measure(const char* name, Loop loop) {
    loop();
    std::array<double, repeats> ns{};
    for (double& x : ns) {
      const std::uint64_t start = cpu_ns();
      loop();
      x = static_cast<double>(cpu_ns() - start) / static_cast<double>(pairs_);
    }
    std::sort(ns.begin(), ns.end());
    std::printf("%s %.3f\n", name, ns[repeats / 2]);
  }

  std::array<block_entry, set_blocks> entries_{};
  std::array<std::uint32_t, sizes_drawn> sizes_{};
  std::array<std::uint32_t, batch> shuffled_{};
  Allocator allocator_;
  random_source random_;
  std::uint64_t pairs_;
};

template <class Allocator>
int run(const child_options& o) {
  auto& r = *new speed_run<Allocator>(o);
  using order = typename speed_run<Allocator>::order;
  r.pair(speed_patterns[0]);
  if (o.first_only) return 0;
  r.batches(speed_patterns[1], order::fifo);
  r.batches(speed_patterns[2], order::lifo);
  r.batches(speed_patterns[3], order::random);
  r.working_set(speed_patterns[4], set_blocks, size_distribution::uniform(16, 1024));
  r.working_set(speed_patterns[5], set_blocks / 4, size_distribution::uniform(1024, 8192));
  r.working_set(speed_patterns[6], set_blocks / 32, size_distribution::uniform(8192, 65536));
  return 0;
}

}  // namespace

int run_speed(const child_options& options) {
  return options.scoot ? run<scoot_allocator>(options) : run<malloc_allocator>(options);
}

}  // namespace bench
