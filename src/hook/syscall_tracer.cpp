// Chooses the mechanism and puts the parts together: command, filter, loop, tracer process.
#include "hook/syscall_tracer.hpp"

#ifndef __x86_64__
#error "the system call hook knows x86-64 only"
#endif

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "hook/command.hpp"
#include "hook/notify_loop.hpp"
#include "hook/ptrace_loop.hpp"
#include "hook/syscall_filter.hpp"
#include "hook/tracer_process.hpp"

namespace skep::hook {

class SyscallTracer::Work final : public TracerWork {
 public:
  Work(std::unique_ptr<Command> command, int pid, const SyscallInterest& interest, SyscallSink& sink,
       ShadowTasks* shadow)
      : interest_(interest), command_(std::move(command)), pid_(pid) {
    if (command_ && !interest.any_exit() && !interest.needs_registers && !interest.life.any() &&
        interest.probes.empty())
      notify_.emplace(*command_, interest_, sink, counters_, shadow);
    ptrace_.emplace(command_.get(), interest_, sink, counters_, shadow);
  }

  Result<void> set_up(Interrupts&) override {
    if (!command_) return ptrace_->seize_process(pid_);
    SKEP_TRY(command_->spawn());
    pid_ = command_->pid();
    auto ready = filter_command();
    if (!ready) command_->abandon();
    return ready;
  }

  bool serve(Interrupts& interrupts) override {
    return mechanism_ == Mechanism::notify ? notify_->serve(interrupts) : ptrace_->serve(interrupts);
  }

  void carry_on(Interrupts& interrupts) noexcept override {
    if (mechanism_ == Mechanism::notify)
      notify_->carry_on(interrupts);
    else
      ptrace_->carry_on();
  }

  void rescue(int stop_fd) noexcept override {
    if (mechanism_ == Mechanism::notify) notify_->rescue(stop_fd);
  }

  int kept_fd() const noexcept override { return mechanism_ == Mechanism::notify ? notify_->listener() : -1; }
  bool has_command() const noexcept override { return command_ != nullptr; }

  Command* command() const { return command_.get(); }
  int pid() const { return pid_; }
  Mechanism mechanism() const { return mechanism_; }
  const std::string& refused() const { return refused_; }
  const SyscallInterest& interest() const { return interest_; }
  const TraceCounters& counters() const { return counters_; }

