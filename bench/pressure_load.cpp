// SPDX-License-Identifier: MIT
#include "pressure_load.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>

#include "clock.hpp"
#include "zipf.hpp"

namespace bench {
namespace {

constexpr std::size_t samples_max = 1 << 18;
constexpr unsigned gets_a_batch = 8;
constexpr unsigned gets_a_batch_flat_out = 64;  // round trips are what limits it

// Draws item numbers. Popular items lie anywhere among the numbers, so that being popular has nothing to do with having
// been stored early.
class item_source {
 public:
  item_source(const load_plan& plan, std::uint64_t seed)
      : items_(plan.items),
        zipf_(plan.items, plan.alpha),
        uniform_(plan.pattern == access_pattern::uniform),
        random_(seed) {}

  std::uint32_t next() {
    if (uniform_) return random_.below(items_);
    return static_cast<std::uint32_t>(zipf_.draw(random_) * 2654435761U % items_);
  }

 private:
  std::uint32_t items_;
  zipf zipf_;
  bool uniform_;
  random_source random_;
};

load_form form_of(const load_plan& plan) {
  load_form form;
  form.value_bytes = plan.value_bytes;
  form.verify_every = 1;
  return form;
}

}  // namespace

bool cache_load::fill(const endpoint& to) {
  if (!client_.connect(to, 1)) {
    error_ = client_.error();
    return false;
  }
  const load_result r = client_.run(form_of(plan_), sequential_load(true, 0, plan_.items));
  error_ = r.error;
  return r.ok;
}

double cache_load::missing_part(std::uint32_t count, std::uint64_t seed) {
  random_source random(plan_.seed * 31 + seed);
  const load_result r = client_.run(form_of(plan_), [&, left = count](std::vector<load_request>& batch) mutable {
    for (unsigned i = 0; i < gets_a_batch && left > 0; ++i, --left)
      batch.push_back({false, random.below(plan_.items), 1, 1, plan_.items});
  });
  if (!r.ok) {
    error_ = r.error;
    return -1;
  }
  return static_cast<double>(r.misses) / static_cast<double>(std::max<std::uint64_t>(r.operations, 1));
}

void cache_load::start(double rate) {
  stop();
  rate_ = rate;
  stopping_ = false;
  if (samples_.empty()) samples_.resize(samples_max);
  running_ = true;
  thread_ = std::thread([this] { serve(); });
}

void cache_load::serve() {
  item_source items(plan_, plan_.seed + samples_made_);
  std::vector<std::uint32_t> missed;
  unsigned gets_under_way = 0;
  std::uint64_t due = wall_ns();
  const unsigned batch_gets = rate_ > 0 ? gets_a_batch : gets_a_batch_flat_out;
  client_.on_miss = [&](std::uint32_t item) { missed.push_back(item); };
  const load_result r = client_.run(form_of(plan_), [&](std::vector<load_request>& batch) {
    std::size_t made = samples_made_.load(std::memory_order_relaxed);
    if (gets_under_way > 0 && made < samples_.size()) {
      samples_[made] = {wall_ns(), gets_under_way, static_cast<std::uint32_t>(missed.size())};
      samples_made_.store(made + 1, std::memory_order_release);
    }
    lookups_.fetch_add(gets_under_way, std::memory_order_relaxed);
    gets_under_way = 0;
    if (stopping_.load(std::memory_order_relaxed)) return;
    if (!missed.empty()) {
      for (const std::uint32_t item : missed) batch.push_back({true, item, 1, 1, plan_.items});
      refilled_.fetch_add(missed.size(), std::memory_order_relaxed);
      missed.clear();
      return;
    }
    const std::uint64_t now = wall_ns();
    if (rate_ > 0 && now < due) usleep(static_cast<useconds_t>((due - now) / 1000));
    due = std::max(now, due) + (rate_ > 0 ? static_cast<std::uint64_t>(batch_gets * 1e9 / rate_) : 0);
    for (gets_under_way = 0; gets_under_way < batch_gets; ++gets_under_way)
      batch.push_back({false, items.next(), 1, 1, plan_.items});
  });
  client_.on_miss = nullptr;
  if (!r.ok) error_ = r.error;
  running_.store(false, std::memory_order_release);
}

bool cache_load::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  return error_.empty();
}

double cache_load::hit_rate(std::uint64_t from_ns, std::uint64_t to_ns) const {
  const std::size_t made = samples_made_.load(std::memory_order_acquire);
  const auto end = samples_.begin() + static_cast<std::ptrdiff_t>(made);
  std::uint64_t gets = 0, misses = 0;
  auto at = std::lower_bound(samples_.begin(), end, from_ns,
                             [](const load_sample& s, std::uint64_t t) { return s.at_ns < t; });
  for (; at != end && at->at_ns < to_ns; ++at) {
    gets += at->gets;
    misses += at->misses;
  }
  return gets == 0 ? -1 : 1 - static_cast<double>(misses) / static_cast<double>(gets);
}

}  // namespace bench
