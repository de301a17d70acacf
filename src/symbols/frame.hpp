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
  bool is_inlined = false;  ///< has no code of its own at the address: the next frame that is not has
  std::string source;       ///< user: the file that the line is in, where debug information says so
  u32 line = 0;
};

struct FrameStyle {
  bool offset = false;    ///< name+0x12
  bool module = false;    ///< name [libc.so.6]: the file's last name; "[kernel]"
  bool source = false;    ///< name (lookup.c:12): the file's last name
  bool folded = false;    ///< next_entry_[i], the mark that flame graphs know, instead of next_entry (inlined)
  bool kernel = false;    ///< vfs_read_[k], their mark of the kernel's functions
  bool demangled = true;  ///< C++ and Rust names as the source has them
};

/// "tcp_v4_connect+0x1f [kernel]", "next_entry (inlined)", "[unknown] [libc.so.6+0x2a1]": where the function is not
/// known, its place in the module is said whatever the style. Fit for a terminal: nothing in it is a control character.
std::string text(const Frame& frame, FrameStyle style = {});

}  // namespace skep::symbols
