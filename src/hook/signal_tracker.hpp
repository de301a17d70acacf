// Signals of a traced tree: who sends them, and who gets them.
//
// What a call of the tree sends (kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal) is known
// exactly: its arguments are read at the entry, and it counts when it has succeeded: at its return, or before that when
// a receiver is about to get it, or when it ends its own sender. All other signals (faults, timers, terminals,
// children's ends, processes outside of the tree) are seen when they are delivered; they are then told as generated and
// delivered at once. ptrace shows signals that a task ignores, too: the kernel's tracepoints do not show their
// delivery. Source: Linux 6.18, kernel/signal.c (__send_signal_locked, get_signal, sig_ignored).
#pragma once
#include <vector>

#include "hook/life_event.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

/// Receives what trackers find. `tid` is the current task; `tgid` 0: not known.
class LifeEmitter {
 public:
  virtual ~LifeEmitter() = default;
  virtual void emit_life(u32 tid, u32 tgid, const LifeEvent& event) noexcept = 0;
  /// Whether a thread of this process is traced.
  virtual bool is_traced(u32 tgid) const noexcept = 0;
};

class SignalTracker {
 public:
  SignalTracker(const LifeInterest& interest, LifeEmitter& emitter) : interest_(interest), emitter_(emitter) {}

  /// Calls whose entry and return must stop.
  static constexpr u32 sending_calls[] = {62, 129, 200, 234, 297, 424};
  static bool sends(s32 number) noexcept;

  /// At the entry of a sending call.
  void call_begins(u32 tid, u32 tgid, const SyscallEvent& call, helper::Task& task);
  void call_returned(u32 tid, s64 result);
  /// A signal-delivery-stop: `tid` is about to get `signal`.
  void delivering(u32 tid, u32 tgid, s32 signal);
  /// The task ends, `by_own_call` of exit or exit_group; else by SIGKILL, which has no delivery stop, or with its
  /// process.
  void ending(u32 tid, u32 tgid, s32 exit_code, bool by_own_call);

 private:
  struct Target {
    u32 pid = 0, tgid = 0;
    bool told = false;
    LifeEvent::Result result = LifeEvent::Result::delivered;
  };
  struct Send {
    u32 tid = 0, tgid = 0;  ///< the sender
    s32 signal = 0, error = 0, code = 0;
    bool to_group = true;
    std::vector<Target> targets;
  };

  static void find_targets(Send& send, const SyscallEvent& call);
  void tell(const Send& send, Target& target);
  /// Whether a signal that is about to be delivered was told when it was sent.
  bool take_undelivered(u32 tid, u32 tgid, s32 signal);
  /// Tells what is on its way to `tgid`; whether there was such a thing.
  bool tell_pending(u32 tgid, s32 signal);
  void tell_killed(u32 tid, u32 tgid);
  void tell_delivered(u32 tid, u32 tgid, s32 signal, s32 error, s32 code, u64 handler);

  const LifeInterest& interest_;
  LifeEmitter& emitter_;
  std::vector<Send> sends_;  ///< calls between entry and return
  // What keeps a signal of a call from being told again at its delivery.
  struct Undelivered {
    u32 pid = 0, tgid = 0;
    s32 signal = 0;
    bool to_group = false;
  };
  std::vector<Undelivered> undelivered_;
  std::vector<u32> killed_;   ///< threads whose end has been told as a delivery
  std::vector<u32> senders_;  ///< processes whose calls have been told
};

}  // namespace skep::hook
