# A library that is opened at run time when it is first needed: its header is looked for here, and a build without it
# says at run time what is missing.
#
#   skep_opens(skep_symbols HEADER elfutils/libdw.h DEFINES SKEP_HAS_LIBDW PACKAGE libdw-dev FOR "inlined functions in stacks")
function(skep_opens target)
  cmake_parse_arguments(OPENED "" "HEADER;DEFINES;PACKAGE;FOR" "" ${ARGN})
  find_path(${OPENED_DEFINES}_HEADERS ${OPENED_HEADER})
  if(${OPENED_DEFINES}_HEADERS)
    target_compile_definitions(${target} PRIVATE ${OPENED_DEFINES})
    target_include_directories(${target} SYSTEM PRIVATE ${${OPENED_DEFINES}_HEADERS})
    target_link_libraries(${target} PUBLIC ${CMAKE_DL_LIBS})
  else()
    message(STATUS "left out: ${OPENED_FOR}; install ${OPENED_PACKAGE}")
  endif()
endfunction()
