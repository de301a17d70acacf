// A tree of files as another process sees it: opened so that no name in it leads out of it.
//
// The names come from the process (its maps, its debug links), and so may the files. A name is resolved below the
// process's own root, where its absolute symbolic links lead as well (openat2, RESOLVE_IN_ROOT); only regular files are
// opened, so that no pipe blocks us and no device is woken.
#pragma once
#include <sys/stat.h>

#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string_view>

#include "base/fd.hpp"

namespace skep::symbols {

class Root {
 public:
  /// Our own.
  static Result<Root> own();
  /// Of a process, by its open /proc/PID directory. Errors: permission (another user's), not_found (it is gone).
  static Result<Root> of_process(int proc_directory);

  /// A regular file, for reading. `follow_links` false: no symbolic links in its path. Errors: not_found, permission,
  /// invalid_argument (not a regular file), io.
  Result<base::Fd> open_regular(std::string_view path, bool follow_links = true) const;

 private:
  explicit Root(base::Fd directory) : directory_(std::move(directory)) {}
  base::Fd directory_;
};

/// Opens for reading what an O_PATH descriptor names, when it is a regular file.
Result<base::Fd> reopen_regular(const base::Fd& named, std::string_view what);

/// A file as the kernel tells files apart, and its state: what a cache of its contents is keyed by.
struct FileIdentity {
  u64 device = 0, inode = 0, size = 0;
  s64 modified_ns = 0;
  bool operator==(const FileIdentity&) const = default;
  static Result<FileIdentity> of(int fd);
};

}  // namespace skep::symbols
