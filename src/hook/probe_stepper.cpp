// See probe_stepper.hpp.
#include "hook/probe_stepper.hpp"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace skep::hook {
namespace {

pid_t id(u32 tid) noexcept { return static_cast<pid_t>(tid); }

}  // namespace

int ProbeStepper::step_over(const Hit& hit, const user_regs_struct& registers) {
  begin(hit.tid, registers);
  if (registers.cs != user_code_32) {
    user_regs_struct after = registers;
    const auto done = emulate(hit.bytes, hit.address, after);
    if (done && (!done->pushes || write_data(hit.tid, after.rsp, &done->pushed, sizeof done->pushed))) {
      settle(after, done->pushes, done->pushed);
      return 0;
    }
    const bool on_scratch = hit.address >= hit.scratch && hit.address - hit.scratch < sizeof hit.bytes;
    if (const auto copy = copy_of(hit.bytes, hit.address);
        copy && hit.scratch != 0 && !on_scratch &&
        read_memory(hit.tid, hit.scratch, step_.before.data(), step_.before.size()))
      return step_copy(hit, *copy);
  }
  return step_in_place(hit);
}

void ProbeStepper::step_back(u32 tid, const user_regs_struct& registers) noexcept {
  begin(tid, registers);
  settle(registers);
}

void ProbeStepper::begin(u32 tid, const user_regs_struct& registers) noexcept {
  const Whole whole(waiter_.interrupts());
  step_ = {.tid = tid, .registers = registers, .held = {.tid = tid}};
}

/// What the step comes to. Known before it is done, it can be done again.
void ProbeStepper::settle(const user_regs_struct& registers, bool pushes, u64 pushed) noexcept {
  {
    const Whole whole(waiter_.interrupts());
    step_.registers = registers;
    step_.pushes = pushes;
    step_.pushed = pushed;
    step_.settled = true;
  }
  if (pushes) write_data(step_.tid, step_.registers.rsp, &step_.pushed, sizeof step_.pushed);
  set_registers(step_.tid, step_.registers);
}

/// Steps until the instruction at `from` was performed; the signal to go on with, 0 for none, -1 when the task ended.
/// `registers` are those after the step; where the instruction itself failed they are as before it.
int ProbeStepper::single_step(user_regs_struct& registers, u64 from) {
  const u32 tid = step_.tid;
  for (;;) {
    if (::ptrace(PTRACE_SINGLESTEP, id(tid), nullptr, nullptr) != 0) return -1;
    int status = 0;
    if (!waiter_.await_stop(tid, status) || !get_registers(tid, registers)) return -1;
    siginfo_t info{};
    if (::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info) != 0) return -1;
    const bool stepped =
        status == SIGTRAP && info.si_code != SI_USER && info.si_code != SI_TKILL && registers.rip != from;
    if (stepped || (status == SIGTRAP && info.si_code == TRAP_TRACE)) return step_.held.release();
    const bool is_fault =
        (status == SIGSEGV || status == SIGBUS || status == SIGFPE || status == SIGILL) && info.si_code > 0;
    if (is_fault) return step_.held.release_after_fault(status);
    step_.held.hold(status, info);
  }
}

int ProbeStepper::step_copy(const Hit& hit, const Copy& copy) {
  step_.copy = copy;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  step_.scratch = hit.scratch;
  hit.code->write(hit.tid, hit.scratch, copy.bytes.data(), copy.bytes.size());
  user_regs_struct registers = step_.registers;
  registers.rip = hit.scratch;
  if (copy.spare >= 0) (copy.spare == 7 ? registers.rdi : registers.rsi) = copy.spare_value;
  set_registers(hit.tid, registers);
  const int signal = single_step(registers, hit.scratch);
  hit.code->write(hit.tid, hit.scratch, step_.before.data(), step_.before.size());
  if (signal >= 0) copy_performed(registers);  // else it has ended, or is about to
  return signal;
}

