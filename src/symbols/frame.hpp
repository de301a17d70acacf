// One address with its name: what a line of a stack says.
#pragma once
#include <skep/types.hpp>
#include <string>

namespace skep::symbols {

struct Frame {
  u64 address = 0;
  std::string name;    ///< of the function, as its file has it (mangled); "" where it is not known
  u64 offset = 0;      ///< from the beginning of the function
  std::string module;  ///< kernel: the module, "" for the kernel itself; user: the file, "[vdso]"; "" where not known
  u64 module_offset = 0;  ///< user: in the file
  bool is_kernel = false;
};

struct FrameStyle {
  bool offset = false;    ///< name+0x12
  bool module = false;    ///< name [libc.so.6]: the file's last name; "[kernel]"
  bool demangled = true;  ///< C++ and Rust names as the source has them
};

/// "tcp_v4_connect+0x1f [kernel]", "[unknown] [libc.so.6+0x2a1]": where the function is not known, its place in the
/// module is said whatever the style. Fit for a terminal: nothing in it is a control character.
std::string text(const Frame& frame, FrameStyle style = {});

}  // namespace skep::symbols
