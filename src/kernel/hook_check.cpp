// What a program needs of the kernel, asked of its types, of tracefs and of the planner, in this order of cost.
#include "kernel/hook_check.hpp"

#include "kernel/plan.hpp"

namespace skep::kernel {
namespace {

Result<void> check_tracepoint(Session& session, const std::string& target) {
  const auto slash = target.find('/');
  if (slash == std::string::npos) return {};
  const Tracefs* tracefs = SKEP_TRY(session.tracefs());
  SKEP_TRY(tracefs->event_id(target.substr(0, slash), target.substr(slash + 1)));
  return {};
}

/// A module's function is in no types that are looked at, but a probe can stand on it.
bool has_symbol(const KernelTypes& types, const std::string& function) { return !types.addresses({function}).empty(); }

}  // namespace

Result<void> HookCheck::check(const ProgramSpec& program) {
  const AttachTarget& target = program.attach;
  switch (target.kind) {
    case AttachKind::tp_btf:
    case AttachKind::raw_tp:
    case AttachKind::raw_tracepoint:
      SKEP_TRY(session_->types.tracepoint(target.target));
      return {};
    case AttachKind::tracepoint:
    case AttachKind::tp:
      return check_tracepoint(*session_, target.target);
    case AttachKind::fentry:
    case AttachKind::fexit:
    case AttachKind::kprobe:
    case AttachKind::kretprobe:
      if (target.target.empty() || target.target.find('*') != std::string::npos) break;
      if (auto known = session_->types.function(target.target);
          !known && ((target.kind != AttachKind::kprobe && target.kind != AttachKind::kretprobe) ||
                     !has_symbol(session_->types, target.target)))
        return tl::unexpected(std::move(known).error());
      break;
    default:
      break;
  }
  auto plan = SKEP_TRY(plan_hook(program, target, session_->features, session_->types));
  if (plan.unattachable) return tl::unexpected(std::move(*plan.unattachable));
  return {};
}

}  // namespace skep::kernel
