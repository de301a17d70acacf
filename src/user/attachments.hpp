// What is attached in an engine, and how an event reaches its programs.
//
// A HookPlan says which events a target means and what its programs get as context, laid out as the kernel lays
// it out. Attachments are collected before a run; RunSink hands them the tracer's events. A link may go while
// events come in on another thread: remove() returns when no event is inside of the program any more.
//
// Contexts (Source: Linux 6.18, include/trace/events/syscalls.h, kernel/trace/trace_syscalls.c,
// arch/x86/include/asm/syscall_wrapper.h):
//   tracepoint syscalls/sys_enter_X   common fields, number, six arguments           64 bytes
//   tracepoint syscalls/sys_exit_X    common fields, number, result                  24 bytes
//   raw_tracepoint sys_enter, tp_btf  pointer to the caller's pt_regs, number        16 bytes
//   raw_tracepoint sys_exit           pointer to the caller's pt_regs, result        16 bytes
//   ksyscall, kprobe __x64_sys_X      pt_regs whose first argument points to the caller's pt_regs
//   kretsyscall, kretprobe            pt_regs whose return value is the result
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <vector>

#include "hook/syscall_event.hpp"
#include "user/loaded.hpp"
#include "user/registry.hpp"

namespace skep::user {

/// Which events, and which context.
struct HookPlan {
  enum class Context : u8 { tracepoint_enter, tracepoint_exit, raw_enter, raw_exit, function_entry, function_return };
  enum class Callers : u8 { all, native, compat };
  Context context = Context::tracepoint_enter;
  Callers callers = Callers::all;
  bool every_call = false;
  u32 number = 0;  ///< x86-64, unless every_call

  bool is_exit() const {
    return context == Context::tracepoint_exit || context == Context::raw_exit || context == Context::function_return;
  }
  u32 context_bytes() const;
  bool matches(const hook::SyscallEvent& event) const;
};

/// Errors: not_found (no such system call, with its neighbours), unsupported (a hook of the kernel).
Result<HookPlan> plan_hook(const AttachTarget& target);

/// One program at one target.
class Attachment final : public RegisteredLink {
 public:
  static Result<std::shared_ptr<Attachment>> make(std::shared_ptr<const LoadedProgram> program,
                                                  const AttachTarget& target, Registry& registry);
  LinkInfo describe() const override { return info_; }
  const HookPlan& plan() const { return plan_; }
  std::string carried_by() const;
  /// Runs the program for an event that its plan matches.
  void run(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept;

 private:
  friend class Attachments;
  void run_program(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept;
  Attachment(std::shared_ptr<const LoadedProgram> program, HookPlan plan) : program_(std::move(program)), plan_(plan) {}
  std::shared_ptr<const LoadedProgram> program_;
  HookPlan plan_;
  LinkInfo info_;
  Table<const RegisteredLink>::Lease id_;
  std::atomic<bool> active_{true};
  std::atomic<u32> inside_{0};
};

/// Hands a tracer's events to the attachments of a run.
class RunSink final : public hook::SyscallSink {
 public:
  RunSink(std::vector<std::shared_ptr<Attachment>> attachments, helper::TraceSink& trace);
  void on_event(hook::SyscallEvent& event, helper::Task& task) noexcept override;
  const hook::SyscallInterest& interest() const { return interest_; }

 private:
  std::vector<std::shared_ptr<Attachment>> attachments_;
  helper::TraceSink& trace_;
  hook::SyscallInterest interest_;
};

/// The attachments of an engine. Thread-safe.
class Attachments {
 public:
  /// Errors: unsupported during a run, whose filter is fixed.
  Result<void> add(std::shared_ptr<Attachment> attachment);
  void remove(const std::shared_ptr<Attachment>& attachment) noexcept;
  /// Errors: invalid_argument when nothing is attached.
  Result<std::unique_ptr<RunSink>> begin_run(helper::TraceSink& trace);
  void end_run() noexcept;

 private:
  std::mutex mutex_;
  bool running_ = false;
  std::vector<std::shared_ptr<Attachment>> attachments_;
};

}  // namespace skep::user
