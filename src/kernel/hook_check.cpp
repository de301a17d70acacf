// What a program needs of the kernel, asked of its types, of tracefs and of the planner, in this order of cost.
#include "kernel/hook_check.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "catalog/helpers.hpp"
#include "isa/isa.hpp"
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

/// Whether a probe or trampoline has its function. A probe can also stand on one that no types tell of: then the
/// symbols are asked, which the kernel takes tens of milliseconds to print.
Result<void> check_function(Session& session, const AttachTarget& target) {
  if (target.target.empty() || target.target.find('*') != std::string::npos) return {};
  const auto known = session.types.any_function(target.target);
  const bool is_probe = target.kind == AttachKind::kprobe || target.kind == AttachKind::kretprobe;
  if (known || (is_probe && !session.types.addresses({target.target}).empty())) return {};
  return tl::unexpected(known.error());
}

bool asks_for_result(const ProgramSpec& program) {
  return std::ranges::any_of(program.insns, [](const Insn& insn) {
    return insn.code == isa::code_call && insn.src == isa::call_src_helper &&
           insn.imm == static_cast<s32>(catalog::HelperId::get_func_ret);
  });
}

bool stands_in(const Carrier& carrier) {
  const CarrierHook hook = carrier.hook;
  const bool moved = hook == CarrierHook::moved_fentry || hook == CarrierHook::moved_fexit ||
                     (hook == CarrierHook::kprobe && !carrier.tracepoint.empty());
  return moved || hook == CarrierHook::tracepoint_entry || hook == CarrierHook::tracepoint_return ||
         hook == CarrierHook::boundary_entry || hook == CarrierHook::boundary_return;
}

}  // namespace

Result<bool> HookCheck::check(const ProgramSpec& program) {
  const AttachTarget& target = program.attach;
  switch (target.kind) {
    case AttachKind::tp_btf:
      SKEP_TRY(session_->types.any_tracepoint(target.target));
      return true;
    case AttachKind::raw_tp:
    case AttachKind::raw_tracepoint:
      // Without types it is there all the same; whether it is, attaching tells.
      if (auto known = session_->types.any_tracepoint(target.target); !known && known.error().code != Code::unsupported)
        return tl::unexpected(std::move(known).error());
      return true;
    case AttachKind::tracepoint:
    case AttachKind::tp:
      SKEP_TRY(check_tracepoint(*session_, target.target));
      return true;
    default:
      break;
  }
  if (target.kind == AttachKind::fexit && asks_for_result(program) && !session_->features.function_results())
    return fail(Code::unsupported,
                fmt::format("fexit/{}: this kernel's programs do not learn a function's result there "
                            "(bpf_get_func_ret came with 5.17)",
                            target.target));
  auto plan = SKEP_TRY(plan_hook(program, nullptr, target, session_->features, session_->types));
  if (plan.unattachable) return tl::unexpected(std::move(*plan.unattachable));
  if (plan.carrier && stands_in(*plan.carrier)) return false;
  switch (target.kind) {
    case AttachKind::fentry:
    case AttachKind::fexit:
    case AttachKind::kprobe:
    case AttachKind::kretprobe:
      SKEP_TRY(check_function(*session_, target));
      return true;
    default:
      return true;
  }
}

}  // namespace skep::kernel
