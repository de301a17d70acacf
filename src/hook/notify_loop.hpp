// System calls by seccomp user notification: entries only, no ptrace.
//
// The filter's listener yields a notification per wanted call; the calling task sleeps until it is answered, and the
// answer is always "go on" (SECCOMP_USER_NOTIF_FLAG_CONTINUE). One ioctl takes, one answers: about half of a ptrace
// stop. Signals, job control and debuggers inside the tree see nothing of it. Source: seccomp_unotify(2); Linux 5.5
// (continue), 5.19 (wait killable), 6.6 (synchronous wake-up).
#pragma once
#include <linux/seccomp.h>

#include <atomic>

#include "base/fd.hpp"
#include "hook/command.hpp"
#include "hook/cpu_follower.hpp"
#include "hook/event_decode.hpp"
#include "hook/tracee_task.hpp"
#include "hook/tracer_process.hpp"

namespace skep::hook {

class NotifyLoop final : private EventSource {
 public:
  NotifyLoop(Command& command, const SyscallInterest& interest, SyscallSink& sink, TraceCounters& counters,
             ShadowTasks* shadow)
      : command_(command), interest_(interest), sink_(sink), counters_(counters), task_(counters, shadow) {}

  /// Takes over the listener.
  void listen(int listener) noexcept;
  bool serve(Interrupts& interrupts) noexcept;
  void carry_on(Interrupts& interrupts) noexcept;
  /// From skep, when the tracer process was killed: answers until the tree has ended or `stop_fd` is readable.
  void rescue(int stop_fd) noexcept;
  int listener() const noexcept { return listener_.get(); }

  /// Reaps what has ended. False: no children are left, so the tree is gone.
  static bool reap(Command& command, Interrupts& interrupts) noexcept;

 private:
  /// Waits for a call. False: interrupted, or nothing came.
  bool receive(Interrupts& interrupts) noexcept;
  void handle() noexcept;
  void answer() noexcept;
  bool fill_registers(SyscallEvent& event, u32 offset, u32 size) noexcept override;
  bool still_waiting() noexcept override;

  Command& command_;
  const SyscallInterest& interest_;
  SyscallSink& sink_;
  TraceCounters& counters_;
  TraceeTask task_;
  SyscallEvent event_;
  CpuFollower follower_;
  bool follow_ = true;  // where the kernel has no synchronous wake-up
  base::Fd listener_;
  // Kernels may write more than the structure we know; they refuse a buffer that is not zero. The id is 0 exactly when
  // nobody waits for our answer: it is how carry_on() and rescue() know what was in hand.
  union Notification {
    seccomp_notif notif;
    std::byte room[256];
  } notification_{};
  u32 failures_ = 0;
};

}  // namespace skep::hook
