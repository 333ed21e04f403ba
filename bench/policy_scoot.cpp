// SPDX-License-Identifier: MIT
//
// scoot::cache as a trace is replayed through it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "policy_models.hpp"
#include "scoot/cache.hpp"

namespace bench {
namespace {

constexpr std::uint32_t start_of_time = 1'600'000'000;

class scoot_cache final : public replayed_cache {
 public:
  scoot_cache(std::size_t budget_bytes, std::uint64_t seed) : value_((std::size_t{1} << 20) + 8, 'v') {
    scoot::cache_options options;
    options.budget_bytes = budget_bytes;
    options.maintenance_thread = false;
    options.hash_seed = seed;
    options.clock = [](void* self) { return start_of_time + static_cast<scoot_cache*>(self)->now_; };
    options.clock_context = this;
    cache_ = scoot::cache::create(options);
  }

  [[nodiscard]] bool valid() const { return cache_ != nullptr; }

  // As the maintenance thread would, a few times a second; more is left when a great many items expire at once.
  void pass_time(std::uint32_t now) override {
    now_ = now;
    for (int i = 0; i < 1000 && cache_->maintain(); ++i) {
    }
  }

  bool get(const trace_request& q) override {
    bool right = false;
    const scoot::cache_status status = cache_->get(key_of(q), [&](const scoot::item_view& view) {
      const std::size_t bytes = std::min(view.value.size(), sizeof q.object);
      right = view.value.size() <= value_.size() && std::memcmp(view.value.data(), &q.object, bytes) == 0;
    });
    if (status != scoot::cache_status::ok) return false;
    if (!right) wrong_values_ += 1;
    return true;
  }
  bool store(const trace_request& q, when condition) override {
    scoot::store_options options;
    if (condition == when::absent) options.mode = scoot::store_mode::add;
    if (condition == when::present) options.mode = scoot::store_mode::replace;
    if (q.ttl != 0) options.expires_at = start_of_time + now_ + q.ttl;
    const std::size_t bytes = std::min<std::size_t>(q.value_bytes, value_.size());  // too large anyhow
    std::memcpy(value_.data(), &q.object, sizeof q.object);
    return cache_->store(key_of(q), {value_.data(), bytes}, options) != scoot::cache_status::not_stored;
  }
  void remove(const trace_request& q) override { (void)cache_->remove(key_of(q)); }
  [[nodiscard]] std::uint64_t evictions() const override { return cache_->stats().evictions; }
  [[nodiscard]] std::size_t payload_bytes() const override { return cache_->stats().item_bytes; }
  [[nodiscard]] std::size_t items() const override { return cache_->stats().items; }
  [[nodiscard]] std::string damage() const override {
    const scoot::cache_stats s = cache_->stats();
    if (wrong_values_ != 0) return std::to_string(wrong_values_) + " values were not what had been stored";
    if (s.pool.held_bytes_peak > s.budget_bytes) return "the budget was exceeded";
    return {};
  }

 private:
  // The object's number in decimal, at the end of a key of the right length.
  std::string_view key_of(const trace_request& q) {
    std::memset(key_, 'k', q.key_bytes);
    std::uint32_t rest = q.object;
    char* at = key_ + q.key_bytes;
    for (int digit = 0; digit < 10; ++digit, rest /= 10) *--at = static_cast<char>('0' + rest % 10);
    return {key_, q.key_bytes};
  }

  std::vector<char> value_;
  char key_[256];
  std::uint32_t now_ = 0;
  std::uint64_t wrong_values_ = 0;
  std::unique_ptr<scoot::cache> cache_;
};

}  // namespace

std::unique_ptr<replayed_cache> make_scoot(std::size_t budget_bytes, std::uint64_t seed) {
  auto made = std::make_unique<scoot_cache>(budget_bytes, seed);
  return made->valid() ? std::move(made) : nullptr;
}

}  // namespace bench
