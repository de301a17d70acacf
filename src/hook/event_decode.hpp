// From a stopped call's raw facts (architecture, number, arguments) to a SyscallEvent.
#pragma once
#include <array>
#include <skep/types.hpp>

#include "hook/syscall_event.hpp"

namespace skep::hook {

/// What both mechanisms learn of a call.
struct RawCall {
  u32 architecture = 0;  ///< AUDIT_ARCH_*
  u32 number = 0;
  std::array<u64, 6> args{};
  u64 ip = 0;
};

u64 monotonic_ns() noexcept;

/// Fills everything but tid, regs and what needs the task's memory.
void decode_call(const RawCall& call, SyscallEvent& event) noexcept;

/// Fills the registers that number and arguments came in, the others with 0.
void registers_from_call(const RawCall& call, SyscallEvent& event) noexcept;

/// i386 socketcall: finds which call it is and reads its arguments. Others are left as they are.
void decode_socketcall(SyscallEvent& event, helper::Task& task) noexcept;

}  // namespace skep::hook
