// See ptrace_loop.hpp. Stops, in the order of ptrace(2): ends, ptrace events, system call stops, signals.
#include "hook/ptrace_loop.hpp"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "hook/proc_file.hpp"
#include "hook/ptrace_errors.hpp"

namespace skep::hook {
namespace {

constexpr int stop_event = 128;  // PTRACE_EVENT_STOP
constexpr int syscall_stop = SIGTRAP | 0x80;
constexpr int follow_options =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

/// Whether a task at its end came there by a call of its own.
bool is_in_exit_call(int tid) noexcept {
  user_regs_struct registers;
  if (!get_registers(static_cast<u32>(tid), registers)) return false;
  constexpr u64 i386_exit = 1, i386_exit_group = 252;
  const u64 number = registers.orig_rax & ~u64{catalog::x32_bit};
  if (registers.cs == user_code_32) return number == i386_exit || number == i386_exit_group;
  return number == SYS_exit || number == SYS_exit_group;
}

bool is_stopping(int signal) noexcept {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

}  // namespace

// --- attaching ---

int PtraceLoop::options() const noexcept { return follow_options | life_.ptrace_options(); }

Result<void> PtraceLoop::seize(int tid, int options) {
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(options))) != 0)
    return tl::unexpected(ptrace_error(tid, errno));
  return {};
}

void PtraceLoop::know(int tid, int pid) {
  Tracee& task = tracees_[static_cast<u32>(tid)];
  task.tgid = static_cast<u32>(pid);
  task.begun = true;
  life_.known(static_cast<u32>(tid));
}

Result<void> PtraceLoop::seize_command() {
  const int pid = command_->pid();
  // EXITKILL: a filtered task whose tracer is killed could make no wanted call any more (ENOSYS). Ended, not broken.
  const int wanted = scope_ == Scope::filtered ? options() | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL : options();
  SKEP_TRY(seize(pid, wanted));
  know(pid, pid);
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
      if (auto seized = seize(tid, options()); !seized) {
        if (seized.error().os_error == ESRCH) continue;  // it ended meanwhile
        // A thread that was just born to a traced one is ours already.
        if (!tracees_.empty() && tracer_of(tid) == ::getpid()) continue;
        return seized;
      }
      ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
      know(tid, pid);
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
  interrupts_ = &interrupts;
  for (u32 turn = 0; !interrupts.stop; ++turn) {
    if (life_.has_held() && !wait(in_hand_[0], WNOHANG)) {
      life_.release_strays();
      release_newborns();
    }
    if (in_hand_[0].si_pid == 0 && !wait(in_hand_[0], 0)) {
      if (errno == EINTR) continue;
      return true;  // ECHILD: nothing is left
    }
    if (turn % 4 == 0 && tracees_.size() > 1) collect();
    for (siginfo_t& waited : in_hand_) {
      if (waited.si_pid == 0) break;
      handle(waited);
      waited.si_pid = 0;
      if (deferred_.si_pid == 0) continue;
      handle(deferred_);
      deferred_.si_pid = 0;
    }
  }
  has_returned_ = true;
  return false;
}

void PtraceLoop::ended(int tid, int status) {
  const u32 id = static_cast<u32>(tid);
  if (interest_.life.any()) {
    const auto at = tracees_.find(id);
    const bool known = at != tracees_.end();
    const u32 tgid = known ? group_of(id, at->second) : id;
    life_.ended(id, tgid, !known || at->second.exiting, is_last_of_group(id, tgid), status);
    release_newborns();
  }
  if (shadow_ != nullptr) shadow_->reaped(id);
  probes_.ended(id);
  tracees_.erase(id);
  if (command_ == nullptr || tid != command_->pid()) return;
  command_->wait_status = status;
  command_->ended = true;
}

