# What almost every file includes is read once for all of them, which halves the time of a build.
#
# Three targets own a precompiled header: skep_base, skep_btf for what is made small (-Os), and base_test with GoogleTest
# in it; every other C++ target that is made by the time skep_precompile_all() is called uses the one that fits. Files include what they use all the same:
# the presets for sanitizers and fuzzers build without (SKEP_PRECOMPILED=OFF), and a file that forgot fails there.
option(SKEP_PRECOMPILED "read common headers once" ON)

set(skep_common_headers
  <algorithm> <array> <atomic> <filesystem> <functional> <memory> <mutex> <optional> <span> <string> <string_view>
  <unordered_map> <vector> <fmt/format.h> <tl/expected.hpp>)

function(skep_precompile_target target)
  get_target_property(sources ${target} SOURCES)
  get_target_property(type ${target} TYPE)
  if(NOT type MATCHES "EXECUTABLE|STATIC_LIBRARY" OR NOT sources MATCHES "\\.cpp")
    return()
  endif()
  get_target_property(libraries ${target} LINK_LIBRARIES)
  if(NOT libraries MATCHES "skep_|fmt")
    return()  # it may not have the headers at all
  elseif(libraries MATCHES "GTest")
    set(owner base_test)
    set(headers ${skep_common_headers} <gtest/gtest.h>)
  else()
    get_target_property(options ${target} COMPILE_OPTIONS)
    set(owner skep_base)
    if(options MATCHES "-Os")
      set(owner skep_btf)
    endif()
    set(headers ${skep_common_headers})
  endif()
  get_target_property(independent ${target} POSITION_INDEPENDENT_CODE)
  if(NOT independent)
    target_compile_options(${target} PRIVATE -fPIC)  # as the rooms: a precompiled header fits one setting only
  endif()
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${headers})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

function(skep_precompile_all directory)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    skep_precompile_target(${target})
  endforeach()
  get_property(below DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  foreach(folder ${below})
    skep_precompile_all(${folder})
  endforeach()
endfunction()

# ccache takes such files only when it is told that the macros in them are no cause for worry (see CMakeLists.txt).
if(SKEP_PRECOMPILED AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
