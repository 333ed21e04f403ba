# SPDX-License-Identifier: MIT
#
# What every target of the project shares, and the helpers by which tests and fuzz targets are declared.

# scoot_target_defaults(target): C++20 without extensions, our warnings, hidden visibility, the check level, internal
# headers relative to src/. For each target of the project; nothing of it reaches the users of the libraries.
function(scoot_target_defaults target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(
    ${target}
    PROPERTIES CXX_EXTENSIONS OFF
               C_STANDARD 11
               CXX_VISIBILITY_PRESET hidden
               C_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON)
  # g++ 12 takes every destroying delete for a mismatched one.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
  # What a program does not call of the libraries linked into it is left out: a third of scootd, and .6 MiB of what is
  # resident. Not where debuggers and sanitizers look.
  target_compile_options(${target} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-ffunction-sections -fdata-sections>)
  target_link_options(${target} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-Wl,--gc-sections>)
  target_compile_definitions(${target} PRIVATE SCOOT_CHECK_LEVEL=${SCOOT_CHECK_LEVEL})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
endfunction()

# scoot_test(NAME name SOURCES file... LIBRARIES target... [LABELS label] [TIMEOUT seconds] [NO_HEAP] [TOGETHER])
#
# A GoogleTest executable whose cases are ctest tests of the given label (default: the name of the folder). The target
# tests-<label> builds all executables of a label, which is how sanitizer runs build no more than they run.
#
# TOGETHER: no two of the sources have names of their own that are the same, so that some presets compile many at once.
#
# With costly checks it is run once more as a whole, labelled moving, with a heap that moves every block that may move
# at about every 20th allocation: whoever keeps an address too long is found out. What else moves then can't be counted:
# tests and assertions whose subject that is ask for the variable and say so. NO_HEAP spares tests that have no heap.
function(scoot_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "NO_HEAP;TOGETHER" "NAME;LABELS;TIMEOUT" "SOURCES;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "scoot_test(${arg_NAME}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_LABELS)
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME arg_LABELS)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  scoot_target_defaults(${arg_NAME})
  target_compile_options(${arg_NAME} PRIVATE -Wno-conversion) # tests compare small literals all the time
  if(SCOOT_TESTS_BUILD_QUICKLY)
    target_compile_options(${arg_NAME} PRIVATE -O0)
    set_target_properties(${arg_NAME} PROPERTIES UNITY_BUILD ${arg_TOGETHER})
  endif()
  target_link_libraries(${arg_NAME} PRIVATE ${arg_LIBRARIES} GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${arg_NAME} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT})
  scoot_test_group(${arg_LABELS} ${arg_NAME})
  if(SCOOT_CHECK_LEVEL GREATER_EQUAL 2 AND NOT arg_NO_HEAP)
    add_test(NAME ${arg_NAME}.passes_while_everything_moves COMMAND ${arg_NAME} --gtest_brief=1)
    set_tests_properties(${arg_NAME}.passes_while_everything_moves
                         PROPERTIES LABELS moving TIMEOUT 300 ENVIRONMENT SCOOT_MOVE_EVERYTHING=20)
  endif()
endfunction()

# scoot_test_group(label target...): lets the target tests-<label> build these targets too.
function(scoot_test_group label)
  if(NOT TARGET tests-${label})
    add_custom_target(tests-${label})
  endif()
  add_dependencies(tests-${label} ${ARGN})
endfunction()

# scoot_fuzz_target(NAME name SOURCES file... [LIBRARIES target...] [CORPUS folder])
#
# The sources define LLVMFuzzerTestOneInput. With SCOOT_WITH_LIBFUZZER the target is a libFuzzer program; else it is one
# that runs the files and folders it is given. Either way the corpus (default: fuzz/corpus/<name>), which must not be
# empty, is replayed as the ctest test <name>.replays_its_corpus, labelled fuzz; the target `fuzzers` builds them all.
function(scoot_fuzz_target)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;CORPUS" "SOURCES;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "scoot_fuzz_target(${arg_NAME}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_CORPUS)
    set(arg_CORPUS ${PROJECT_SOURCE_DIR}/fuzz/corpus/${arg_NAME})
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  scoot_target_defaults(${arg_NAME})
  target_compile_options(${arg_NAME} PRIVATE -Wno-conversion)
  target_link_libraries(${arg_NAME} PRIVATE ${arg_LIBRARIES})
  if(SCOOT_WITH_LIBFUZZER)
    target_link_options(${arg_NAME} PRIVATE -fsanitize=fuzzer)
    set(replay -runs=0)
  else()
    target_sources(${arg_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/replay_main.cpp)
    set(replay "")
  endif()
  add_test(NAME ${arg_NAME}.replays_its_corpus COMMAND ${arg_NAME} ${replay} ${arg_CORPUS})
  set_tests_properties(${arg_NAME}.replays_its_corpus PROPERTIES LABELS fuzz TIMEOUT 300)
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  add_dependencies(fuzzers ${arg_NAME})
  set_property(GLOBAL APPEND PROPERTY SCOOT_FUZZ_TARGETS "${arg_NAME} ${arg_CORPUS}")
endfunction()
