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

# A sanitizer's runtime belongs to a program: there is no libskep.so then, and no `skep python`.
if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  # libskep.so: the C interfaces, nothing else visible. References inside of it are bound when it is linked, what no function
  # of the interface reaches is left out, and addresses are few and packed: it is loaded in about a millisecond.
  add_library(skep_shared SHARED $<TARGET_OBJECTS:skep_capi>)
  set_target_properties(skep_shared PROPERTIES OUTPUT_NAME skep VERSION ${PROJECT_VERSION} SOVERSION 1
    LINK_DEPENDS ${CMAKE_SOURCE_DIR}/src/capi/libskep.map DISABLE_PRECOMPILE_HEADERS ON)
  target_link_libraries(skep_shared PRIVATE -Wl,--undefined=skep_vm_version skep_host skep_capi)
  target_link_options(skep_shared PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/src/capi/libskep.map -Wl,-Bsymbolic
    -Wl,--gc-sections -Wl,-O1 -Wl,--hash-style=gnu -Wl,-z,relro -Wl,--no-undefined ${SKEP_PACKED_RELOCATIONS})
  install(TARGETS skep_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libskep NAMELINK_SKIP)

  # The Python packages: in a directory of their own, so that they hide no BCC that is installed. In the build tree they
  # are where `skep python` looks too.
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/python/ DESTINATION ${CMAKE_INSTALL_DATADIR}/skep/python COMPONENT python
    FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "__pycache__" EXCLUDE)
  # Compiled once here, not at each start of a user who may not write there: that costs 40 ms.
  install(CODE "execute_process(COMMAND python3 -m compileall -q \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/skep/python\" OUTPUT_QUIET ERROR_QUIET)
    if(NOT EXISTS \"/usr/lib/python3/dist-packages/bcc\")
      message(STATUS \"skep python finds the packages. For other ways to start drivers, tell Python of them once:\\n\"
        \"  echo \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/skep/python > \\$(python3 -c 'import site; print(site.getsitepackages()[0])')/skep.pth\")
    endif()")
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/share/skep)
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/python ${CMAKE_BINARY_DIR}/share/skep/python SYMBOLIC)
endif()

install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/skep DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${merged} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
file(RELATIVE_PATH SKEP_PREFIX_FROM_PKGCONFIG /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${CMAKE_SOURCE_DIR}/cmake/skep.pc.in ${CMAKE_BINARY_DIR}/skep.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/skep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/skepConfig.cmake.in ${CMAKE_BINARY_DIR}/skepConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/skep)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/skepConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/skepConfig.cmake ${CMAKE_BINARY_DIR}/skepConfigVersion.cmake
  ${CMAKE_SOURCE_DIR}/cmake/SkepSkeleton.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/skep COMPONENT development)
