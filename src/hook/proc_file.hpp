// Small files of /proc/PID, read without allocating.
//
// Every read opens the file anew: what /proc says of a task is made at the read. Readers that ask often keep the
// descriptor (tracee_task.hpp). Source: proc(5), Documentation/filesystems/proc.rst.
#pragma once
#include <sys/types.h>

#include <optional>
#include <skep/types.hpp>
#include <string_view>

namespace skep::hook {

int open_proc(u32 tid, const char* file) noexcept;

/// Up to `size` bytes of /proc/TID/FILE; empty when the task is gone or the file is denied.
std::string_view read_proc(u32 tid, const char* file, char* to, std::size_t size) noexcept;

/// The task's name, ended and filled with zeros; left alone when the task is gone.
void read_comm(u32 tid, char (&to)[16]) noexcept;

/// What the kernel told the program under `key` at its exec (AT_ENTRY, AT_EXECFN); 0: nothing.
u64 auxiliary_value(u32 tid, u64 key) noexcept;

/// The number after "\nKey:" of a status file, in base 10 or 16 (signal masks).
std::optional<u64> status_number(std::string_view status, std::string_view key, int base = 10) noexcept;

/// Field `number` of a stat file, counted as proc(5) counts (state is 3; the name may hold anything).
std::optional<s64> stat_number(std::string_view stat, u32 number) noexcept;

}  // namespace skep::hook
