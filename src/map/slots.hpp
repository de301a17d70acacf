// Maps whose values are objects: program arrays and maps of maps.
//
// The host puts objects in, programs get raw pointers. An object that is taken out lives until every run that may
// hold its pointer is over: the call that takes it out waits for that (run.hpp), as bpf(2) does. Such a call is
// refused with -EBUSY inside of a RunSection, where it would wait for itself.
#pragma once
#include <memory>
#include <vector>

#include "map/map.hpp"

namespace skep::map {

/// Puts an engine's program into a program array (nullptr: empties the slot). `target` is what prog_array_target()
/// hands to tail calls; `id` is what copy_lookup() shows. 0, -E2BIG (index), -EINVAL (another map type), -EBUSY.
s64 prog_array_set(Map& map, u32 index, std::shared_ptr<const void> target, u32 id) noexcept;
/// The program at `index` or nullptr. Lock-free; nullptr outside of a RunSection.
const void* prog_array_target(Map& map, u32 index) noexcept;
/// Empties every slot. Programs hold their maps: whoever loads a program array that holds programs that use it must
/// call this before it lets go, or neither is ever freed (the kernel does it when the last user handle closes).
/// Does nothing inside of a RunSection.
void prog_array_clear(Map& map) noexcept;
/// The same in two steps, for who decides under a lock: the first empties the slots and does not wait, the second
/// waits for the runs that may hold what was in them, and lets go of it.
using ProgArrayTargets = std::vector<std::shared_ptr<const void>>;
ProgArrayTargets prog_array_take(Map& map) noexcept;
void prog_array_let_go(Map& map, ProgArrayTargets taken) noexcept;

/// Puts an inner map into a map of maps. flags as update(). 0 or -EINVAL (it does not fit the template, or another
/// map type), -E2BIG, -EEXIST, -ENOENT, -EBUSY.
s64 set_inner_map(Map& map, const void* key, std::shared_ptr<Map> inner, u64 flags) noexcept;
/// The inner map at `key`, for the host; null where there is none.
std::shared_ptr<Map> inner_map(Map& map, const void* key) noexcept;

}  // namespace skep::map
