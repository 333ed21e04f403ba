// SPDX-License-Identifier: MIT
//
// Bytes as operations on a cache beside its oracle (tests/cache/cache_model.hpp): values must never be wrong, budgets
// kept, and every item is moved after every operation.
//
//     |settings: exact, shards, hash seed (2 bytes)|choices: as few bytes as each needs, until they end ...
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "cache_model.hpp"

namespace {

constexpr std::size_t settings_bytes = 2;
constexpr int operations_max = 200;
constexpr int check_every = 16;

// Choices by the input. A number takes the bytes that its range needs; past the end all are 0.
class bytes_as_choices {
 public:
  bytes_as_choices(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  [[nodiscard]] bool over() const { return at_ == end_; }
  std::uint64_t operator()() { return spread(take(4)); }
  std::uint64_t below(std::uint64_t n) { return take(n <= 256 ? 1 : n <= 65536 ? 2 : 3) % n; }

 private:
  std::uint64_t take(int count) {
    std::uint64_t number = 0;
    for (; count > 0 && at_ != end_; --count) number = number << 8 | *at_++;
    return number;
  }
  // Small inputs stay small numbers, which arithmetic wants; others fill 64 bits.
  static std::uint64_t spread(std::uint64_t number) { return number < 1 << 16 ? number : number * 0x9e3779b97f4a7c15U; }

  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < settings_bytes) return 0;
  scoot::testing::cache_model_options options;
  options.exact = (data[0] & 1) == 0;
  options.shards = (data[0] & 2) == 0 ? 1 : 2;
  options.budget_bytes = std::size_t{options.exact ? 16U : options.shards} << 20;
  options.value_bytes_max = options.exact ? 5000 : 60000;
  options.hash_seed = data[1] + 1U;  // a run repeats
  scoot::testing::cache_model<bytes_as_choices> model(bytes_as_choices(data + settings_bytes, size - settings_bytes),
                                                      options);
  if (!options.exact) {  // full from the start, so that the first operation has to evict
    for (unsigned i = 0; model.subject().stats().evictions == 0; ++i)
      (void)model.subject().store("filler" + std::to_string(i), std::string(1 + i % 3000, 'f'));
  }
  for (int n = 0; n < operations_max && !model.choices().over(); ++n) {
    if (!model.step() || (n % check_every == 0 && !model.check_all())) break;
  }
  (void)model.finish();
  if (!model.failure().empty()) {
    std::fprintf(stderr, "%s\n", model.failure().c_str());
    std::abort();
  }
  return 0;
}
