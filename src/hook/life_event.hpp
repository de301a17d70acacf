// Process life as hooks see it: programs that begin, tasks that are made and end, signals.
//
// The kernel's tracepoints sched_process_exec, sched_process_fork, sched_process_exit, signal_generate and
// signal_deliver, made of what ptrace reports (life_tracker.hpp) for the traced tree. Only what a LifeInterest asks for
// costs a stop.
#pragma once
#include <skep/types.hpp>
#include <string_view>

namespace skep::hook {

enum class LifeKind : u8 { exec, fork, exit, signal_generate, signal_deliver };
inline constexpr u32 life_kinds = 5;

/// Which of them programs want.
struct LifeInterest {
  bool exec = false, fork = false, exit = false, signal_generate = false, signal_deliver = false;

  bool births = false;  ///< the tracer itself must know who made whom (probes)

  bool any() const noexcept { return exec || fork || exit || signals() || births; }
  bool signals() const noexcept { return signal_generate || signal_deliver; }
  void add(LifeKind kind) noexcept {
    switch (kind) {
      case LifeKind::exec:
        exec = true;
        return;
      case LifeKind::fork:
        fork = true;
        return;
      case LifeKind::exit:
        exit = true;
        return;
      case LifeKind::signal_generate:
        signal_generate = true;
        return;
      case LifeKind::signal_deliver:
        signal_deliver = true;
        return;
    }
  }
};

/// One event. The task it happens to is the event's current task; members that a kind does not name are unused.
struct LifeEvent {
  LifeKind kind = LifeKind::exec;
  /// exec, exit: the task itself; fork: the child; signals: the one that gets it. A thread id.
  u32 subject = 0;
  char comm[16] =
      {};  ///< fork: of both tasks (a child begins with its parent's); exit: its own; generate: the target's
  std::string_view filename;            ///< exec: as it was given to execve
  u32 old_pid = 0;                      ///< exec: the id of the thread that called it
  s32 exit_code = 0;                    ///< exit: as wait(2) gives it
  s32 priority = 0;                     ///< exit: task_struct.prio (120 is nice 0)
  bool group_dead = false;              ///< exit: the last thread of its process
  s32 signal = 0, error = 0, code = 0;  ///< siginfo's si_signo, si_errno, si_code
  bool to_group = false;                ///< generate: to the process, not to one thread
  /// generate: what became of it. Source: TRACE_SIGNAL_* in include/trace/events/signal.h.
  enum class Result : u8 { delivered, ignored, already_pending } result = Result::delivered;
  u64 handler = 0;  ///< deliver: 0 default, 1 ignored, ~0: a handler, whose address only the kernel knows
  u64 handler_flags = 0;
};

}  // namespace skep::hook
