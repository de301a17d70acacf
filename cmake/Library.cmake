# libskep.a and what a user needs to find it: headers, a pkg-config file, a CMake package.
#
# The rooms' static libraries are merged into one archive, so that `-lskep -lfmt` is all a user links.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(merged ${CMAKE_BINARY_DIR}/libskep.a)
set(script "create ${merged}\n")
set(archives "")
foreach(room ${room_names})
  get_target_property(type skep_${room} TYPE)
  if(type STREQUAL STATIC_LIBRARY)
    string(APPEND script "addlib $<TARGET_FILE:skep_${room}>\n")
    list(APPEND archives skep_${room})
  endif()
endforeach()
string(APPEND script "save\nend\n")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/libskep.mri CONTENT "${script}")
add_custom_command(OUTPUT ${merged}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${merged}
  COMMAND ${CMAKE_AR} -M < ${CMAKE_BINARY_DIR}/libskep.mri
  DEPENDS ${archives} ${CMAKE_BINARY_DIR}/libskep.mri
  VERBATIM)
add_custom_target(skep_library ALL DEPENDS ${merged})

install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/skep DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${merged} DESTINATION ${CMAKE_INSTALL_LIBDIR})
file(RELATIVE_PATH SKEP_PREFIX_FROM_PKGCONFIG /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${CMAKE_SOURCE_DIR}/cmake/skep.pc.in ${CMAKE_BINARY_DIR}/skep.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/skep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/skepConfig.cmake.in ${CMAKE_BINARY_DIR}/skepConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/skep)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/skepConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/skepConfig.cmake ${CMAKE_BINARY_DIR}/skepConfigVersion.cmake
  ${CMAKE_SOURCE_DIR}/cmake/SkepSkeleton.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/skep)
