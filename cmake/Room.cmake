# A room: src/<name> is one folder, one namespace, one target, one unit-test binary.
#
#   skep_room(vm DEPENDS isa catalog verify LIBRARIES fmt::fmt)
#
# SMALL marks a room that runs once for each object that is loaded, never for each event: a release build makes its code
# small rather than fast, which halves it (bench_embed measures what hosts pay, bench_startup what a start pays). HOT names
# files of such a room that do run for each event. COLD names the other kind in a room that is fast: those that check a
# specification or make sentences of a mistake. At -O3 every piece of a message is inlined where it is used. LEAN marks a
# room whose time counts and where -O3 gains none of it: -O2.
#
# DEPENDS is the only statement of what the room may include; tests/style/layers.py compares it with the
# #include lines. Sources are found by their place: *.cpp belongs to the room, *_test.cpp to its tests.

set(skep_small "$<$<CONFIG:Release>:-Os>")

# Files that are made otherwise than their room; without the precompiled header, which is made for the room's options.
function(skep_file_options room options)
  foreach(file ${ARGN})
    set(source ${CMAKE_SOURCE_DIR}/src/${room}/${file}.cpp)
    if(NOT EXISTS ${source})
      message(FATAL_ERROR "skep_room(${room}): ${file} is COLD or HOT, and there is no ${source}")
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}" SKIP_PRECOMPILE_HEADERS ON)
  endforeach()
endfunction()

function(skep_room name)
  cmake_parse_arguments(ROOM "SMALL;LEAN" "" "DEPENDS;LIBRARIES;COLD;HOT" ${ARGN})
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

  if(ROOM_SMALL)
    target_compile_options(skep_${name} PRIVATE ${skep_small})
  elseif(ROOM_LEAN)
    target_compile_options(skep_${name} PRIVATE $<$<CONFIG:Release>:-O2>)
    # A precompiled header made at -O3 brings its -O3 along.
    set_target_properties(skep_${name} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
  endif()
  skep_file_options(${name} "${skep_small}" ${ROOM_COLD})
  skep_file_options(${name} "$<$<CONFIG:Release>:-O3>" ${ROOM_HOT})

  set_property(GLOBAL APPEND PROPERTY SKEP_ROOM_SOURCES ${sources})
  set_property(GLOBAL APPEND PROPERTY SKEP_ROOM_NAMES ${name})

  if(SKEP_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE skep_${name} GTest::gtest_main)
    add_test(NAME unit.${name} COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300)
  endif()
endfunction()
