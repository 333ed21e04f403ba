# SPDX-License-Identifier: MIT

add_executable(example_heap_hook heap_hook.cpp)
add_executable(example_heap_c heap_c.c)
set_target_properties(example_heap_c PROPERTIES LINKER_LANGUAGE CXX)
foreach(example example_heap_hook example_heap_c)
  scoot_target_defaults(${example})
  target_link_libraries(${example} PRIVATE scoot::scoot)
  if(SCOOT_BUILD_TESTS)
    add_test(NAME ${example}.runs COMMAND ${example})
    set_tests_properties(${example}.runs PROPERTIES LABELS examples TIMEOUT 60)
    scoot_test_group(examples ${example})
  endif()
endforeach()
