# SPDX-License-Identifier: MIT

add_executable(example_pressure pressure.cpp)
scoot_target_defaults(example_pressure)
target_link_libraries(example_pressure PRIVATE scoot::scoot)
if(SCOOT_BUILD_TESTS)
  add_test(NAME example_pressure.runs COMMAND example_pressure)
  set_tests_properties(example_pressure.runs PROPERTIES LABELS examples TIMEOUT 60)
  scoot_test_group(examples example_pressure)
endif()