/// `stop`: the signal, and a ptrace event above it.
void PtraceLoop::stopped(int tid, int stop) {
  const int signal = stop & 0xff;
  const int event = stop >> 8;
  Tracee& task = tracees_[static_cast<u32>(tid)];
  if (relax_options_) {  // the first stop is the command's exec: nothing has inherited the old options yet
    relax_options_ = false;
    ::ptrace(PTRACE_SETOPTIONS, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(options())));
  }
  if (event == PTRACE_EVENT_SECCOMP) {
    follower_.stopped(static_cast<u32>(tid));
    on_seccomp(tid, task);
    return resume(tid, 0);
  }
  if (signal == SIGTRAP && event == 0 && probes_.any()) {
    int wanted = 0;
    if (probes_.trapped(static_cast<u32>(tid), wanted)) {
      follower_.stopped(static_cast<u32>(tid));
      if (wanted > 0 && life_.wants_signals())
        life_.signals().delivering(static_cast<u32>(tid), group_of(static_cast<u32>(tid), task), wanted);
      if (std::exchange(missed_stop_, false)) ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
      return wanted < 0 ? probes_.went_on() : resume(tid, wanted);
    }
  }
  if (event == stop_event) {
    if (task.begun) adopt_for_probes(static_cast<u32>(tid), task, false);
    if (!task.begun && !life_.may_begin(static_cast<u32>(tid), signal)) return;  // until its maker has told of it
    if (!task.begun) return begin_newborn(tid, signal);
    return go_on(tid, signal);
  }
  if (event != 0) {
    on_event(tid, task, event);
    return resume(tid, 0);
  }
  if (signal == syscall_stop) {
    follower_.stopped(static_cast<u32>(tid));
    on_syscall_stop(tid, task);
    return resume(tid, 0);
  }
  if (life_.wants_signals())
    life_.signals().delivering(static_cast<u32>(tid), group_of(static_cast<u32>(tid), task), signal);
  resume(tid, signal);
}

void PtraceLoop::on_event(int tid, Tracee& task, int event) {
  switch (event) {
    case PTRACE_EVENT_EXEC:
      return on_exec(tid);
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
      return on_fork(tid, task, event);
    case PTRACE_EVENT_EXIT: {
      const u32 id = static_cast<u32>(tid), tgid = group_of(id, task);
      const bool by_own_call = is_in_exit_call(tid);
      const auto exit_code = event_message(tid, PTRACE_EVENT_EXIT);
      if (!exit_code) return;  // killed once more: ended() tells
      task.exiting = true;
      if (shadow_ != nullptr) shadow_->ending(id, tgid, static_cast<s32>(*exit_code));
      life_.exiting(id, tgid, is_last_of_group(id, tgid), static_cast<s32>(*exit_code), by_own_call);
      return release_newborns();
    }
    default:
      return;
  }
}

/// A stop that is no event of its own: a new task's first, a group's, or one we asked for.
void PtraceLoop::go_on(int tid, int signal) {
  // LISTEN leaves a group-stopped task stopped, yet lets SIGCONT be reported.
  if (is_stopping(signal) && ::ptrace(PTRACE_LISTEN, tid, nullptr, nullptr) == 0) return;
  resume(tid, 0);
}

void PtraceLoop::on_fork(int tid, Tracee& task, int event) {
  if (!life_.orders_births()) return;
  const u32 child = static_cast<u32>(event_message(tid, event).value_or(0));
  if (child == 0) return;  // the maker was killed meanwhile: its end tells of what it made
  // From now on it counts as a thread of its process. One that was killed and reaped already has no file.
  char text[4096];
  if (const auto tgid = status_number(read_proc(child, "status", text, sizeof text), "\nTgid:"); tgid)
    tracees_[child].tgid = static_cast<u32>(*tgid);
  probes_.forked(static_cast<u32>(tid), child);
  life_.forked(static_cast<u32>(tid), group_of(static_cast<u32>(tid), task), child);
  release_newborns();
}

void PtraceLoop::begin_newborn(int tid, int signal) {
  Tracee& task = tracees_[static_cast<u32>(tid)];
  task.begun = true;
  adopt_for_probes(static_cast<u32>(tid), task, true);
  on_newborn(tid, task);
  go_on(tid, signal);
}

void PtraceLoop::release_newborns() {
  life_.begin_released([&](const LifeTracker::Held& held) { begin_newborn(static_cast<int>(held.child), held.stop); });
}

/// SIGKILL takes a task out of any stop and into that of its end, also while its stop is in our hands: what is asked of
/// it then is of another stop than the one that was reported.
bool PtraceLoop::is_in_stop_of(int tid, int event) noexcept {
  siginfo_t info{};
  return ::ptrace(PTRACE_GETSIGINFO, tid, nullptr, &info) == 0 && info.si_code == (SIGTRAP | event << 8);
}

std::optional<unsigned long> PtraceLoop::event_message(int tid, int event) noexcept {
  unsigned long message = 0;
  // In this order: a task that is in the stop now was in it before.
  if (::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &message) != 0 || !is_in_stop_of(tid, event)) return std::nullopt;
  return message;
}

u32 PtraceLoop::group_of(u32 tid, Tracee& task) noexcept {
  if (task.tgid != 0) return task.tgid;
  event_.tid = tid;
  event_.time_ns = monotonic_ns();
  task_.begin(event_, *this, 0);
  return task.tgid = static_cast<u32>(task_.pid_tgid() >> 32);
}

