# skep_add_skeleton(TARGET SOURCE [NAME name]): compiles BPF C and writes its skeleton when TARGET is built.
#
#   skep_add_skeleton(my_loader counter.bpf.c)      ->  #include "counter.skel.hpp" in my_loader's sources
#
# SOURCE is BPF C, compiled with `skep compile`, or an object (.o). NAME is the class and the header; without it, the file's
# name up to the first dot. SKEP_EXECUTABLE is the skep to use: the installed one, unless it is set before.
function(skep_add_skeleton target source)
  cmake_parse_arguments(PARSE_ARGV 2 SKELETON "" "NAME" "")
  cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT SKELETON_NAME)
    cmake_path(GET source STEM SKELETON_NAME)
    string(MAKE_C_IDENTIFIER ${SKELETON_NAME} SKELETON_NAME)
  endif()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target}.skeletons)
  file(MAKE_DIRECTORY ${folder})
  set(object ${source})
  if(source MATCHES "\\.c$")
    set(object ${folder}/${SKELETON_NAME}.bpf.o)
    add_custom_command(OUTPUT ${object} COMMAND ${SKEP_EXECUTABLE} compile ${source} -o ${object}
      DEPENDS ${source} VERBATIM)
  endif()
  set(header ${folder}/${SKELETON_NAME}.skel.hpp)
  add_custom_command(OUTPUT ${header}
    COMMAND ${SKEP_EXECUTABLE} gen skeleton ${object} name ${SKELETON_NAME} -o ${header} DEPENDS ${object} VERBATIM)
  target_sources(${target} PRIVATE ${header})
  target_include_directories(${target} PRIVATE ${folder})
endfunction()
