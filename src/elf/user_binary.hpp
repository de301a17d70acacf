// The program or library that a user probe names: found as a shell or the dynamic linker would, and its tables read.
//
// Of a file of megabytes the symbol tables, the notes and what names libraries are read, which is all that places of
// probes are found by: a tool with twenty probes on one library opens it twenty times.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "elf/elf.hpp"
#include "elf/file_image.hpp"
#include "elf/functions.hpp"

namespace skep::elf {

/// A file to set probes on.
struct UserBinary {
  std::string path;  ///< as the kernel is to open it
  File file;         ///< of its sections only symbols, their names, notes and .dynamic have contents
  u64 size = 0;
  base::Fd fd;
  std::shared_ptr<FileImage> image;  ///< what `file` looks into

  /// Bytes of the file, less than asked for at its end. Errors: io.
  Result<std::size_t> read(u64 offset, std::span<std::byte> to) const;
};

/// "bash" is looked for in PATH, "libc.so.6" where the dynamic linker looks, "/bin/bash" is itself. With `pid`, the
/// path is looked up in that process's view of the file system (containers), its symbolic links too, and a bare library
/// name among the files that it has mapped. Errors: not_found, permission, malformed; messages name the places that
/// were looked at.
Result<UserBinary> open_user_binary(std::string_view name, int pid);

/// The file at a path, which is taken as it is. Errors: as above.
Result<UserBinary> open_binary_file(std::string path);

/// Functions whose name `wanted` accepts, as functions(File) has them, and indirect ones (strlen) where they can be
/// known: those of files that this process has loaded too (indirect.cpp).
Result<std::vector<Function>> functions(const UserBinary& binary, const std::function<bool(std::string_view)>& wanted);

/// A path below `root`, a process's or a container's root, without the symbolic links that lie on it: those name places
/// in there, as they do for whoever has that root. (The kernel, given the path as it is, would begin at its own root
/// after each that begins with '/'.) Nothing where it leads to no regular file.
std::optional<std::string> path_in_root(const std::string& root, std::string_view path);

}  // namespace skep::elf