 private:
  Result<void> filter_command() {
    if (foreign_listener()) {
      // Its filter decides before ours would, and not before ptrace's own stops.
      refused_ = "no filter, for another seccomp listener (a container runtime, another skep) serves us already";
      return trace_every_call();
    }
    if (notify_) {
      auto listening = install(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
      if (listening) {
        notify_->listen(*listening);
        mechanism_ = Mechanism::notify;
        return {};
      }
      SKEP_TRY(note_refusal("user notification", std::move(listening).error()));
    }
    SKEP_TRY(ptrace_->seize_command());
    auto installed = install(SECCOMP_RET_TRACE, 0);
    if (installed) {
      mechanism_ = Mechanism::ptrace_filtered;
      return {};
    }
    SKEP_TRY(note_refusal("a seccomp filter", std::move(installed).error()));
    return trace_every_call();
  }

  Result<void> trace_every_call() {
    mechanism_ = Mechanism::ptrace_every_call;
    ptrace_->give_up_filter();
    if (!ptrace_->seized()) SKEP_TRY(ptrace_->seize_command());
    command_->go_unfiltered();
    return {};
  }

  /// What programs want, and what the tracer itself must see for them.
  SyscallInterest stopping_calls() const {
    SyscallInterest calls = interest_;
    if (interest_.life.signals())
      for (const u32 number : SignalTracker::sending_calls) calls.exit.set(number);
    return calls;
  }

  /// Tries with the newest flags first; older kernels answer EINVAL.
  Result<int> install(u32 action, unsigned flags) {
    const auto filter = SKEP_TRY(syscall_filter(stopping_calls(), action, action == SECCOMP_RET_TRACE));
    // SPEC_ALLOW: the filter must not slow the command down by turning on speculation mitigations (before 5.16).
    flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (action == SECCOMP_RET_USER_NOTIF) {
      // A call that is being shown is not interrupted by signals, so no call is seen twice.
      auto killable = command_->install(filter, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
      if (killable || killable.error().os_error != EINVAL) return killable;
    }
    return command_->install(filter, flags);
  }

  /// What another mechanism can make up for is noted; what no mechanism can is passed on.
  Result<void> note_refusal(std::string_view what, Error error) {
    if (error.code == Code::closed || error.code == Code::limit) return tl::unexpected(std::move(error));
    if (!refused_.empty()) refused_ += ", ";
    refused_.append(what).append(" is refused (" + error.message + ")");
    return {};
  }

  SyscallInterest interest_;
  TraceCounters counters_;
  std::unique_ptr<Command> command_;
  int pid_;
  Mechanism mechanism_ = Mechanism::ptrace_every_call;
  std::string refused_;
  std::optional<NotifyLoop> notify_;
  std::optional<PtraceLoop> ptrace_;
};

struct SyscallTracer::Parts {
  std::shared_ptr<Work> work;
  std::unique_ptr<TracerProcess> process;
};

SyscallTracer::SyscallTracer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SyscallTracer::~SyscallTracer() = default;

Result<std::unique_ptr<SyscallTracer>> SyscallTracer::launch(std::shared_ptr<Work> work) {
  auto process = SKEP_TRY(TracerProcess::start(work));
  return std::unique_ptr<SyscallTracer>(
      new SyscallTracer(std::make_unique<Parts>(Parts{std::move(work), std::move(process)})));
}

Result<std::unique_ptr<SyscallTracer>> SyscallTracer::start(std::vector<std::string> argv,
                                                            const SyscallInterest& interest, SyscallSink& sink,
                                                            ShadowTasks* shadow) {
  if (!interest.any())
    return fail(Code::invalid_argument, "no system call is wanted: attach a program before starting the command");
  auto command = SKEP_TRY(Command::prepare(std::move(argv)));
  return launch(std::make_shared<Work>(std::move(command), 0, interest, sink, shadow));
}

Result<std::unique_ptr<SyscallTracer>> SyscallTracer::attach(int pid, const SyscallInterest& interest,
                                                             SyscallSink& sink, ShadowTasks* shadow) {
  if (!interest.any())
    return fail(Code::invalid_argument, "no system call is wanted: attach a program before the process");
  if (pid <= 0) return fail(Code::invalid_argument, "pid " + std::to_string(pid) + ": a process id is positive");
  if (pid == ::getpid())
    return fail(Code::invalid_argument, "pid " + std::to_string(pid) + " is this process: it cannot wait for itself");
  return launch(std::make_shared<Work>(nullptr, pid, interest, sink, shadow));
}

Result<RunResult> SyscallTracer::run() {
  const auto end = parts_->process->run();
  const Command* command = parts_->work->command();
  if (command != nullptr && command->exec_error() != 0 && end == TracerProcess::End::finished) {
    auto error = base::os_error("cannot run " + command->path(), command->exec_error());
    if (error.code != Code::not_found) error.code = Code::permission;
    if (error.code == Code::not_found) error.message += " (of the file's interpreter)";
    return tl::unexpected(std::move(error));
  }
  const std::string detail = std::to_string(parts_->process->detail());
  switch (end) {
    case TracerProcess::End::finished:
      return RunResult{.exited = true, .wait_status = command != nullptr ? command->wait_status : 0};
    case TracerProcess::End::released: {
      const bool ended = command != nullptr && command->ended;
      return RunResult{.exited = false, .wait_status = ended ? command->wait_status : 0};
    }
    case TracerProcess::End::crashed:
      return fail(Code::io, "the tracer crashed (signal " + detail + "); the command goes on untraced");
    case TracerProcess::End::died:
      break;
  }
  return fail(Code::io,
              "the tracer process was ended from outside (wait status " + detail + "); " +
                  (parts_->work->mechanism() == Mechanism::ptrace_filtered ? "the command was ended with it"
                                                                           : "the command went on unobserved"));
}

void SyscallTracer::stop() noexcept { parts_->process->stop(); }
Mechanism SyscallTracer::mechanism() const noexcept { return parts_->work->mechanism(); }
int SyscallTracer::pid() const noexcept { return parts_->work->pid(); }
int SyscallTracer::tracer_pid() const noexcept { return parts_->process->pid(); }
const TraceCounters& SyscallTracer::counters() const noexcept { return parts_->work->counters(); }

bool SyscallTracer::new_privileges_denied() const noexcept {
  return parts_->work->command() != nullptr && parts_->work->command()->no_new_privileges();
}

std::string SyscallTracer::mechanism_text() const {
  const Work& work = *parts_->work;
  std::string text;
  switch (work.mechanism()) {
    case Mechanism::notify:
      text = "seccomp user notification (system call entries only; other calls run at full speed)";
      break;
    case Mechanism::ptrace_filtered:
      text = "ptrace behind a seccomp filter (";
      text += work.interest().any_exit()   ? "programs want returns"
              : work.interest().any_call() ? "entries"
                                           : "no calls";
      text += work.interest().life.any() ? ", process life" : "";
      text += work.interest().probes.empty() ? "" : ", breakpoints";
      text += work.interest().needs_registers ? ", all registers" : "";
      text += "; other calls run at full speed)";
      break;
    case Mechanism::ptrace_every_call:
      text = "ptrace, every system call stops";
      text += work.command() == nullptr ? " (a running process cannot be given a filter)" : "";
      break;
  }
  if (!work.refused().empty()) text += "; " + work.refused();
  return text;
}

}  // namespace skep::hook
