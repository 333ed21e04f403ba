# SPDX-License-Identifier: MIT

add_executable(example_cache_embed cache_embed.cpp)
scoot_target_defaults(example_cache_embed)
target_link_libraries(example_cache_embed PRIVATE scoot::cache)
if(SCOOT_BUILD_TESTS)
  add_test(NAME example_cache_embed.runs COMMAND example_cache_embed)
  set_tests_properties(example_cache_embed.runs PROPERTIES LABELS examples TIMEOUT 60)
  scoot_test_group(examples example_cache_embed)
endif()
