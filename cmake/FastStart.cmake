# skep_starts_fast(TARGET): an executable that begins with main() and not with the dynamic linker.
#
# Three quarters of the instructions of `skep --version` were the dynamic linker's: names of libstdc++ and fmt that it
# looks up, and a record of 24 bytes that it reads for every pointer in our tables. So both libraries become part of the
# program, and relocations are packed into bitmaps (DT_RELR: binutils 2.38, glibc 2.36). The program stays position
# independent. Off: -DSKEP_STATIC_RUNTIME=OFF, for distributions that want every library shared; with sanitizers.
include(CheckLinkerFlag)
include(CheckCXXSourceCompiles)

option(SKEP_STATIC_RUNTIME "libstdc++ and fmt are part of the skep program, which then starts faster" ON)

# The same for what others link (libskep.so here, a host's own program by skep.pc and skepConfig.cmake): a record for each
# of 12,000 pointers would be a tenth of a host with the engine in it.
set(SKEP_PACKED_RELOCATIONS "")
check_linker_flag(CXX "-Wl,-z,pack-relative-relocs" SKEP_LINKER_PACKS_RELOCATIONS)
if(SKEP_LINKER_PACKS_RELOCATIONS AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(SKEP_PACKED_RELOCATIONS "-Wl,-z,pack-relative-relocs")
endif()

if(SKEP_STATIC_RUNTIME AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  check_linker_flag(CXX "-static-libstdc++;-static-libgcc" SKEP_HAS_STATIC_RUNTIME)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  try_compile(SKEP_HAS_FMT_INSIDE SOURCES ${CMAKE_SOURCE_DIR}/cmake/fmt_inside.cpp LINK_LIBRARIES fmt::fmt CXX_STANDARD 20)
  unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
endif()

function(skep_starts_fast target)
  if(SKEP_HAS_STATIC_RUNTIME AND SKEP_HAS_FMT_INSIDE)
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/fmt_inside.cpp)
    # With these fmt's ceil() is a few instructions, not a call: it was the last that needed libm, which takes 0.08 ms to
    # load and a third of a megabyte.
    set_source_files_properties(
      ${CMAKE_SOURCE_DIR}/cmake/fmt_inside.cpp TARGET_DIRECTORY ${target}
      PROPERTIES COMPILE_OPTIONS "-O2;-fno-trapping-math" SKIP_PRECOMPILE_HEADERS ON)
    # --as-needed: libfmt.so is on the line, and nothing of it is wanted any more.
    target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc -Wl,--as-needed -Wl,--gc-sections)
  endif()
  target_link_options(${target} PRIVATE ${SKEP_PACKED_RELOCATIONS})
endfunction()
