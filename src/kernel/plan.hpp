// How a program reaches its hook on this kernel: directly, or carried by another one.
//
// A plan is made before loading, because the hook decides the program type and even the instructions. The order for
// kprobe programs: a real kprobe; else fentry/fexit on the same function; else, for system calls, the raw
// tracepoint; else a tracepoint that knows the same values (hook_substitutes.def), also where there are kprobes but the
// function itself is gone. Then hooks that have moved with a release (moved_hooks.def), for programs of other kinds
// too.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>

#include "kernel/carry.hpp"
#include "kernel/features.hpp"
#include "kernel/kernel_types.hpp"

namespace skep::kernel {

struct Plan {
  AttachTarget hook;                  ///< what the kernel is asked for in the end
  std::optional<Carrier> carrier;     ///< present when the program must be carried there
  std::string carried_by;             ///< the line for the user, or ""
  bool loadable = true;               ///< false: the target must be known before the program can be loaded
  std::optional<Error> unattachable;  ///< it can be loaded (and verified), but this is why it cannot be attached
  bool on_multi_link = false;         ///< many probes held by one kprobe.multi or uprobe.multi link: loaded for that
  /// Where hooks have no cookies (before 5.15; carried), of a program that asks for its own: the one in this load.
  std::optional<u64> written_cookie;

  /// What the program says at its load that it will be attached as.
  AttachType attach_type() const noexcept {
    if (!on_multi_link) return hook.attach_type();
    const bool in_kernel = hook.kind == AttachKind::kprobe || hook.kind == AttachKind::kretprobe;
    return in_kernel ? AttachType::trace_kprobe_multi : AttachType::trace_uprobe_multi;
  }

  /// Programs with equal keys are the same load.
  std::string key(const ProgramSpec& program) const;
};

/// `declared`: the types of the program's object, or null where they do not matter.
/// Errors: unsupported, saying what is missing and what would serve; invalid_argument for a target that names nothing.
Result<Plan> plan_hook(const ProgramSpec& program, const btf::Btf* declared, const AttachTarget& target,
                       const Features& features, KernelTypes& kernel);

/// Whether the plan is a probe of many functions whose program reads no more registers than such a link hands over,
/// where the kernel has it (Features::kprobe_multi).
bool fits_kprobe_multi(const ProgramSpec& program, const Plan& plan);

/// Where the kernel refused a probe of the function itself (what the compiler may inline is not traceable, and a probe
/// of it invalid): what stands in for it, if anything does.
std::optional<Plan> plan_instead_of_refused(const ProgramSpec& program, const btf::Btf* declared,
                                            const AttachTarget& target, KernelTypes& kernel);

/// Where calls of a function are that do not come to it: in callers into which this kernel's compiler has put it.
struct CallerPlaces {
  std::vector<Plan> plans;          ///< of those where the program finds what it reads: for it to be attached to, too
  std::vector<std::string> unseen;  ///< lines for the user, of the others
};

/// For a probe, or a trampoline, of one function that moved_hooks.def knows to be put into callers: nothing for others.
CallerPlaces caller_places(const ProgramSpec& program, const AttachTarget& target, const Features& features,
                           KernelTypes& kernel);

/// "kprobe/F does not see calls from C: REASON".
std::string unseen_calls(const AttachTarget& target, std::string_view caller, std::string_view reason);

}  // namespace skep::kernel
