# SPDX-License-Identifier: MIT

if(TARGET scootd_session)
  scoot_fuzz_target(
    NAME protocol_fuzz
    SOURCES protocol_fuzz.cpp
    LIBRARIES scootd_session
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/protocol)

  scoot_fuzz_target(
    NAME meta_protocol_fuzz
    SOURCES meta_protocol_fuzz.cpp
    LIBRARIES scootd_session
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/meta_protocol)

  scoot_fuzz_target(
    NAME binary_protocol_fuzz
    SOURCES binary_protocol_fuzz.cpp
    LIBRARIES scootd_session
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/binary_protocol)

  scoot_fuzz_target(
    NAME protocol_session_fuzz
    SOURCES protocol_session_fuzz.cpp
    LIBRARIES scootd_session
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/protocol_session)
  target_include_directories(protocol_session_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/server)

  scoot_fuzz_target(
    NAME connection_fuzz
    SOURCES connection_fuzz.cpp
    LIBRARIES scootd_session
    CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/connection)
  target_include_directories(connection_fuzz PRIVATE ${PROJECT_SOURCE_DIR}/tests/server)
endif()
