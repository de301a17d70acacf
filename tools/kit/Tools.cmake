# The built-in tools: tools/NAME/NAME.bpf.c compiled now, so that no compiler is needed when a tool runs.
#
# Objects depend on no kernel of the building machine: vmlinux.h is bpf/include/minimal's, offsets are settled when a
# program is loaded. Debug information is left out; types stay. They lie packed in the binary (1.6 MB become 0.3; a tool
# unpacks its own in 0.1 to 0.4 ms). Without clang the binary has no tools, and says so.
set(skep_tool_objects "")
set(skep_tool_names "")
file(GLOB skep_tool_programs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/*/*.bpf.c)
find_program(SKEP_CLANG NAMES clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14)
if(NOT SKEP_CLANG)
  message(STATUS "built-in tools: none, because there is no clang to compile their programs with (Debian package clang)")
  set(skep_tool_programs "")
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(skep_bpf_arch arm64)
  set(skep_bpf_uapi /usr/include/aarch64-linux-gnu)
else()
  set(skep_bpf_arch x86)
  set(skep_bpf_uapi /usr/include/x86_64-linux-gnu)
endif()

add_executable(skep_pack ${CMAKE_SOURCE_DIR}/tools/kit/pack/pack.cpp)
target_link_libraries(skep_pack PRIVATE skep_gen)
file(GLOB skep_tool_bpf_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/*/*.h)
set(skep_tool_directory ${CMAKE_BINARY_DIR}/generated/tools)
file(MAKE_DIRECTORY ${skep_tool_directory})

set(skep_tool_list "// Made by tools/kit/Tools.cmake: SKEP_TOOL(name) for each, SKEP_TOOL_ALONE(name) for those without an object.\n")
foreach(program ${skep_tool_programs})
  get_filename_component(name ${program} NAME_WE)
  get_filename_component(folder ${program} DIRECTORY)
  set(object ${skep_tool_directory}/${name}.bpf.o)
  add_custom_command(
    OUTPUT ${object}.gz
    BYPRODUCTS ${object}
    COMMAND ${SKEP_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wno-unused-function -Wno-address-of-packed-member
      -Wno-compare-distinct-pointer-types -fno-stack-protector -D__TARGET_ARCH_${skep_bpf_arch}
      -I${CMAKE_SOURCE_DIR}/tools/kit -I${CMAKE_SOURCE_DIR}/tools -isystem ${CMAKE_SOURCE_DIR}/bpf/include/minimal
      -isystem ${CMAKE_SOURCE_DIR}/bpf/include -isystem ${CMAKE_BINARY_DIR}/generated/bpf_include
      -idirafter ${skep_bpf_uapi} -idirafter ${CMAKE_SOURCE_DIR}/bpf/include/gnu
      -ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -c ${program} -o ${object}.full
    COMMAND skep_pack ${object} ${object}.full
    COMMAND gzip -9nkf ${object}
    DEPENDS ${program} ${skep_tool_bpf_headers} ${skep_bpf_header_files} ${skep_helper_defs} skep_pack
    COMMENT "BPF program of ${name}"
    VERBATIM)
  list(APPEND skep_tool_objects ${object}.gz)
  string(APPEND skep_tool_list "SKEP_TOOL(${name})\n")
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  target_sources(skep_tool PRIVATE ${sources})
endforeach()

# Tools that make their program themselves, from what the command line says.
file(GLOB skep_tool_sources_alone CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/*/*.cpp)
foreach(source ${skep_tool_sources_alone})
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(folder ${source} DIRECTORY)
  get_filename_component(folder_name ${folder} NAME)
  if(name STREQUAL folder_name AND NOT name STREQUAL kit AND NOT EXISTS ${folder}/CMakeLists.txt AND NOT EXISTS ${folder}/${name}.bpf.c)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
    target_sources(skep_tool PRIVATE ${sources})
    string(APPEND skep_tool_list "SKEP_TOOL_ALONE(${name})\n")
  endif()
endforeach()
file(GENERATE OUTPUT ${skep_tool_directory}/tools.def CONTENT "${skep_tool_list}")

file(GLOB skep_kit_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/kit/*.cpp)
target_sources(skep_tool PRIVATE ${skep_kit_sources})
target_include_directories(skep_tool PRIVATE ${CMAKE_SOURCE_DIR}/tools ${CMAKE_SOURCE_DIR}/tools/skep ${skep_tool_directory})
set_source_files_properties(${CMAKE_SOURCE_DIR}/tools/kit/objects.cpp PROPERTIES OBJECT_DEPENDS "${skep_tool_objects}"
  COMPILE_DEFINITIONS SKEP_TOOL_DIRECTORY="${skep_tool_directory}")