/// Whether no other thread of its process is left that has not come to its end.
bool PtraceLoop::is_last_of_group(u32 tid, u32 tgid) const noexcept {
  for (const auto& [other, task] : tracees_)
    if (other != tid && task.tgid == tgid && !task.exiting) return false;
  return true;
}

bool PtraceLoop::is_traced(u32 tgid) const noexcept {
  return std::ranges::any_of(tracees_, [&](const auto& each) { return each.second.tgid == tgid; });
}

void PtraceLoop::emit_life(u32 tid, u32 tgid, const LifeEvent& event) noexcept {
  event_.tid = tid;
  event_.nr = -1;
  event_.is_exit = true;
  event_.ip = 0;
  event_.regs = {};
  has_registers_ = false;
  event_.time_ns = monotonic_ns();
  task_.begin(event_, *this, tgid);
  counters_.events.fetch_add(1, std::memory_order_relaxed);
  sink_.on_life(event, event_, task_);
}

void PtraceLoop::resume(int tid, int signal) noexcept {
  const auto at = tracees_.find(static_cast<u32>(tid));
  // Resumed from a stop that has not been reported, its end would pass unseen.
  const bool is_ending = at != tracees_.end() && at->second.exiting;
  if (life_.ptrace_options() != 0 && !is_ending && is_in_stop_of(tid, PTRACE_EVENT_EXIT)) return;
  const bool to_return = at != tracees_.end() && at->second.wants_return;
  const auto how = scope_ == Scope::every_call || to_return ? PTRACE_SYSCALL : PTRACE_CONT;
  const Whole whole(*interrupts_);
  probes_.went_on();
  if (::ptrace(how, tid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal))) != 0 && errno == ESRCH)
    counters_.ended_during_call.fetch_add(1, std::memory_order_relaxed);
}

void PtraceLoop::on_exec(int tid) {
  const unsigned long former = event_message(tid, PTRACE_EVENT_EXEC).value_or(0);
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
  task.exiting = false;
  if (former != 0 && former != now) probes_.ended(static_cast<u32>(former));
  probes_.begin_program(now);
  life_.execed(now, static_cast<u32>(former));
  release_newborns();
}

// --- probes ---

/// A task that was there before us, or whose maker has not reported it.
void PtraceLoop::adopt_for_probes(u32 tid, Tracee& task, bool is_newborn) {
  if (!probes_.any() || probes_.knows(tid)) return;
  group_of(tid, task);
  for (const auto& [other, sibling] : tracees_)
    if (sibling.tgid == task.tgid && other != tid && probes_.knows(other)) return probes_.joined(tid, other);
  if (is_newborn)
    probes_.inherited(tid);
  else
    probes_.begin_program(tid);
}

void PtraceLoop::on_hit(u32 tid, const ProbeHit& hit, const user_regs_struct& registers) noexcept {
  Tracee& task = tracees_[tid];
  event_.tid = tid;
  event_.nr = -1;
  event_.abi = registers.cs == user_code_32 ? catalog::Abi::i386 : catalog::Abi::x86_64;
  event_.is_exit = hit.at_return;
  event_.begins_function = hit.begins_function;
  event_.ip = registers.rip;
  event_.ret = static_cast<s64>(registers.rax);
  std::memcpy(static_cast<void*>(&event_.regs), &registers, sizeof(PtRegs));
  has_registers_ = true;
  event_.time_ns = monotonic_ns();
  task_.begin(event_, *this, group_of(tid, task));
  counters_.events.fetch_add(1, std::memory_order_relaxed);
  sink_.on_probe(hit, event_, task_);
  event_.begins_function = false;
}

bool PtraceLoop::await_stop(u32 tid, int& status) noexcept {
  for (;;) {
    deferred_.si_pid = 0;
    if (::waitid(P_PID, static_cast<id_t>(tid), &deferred_, WEXITED | WSTOPPED | __WALL) != 0) {
      if (errno == EINTR) continue;
      return false;
    }
    const bool stopped = deferred_.si_code == CLD_TRAPPED || deferred_.si_code == CLD_STOPPED;
    if (!stopped || deferred_.si_status >> 8 == PTRACE_EVENT_EXIT) return false;
    status = deferred_.si_status & 0xff;
    const bool is_signal = deferred_.si_status >> 8 == 0;
    deferred_.si_pid = 0;
    if (is_signal) return true;
    // Stopped with its group in the middle of an instruction: that one first, and then it stops again.
    missed_stop_ = true;
    ::ptrace(PTRACE_SINGLESTEP, static_cast<pid_t>(tid), nullptr, nullptr);
  }
}

