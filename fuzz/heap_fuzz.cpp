// SPDX-License-Identifier: MIT
//
// Bytes as operations on a heap beside its oracle (tests/heap/heap_model.hpp), which checks every byte of every block
// and every invariant after each.
//
//     |settings: pool, waste target, kinds, seed (4 bytes)|code a a a b b b|code a a a b b b|...
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "heap_model.hpp"

namespace {

using scoot::testing::heap_model;
using scoot::testing::kind_spec;
using scoot::testing::model_options;
using scoot::testing::op_code;
using scoot::testing::operation;

constexpr std::size_t settings_bytes = 4;
constexpr std::size_t operation_bytes = 7;
constexpr std::size_t operations_max = 400;

model_options settings_from(const std::uint8_t* data) {
  model_options options;
  options.pool_options.budget_bytes = std::size_t{1 + data[0] % 4U} << 20;
  options.pool_options.page_bytes = std::size_t{64 * 1024} << (data[0] >> 2) % 3;
  options.live_bytes_max = std::size_t{1} << 20;
  options.size_max = std::size_t{600} << 10;
  static constexpr double targets[] = {0.0001, 0.01, 0, 1};
  options.heap.waste_target = targets[data[1] % 4];
  options.heap.move_bytes_max = std::size_t{256} << (data[1] >> 2) % 12;
  if (data[2] % 4 == 0) options.kinds = {{8, true, 0, 0}, {16, true, 0, 0}};
  if (data[2] % 4 == 1) options.kinds = {kind_spec{8, true, 50, 20}, kind_spec{8, false, 0, 0}};
  if (data[2] % 8 >= 6) {
    options.pool_options.address_bytes = options.pool_options.budget_bytes / 4 * 5;
    options.scarce_address = true;
    options.live_bytes_max = options.pool_options.budget_bytes;
  }
  options.seed = data[3];
  options.verify_every = 16;
  return options;
}

std::uint32_t three_bytes(const std::uint8_t* data) {
  return static_cast<std::uint32_t>(data[0]) | static_cast<std::uint32_t>(data[1]) << 8 |
         static_cast<std::uint32_t>(data[2]) << 16;
}

void die(const heap_model& model) {
  std::fprintf(stderr, "%s\n", model.failure().c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < settings_bytes) return 0;
  heap_model model(settings_from(data));
  data += settings_bytes;
  size -= settings_bytes;
  for (std::size_t n = 0; n < operations_max && size >= operation_bytes; ++n) {
    operation o;
    // What came last has bytes of its own, so that files of the corpus mean what they did.
    constexpr unsigned others = static_cast<unsigned>(op_code::reallocate);
    o.code = data[0] >= 250 ? op_code::reallocate : static_cast<op_code>(data[0] % others);
    o.a = three_bytes(data + 1);
    o.b = three_bytes(data + 4);
    if (!model.apply(o)) die(model);
    data += operation_bytes;
    size -= operation_bytes;
  }
  if (!model.free_all()) die(model);
  return 0;
}
