// What a process has mapped, as /proc/PID/maps says it. The text is the process's own doing: file names may hold
// anything.
// Source: Documentation/filesystems/proc.rst; fs/proc/task_mmu.c (show_map_vma).
#pragma once
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::symbols {

struct Mapping {
  u64 begin = 0, end = 0;  ///< addresses, the end not included
  u64 file_offset = 0;
  u64 inode = 0;  ///< 0: no file
  u32 device_major = 0, device_minor = 0;
  bool executable = false, writable = false;
  bool shared = false;   ///< with other processes: not copied by fork()
  bool deleted = false;  ///< the file has no name any more; path is the one it had
  std::string path;      ///< of the file, in the process's own view; "[heap]", "[vdso]"; "" for anonymous memory

  /// Backed by a file that may hold symbols: named, and none of the kernel's own names for memory without a file.
  bool is_file() const noexcept { return inode != 0 && path.starts_with('/'); }
};

/// Mappings by rising address. Lines that are none are left out; so is what overlaps its predecessor. At most
/// `most` of them: Linux permits 65530 by default.
std::vector<Mapping> parse_maps(std::string_view text, std::size_t most = 1u << 18);

/// The mapping that holds an address, or nullptr.
const Mapping* mapping_of(const std::vector<Mapping>& mappings, u64 address) noexcept;

}  // namespace skep::symbols
