// Which memory an address means.
//
// In the kernel one number names one place: user memory below, kernel memory above. Here a program's own memory
// (its stack, its maps) and the traced task's memory are two address spaces that share their numbers. So:
//   user    the task's memory
//   kernel  what a program may take for kernel memory: its stack, maps, and the contexts of the current event
//   either  helpers that do not say (probe_read, %s): kernel where the address lies in one of those, else user
// The program's memory is known by address (map/run.hpp, map/memory.hpp); the engine's other memory is never read.
#pragma once
#include "helper/call.hpp"

namespace skep::helper {

enum class Space { user, kernel, either };

/// 0 or -EFAULT; `to` holds anything after -EFAULT.
s64 read_memory(Call& call, Space space, void* to, u64 address, u64 size) noexcept;

/// Copies a string of at most `size` bytes, its terminator included, and terminates it. Reads up to the terminator
/// only, so a string that ends just before memory that does not exist is read. Returns the length with terminator, 0
/// for size 0, or -EFAULT.
s64 read_string(Call& call, Space space, char* to, u64 address, u64 size) noexcept;

}  // namespace skep::helper
