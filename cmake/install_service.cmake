# SPDX-License-Identifier: MIT
#
# Install rules for running scootd as a service: systemd's units, its user, and a configuration file of all defaults.

configure_file(packaging/scootd.service.in ${PROJECT_BINARY_DIR}/scootd.service @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/scootd.service packaging/scootd.socket DESTINATION lib/systemd/system)
install(FILES packaging/scootd.sysusers DESTINATION lib/sysusers.d RENAME scootd.conf)

add_custom_command(
  OUTPUT ${PROJECT_BINARY_DIR}/scootd.conf
  COMMAND scootd --example-config > ${PROJECT_BINARY_DIR}/scootd.conf
  DEPENDS scootd
  COMMENT "Writing scootd.conf"
  VERBATIM)
add_custom_target(scootd_conf ALL DEPENDS ${PROJECT_BINARY_DIR}/scootd.conf)
install(FILES ${PROJECT_BINARY_DIR}/scootd.conf DESTINATION ${CMAKE_INSTALL_SYSCONFDIR})
