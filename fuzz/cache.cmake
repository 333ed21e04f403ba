# SPDX-License-Identifier: MIT

scoot_fuzz_target(
  NAME cache_fuzz
  SOURCES cache_fuzz.cpp
  LIBRARIES scoot_cache
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/cache)
target_include_directories(cache_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/cache)
target_include_directories(cache_fuzz SYSTEM PRIVATE ${SCOOT_XXHASH_INCLUDE_DIR})

scoot_fuzz_target(
  NAME restart_fuzz
  SOURCES restart_fuzz.cpp
  LIBRARIES scoot_cache
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/restart)
target_include_directories(restart_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/cache)
target_include_directories(restart_fuzz SYSTEM PRIVATE ${SCOOT_XXHASH_INCLUDE_DIR})
