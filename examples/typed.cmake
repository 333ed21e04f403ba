# SPDX-License-Identifier: MIT

add_executable(example_typed typed.cpp)
add_executable(example_document_cache document_cache.cpp)
foreach(example example_typed example_document_cache)
  scoot_target_defaults(${example})
  target_link_libraries(${example} PRIVATE scoot::scoot)
  if(SCOOT_BUILD_TESTS)
    add_test(NAME ${example}.runs COMMAND ${example})
    set_tests_properties(${example}.runs PROPERTIES LABELS examples TIMEOUT 60)
    scoot_test_group(examples ${example})
  endif()
endforeach()
