// kernel_backend(): the engine that is Linux itself.
#include <fmt/core.h>

#include <cerrno>

#include "kernel/access.hpp"
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
  KernelBackend(const KernelOptions& options, std::optional<Token> token, StopSwitch stop)
      : session_(std::make_shared<Session>(options, std::move(token))), stop_(std::move(stop)) {}

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

/// Whether there is bpf(2), by the smallest command.
Result<void> check_kernel() {
  uapi::ObjectId attr;
  const int status = bpf(uapi::Cmd::prog_get_next_id, attr);
  if (status != -ENOSYS) return {};
  return tl::unexpected(bpf_error(uapi::Cmd::prog_get_next_id, "kernel engine", -status));
}

/// What a process that may not load by itself does it with; nullopt: it may. The question is an empty BPF_BTF_LOAD: the
/// kernel looks for CAP_BPF (before 5.8 CAP_SYS_ADMIN) first, and then refuses what is no BTF.
Result<std::optional<Token>> access(const KernelOptions& options) {
  uapi::BtfLoad attr;
  const int status = bpf(uapi::Cmd::btf_load, attr);
  if (status != -EPERM && status != -ENOSYS) return std::optional<Token>();
  Error error = bpf_error(uapi::Cmd::btf_load, "kernel engine", -status);
  const auto path = token_path(options.token);
  if (status == -ENOSYS || !path) return tl::unexpected(std::move(error));
  auto token = Token::make(path->path);
  if (token) return std::optional(*std::move(token));
  if (path->is_asked_for || in_user_namespace())
    error.message += ". " + token.error().message;
  else
    error.message += ". Tracing takes CAP_PERFMON as well, programs of networks and control groups CAP_NET_ADMIN";
  return tl::unexpected(std::move(error));
}

}  // namespace
}  // namespace kernel

Result<std::unique_ptr<Backend>> kernel_backend(const KernelOptions& options) {
  auto token = SKEP_TRY(kernel::access(options));
  auto stop = SKEP_TRY(kernel::StopSwitch::make());
  return std::make_unique<kernel::KernelBackend>(options, std::move(token), std::move(stop));
}

Result<std::unique_ptr<Inspector>> kernel_inspector() {
  SKEP_TRY(kernel::check_kernel());
  return std::make_unique<kernel::KernelInspector>();
}

}  // namespace skep
