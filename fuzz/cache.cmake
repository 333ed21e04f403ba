# SPDX-License-Identifier: MIT

# Both use what the tests of the cache do.
foreach(name cache restart)
  scoot_fuzz_target(
    NAME ${name}_fuzz
    SOURCES ${name}_fuzz.cpp
    LIBRARIES scoot_cache
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  target_include_directories(${name}_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/cache)
  target_include_directories(${name}_fuzz SYSTEM PRIVATE ${SCOOT_XXHASH_INCLUDE_DIR})
endforeach()
