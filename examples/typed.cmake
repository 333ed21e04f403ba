# SPDX-License-Identifier: MIT

add_executable(example_typed typed.cpp)
scoot_target_defaults(example_typed)
target_link_libraries(example_typed PRIVATE scoot::scoot)
if(SCOOT_BUILD_TESTS)
  add_test(NAME example_typed.runs COMMAND example_typed)
  set_tests_properties(example_typed.runs PROPERTIES LABELS examples TIMEOUT 60)
  scoot_test_group(examples example_typed)
endif()
