// kernel_backend(): the engine that is Linux itself.
#include <fmt/core.h>

#include <cerrno>

#include "kernel/inspector.hpp"
#include "kernel/program.hpp"
#include "kernel/rings.hpp"
#include "kernel/session.hpp"
#include "kernel/syscall.hpp"
#include "kernel/workload.hpp"

namespace skep {

namespace kernel {
namespace {

class KernelBackend final : public Backend {
 public:
  KernelBackend(const KernelOptions& options, StopSwitch stop)
      : session_(std::make_shared<Session>(options)), stop_(std::move(stop)) {}

  std::string_view name() const override { return "kernel"; }
  Result<Object> load(const ObjectSpec& spec, const LoadOptions& options) override {
    session_->clear_log();
    return load_object(session_, spec, options);
  }
  Result<RunResult> run(const Workload& workload) override {
    return run_workload(workload, stop_, session_->sees_all());
  }
  void stop() noexcept override { stop_.set(); }
  Result<RingReader> open_trace_pipe() override {
    return open_kernel_trace_pipe(*SKEP_TRY_AT("trace pipe", session_->tracefs()));
  }
  Inspector& inspector() override { return inspector_; }
  std::string notes() const override { return session_->notes(); }
  std::string verifier_log() const override { return session_->log(); }

 private:
  std::shared_ptr<Session> session_;
  StopSwitch stop_;
  KernelInspector inspector_;
};

/// Whether this process may use bpf(2) at all, by its smallest command that needs a capability.
Result<void> check_access() {
  uapi::ObjectId attr;
  const int status = bpf(uapi::Cmd::prog_get_next_id, attr);
  if (status >= 0 || status == -ENOENT) return {};  // ENOENT: no program is loaded
  return tl::unexpected(bpf_error(uapi::Cmd::prog_get_next_id, "kernel engine", -status));
}

}  // namespace
}  // namespace kernel

Result<std::unique_ptr<Backend>> kernel_backend(const KernelOptions& options) {
  SKEP_TRY(kernel::check_access());
  auto stop = SKEP_TRY(kernel::StopSwitch::make());
  return std::make_unique<kernel::KernelBackend>(options, std::move(stop));
}

Result<std::unique_ptr<Inspector>> kernel_inspector() {
  SKEP_TRY(kernel::check_access());
  return std::make_unique<kernel::KernelInspector>();
}

}  // namespace skep
