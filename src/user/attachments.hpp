// What is attached in an engine, and how an event reaches its programs.
//
// A target becomes a hook::HookPlan: which events it means, which context its programs get. Attachments are
// collected before a run; RunSink hands them the tracer's events. A link may go while events come in on another
// thread: remove() returns when no event is inside of the program any more.
#pragma once
#include <array>
#include <atomic>
#include <bitset>
#include <memory>
#include <mutex>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <variant>
#include <vector>

#include "catalog/syscalls.hpp"
#include "hook/function_event.hpp"
#include "hook/function_rows.hpp"
#include "hook/life_context.hpp"
#include "hook/probe_context.hpp"
#include "hook/syscall_context.hpp"
#include "hook/syscall_event.hpp"
#include "user/loaded.hpp"
#include "user/registry.hpp"

namespace skep::user {

/// One program at one target.
class Attachment final : public RegisteredLink {
 public:
  using Plan = std::variant<hook::HookPlan, hook::LifePlan, hook::ProbePlan, hook::FunctionPlan>;
  /// Errors: those of hook::plan, hook::fit and hook::check_fits; limit. `shadow`: asked where kernel functions lead
  /// to structures.
  static Result<std::shared_ptr<Attachment>> make(std::shared_ptr<const LoadedProgram> program,
                                                  const AttachTarget& target, Registry& registry,
                                                  const ShadowProvider& shadow);
  /// What a target means here. Errors: those of hook::plan: there is no such hook.
  static Result<Plan> plan_of(const AttachTarget& target);
  ~Attachment() override;
  LinkInfo describe() const override { return info_; }
  const Plan& plan() const { return plan_; }
  /// How the hook differs from what was asked for, for the user; "" where it does not.
  const std::string& carried_by() const { return carried_by_; }
  const verify::VerifiedProgram& proof() const { return program_->function->program(); }
  /// Runs the program for an event that its plan matches, which is of the event's kind.
  void run(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept;
  void run(const hook::LifeEvent& event, hook::SyscallEvent& frame, helper::Task& task,
           helper::TraceSink& trace) noexcept;
  void run(const hook::ProbeHit& hit, u64 cookie, hook::SyscallEvent& frame, helper::Task& task,
           helper::TraceSink& trace) noexcept;
  void run(hook::FunctionEvent& event, const hook::FunctionRow& row, helper::TraceSink& trace) noexcept;

 private:
  friend class Attachments;
  friend class RunSink;
  /// Counts an event that is in the program.
  struct Inside {
    explicit Inside(Attachment& in) noexcept : attachment(in) { attachment.inside_.fetch_add(1); }
    ~Inside() { attachment.inside_.fetch_sub(1); }
    Attachment& attachment;
  };
  Result<void> place_descriptions(const AttachTarget& target);
  void run_program(void* context, helper::Task& task, helper::TraceSink& trace, u64 cookie = 0,
                   u64 function = 0) noexcept;
  Attachment(std::shared_ptr<const LoadedProgram> program, Plan plan)
      : program_(std::move(program)), plan_(std::move(plan)) {}
  std::shared_ptr<const LoadedProgram> program_;
  Plan plan_;
  hook::ShadowTasks* shadow_ = nullptr;  ///< of the program's object, or shadow_owner_'s
  std::shared_ptr<hook::ShadowTasks> shadow_owner_;
  std::string carried_by_;
  u64 cookie_ = 0;  ///< where the plan has none of its own
  LinkInfo info_;
  std::vector<u32> usdt_slots_;  ///< of the program's object
  Table<const RegisteredLink>::Lease id_;
  std::atomic<bool> active_{true};
  std::atomic<u32> inside_{0};
};

/// Hands a tracer's events to the attachments of a run, found by number and direction.
class RunSink final : public hook::SyscallSink {
 public:
  RunSink(std::vector<std::shared_ptr<Attachment>> attachments, helper::TraceSink& trace);
  void on_event(hook::SyscallEvent& event, helper::Task& task) noexcept override;
  void on_life(const hook::LifeEvent& event, hook::SyscallEvent& frame, helper::Task& task) noexcept override;
  const hook::SyscallInterest& interest() const { return interest_; }
  void on_probe(const hook::ProbeHit& hit, hook::SyscallEvent& frame, helper::Task& task) noexcept override;
  /// Which fields of tasks the programs load directly.
  void tell_wanted(hook::ShadowTasks& shadow) const;

 private:
  using List = std::vector<Attachment*>;
  struct AtFunction {
    Attachment* attachment;
    const hook::FunctionRow* row;
  };
  void add(Attachment& attachment, const hook::FunctionPlan& plan);
  void run_all(const List& list, hook::SyscallEvent& event, helper::Task& task) noexcept;
  void run_functions(hook::SyscallEvent& event, helper::Task& task) noexcept;
  void end_process(hook::SyscallEvent& frame, helper::Task& task) noexcept;

  std::vector<std::shared_ptr<Attachment>> attachments_;
  // [entry, return]: programs on every call, and by number.
  std::array<List, 2> every_;
  std::array<std::array<List, catalog::syscall_limit>, 2> by_number_;
  std::array<List, hook::life_kinds> by_life_;
  // Kernel functions, in the order of their rows: by [entry, return] and number, and at the end of a process.
  std::array<std::array<std::vector<AtFunction>, catalog::syscall_limit>, 2> functions_;
  std::vector<AtFunction> functions_at_end_;
  std::bitset<catalog::syscall_limit> notes_;  ///< calls of which something is noted at the entry
  hook::ShadowTasks* shadow_ = nullptr;        ///< where there are functions
  struct AtPlace {
    Attachment* attachment;
    u64 cookie;
  };
  std::vector<std::array<std::vector<AtPlace>, 2>> by_probe_;  ///< by place: [entry, return]
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
