# SPDX-License-Identifier: MIT
#
# Install rules: libraries, headers, CMake package (find_package(scoot CONFIG)), pkg-config files, scootd.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(libraries scoot scoot_shared)
if(TARGET scoot_cache)
  list(APPEND libraries scoot_cache)
  set_target_properties(scoot_cache PROPERTIES EXPORT_NAME cache)
endif()
install(
  TARGETS ${libraries}
  EXPORT scootTargets
  FILE_SET HEADERS)
if(TARGET scootd)
  install(TARGETS scootd)
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
set(pc_files scoot)
if(TARGET scoot_cache)
  list(APPEND pc_files scoot-cache)
endif()
foreach(name ${pc_files})
  configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${pc_dir})
endforeach()
