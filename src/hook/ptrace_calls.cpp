// The loop's system calls: what was asked at the entry is kept until the return, which may be a newborn's.
#include <linux/audit.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <cstddef>
#include <cstring>

#include "hook/ptrace_loop.hpp"

namespace skep::hook {

bool PtraceLoop::read_stop(int tid, __ptrace_syscall_info& info) noexcept {
  return ::ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0;
}

void PtraceLoop::take_entry(Tracee& task, const __ptrace_syscall_info& info) noexcept {
  task.call.architecture = info.arch;
  task.call.number = static_cast<u32>(info.entry.nr);
  task.call.ip = info.instruction_pointer;
  for (std::size_t i = 0; i < task.call.args.size(); ++i) task.call.args[i] = info.entry.args[i];
  task.execed = false;
  decode_call(task.call, event_);
  registers_from_call(task.call, event_);
  event_.regs.sp = info.stack_pointer;
}

void PtraceLoop::emit(Tracee& task) {
  if (task.tgid == 0) {
    event_.time_ns = monotonic_ns();
    task_.begin(event_, *this, 0);
    task.tgid = static_cast<u32>(task_.pid_tgid() >> 32);
  }
  event_.time_ns = monotonic_ns();
  task_.begin(event_, *this, task.tgid);
  counters_.events.fetch_add(1, std::memory_order_relaxed);
  sink_.on_event(event_, task_);
}

void PtraceLoop::emit_entry(int tid, Tracee& task) {
  event_.tid = static_cast<u32>(tid);
  has_registers_ = false;
  event_.time_ns = monotonic_ns();
  if (event_.abi == catalog::Abi::i386 && event_.own_nr == catalog::i386_socketcall) {
    task_.begin(event_, *this, task.tgid);
    decode_socketcall(event_, task_);
  }
  task.in_call = true;
  const bool sends_signal = life_.wants_calls(event_.nr);
  task.maps_code = event_.nr == SYS_mmap && interest_.wants_mapping(event_.args[2], event_.args[3]);
  task.wants_return = sends_signal || task.maps_code || interest_.wants_exit(event_.nr);
  task.entry.nr = event_.nr;
  task.entry.own_nr = event_.own_nr;
  task.entry.abi = event_.abi;
  task.entry.args = event_.args;
  event_.notes = {};
  if (interest_.wants_enter(event_.nr)) emit(task);
  task.entry.notes = event_.notes;
  if (!sends_signal) return;
  const u32 tgid = group_of(event_.tid, task);
  task_.begin(event_, *this, tgid);
  life_.signals().call_begins(event_.tid, tgid, event_, task_);
}

void PtraceLoop::emit_return(int tid, Tracee& task, s64 result, u64 ip) {
  RawCall now = task.call;
  if (task.execed) now.args = {};  // a new program starts with empty registers
  registers_from_call(now, task.entry);
  event_.regs = task.entry.regs;
  event_.tid = static_cast<u32>(tid);
  event_.nr = task.entry.nr;
  event_.own_nr = task.entry.own_nr;
  event_.abi = task.entry.abi;
  event_.args = task.entry.args;
  event_.notes = task.entry.notes;
  event_.is_exit = true;
  event_.ret = result;
  event_.ip = ip;
  event_.regs.ax = static_cast<u64>(result);
  event_.regs.ip = ip;
  has_registers_ = false;
  emit(task);
}

void PtraceLoop::on_newborn(int tid, Tracee& task) {
  // fork, vfork and clone return in the child too. ptrace reports no such return, but the kernel's sys_exit hooks see
  // it; the child's registers are a copy of its parent's in that call.
  if (!interest_.any_exit()) return;
  user_regs_struct registers;
  __ptrace_syscall_info info;
  if (!get_registers(static_cast<u32>(tid), registers) || !read_stop(tid, info)) return;
  task.call = {info.arch, static_cast<u32>(registers.orig_rax), {}, registers.rip};
  if (info.arch == AUDIT_ARCH_I386)
    task.call.args = {registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi, registers.rbp};
  else
    task.call.args = {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9};
  decode_call(task.call, task.entry);
  task.entry.notes = {};
  if (interest_.wants_exit(task.entry.nr)) emit_return(tid, task, 0, registers.rip);
}

void PtraceLoop::on_seccomp(int tid, Tracee& task) {
  __ptrace_syscall_info info;
  // The seccomp form begins as the entry form does.
  if (!read_stop(tid, info) || info.op != PTRACE_SYSCALL_INFO_SECCOMP) return;
  take_entry(task, info);
  keep_traced(tid, task.call);
  emit_entry(tid, task);
}

void PtraceLoop::on_syscall_stop(int tid, Tracee& task) {
  __ptrace_syscall_info info;
  if (!read_stop(tid, info)) return;
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
    if (static_cast<s64>(info.entry.nr) < 0) return;  // skipped by another tracer's doing: no call
    take_entry(task, info);
    return emit_entry(tid, task);
  }
  if (info.op != PTRACE_SYSCALL_INFO_EXIT) return;
  const bool wanted = task.in_call && task.wants_return;
  task.in_call = task.wants_return = false;
  if (wanted && task.maps_code) probes_.look_for_code(static_cast<u32>(tid));
  if (wanted && life_.wants_calls(task.entry.nr)) life_.signals().call_returned(static_cast<u32>(tid), info.exit.rval);
  if (wanted && interest_.wants_exit(task.entry.nr)) emit_return(tid, task, info.exit.rval, info.instruction_pointer);
  task.execed = false;
}

void PtraceLoop::keep_traced(int tid, const RawCall& call) noexcept {
  const bool i386 = call.architecture == AUDIT_ARCH_I386;
  const u32 number = i386 ? call.number : call.number & ~catalog::x32_bit;
  if ((call.args[0] & CLONE_UNTRACED) == 0 ||
      catalog::x86_64_number(i386 ? catalog::Abi::i386 : catalog::Abi::x86_64, number) != SYS_clone)
    return;
  // The child would have our filter but no tracer to answer for it.
  user_regs_struct registers;
  if (!get_registers(static_cast<u32>(tid), registers)) return;
  (i386 ? registers.rbx : registers.rdi) &= ~static_cast<unsigned long long>(CLONE_UNTRACED);
  ::ptrace(PTRACE_SETREGS, tid, nullptr, &registers);
}

bool PtraceLoop::fill_registers(SyscallEvent& event, u32, u32) noexcept {
  if (has_registers_) return true;
  user_regs_struct registers;
  static_assert(offsetof(user_regs_struct, ss) == offsetof(PtRegs, ss), "the first 21 words are pt_regs");
  if (!get_registers(event.tid, registers)) return false;
  std::memcpy(static_cast<void*>(&event.regs), &registers, sizeof(PtRegs));
  has_registers_ = true;
  return true;
}

}  // namespace skep::hook
