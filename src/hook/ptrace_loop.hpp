// System calls by ptrace: entries and returns, all registers.
//
// Filtered: the command's seccomp filter reports wanted calls only (SECCOMP_RET_TRACE); the return is asked for call by
// call. Every call: for a running process, which cannot be given a filter; each of its calls then stops twice. Children
// and threads are followed by ptrace itself, signals are passed on, group stops are kept (PTRACE_SEIZE, PTRACE_LISTEN),
// so job control works as without us. Debuggers inside the tree do not: a task has one tracer. Source: ptrace(2),
// "Attaching and detaching", "Group-stop"; Linux 5.3 (PTRACE_GET_SYSCALL_INFO).
#pragma once
#include <signal.h>
#include <sys/ptrace.h>

#include <array>
#include <optional>
#include <unordered_map>

#include "hook/command.hpp"
#include "hook/cpu_follower.hpp"
#include "hook/event_decode.hpp"
#include "hook/life_tracker.hpp"
#include "hook/tracee_memory.hpp"
#include "hook/tracee_task.hpp"
#include "hook/tracer_process.hpp"
#include "hook/user_probes.hpp"

namespace skep::hook {

class PtraceLoop final : private EventSource, private LifeEmitter, private ProbeHost {
 public:
  enum class Scope { filtered, every_call };

  /// `command`: null for a process that was attached to.
  PtraceLoop(Command* command, const SyscallInterest& interest, SyscallSink& sink, TraceCounters& counters,
             ShadowTasks* shadow)
      : command_(command),
        interest_(interest),
        sink_(sink),
        counters_(counters),
        shadow_(shadow),
        task_(counters, shadow),
        life_(interest.life, *this),
        probes_(interest.probes, *this, counters.probes_refused) {}

  /// Traces the command, which waits for its orders. Errors: permission with what forbids it.
  Result<void> seize_command();
  /// Traces a process with all its threads. Errors: not_found, permission with what forbids it and what to do.
  Result<void> seize_process(int pid);
  /// Every call stops instead of filtered ones; before serve().
  void give_up_filter() noexcept;
  bool seized() const noexcept { return !tracees_.empty(); }

  bool serve(Interrupts& interrupts);
  void carry_on() noexcept;

 private:
  struct Tracee {
    u32 tgid = 0;
    bool begun = false;         // its first stop is behind it
    bool in_call = false;       // between the entry we saw and its return
    bool wants_return = false;  // resume so that the return stops
    bool execed = false;        // by this call: its registers are the new program's
    bool maps_code = false;     // by this call
    bool exiting = false;       // its PTRACE_EVENT_EXIT was seen
    RawCall call;
    SyscallEvent entry;  // what the return tells again (numbers, arguments); regs unused
  };

  int options() const noexcept;
  Result<void> seize(int tid, int options);
  void know(int tid, int pid);
  static bool wait(siginfo_t& waited, int options) noexcept;
  void collect() noexcept;
  void handle(const siginfo_t& waited);
  void ended(int tid, int status);
  void stopped(int tid, int stop);
  void on_seccomp(int tid, Tracee& tracee);
  void on_syscall_stop(int tid, Tracee& tracee);
  void on_newborn(int tid, Tracee& tracee);
  void on_exec(int tid);
  void on_event(int tid, Tracee& tracee, int event);
  void on_fork(int tid, Tracee& tracee, int event);
  void go_on(int tid, int signal);
  void begin_newborn(int tid, int signal);
  void release_newborns();
  u32 group_of(u32 tid, Tracee& tracee) noexcept;
  bool is_last_of_group(u32 tid, u32 tgid) const noexcept;
  static bool is_in_stop_of(int tid, int event) noexcept;
  /// Nothing: the task is not in that event's stop any more.
  static std::optional<unsigned long> event_message(int tid, int event) noexcept;
  static bool read_stop(int tid, __ptrace_syscall_info& info) noexcept;
  void take_entry(Tracee& tracee, const __ptrace_syscall_info& info) noexcept;
  void emit_entry(int tid, Tracee& tracee);
  void emit_return(int tid, Tracee& tracee, s64 result, u64 ip);
  void emit(Tracee& tracee);
  static void keep_traced(int tid, const RawCall& call) noexcept;
  void resume(int tid, int signal) noexcept;
  static bool is_in_hand(const siginfo_t& waited) noexcept;
  static bool has_trapped(u32 tid) noexcept;
  void resume_unobserved(const siginfo_t& waited) noexcept;
  void let_go() noexcept;
  void adopt_for_probes(u32 tid, Tracee& tracee, bool is_newborn);
  void on_hit(u32 tid, const ProbeHit& hit, const user_regs_struct& registers) noexcept override;
  bool await_stop(u32 tid, int& status) noexcept override;
  Interrupts& interrupts() noexcept override { return *interrupts_; }
  bool fill_registers(SyscallEvent& event, u32 offset, u32 size) noexcept override;
  void emit_life(u32 tid, u32 tgid, const LifeEvent& event) noexcept override;
  bool is_traced(u32 tgid) const noexcept override;
  bool still_waiting() noexcept override { return true; }  // a traced task's id is kept until we have waited for it

  Command* command_;
  const SyscallInterest& interest_;
  SyscallSink& sink_;
  TraceCounters& counters_;
  ShadowTasks* shadow_;
  TraceeTask task_;
  Scope scope_ = Scope::filtered;
  bool relax_options_ = false;
  CpuFollower follower_;
  LifeTracker life_;
  UserProbes probes_;
  std::unordered_map<u32, Tracee> tracees_;
  SyscallEvent event_;
  bool has_registers_ = false;  // event_.regs holds all of them
  Interrupts* interrupts_ = nullptr;
  bool has_returned_ = false;  // serve(), and was not left somewhere
  bool missed_stop_ = false;   // a stop of its group came in the middle of a step
  // What was waited for and not yet resumed. The kernel itself writes it, so that carry_on() finds it wherever serve()
  // was left: si_pid is 0 exactly when nothing is in hand.
  std::array<siginfo_t, 64> in_hand_{};
  siginfo_t deferred_{};  // what came in the middle of a step; the same rule
};

}  // namespace skep::hook
