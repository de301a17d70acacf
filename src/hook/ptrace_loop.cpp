// See ptrace_loop.hpp. Stops, in the order of ptrace(2): ends, ptrace events, system call stops, signals.
#include "hook/ptrace_loop.hpp"

#include <linux/audit.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "hook/ptrace_errors.hpp"

namespace skep::hook {
namespace {

constexpr int stop_event = 128;  // PTRACE_EVENT_STOP
constexpr int syscall_stop = SIGTRAP | 0x80;
constexpr int follow_options =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

bool is_stopping(int signal) noexcept {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

}  // namespace

// --- attaching ---

Result<void> PtraceLoop::seize(int tid, int options) {
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(options))) != 0)
    return tl::unexpected(ptrace_error(tid, errno));
  return {};
}

Result<void> PtraceLoop::seize_command() {
  const int pid = command_->pid();
  // EXITKILL: a filtered task whose tracer is killed could make no wanted call any more (ENOSYS). Ended, not broken.
  const int options =
      scope_ == Scope::filtered ? follow_options | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL : follow_options;
  SKEP_TRY(seize(pid, options));
  tracees_[static_cast<u32>(pid)].tgid = static_cast<u32>(pid);
  return {};
}

void PtraceLoop::give_up_filter() noexcept {
  scope_ = Scope::every_call;
  relax_options_ = !tracees_.empty();
}

Result<void> PtraceLoop::seize_process(int pid) {
  scope_ = Scope::every_call;
  // Threads may appear while we go through them; those of traced threads are followed, so a quiet pass means all.
  for (bool found = true; found;) {
    found = false;
    for (const int tid : SKEP_TRY(threads_of(pid))) {
      if (tracees_.contains(static_cast<u32>(tid))) continue;
      if (auto seized = seize(tid, follow_options); !seized) {
        if (seized.error().os_error == ESRCH) continue;  // it ended meanwhile
        // A thread that was just born to a traced one is ours already.
        if (!tracees_.empty() && tracer_of(tid) == ::getpid()) continue;
        return seized;
      }
      ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
      tracees_[static_cast<u32>(tid)].tgid = static_cast<u32>(pid);
      found = true;
    }
  }
  if (tracees_.empty()) return fail(Code::not_found, "process " + std::to_string(pid) + " has ended", ESRCH);
  return {};
}

// --- the loop ---

bool PtraceLoop::wait(siginfo_t& waited, int options) noexcept {
  waited.si_pid = 0;
  return ::waitid(P_ALL, 0, &waited, WEXITED | WSTOPPED | __WALL | options) == 0 && waited.si_pid != 0;
}

/// Takes every stop that waits. The kernel offers the youngest task first, so a few busy threads could keep an older
/// one waiting for ever if each was resumed before the next was looked for.
void PtraceLoop::collect() noexcept {
  for (std::size_t i = 1; i < in_hand_.size(); ++i)
    if (!wait(in_hand_[i], WNOHANG)) return;
}

void PtraceLoop::handle(const siginfo_t& waited) {
  switch (waited.si_code) {
    case CLD_EXITED:
      return ended(waited.si_pid, (waited.si_status & 0xff) << 8);
    case CLD_KILLED:
      return ended(waited.si_pid, waited.si_status);
    case CLD_DUMPED:
      return ended(waited.si_pid, waited.si_status | 0x80);
    default:
      return stopped(waited.si_pid, waited.si_status);
  }
}

bool PtraceLoop::serve(Interrupts& interrupts) {
  for (u32 turn = 0; !interrupts.stop; ++turn) {
    if (!wait(in_hand_[0], 0)) {
      if (errno == EINTR) continue;
      return true;  // ECHILD: nothing is left
    }
    if (turn % 4 == 0 && tracees_.size() > 1) collect();
    for (siginfo_t& waited : in_hand_) {
      if (waited.si_pid == 0) break;
      handle(waited);
      waited.si_pid = 0;
    }
  }
  return false;
}

void PtraceLoop::ended(int tid, int status) noexcept {
  tracees_.erase(static_cast<u32>(tid));
  if (command_ == nullptr || tid != command_->pid()) return;
  command_->wait_status = status;
  command_->ended = true;
}

/// `stop`: the signal, and a ptrace event above it.
void PtraceLoop::stopped(int tid, int stop) {
  const int signal = stop & 0xff;
  const int event = stop >> 8;
  const bool known = tracees_.contains(static_cast<u32>(tid));
  Tracee& task = tracees_[static_cast<u32>(tid)];
  if (relax_options_) {  // the first stop is the command's exec: nothing has inherited the old options yet
    relax_options_ = false;
    ::ptrace(PTRACE_SETOPTIONS, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(follow_options)));
  }
  if (event == PTRACE_EVENT_SECCOMP) {
    follower_.stopped(static_cast<u32>(tid));
    on_seccomp(tid, task);
    return resume(tid, 0);
  }
  if (event == stop_event) {
    if (!known) on_newborn(tid, task);
    // LISTEN leaves a group-stopped task stopped, yet lets SIGCONT be reported.
    if (is_stopping(signal) && ::ptrace(PTRACE_LISTEN, tid, nullptr, nullptr) == 0) return;
    return resume(tid, 0);
  }
  if (event == PTRACE_EVENT_EXEC) on_exec(tid);
  if (event != 0) return resume(tid, 0);
  if (signal == syscall_stop) {
    follower_.stopped(static_cast<u32>(tid));
    on_syscall_stop(tid, task);
    return resume(tid, 0);
  }
  resume(tid, signal);
}

