// SPDX-License-Identifier: MIT
//
// Goal: whatever the OS refuses, whenever, costs a cache nothing but items it says it evicted, or an answer that says
// that there is no memory: no value is ever another one, no item is lost silently, no invariant breaks, and the next
// operation goes on. Method: a scenario through all that a cache does to memory (stores of every size, pins, expiry,
// budgets up and down, release, flush; with and without a cold tier), beside an oracle, run again and again with the
// Nth call of the OS failing, until none fails.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "os/os.hpp"
#include "support.hpp"

namespace scoot::testing {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t stride = 5;
#else
constexpr std::uint64_t stride = 1;
#endif

// Ends injection however the scope is left.
struct injection {
  explicit injection(std::uint64_t n) { os::fail_nth_call(n); }
  injection(const injection&) = delete;
  injection& operator=(const injection&) = delete;
  ~injection() { os::fail_nth_call(0); }
};

class scenario {
 public:
  explicit scenario(std::size_t purgeable_bytes) : purgeable_bytes_(purgeable_bytes) {}

  // What was wrong, empty if nothing was. Refusals are no wrong.
  std::string run() {
    cache_options options = options_on(clock_, 2 * mib, 2);
    options.purgeable_bytes = purgeable_bytes_;
    options.purgeable_keep_refused = true;
    options.hash_seed = 4711;
    cache_ = cache::create(options);
    if (cache_ == nullptr) return "";
    cache_->observe_evictions(&scenario::note_evicted, this);
    for (int round = 0; round < 3 && wrong_.empty(); ++round) {
      for (int i = 0; i < 80; ++i) step();
      (void)cache_->set_budget(std::array{3, 1, 2}[static_cast<std::size_t>(round)] * mib);
      for (int i = 0; i < 50; ++i) (void)cache_->maintain();
      if (round == 2) (void)cache_->release(mib / 2);
      check_all();
    }
    pins_.clear();
    cache_->flush();
    while (cache_->maintain()) {
    }
    verify(*cache_);
    expect(cache_->stats().items == 0, "items are left after a flush");
    expect(cache_->store("last", "value") == cache_status::ok, "no store after it all");
    return wrong_;
  }

 private:
  void expect(bool right, const char* what, const std::string& key = {}) {
    if (!right && wrong_.empty()) wrong_ = std::string(what) + " " + key;
  }
  static void note_evicted(void* context, const item_view& item) noexcept {
    static_cast<scenario*>(context)->oracle_.erase(std::string(item.key));
  }

  // Cheap, and different at every place.
  static std::string filled(std::uint64_t first, std::size_t bytes) {
    std::string value(bytes, 'x');
    for (std::size_t at = 0; at + sizeof first <= bytes; at += sizeof first, ++first) {
      std::memcpy(value.data() + at, &first, sizeof first);
    }
    return value;
  }

  void step() {
    const std::string key = "key" + std::to_string(random_.below(120));
    switch (random_.below(8)) {
      case 0:
        if (const cache_status s = cache_->remove(key); s == cache_status::ok || s == cache_status::not_found) {
          expect((s == cache_status::ok) == (oracle_.count(key) != 0) || purgeable_bytes_ != 0, "remove", key);
          oracle_.erase(key);
        }
        break;
      case 1:
        if (pinned_item pinned = cache_->pin(key); pinned) {
          if (pins_.size() > 4) pins_.erase(pins_.begin());
          const std::string value(pinned.view().value);
          pins_.emplace_back(std::move(pinned), value);
        }
        break;
      case 2:
        look(key);
        break;
      default:
        store(key);
    }
    for (const auto& [pinned, value] : pins_) expect(pinned.view().value == value, "a pinned value changed");
  }

  void store(const std::string& key) {
    static constexpr std::array<std::size_t, 5> bytes_max{60, 400, 3000, 30000, 200000};
    const std::string value = filled(random_(), random_.below(bytes_max[random_.below(bytes_max.size())]));
    const cache_status status = cache_->store(key, value);
    expect(status == cache_status::ok || status == cache_status::no_memory, "a store that ends otherwise", key);
    oracle_.erase(key);  // a set that is refused removes the older item
    if (status == cache_status::ok) oracle_[key] = value;
  }

  void look(const std::string& key) {
    const auto found = read(*cache_, key);
    const auto mine = oracle_.find(key);
    if (found) {
      expect(mine != oracle_.end() && mine->second == found->value, "another value, or one that was gone", key);
    } else {
      // A cold item may be where the OS gives nothing back: that is counted, and no news of an eviction.
      expect(mine == oracle_.end() || purgeable_bytes_ != 0, "lost silently", key);
      if (mine != oracle_.end()) oracle_.erase(mine);
    }
  }

  void check_all() {
    verify(*cache_);
    const std::map<std::string, std::string> all = oracle_;
    for (const auto& item : all) look(item.first);
  }

  const std::size_t purgeable_bytes_;
  seeded random_{9};
  fake_clock clock_;
  std::map<std::string, std::string> oracle_;
  std::unique_ptr<cache> cache_;
  std::vector<std::pair<pinned_item, std::string>> pins_;
  std::string wrong_;
};

class cache_os_failure_anywhere : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(tiers, cache_os_failure_anywhere, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "hot_and_cold" : "hot"; });

TEST_P(cache_os_failure_anywhere, loses_nothing_silently) {
  const std::size_t purgeable_bytes = GetParam() ? 2 * mib : 0;
  std::uint64_t n = 1;
  for (;; n += stride) {
    ASSERT_LT(n, 20000U);
    const std::uint64_t before = os::calls_made();
    {
      const injection failing(n);
      scenario all(purgeable_bytes);
      ASSERT_EQ(all.run(), "") << "with call " << n << " of the OS failing";
    }
    if (os::calls_made() - before < n) break;  // the scenario no longer gets as far
  }
  RecordProperty("calls", static_cast<int>(n));
  EXPECT_GT(n, 100U) << "the scenario calls the OS too seldom to test anything";
}

}  // namespace
}  // namespace scoot::testing
