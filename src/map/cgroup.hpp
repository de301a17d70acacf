// Control groups as numbers: the id of a group, its ancestors, and whether a task is in it.
//
// A group's id is the inode number of its directory, which is what the kernel hands out too. The path of a task's
// group stands in /proc/TID/cgroup; ids of the way to it come from stat(2) below the place where cgroup2 is mounted.
// Source: Documentation/admin-guide/cgroup-v2.rst; kernel/cgroup/cgroup.c.
#pragma once
#include <array>
#include <skep/types.hpp>

namespace skep::map {

/// The ids from the root to a task's group: ids[0] is the root's.
struct CgroupPath {
  static constexpr u32 deepest = 32;
  std::array<u64, deepest> ids{};
  u32 count = 0;  ///< 0: not known (no cgroup2, no such task)

  u64 id() const noexcept { return count > 0 ? ids[count - 1] : 0; }
  u64 ancestor(u32 level) const noexcept { return level < count ? ids[level] : 0; }
  bool is_under(u64 group) const noexcept {
    for (u32 i = 0; i < count; ++i)
      if (ids[i] == group) return true;
    return false;
  }
};

/// Where a task is now. A few system calls.
CgroupPath cgroup_of_task(u32 tid) noexcept;

/// The id of the group whose directory `fd` is; 0 when it is none.
u64 cgroup_of_fd(int fd) noexcept;

class Map;
/// The id of the group at `index` of a cgroup_array; 0: none. -E2BIG: outside.
s64 cgroup_at(Map& map, u32 index, u64& id) noexcept;

}  // namespace skep::map
