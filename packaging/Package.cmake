# Debian packages, by CPack: `make deb`, or `cpack -G DEB` in the build directory.
#
# CPack and not a debian/ folder: what is installed, and the version, are said once, in CMake; nothing but dpkg-dev is
# needed; and a package can be made of a build that exists, without a build tree of debhelper's own. Four packages:
#
#   skep          the binary with its tools and verbs, completion, manual page; depends on the C++ and fmt libraries only
#   libskep1      libskep.so.1, for the Python packages and other languages
#   python3-skep  `import skep`, and `import bcc` where BCC is not installed: its directory comes last in Python's path
#   libskep-dev   headers, the static library, pkg-config and CMake files
#
# Dependencies on libraries are computed (dpkg-shlibdeps). Source: Debian Policy 4.6, chapters 5, 8 and 12.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME skep)
set(CPACK_PACKAGE_VENDOR skep)
set(SKEP_PACKAGE_CONTACT "skep developers <skep@localhost>" CACHE STRING "the maintainer that packages name")
set(CPACK_PACKAGE_CONTACT "${SKEP_PACKAGE_CONTACT}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL skep libskep python development)  # what Python compiles on this machine (bytecode) stays here
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)

set(CPACK_DEBIAN_SKEP_PACKAGE_NAME skep)
set(CPACK_DEBIAN_SKEP_PACKAGE_RECOMMENDS "clang (>= 1:14), python3-skep")
set(CPACK_DEBIAN_SKEP_PACKAGE_SUGGESTS "libdw1, libcapstone4")
set(CPACK_COMPONENT_SKEP_DESCRIPTION "eBPF programs in user space and in the kernel
One program that compiles, verifies, runs, attaches and inspects eBPF
programs, on a process tree without privileges or in the Linux kernel, with
the tools of the BCC chart built in. Compiling C needs clang; nothing else
does.")
set(CPACK_DEBIAN_LIBSKEP_PACKAGE_NAME libskep1)
set(CPACK_DEBIAN_LIBSKEP_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIBSKEP_DESCRIPTION "eBPF engines as a library
The C interface of skep as a shared library: both engines, the compiler
driver and the inspection of programs and maps.")
# What depends on the library, and that ldconfig looks at it; CPack's own way would call ldconfig from scripts.
file(WRITE ${CMAKE_BINARY_DIR}/packaging/control/shlibs "libskep 1 libskep1 (>= ${PROJECT_VERSION})\n")
file(WRITE ${CMAKE_BINARY_DIR}/packaging/control/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBSKEP_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/packaging/control/shlibs
  ${CMAKE_BINARY_DIR}/packaging/control/triggers)
set(CPACK_DEBIAN_PYTHON_PACKAGE_NAME python3-skep)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PYTHON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "python3, libskep1 (= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_PYTHON_PACKAGE_RECOMMENDS "clang (>= 1:14)")
set(CPACK_COMPONENT_PYTHON_DESCRIPTION "eBPF from Python, and BCC's interface
The packages skep and bcc. Drivers that were written for BCC find the second
where BCC itself is not installed; where it is, `skep python DRIVER` chooses
this one.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libskep-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libskep1 (= ${PROJECT_VERSION}-1), libfmt-dev, libexpected-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "eBPF engines as a library, for programs in C and C++
Headers, the static library, and files for pkg-config and CMake.")

# Each package's own papers. A changelog of the packaging, compressed as the policy asks, with no time in it.
foreach(pair skep:skep libskep:libskep1 python:python3-skep development:libskep-dev)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 component)
  list(GET pair 1 package)
  set(papers ${CMAKE_BINARY_DIR}/packaging/${package})
  configure_file(${CMAKE_SOURCE_DIR}/packaging/changelog.in ${papers}/changelog.Debian @ONLY)
  execute_process(COMMAND gzip -9nkf ${papers}/changelog.Debian)
  install(FILES ${CMAKE_SOURCE_DIR}/packaging/copyright ${papers}/changelog.Debian.gz
    DESTINATION share/doc/${package} COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()
# Python looks here last, so a BCC that is installed stays `bcc`.
file(WRITE ${CMAKE_BINARY_DIR}/packaging/skep.pth "/usr/share/skep/python\n")
install(FILES ${CMAKE_BINARY_DIR}/packaging/skep.pth DESTINATION lib/python3/dist-packages COMPONENT python EXCLUDE_FROM_ALL)
set(CPACK_DEBIAN_PYTHON_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/python/postinst
  ${CMAKE_SOURCE_DIR}/packaging/python/prerm)
include(CPack)
