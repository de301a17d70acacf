# The fast loop keeps registers of its own over a chain of small functions (src/vm/arms.hpp). That needs GCC and calls at the
# end of a function made into jumps (-foptimize-sibling-calls). The rest is a matter of size and time: for functions of
# three machine instructions -O1 with these passes gives what -O2 gives in half the compiler's time; unwind tables of
# six thousand arms, through which nothing is thrown, would be as large as the arms; at 16 bytes programs run a tenth faster
# than packed. Options of its own also mean no common precompiled header; and registers of a file's own are lost in link-time
# optimisation. Sanitizers want the other form.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|aarch64)$"
   AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  get_filename_component(interpreter ${CMAKE_CURRENT_LIST_DIR}/../src/vm/interpreter.cpp ABSOLUTE)
  set_source_files_properties(${interpreter} PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON
    COMPILE_DEFINITIONS SKEP_PINNED=1
    COMPILE_OPTIONS "-fno-lto;-O1;-foptimize-sibling-calls;-fpeephole2;-freorder-blocks;-fomit-frame-pointer;-falign-functions=16;-fno-exceptions;-fno-asynchronous-unwind-tables;-fno-unwind-tables")
endif()
