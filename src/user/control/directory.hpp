// Where control sockets live: one directory per user that nobody else can enter.
//
// Candidates, first match wins for a host, all are searched by a client:
//   $XDG_RUNTIME_DIR/skep      the per-user directory of a login session
//   ${TMPDIR:-/tmp}/skep-UID   everywhere else
// The temporary directory belongs to everybody, so a directory found there is used only if it is one (not a
// symbolic link), belongs to this user and lets nobody else in (0700); otherwise it is somebody's trap. After
// the check everything goes through the open directory, so it cannot be swapped underneath.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::user::control {

/// A checked, open directory of sockets.
struct Directory {
  std::filesystem::path path;
  base::Fd fd;

  /// A path of at most 107 bytes to `name` in it, for bind and connect, however long the directory's own is.
  std::string socket_path(const std::string& name) const;
};

/// Opens `path` and checks that it is ours alone; with `create` makes it first.
/// Errors: not_found, permission (says what is wrong with it), io.
Result<Directory> open_directory(const std::filesystem::path& path, bool create);

/// The places to look at, in order, without duplicates.
std::vector<std::filesystem::path> candidate_directories();

/// The first candidate that can be created and is safe. Errors: those of the last one, with its path.
Result<Directory> host_directory();

/// "4711.sock"
std::string socket_name(int pid);
/// The pid of a socket's name, or nullopt for other files.
std::optional<int> pid_of_socket(const std::string& name);

}  // namespace skep::user::control
