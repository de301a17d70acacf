// What the kernel says of one object behind a descriptor: BPF_OBJ_GET_INFO_BY_FD and /proc/self/fdinfo.
//
// The info structures have fixed parts and pointers to arrays that the caller provides. We ask twice: once for the
// counts, then with room for them. A count that grew in between is cut, never overrun.
#pragma once
#include <skep/inspect.hpp>

#include "kernel/syscall.hpp"

namespace skep::kernel {

/// Whether what is in /proc alone is told too: the memory that it takes, whether a map is frozen, who owns a program
/// array. Reading that takes ten times as long as the rest, and of an object that was made just now it tells nothing;
/// handles of such objects leave `bytes_memlock` 0, which inspection tells.
enum class Ask : u8 { everything, kernel_only };

/// Facts of a program, as ProgramInfo has them (without `pinned`).
Result<ProgramInfo> program_info(int fd, Ask ask = Ask::everything);

/// Facts of a map (without `pinned`).
Result<MapInfo> map_info(int fd, Ask ask = Ask::everything);

/// The id of a BTF object and its bytes.
struct BtfObject {
  u32 id = 0;
  std::string name;  ///< "vmlinux", a module's name, or "" for one loaded by a program
  bool is_kernel = false;
  u64 size_bytes = 0;
  std::vector<std::byte> bytes;
};
Result<BtfObject> btf_object(int fd);
/// The same without the bytes.
Result<BtfObject> btf_object_header(int fd);

/// The bare structures, for callers that need what ProgramInfo and MapInfo do not hold.
Result<uapi::ProgInfo> raw_program_info(int fd);
Result<uapi::MapInfo> raw_map_info(int fd);
Result<uapi::LinkInfo> raw_link_info(int fd);

/// /proc/self/fdinfo/FD, read once: what bpf(2) does not tell.
class FdInfo {
 public:
  explicit FdInfo(int fd);
  /// The number behind "memlock:", "frozen:", ...; 0 where there is none.
  u64 number(std::string_view key) const;

 private:
  std::string text_;
};

}  // namespace skep::kernel
