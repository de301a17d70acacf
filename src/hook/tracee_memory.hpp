// Memory and registers of a stopped task, as its tracer reaches them.
//
// Nothing here allocates: a signal may have taken the tracer out of anything, and what it put into others' memory is
// still taken out. Source: process_vm_readv(2), ptrace(2), proc_pid_mem(5).
#pragma once
#include <sys/user.h>

#include <cstddef>
#include <skep/types.hpp>

#include "base/fd.hpp"

namespace skep::hook {

/// The code segment of tasks that run 32-bit code.
inline constexpr u64 user_code_32 = 0x23;

/// All `size` bytes or false.
bool read_memory(u32 tid, u64 address, void* to, std::size_t size) noexcept;
bool write_data(u32 tid, u64 address, const void* from, std::size_t size) noexcept;
/// Also where the task itself may not write.
bool write_code(u32 tid, u64 address, const void* from, std::size_t size) noexcept;

/// Writes code of one address space, again and again: /proc/TGID/mem stays open.
class CodeWriter {
 public:
  /// `tid`: a stopped task that has this memory.
  bool write(u32 tid, u64 address, const void* from, std::size_t size) noexcept;

 private:
  base::Fd memory_;
};

/// A thread of a process by which its memory can be reached, or 0: the first may have ended before the others.
u32 thread_at(u32 tgid, u64 address) noexcept;

/// Asks every thread of a process that we trace to stop once.
void interrupt_threads(u32 tgid) noexcept;

bool get_registers(u32 tid, user_regs_struct& to) noexcept;
/// The task goes on with these; a system call that was interrupted is not begun again.
bool set_registers(u32 tid, const user_regs_struct& from) noexcept;

}  // namespace skep::hook
