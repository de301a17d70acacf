// Observes the system calls of a process tree, without root.
//
//   auto tracer = SKEP_TRY(SyscallTracer::start({"sh", "-c", "ls; date"}, interest, sink));
//   print(tracer->mechanism());
//   auto result = SKEP_TRY(tracer->run());          // events go to the sink until the tree has ended
//
// The mechanism is the cheapest that gives what programs need:
//   entries only               seccomp user notification
//   returns, or all registers  ptrace behind a seccomp filter
//   a running process (-p)     ptrace, every call stops
// In the first two a seccomp filter stops wanted calls only; the others run at full speed.
//
// What the command sees of it: nothing it inherits is changed (environment, descriptors, directory, signal mask and
// ignored signals, process group, terminal: Ctrl-C and Ctrl-Z reach it as without us). Three exceptions. Orphans of the
// tree are adopted by the tracer process instead of init. Without CAP_SYS_ADMIN the tree cannot gain privileges by exec
// (no_new_privs; see new_privileges_denied). And a seccomp filter stays for good: when skep ends first, even by kill
// -9, the tracer process stays behind until the tree has ended, and answers "go on" (tracer_process.hpp).
//
// run() returns when the command and every process that came from it have ended, as strace -f does; stop() lets them go
// before. A command in the same process group as skep gets the terminal's Ctrl-C itself: a program that wants the
// command's exit status catches SIGINT, waits, and calls stop() only on a second one.
#pragma once
#include <memory>
#include <skep/backend.hpp>
#include <skep/result.hpp>
#include <string>
#include <vector>

#include "hook/syscall_event.hpp"
#include "hook/tracee_task.hpp"

namespace skep::hook {

enum class Mechanism { notify, ptrace_filtered, ptrace_every_call };

class SyscallTracer {
 public:
  /// Starts a command, found as a shell finds it. Events wait until run(). `sink` must outlive the tracer; on_event
  /// runs as on another thread. `shadow`, which must outlive it too, gives tasks as structures; null: there are none.
  /// Errors: not_found (no such command: a shell's 127), permission (not executable: 126; or
  /// the system forbids tracing: the message says what), unsupported, invalid_argument (nothing is wanted).
  static Result<std::unique_ptr<SyscallTracer>> start(std::vector<std::string> argv, const SyscallInterest& interest,
                                                      SyscallSink& sink, ShadowTasks* shadow = nullptr);
  /// Attaches to every thread of a running process; threads and children it makes later are followed, children it has
  /// are not. A sleeping system call may return EINTR once, as after SIGSTOP and SIGCONT.
  /// Errors: not_found, permission (names Yama, the other user or the other tracer), invalid_argument.
  static Result<std::unique_ptr<SyscallTracer>> attach(int pid, const SyscallInterest& interest, SyscallSink& sink,
                                                       ShadowTasks* shadow = nullptr);

  /// Lets everything still traced go on untraced.
  ~SyscallTracer();

  /// Serves events until the tree has ended or stop(). RunResult::exited is true when the tree ended; wait_status is
  /// the command's. Errors: not_found and permission when the exec itself failed (missing interpreter, noexec
  /// mount...), io when the tracer process crashed or was killed.
  Result<RunResult> run();
  /// Ends run() soon. Safe from any thread and from a signal handler.
  void stop() noexcept;

  Mechanism mechanism() const noexcept;
  /// One line for people: the mechanism, why, and what was tried before it.
  std::string mechanism_text() const;
  /// The command's or the attached process's id.
  int pid() const noexcept;
  /// The tracer process's id.
  int tracer_pid() const noexcept;
  /// Whether the tree runs with no_new_privs: setuid programs in it run without their privileges.
  bool new_privileges_denied() const noexcept;
  const TraceCounters& counters() const noexcept;

 private:
  class Work;
  struct Parts;
  explicit SyscallTracer(std::unique_ptr<Parts> parts);
  static Result<std::unique_ptr<SyscallTracer>> launch(std::shared_ptr<Work> work);

  std::unique_ptr<Parts> parts_;
};

}  // namespace skep::hook
