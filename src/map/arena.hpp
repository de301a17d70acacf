// Arenas: memory that a program and its host share, up to 4 GiB, in pages that the program allocates itself.
//
// In the kernel an arena is mapped twice, once for the program and once for the host, and `addr_space_cast` turns one
// pointer into the other. Here both live in one address space: the arena is a window whose base is a multiple of
// 4 GiB, an arena pointer is the lower half of an address in it, and the cast to user space only puts the upper half
// back. Every 32-bit pointer, plus or minus the 16-bit offset of an instruction, hits mapped memory: code needs no
// checks. Reads of pages that were never allocated give zeros, as in the kernel; writes to them are kept until the
// page is allocated, where the kernel drops them.
#pragma once
#include "map/map.hpp"

namespace skep::map {

struct ArenaWindow {
  u64 base = 0;   ///< a multiple of 4 GiB; 0: the map is no arena
  u64 begin = 0;  ///< address of the arena's first page (its lower half is map_extra's)
  u64 end = 0;    ///< one past its last page
};
ArenaWindow arena_window(Map& map) noexcept;

/// Bodies of the kfuncs bpf_arena_alloc_pages, bpf_arena_free_pages, bpf_arena_reserve_pages.
/// `address`: where, or 0. The address of `pages` zeroed pages, or 0 (no room, wrong arguments, another map type).
u64 arena_alloc_pages(Map& map, u64 address, u32 pages, s32 node, u64 flags) noexcept;
void arena_free_pages(Map& map, u64 address, u32 pages) noexcept;
/// Keeps pages from being handed out. 0, -EINVAL, -EBUSY.
s64 arena_reserve_pages(Map& map, u64 address, u32 pages) noexcept;

}  // namespace skep::map
