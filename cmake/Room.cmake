# A room: src/<name> is one folder, one namespace, one target, one unit-test binary.
#
#   skep_room(vm DEPENDS isa catalog verify LIBRARIES fmt::fmt)
#
# SMALL marks a room that runs once for each object that is loaded, never for each event: a release build makes its code
# small rather than fast, which halves it (bench_embed measures what hosts pay). It does without the precompiled header,
# which is made for other options. COLD names such files of a room that has others: those that check a specification or
# make sentences of a mistake. At -O3 every piece of a message is inlined where it is used.
#
# DEPENDS is the only statement of what the room may include; tests/style/layers.py compares it with the
# #include lines. Sources are found by their place: *.cpp belongs to the room, *_test.cpp to its tests.

function(skep_room name)
  cmake_parse_arguments(ROOM "SMALL" "" "DEPENDS;LIBRARIES;COLD" ${ARGN})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")

  if(sources)
    add_library(skep_${name} STATIC ${sources})
    set_target_properties(skep_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    set(scope PUBLIC)
  else()
    add_library(skep_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(skep_${name} ${scope}
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>)
  foreach(dependency ${ROOM_DEPENDS})
    target_link_libraries(skep_${name} ${scope} skep_${dependency})
  endforeach()
  target_link_libraries(skep_${name} ${scope} ${ROOM_LIBRARIES})

  set(small "$<$<CONFIG:Release>:-Os>")
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND small -Wno-stringop-overflow -Wno-array-bounds)  # std::string at -Os (GCC bug 105329)
  endif()
  if(ROOM_SMALL)
    target_compile_options(skep_${name} PRIVATE ${small})
    set_target_properties(skep_${name} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
  endif()
  foreach(file ${ROOM_COLD})
    set(source ${CMAKE_SOURCE_DIR}/src/${name}/${file}.cpp)
    if(NOT source IN_LIST sources)
      message(FATAL_ERROR "skep_room(${name} COLD ${file}): there is no ${source}")
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${small}" SKIP_PRECOMPILE_HEADERS ON)
  endforeach()

  set_property(GLOBAL APPEND PROPERTY SKEP_ROOM_SOURCES ${sources})
  set_property(GLOBAL APPEND PROPERTY SKEP_ROOM_NAMES ${name})

  if(SKEP_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE skep_${name} GTest::gtest_main)
    add_test(NAME unit.${name} COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300)
  endif()
endfunction()
