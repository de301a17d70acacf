// Which paths in bpffs hold which objects.
#pragma once
#include <filesystem>
#include <map>
#include <skep/inspect.hpp>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::kernel {

inline constexpr long bpffs_magic = 0xcafe4a11;  ///< statfs(2) says so

/// Paths of pinned objects by id, from every bpffs that is mounted here. Bounded: a huge bpffs is looked at in part.
struct Pins {
  std::map<u32, std::vector<std::string>> programs, maps, links;
};
Pins find_pins();

/// BPF_OBJ_PIN. Errors: invalid_argument (the path lies in no bpffs, or is taken), not_found (its directory is
/// missing).
Result<void> pin_object(int fd, const std::filesystem::path& path);
/// The object pinned at `path`. Errors: invalid_argument (no bpffs), not_found, permission.
Result<base::Fd> open_pin(const std::filesystem::path& path);

struct PinnedObject {
  base::Fd fd;
  u32 id = 0;
};
/// The object of this kind pinned at `path`; where the file's rights allow no more, a map for reading only. Errors:
/// not_found (nothing, no bpffs, something else), permission (the file's rights).
Result<PinnedObject> open_pinned(ObjectKind kind, const std::filesystem::path& path);

/// Mounts of a file system type in a text in the form of /proc/self/mountinfo (spaces are written \040).
struct Mount {
  std::string point;
  std::string options;  ///< of the file system: "rw,mode=700"
};
std::vector<Mount> mounts(std::string_view mountinfo, std::string_view file_system);

}  // namespace skep::kernel