// --- when nobody watches any more ---

/// What is in our hands may have been resumed already, and run, or be in another stop, of which the kernel has yet to
/// tell: the signal by which serve() was left may have come just then.
bool PtraceLoop::is_in_hand(const siginfo_t& waited) noexcept {
  if (waited.si_code != CLD_TRAPPED && waited.si_code != CLD_STOPPED) return false;
  siginfo_t now{};
  if (::ptrace(PTRACE_GETSIGINFO, waited.si_pid, nullptr, &now) != 0) return false;
  const bool is_signal = waited.si_status >> 8 == 0 && waited.si_status != syscall_stop;
  return is_signal ? now.si_signo == waited.si_status && now.si_code <= SI_KERNEL : now.si_code == waited.si_status;
}

/// Where every call stops no filter was installed: tasks go on without a tracer, else with us.
void PtraceLoop::resume_unobserved(const siginfo_t& waited) noexcept {
  const pid_t tid = waited.si_pid;
  const u32 id = static_cast<u32>(tid);
  const bool for_good = scope_ == Scope::every_call;
  int signal = 0;
  if (!probes_.take_stepped(id, signal)) {
    if (!is_in_hand(waited)) return;
    const int event = waited.si_status >> 8;
    signal = waited.si_status & 0xff;
    if (event == stop_event) probes_.remove_from(id);
    if (event == stop_event && !for_good && is_stopping(signal) && ::ptrace(PTRACE_LISTEN, tid, nullptr, nullptr) == 0)
      return;
    if (event != 0 || signal == syscall_stop) signal = 0;
    if (signal == SIGTRAP && probes_.fix_stray(id)) signal = 0;
  }
  const bool once_more = probes_.any() && has_trapped(id);
  ::ptrace(for_good && !once_more ? PTRACE_DETACH : PTRACE_CONT, tid, nullptr,
           reinterpret_cast<void*>(static_cast<long>(signal)));
}

/// Whether it ran onto a breakpoint of which it has not told yet: without a tracer it would end by that.
bool PtraceLoop::has_trapped(u32 tid) noexcept {
  char text[4096];
  const auto pending = status_number(read_proc(tid, "status", text, sizeof text), "\nSigPnd:", 16);
  return (pending.value_or(0) >> (SIGTRAP - 1) & 1) != 0;
}

/// Detached just so, tasks that ran onto a breakpoint before it was taken out would get its SIGTRAP, and newborns whose
/// memory is a copy from before that would meet it later. So all are asked to stop once more, and go from there.
void PtraceLoop::let_go() noexcept {
  if (has_returned_) {
    for (const auto& [tid, task] : tracees_) ::ptrace(PTRACE_INTERRUPT, static_cast<pid_t>(tid), nullptr, nullptr);
  } else {
    probes_.each_process(interrupt_threads);  // the table may be half changed
  }
  // One that sleeps in the kernel and cannot be woken (its vfork's child has not executed yet) is on no breakpoint.
  constexpr u64 long_enough = 3'000'000'000;
  for (u64 last = monotonic_ns(); monotonic_ns() - last < long_enough;) {
    errno = 0;
    if (wait(in_hand_[0], WNOHANG)) {
      resume_unobserved(in_hand_[0]);
      last = monotonic_ns();
    } else if (errno == ECHILD) {
      return;
    } else {
      const timespec pause{0, 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
}

void PtraceLoop::carry_on() noexcept {
  follower_.leave();
  if (const u32 stepped = probes_.remove_all(); stepped != 0 && static_cast<u32>(deferred_.si_pid) == stepped)
    deferred_.si_pid = 0;  // that stop was of the step
  for (const siginfo_t& waited : in_hand_)
    if (waited.si_pid != 0) resume_unobserved(waited);
  if (deferred_.si_pid != 0) resume_unobserved(deferred_);
  for (const auto& waiting : life_.all_held()) {
    for (const LifeTracker::Held& held : waiting) {
      if (held.child == 0) continue;
      siginfo_t stop{};
      stop.si_code = CLD_TRAPPED;
      stop.si_pid = static_cast<pid_t>(held.child);
      stop.si_status = held.stop | stop_event << 8;
      resume_unobserved(stop);
    }
  }
  // Nobody is left behind here, the kernel detaches all when this process ends.
  if (scope_ == Scope::every_call) return probes_.any() ? let_go() : void();
  for (;;) {
    if (wait(in_hand_[0], 0))
      resume_unobserved(in_hand_[0]);
    else if (errno != EINTR)
      return;
  }
}

}  // namespace skep::hook
