# SPDX-License-Identifier: MIT

scoot_fuzz_target(
  NAME heap_fuzz
  SOURCES heap_fuzz.cpp ${PROJECT_SOURCE_DIR}/tests/heap/heap_model.cpp
  LIBRARIES scoot::scoot
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/heap)
target_include_directories(heap_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/heap)
