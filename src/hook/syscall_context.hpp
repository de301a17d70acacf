// What an attach target means in system calls, and the context its programs get, laid out as the kernel lays it out.
//
//   tracepoint syscalls/sys_enter_NAME       common header, number at 8, arguments from 16 on       16 + 8 per argument
//   tracepoint syscalls/sys_exit_NAME        common header, number at 8, result at 16               24
//   tracepoint raw_syscalls/sys_enter        common header, number at 8, six arguments from 16 on   64
//   tracepoint raw_syscalls/sys_exit         common header, number at 8, result at 16               24
//   raw_tracepoint, tp_btf sys_enter         address of the caller's pt_regs, number                16
//   raw_tracepoint, tp_btf sys_exit          address of the caller's pt_regs, result                16
//   kprobe __x64_sys_NAME, ksyscall NAME     pt_regs whose di is the address of the caller's pt_regs 168
//     a handler that declares the call's arguments    pt_regs with the arguments themselves         168
//   kretprobe, kretsyscall                   pt_regs whose ax is the result                         168
//
// Addresses of pt_regs are real: of our own copy, which Task::read_kernel serves (and fetches what is missing there).
// 32-bit callers: hooks by name see them as x86-64 (number, argument order), so that a program written for x86-64 reads
// the right thing; raw hooks give what the kernel gives, the caller's own number and registers. __x64_sys_NAME is the
// kernel's function for 64-bit callers and __ia32_sys_NAME the one for 32-bit callers: each sees its own only.
// Source: Linux 6.18: include/trace/events/syscalls.h, kernel/trace/trace_syscalls.c, events/*/format,
// arch/x86/include/asm/syscall_wrapper.h.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>

#include "hook/shadow_tasks.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

/// Which events a target means, and which context its programs get.
struct HookPlan {
  enum class Context : u8 {
    tracepoint_enter,
    tracepoint_exit,
    raw_syscalls_enter,
    raw_syscalls_exit,
    raw_enter,
    raw_exit,
    function_entry,
    function_return
  };
  enum class Callers : u8 { all, native, compat };

  Context context = Context::tracepoint_enter;
  Callers callers = Callers::all;
  bool every_call = false;
  bool needs_registers = false;     ///< programs read pt_regs directly, so all of it must be there
  bool arguments_in_place = false;  ///< function_entry: the context itself holds the call's arguments
  u32 number = 0;                   ///< x86-64, unless every_call
  u32 context_bytes = 0;            ///< a program that reads more is refused, as by the kernel

  bool is_exit() const noexcept;
  bool matches(const SyscallEvent& event) const noexcept;
  void add_to(SyscallInterest& interest) const noexcept;
};

/// Errors: not_found (no such system call; names its neighbours), invalid_argument (the target names nothing),
/// unsupported (a hook of the kernel: says so, and where it exists).
Result<HookPlan> plan(const AttachTarget& target);

/// Refuses what the kernel refuses: a program of another type than the target's, one that reads more context than there
/// is (`hook_bytes`). Errors: invalid_argument.
Result<void> check_fits(u32 hook_bytes, const AttachTarget& target, ProgramType type, u32 context_bytes);

/// The memory of one context; lives as long as the program that runs on it.
class SyscallContext {
 public:
  /// Lays out the context of `plan` for the event and lets Task::read_kernel serve it. `shadow`: where typed programs
  /// find registers. The result is r1.
  void* fill(const HookPlan& plan, SyscallEvent& event, helper::Task& task, ShadowTasks* shadow = nullptr) noexcept;

 private:
  struct Tracepoint {  // struct trace_entry, then the event's own fields
    u16 type;
    u8 flags;
    u8 preempt_count;
    s32 pid;
    s64 number;
    u64 values[6];
  };
  static u64 raw_registers(const HookPlan& plan, SyscallEvent& event, ShadowTasks* shadow) noexcept;
  u64 registers_of(const HookPlan& plan, SyscallEvent& event) noexcept;

  union {
    Tracepoint tracepoint_;
    u64 raw_[2];
    PtRegs function_;
  };
  PtRegs view_;  // a 32-bit caller's call as a 64-bit caller's registers

 public:
  SyscallContext() noexcept : function_{} {}
};

}  // namespace skep::hook
