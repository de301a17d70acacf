// Takes one task over one breakpoint: the instruction beneath is performed, by us, in a copy, or in place.
//
// Signals that come meanwhile wait. The tracer may be taken out of the middle of it by a signal of its own; what has
// been begun is then brought to its end from what is noted here, which has no pointers.
#pragma once
#include <signal.h>
#include <sys/user.h>

#include "hook/probe_step.hpp"
#include "hook/tracee_memory.hpp"
#include "hook/tracer_process.hpp"

namespace skep::hook {

/// Waits for the next report of `tid`, which runs; false: it ended, or stopped for a reason of its own, which the loop
/// will see. `status`: as waitid gives it.
class StopWaiter {
 public:
  virtual ~StopWaiter() = default;
  virtual bool await_stop(u32 tid, int& status) noexcept = 0;
  virtual Interrupts& interrupts() noexcept = 0;
};

/// A breakpoint that a task has hit.
struct Hit {
  u32 tid = 0;
  u64 address = 0;
  u8 original = 0;    ///< the byte that the breakpoint hides
  InsnBytes bytes{};  ///< the instruction as the program has it
  u64 scratch = 0;    ///< where a copy may run, or 0
  CodeWriter* code = nullptr;
};

class ProbeStepper {
 public:
  explicit ProbeStepper(StopWaiter& waiter) noexcept : waiter_(waiter) {}

  /// Performs the instruction on `registers`, whose rip is at it. The signal the task must get when it goes on, 0:
  /// none, -1: it has ended, or has not stopped any more.
  int step_over(const Hit& hit, const user_regs_struct& registers);
  /// No instruction is beneath any more: the task goes on with `registers`.
  void step_back(u32 tid, const user_regs_struct& registers) noexcept;
  /// The task goes on now.
  void went_on() noexcept { step_.tid = 0; }
  /// Brings to its end what the tracer was in the middle of. Nothing here allocates.
  void end() noexcept;
  /// The task whose step is not over, or 0; after end() it goes on with `signal()`.
  u32 tid() const noexcept { return step_.tid; }
  int signal() const noexcept { return step_.signal; }

 private:
  /// Signals that wait while one instruction is performed. The first goes to the task with its siginfo when it goes on.
  /// From then on others are blocked, so that the step comes to its end however many are sent; but those by which the
  /// instruction itself may fail, since a fault that is blocked would end the task. Sent by somebody, they are sent
  /// again.
  struct HeldSignals {
    u32 tid = 0;
    int first = 0;
    siginfo_t info{};
    u64 again = 0, mask = 0;
    bool blocked = false;

    void hold(int signal, const siginfo_t& its_info) noexcept;
    /// After the step: the signal to go on with, or 0.
    int release() noexcept;
    /// The instruction failed: its own signal comes first, those that were held are sent again.
    int release_after_fault(int fault) noexcept;

   private:
    static constexpr u64 bit(int signal) noexcept { return u64{1} << (signal - 1); }
    void set_mask(u64 to) const noexcept;
    int unblock(int instead) noexcept;
  };
  /// The instruction that is being performed.
  struct Step {
    u32 tid = 0;           ///< 0: none
    bool settled = false;  ///< the task goes on with `registers`, and `pushed` on its stack
    bool pushes = false;
    u64 pushed = 0;
    user_regs_struct registers{};  ///< before that: at the instruction
    u64 scratch = 0;               ///< where the copy runs; 0: in place
    Copy copy;
    InsnBytes before{};  ///< what is there else
    HeldSignals held;
    int signal = 0;  ///< once ended by end(): the signal to go on with
  };

  int step_copy(const Hit& hit, const Copy& copy);
  int step_in_place(const Hit& hit);
  int single_step(user_regs_struct& registers, u64 from);
  void copy_performed(user_regs_struct& registers) noexcept;
  void begin(u32 tid, const user_regs_struct& registers) noexcept;
  void settle(const user_regs_struct& registers, bool pushes = false, u64 pushed = 0) noexcept;

  StopWaiter& waiter_;
  Step step_;
};

}  // namespace skep::hook
