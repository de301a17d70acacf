// The user engine: everything in one process, nothing asked of the kernel but ptrace and seccomp.
//
// load() prepares, proves and links (prepare.hpp, loaded.hpp); attach() turns a target into a plan of the system call
// hooks; run() starts the workload under a tracer that wants exactly the calls those plans name.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <string>
#include <vector>

#include "hook/syscall_tracer.hpp"
#include "user/attachments.hpp"
#include "user/host.hpp"
#include "user/loaded.hpp"
#include "user/trace_pipe.hpp"

namespace skep::user {

/// What the handles of an engine's programs share with it; lives as long as any of them.
struct EngineParts {
  std::shared_ptr<Host> host;
  std::shared_ptr<TracePipe> trace;
  Attachments attachments;
  std::mutex shadow_mutex;
  std::shared_ptr<hook::ShadowTasks> shadow;  ///< one for all programs: they see the tasks of one run
  Result<std::shared_ptr<hook::ShadowTasks>> shadow_tasks() {
    const std::lock_guard lock(shadow_mutex);
    if (!shadow) shadow = SKEP_TRY(hook::ShadowTasks::create());
    return shadow;
  }
  /// What stands in for hooks that were asked for, a line for each.
  void note(const std::string& carried_by) {
    const std::lock_guard lock(carried_mutex_);
    if (!carried_by.empty() && std::ranges::find(carried_, carried_by) == carried_.end())
      carried_.push_back(carried_by);
  }
  std::vector<std::string> carried_lines() {
    const std::lock_guard lock(carried_mutex_);
    return carried_;
  }

 private:
  std::mutex carried_mutex_;
  std::vector<std::string> carried_;
};

class UserBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> open(const UserOptions& options);

  std::string_view name() const override { return "user"; }
  Result<Object> load(const ObjectSpec& spec, const LoadOptions& options) override;
  Result<RunResult> run(const Workload& workload) override;
  void stop() noexcept override;
  Result<RingReader> open_trace_pipe() override { return parts_->trace->open(); }
  Inspector& inspector() override { return *parts_->host->registry(); }
  std::string notes() const override;

 private:
  explicit UserBackend(std::shared_ptr<EngineParts> parts) : parts_(std::move(parts)) {}
  Result<RunResult> trace(const Workload& workload);
  void remember(const hook::SyscallTracer& tracer, bool after);

  std::shared_ptr<EngineParts> parts_;
  std::atomic<bool> running_{false};
  // stop() comes from signal handlers: no locks. A caller counts itself in before it looks at the tracer, and run()
  // waits for those inside before the tracer goes.
  std::atomic<hook::SyscallTracer*> tracer_{nullptr};
  std::atomic<int> stopping_{0};
  std::atomic<bool> stop_asked_{false};
  mutable std::mutex notes_mutex_;
  std::string notes_;
  std::vector<std::string> left_out_;  ///< programs for which there is no hook, a line for each group
};

}  // namespace skep::user
