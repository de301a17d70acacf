# The headers of BPF programs become one source of skep_compile, so that a single binary carries them (embed.cpp).
add_executable(skep_embed ${CMAKE_CURRENT_LIST_DIR}/embed.cpp
  ${CMAKE_SOURCE_DIR}/src/base/digest.cpp ${CMAKE_SOURCE_DIR}/src/catalog/helpers.cpp)
target_link_libraries(skep_embed PRIVATE skep_base)

set(skep_embedded_headers ${CMAKE_BINARY_DIR}/generated/embedded_headers.cpp)
set(skep_helper_defs ${CMAKE_BINARY_DIR}/generated/bpf_include/bpf/bpf_helper_defs.h)  # for programs compiled with skep
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated/bpf_include/bpf)
file(GLOB_RECURSE skep_bpf_header_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/include/*)
add_custom_command(
  OUTPUT ${skep_embedded_headers} ${skep_helper_defs}
  COMMAND skep_embed ${skep_embedded_headers} ${CMAKE_CURRENT_LIST_DIR}/include ${skep_helper_defs}
  DEPENDS skep_embed ${skep_bpf_header_files}
  COMMENT "Embedding the headers of BPF programs"
  VERBATIM)
target_sources(skep_compile PRIVATE ${skep_embedded_headers})