void PtraceLoop::resume(int tid, int signal) noexcept {
  const auto at = tracees_.find(static_cast<u32>(tid));
  const bool to_return = at != tracees_.end() && at->second.wants_return;
  const auto how = scope_ == Scope::every_call || to_return ? PTRACE_SYSCALL : PTRACE_CONT;
  if (::ptrace(how, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal))) != 0 && errno == ESRCH)
    counters_.ended_during_call.fetch_add(1, std::memory_order_relaxed);
}

void PtraceLoop::on_exec(int tid) {
  unsigned long former = 0;
  ::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &former);
  const u32 now = static_cast<u32>(tid);
  // A thread that is not the leader takes the leader's id, and with it what we know of its call.
  if (former != 0 && former != now) {
    if (auto at = tracees_.find(static_cast<u32>(former)); at != tracees_.end()) {
      Tracee moved = at->second;
      tracees_.erase(at);
      tracees_[now] = moved;
    }
  }
  Tracee& task = tracees_[now];
  task.tgid = now;
  task.execed = true;
}

void PtraceLoop::on_newborn(int tid, Tracee& task) {
  // fork, vfork and clone return in the child too. ptrace reports no such return, but the kernel's sys_exit hooks see
  // it; the child's registers are a copy of its parent's in that call.
  if (!interest_.any_exit()) return;
  user_regs_struct registers;
  __ptrace_syscall_info info;
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &registers) != 0 || !read_stop(tid, info)) return;
  task.call = {info.arch, static_cast<u32>(registers.orig_rax), {}, registers.rip};
  if (info.arch == AUDIT_ARCH_I386)
    task.call.args = {registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi, registers.rbp};
  else
    task.call.args = {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9};
  decode_call(task.call, task.entry);
  if (interest_.wants_exit(task.entry.nr)) emit_return(tid, task, 0, registers.rip);
}

// --- calls ---

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
  task.wants_return = interest_.wants_exit(event_.nr);
  task.entry.nr = event_.nr;
  task.entry.own_nr = event_.own_nr;
  task.entry.abi = event_.abi;
  task.entry.args = event_.args;
  if (interest_.wants_enter(event_.nr)) emit(task);
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
  event_.is_exit = true;
  event_.ret = result;
  event_.ip = ip;
  event_.regs.ax = static_cast<u64>(result);
  event_.regs.ip = ip;
  has_registers_ = false;
  emit(task);
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
  if (wanted) emit_return(tid, task, info.exit.rval, info.instruction_pointer);
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
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &registers) != 0) return;
  (i386 ? registers.rbx : registers.rdi) &= ~static_cast<unsigned long long>(CLONE_UNTRACED);
  ::ptrace(PTRACE_SETREGS, tid, nullptr, &registers);
}

bool PtraceLoop::fill_registers(SyscallEvent& event, u32, u32) noexcept {
  if (has_registers_) return true;
  user_regs_struct registers;
  static_assert(offsetof(user_regs_struct, ss) == offsetof(PtRegs, ss), "the first 21 words are pt_regs");
  if (::ptrace(PTRACE_GETREGS, event.tid, nullptr, &registers) != 0) return false;
  std::memcpy(static_cast<void*>(&event.regs), &registers, sizeof(PtRegs));
  has_registers_ = true;
  return true;
}

// --- when nobody watches any more ---

void PtraceLoop::resume_unobserved(const siginfo_t& waited) noexcept {
  if (waited.si_code != CLD_TRAPPED && waited.si_code != CLD_STOPPED) return;
  const int event = waited.si_status >> 8;
  int signal = waited.si_status & 0xff;
  if (event == stop_event && is_stopping(signal) && ::ptrace(PTRACE_LISTEN, waited.si_pid, nullptr, nullptr) == 0)
    return;
  if (event != 0 || signal == syscall_stop) signal = 0;
  ::ptrace(PTRACE_CONT, waited.si_pid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal)));
}

void PtraceLoop::carry_on() noexcept {
  follower_.leave();
  for (const siginfo_t& waited : in_hand_)
    if (waited.si_pid != 0) resume_unobserved(waited);
  // Where every call stops no filter was installed: the kernel detaches all when this process ends.
  if (scope_ == Scope::every_call) return;
  for (;;) {
    if (wait(in_hand_[0], 0))
      resume_unobserved(in_hand_[0]);
    else if (errno != EINTR)
      return;
  }
}

}  // namespace skep::hook
