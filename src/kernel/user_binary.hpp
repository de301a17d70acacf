// The program or library that a user probe names: found as a shell or the dynamic linker would, opened and read once.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "elf/elf.hpp"

namespace skep::kernel {

/// A file to set probes on.
struct UserBinary {
  std::string path;  ///< as the kernel is to open it
  std::vector<std::byte> bytes;
  elf::File file;
};

/// "bash" is looked for in PATH, "libc.so.6" where the dynamic linker looks, "/bin/bash" is itself. With `pid`, the
/// path is looked up in that process's view of the file system (containers), and a bare library name among the files
/// that it has mapped. Errors: not_found, permission, malformed; messages name the places that were looked at.
Result<UserBinary> open_user_binary(std::string_view name, int pid);

}  // namespace skep::kernel
