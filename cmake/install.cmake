# SPDX-License-Identifier: MIT
#
# Install rules: libraries, headers, CMake package (find_package(scoot CONFIG)), pkg-config files, scootd and
# how to run it as a service, scoot-bench.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_target_properties(scoot_cache PROPERTIES EXPORT_NAME cache)
install(
  TARGETS scoot scoot_shared scoot_cache
  EXPORT scootTargets
  FILE_SET HEADERS)
if(TARGET scootd)
  install(TARGETS scootd)
  install(TARGETS scootd_http DESTINATION ${CMAKE_INSTALL_LIBDIR}/scoot)
  include(cmake/install_service.cmake)
endif()

if(TARGET scoot-bench)
  install(TARGETS scoot-bench)
  install(TARGETS scoot-record DESTINATION ${CMAKE_INSTALL_LIBDIR}/scoot)
  install(FILES bench/traces/library.sql DESTINATION ${CMAKE_INSTALL_DATADIR}/scoot/traces)
  install(PROGRAMS bench/traces/words.pl DESTINATION ${CMAKE_INSTALL_DATADIR}/scoot/traces)
endif()
if(TARGET scoot_command)
  install(TARGETS scoot_command)
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/scoot)
install(EXPORT scootTargets NAMESPACE scoot:: DESTINATION ${package_dir})
configure_package_config_file(cmake/scootConfig.cmake.in ${PROJECT_BINARY_DIR}/scootConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/scootConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/scootConfig.cmake ${PROJECT_BINARY_DIR}/scootConfigVersion.cmake
        DESTINATION ${package_dir})

# The .pc files find their prefix from where they lie, so that the tree can be moved.
cmake_path(SET pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pc_dir} OUTPUT_VARIABLE pc_prefix)
foreach(name scoot scoot-cache)
  configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${pc_dir})
endforeach()