/// From the registers after the copy to those after the instruction.
void ProbeStepper::copy_performed(user_regs_struct& registers) noexcept {
  const Copy& copy = step_.copy;
  if (copy.spare == 7) registers.rdi = step_.registers.rdi;
  if (copy.spare == 6) registers.rsi = step_.registers.rsi;
  const u64 moved = step_.registers.rip - step_.scratch;
  const bool failed = registers.rip == step_.scratch;
  if (failed || copy.is_relative) registers.rip += moved;
  u64 pushed = 0;
  const bool pushes = !failed && copy.pushes_return && read_memory(step_.tid, registers.rsp, &pushed, sizeof pushed);
  settle(registers, pushes, pushed + moved);
}

/// The byte is put back for one step; another thread may pass meanwhile.
int ProbeStepper::step_in_place(const Hit& hit) {
  hit.code->write(hit.tid, hit.address, &hit.original, 1);
  user_regs_struct registers = step_.registers;
  set_registers(hit.tid, registers);
  const int signal = single_step(registers, hit.address);
  hit.code->write(hit.tid, hit.address, &int3, 1);
  if (signal >= 0) settle(registers);
  return signal;
}

void ProbeStepper::end() noexcept {
  const u32 tid = step_.tid;
  if (tid == 0) return;
  user_regs_struct registers;
  while (!get_registers(tid, registers)) {
    siginfo_t waited{};
    if (step_.settled) return went_on();  // it runs
    const bool stopped = ::waitid(P_PID, static_cast<id_t>(tid), &waited, WSTOPPED | WEXITED | __WALL) == 0 &&
                         (waited.si_code == CLD_TRAPPED || waited.si_code == CLD_STOPPED);
    if (!stopped && (waited.si_pid != 0 || errno != EINTR)) return went_on();  // it has ended
  }
  siginfo_t info{};
  ::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info);
  if (step_.scratch != 0) write_code(tid, step_.scratch, step_.before.data(), step_.before.size());
  const bool has_signal = info.si_signo != SIGTRAP || info.si_code == SI_USER || info.si_code == SI_TKILL;
  if (step_.settled || (info.si_signo == SIGTRAP && info.si_code == SI_KERNEL)) {  // it has not begun, or is over
    settle(user_regs_struct(step_.registers), step_.pushes, step_.pushed);
  } else if (step_.scratch != 0) {
    copy_performed(registers);
  }
  if (has_signal && step_.held.first != info.si_signo)
    step_.signal = step_.held.release_after_fault(info.si_signo);
  else
    step_.signal = step_.held.release();
}

// --- signals meanwhile ---

void ProbeStepper::HeldSignals::hold(int signal, const siginfo_t& its_info) noexcept {
  if (first != 0) {
    again |= bit(signal);
    return;
  }
  first = signal;
  info = its_info;
  const u64 all_but_faults = ~(bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGTRAP));
  blocked = ::ptrace(PTRACE_GETSIGMASK, id(tid), sizeof mask, &mask) == 0;
  if (blocked) set_mask(mask | all_but_faults);
}

int ProbeStepper::HeldSignals::release() noexcept {
  if (first == 0) return 0;
  ::ptrace(PTRACE_SETSIGINFO, id(tid), nullptr, &info);
  return unblock(first);
}

int ProbeStepper::HeldSignals::release_after_fault(int fault) noexcept {
  if (first != 0) again |= bit(first);
  return unblock(fault);
}

int ProbeStepper::HeldSignals::unblock(int instead) noexcept {
  if (blocked) set_mask(mask);
  for (int signal = 1; again != 0; ++signal, again >>= 1)
    if ((again & 1) != 0) ::syscall(SYS_tkill, id(tid), signal);
  return instead;
}

void ProbeStepper::HeldSignals::set_mask(u64 to) const noexcept {
  ::ptrace(PTRACE_SETSIGMASK, id(tid), sizeof to, &to);
}

}  // namespace skep::hook
