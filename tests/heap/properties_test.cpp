// SPDX-License-Identifier: MIT
//
// Goal: as model_test.cpp's, by sequences that RapidCheck shrinks to the shortest that still breaks a promise.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <vector>

#include "directory.hpp"
#include "heap_model.hpp"

namespace scoot::testing {
namespace {

rc::Gen<operation> arbitrary_operation() {
  return rc::gen::build<operation>(
      rc::gen::set(&operation::code, rc::gen::weightedOneOf<op_code>(
                                         {{10, rc::gen::just(op_code::allocate)},
                                          {6, rc::gen::just(op_code::free)},
                                          {2, rc::gen::just(op_code::allocate_many)},
                                          {8, rc::gen::map(rc::gen::inRange(0, static_cast<int>(op_code::last) + 1),
                                                           [](int n) { return static_cast<op_code>(n); })}})),
      rc::gen::set(&operation::a, rc::gen::arbitrary<std::uint32_t>()),
      rc::gen::set(&operation::b, rc::gen::arbitrary<std::uint32_t>()));
}

RC_GTEST_PROP(model_properties, no_sequence_of_operations_breaks_a_promise, ()) {
  const auto sequence = *rc::gen::scale(2.0, rc::gen::container<std::vector<operation>>(arbitrary_operation()));
  model_options options;
  options.pool_options = {2 * mib, 64 * kib, 0};
  options.heap.waste_target = 0.001;
  options.seed = *rc::gen::inRange<std::uint64_t>(0, 1000);
  heap_model m(options);
  for (const operation& o : sequence) {
    if (!m.apply(o)) RC_FAIL(to_string(o) + ": " + m.failure());
  }
  if (!m.free_all()) RC_FAIL("at the end: " + m.failure());
}

}  // namespace
}  // namespace scoot::testing
