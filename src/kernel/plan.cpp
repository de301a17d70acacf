// Choosing the hook.
#include "kernel/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/syscalls.hpp"
#include "kernel/hook_substitutes.hpp"
#include "kernel/machine_code.hpp"
#include "kernel/moved_hooks.hpp"
#include "spec/handler.hpp"
#include "spec/register_use.hpp"

namespace skep::kernel {

namespace {

bool is_probe(AttachKind kind) {
  return kind == AttachKind::kprobe || kind == AttachKind::kretprobe || kind == AttachKind::ksyscall ||
         kind == AttachKind::kretsyscall;
}
std::string asked_of(const AttachTarget& target) { return fmt::format("{}/{}", name_of(target.kind), target.target); }
bool is_return(AttachKind kind) { return kind == AttachKind::kretprobe || kind == AttachKind::kretsyscall; }
bool is_syscall_kind(AttachKind kind) { return kind == AttachKind::ksyscall || kind == AttachKind::kretsyscall; }

/// The kernel function a probe means: system calls have a prefix of the architecture since 4.17.
std::string function_of(const AttachTarget& target) {
  return is_syscall_kind(target.kind) ? fmt::format("{}{}", catalog::syscall_prefix, target.target) : target.target;
}

/// Whether the program reads pt_regs::ip (offset 128): only then is the address worth a walk through kallsyms.
bool may_read_ip(const ProgramSpec& program) {
  return std::ranges::any_of(program.insns, [](const Insn& insn) {
    return (insn.code == 0x79 && insn.off == 128) || (insn.code == 0x07 && insn.imm == 128);
  });
}

Result<Carrier> trampoline_carrier(const std::string& function, bool at_return, KernelTypes& kernel) {
  Carrier carrier;
  carrier.hook = at_return ? CarrierHook::fexit : CarrierHook::fentry;
  carrier.function = function;
  carrier.argument_count = SKEP_TRY(kernel.argument_count(function));
  return carrier;
}

Result<Carrier> syscall_carrier(const std::string& function, std::string_view syscall, bool at_return,
                                KernelTypes& kernel) {
  const catalog::SyscallRow* const row = catalog::syscall_by_function(syscall);
  if (row == nullptr) return fail(Code::not_found, fmt::format("this machine has no system call \"{}\"", syscall));
  Carrier carrier;
  carrier.hook = at_return ? CarrierHook::sys_exit : CarrierHook::sys_enter;
  carrier.function = function;
  carrier.syscall_number = row->number;
  carrier.status_offset = kernel.thread_status_offset();
  carrier.typed_context = at_return && kernel.tracepoint("sys_exit").has_value();
  return carrier;
}

Result<Carrier> probe_carrier(const ProgramSpec& program, const btf::Btf* declared, const AttachTarget& target,
                              const std::string& asked, const Features& features, KernelTypes& kernel) {
  const std::string function = function_of(target);
  if (function.find_first_of("*?[") != std::string::npos)
    return fail(
        Code::unsupported,
        fmt::format("{}: this kernel has no kprobes (CONFIG_KPROBES), and a pattern cannot be carried by other hooks: "
                    "name the functions",
                    asked));
  if (function.find('+') != std::string::npos)
    return fail(
        Code::unsupported,
        fmt::format("{}: this kernel has no kprobes (CONFIG_KPROBES), and nothing else can stop inside a function",
                    asked));
  const std::string_view syscall = catalog::syscall_of_function(function);
  if (features.fentry()) return trampoline_carrier(function, is_return(target.kind), kernel);
  if (!syscall.empty()) return syscall_carrier(function, syscall, is_return(target.kind), kernel);
  auto substitute = substitute_carrier(program, declared, function, is_return(target.kind), kernel);
  if (substitute) {
    substitute->reason = "this kernel has no kprobes and no fentry";
    return substitute;
  }
  return fail(Code::unsupported,
              fmt::format("{}: this kernel has no kprobes (CONFIG_KPROBES), {}, and {}. System calls can be probed "
                          "(ksyscall/NAME), and tracepoints (tracepoint/..., raw_tracepoint/..., tp_btf/...) may serve "
                          "instead of this function; skep's reference of hook substitutes names those that do so by "
                          "themselves",
                          asked, features.fentry_refusal(), substitute.error().message));
}

/// A function that this kernel does not have: inlined, renamed or gone. With kprobes its substitute still serves.
std::optional<Carrier> carrier_of_missing_function(const ProgramSpec& program, const btf::Btf* declared,
                                                   const AttachTarget& target, const std::string& function,
                                                   KernelTypes& kernel) {
  const auto rows = hook_substitutes();
  const std::string_view name = source_name(function);
  if (std::ranges::find(rows, name, &HookSubstitute::function) == rows.end()) return std::nullopt;
  if (!kernel.addresses({std::string(name), function}).empty()) return std::nullopt;
  auto substitute = substitute_carrier(program, declared, function, is_return(target.kind), kernel);
  if (!substitute) return std::nullopt;
  substitute->reason = "this kernel has no such function: it is inlined, renamed or gone";
  return *std::move(substitute);
}

/// What a handler declares beside what the function of this kernel has: releases have put parameters in front of
/// others.
struct Declaration {
  std::vector<s8> arguments;  ///< where the declared ones are, if elsewhere than declared and if all of them are there
  std::string difference;     ///< the first that is something else, as a clause; "" where there is none
};

Declaration compare_declaration(const ProgramSpec& program, const btf::Btf* declared, const std::string& function,
                                KernelTypes& kernel) {
  Declaration out;
  const auto parameters = spec::handler_parameters(declared, program.functions);
  if (parameters.empty()) return out;
  const auto types = kernel.parameter_structures(source_name(function));
  for (std::size_t i = 0; i < std::min(parameters.size(), types.size()) && out.difference.empty(); ++i)
    if (!parameters[i].structure.empty() && !types[i].empty() && parameters[i].structure != types[i])
      out.difference =
          fmt::format("the program declares parameter {} as struct {} *, and in this kernel it is struct {} *", i + 1,
                      parameters[i].structure, types[i]);
  if (out.difference.empty()) return out;
  constexpr std::size_t in_registers = 6;
  const auto places = spec::places_by_type(parameters, types);
  if (!places || places->back() >= in_registers) return out;
  for (const std::size_t place : *places) out.arguments.push_back(static_cast<s8>(place));
  return out;
}

void use_carrier(Plan& plan, const Carrier& carrier, const std::string& asked) {
  plan.hook = carrier_hook(carrier);
  plan.carried_by = describe(carrier, asked);
  plan.carrier = carrier;
}

/// Where the function has other parameters than the handler declares: the same ones from other places; a substitute
/// that has the declared ones; else the probe as it is, and a line that says so.
void follow_declaration(Plan& plan, const ProgramSpec& program, const btf::Btf* declared, const std::string& function,
                        const std::string& asked, KernelTypes& kernel) {
#if defined(__x86_64__)
  const Declaration found = compare_declaration(program, declared, function, kernel);
  if (found.difference.empty()) return;
  if (!found.arguments.empty()) {
    Carrier carrier;
    carrier.hook = CarrierHook::kprobe;
    carrier.function = function;
    carrier.arguments = found.arguments;
    carrier.parameters_by_type = true;
    return use_carrier(plan, carrier, asked);
  }
  if (auto substitute = substitute_carrier(program, declared, function, false, kernel)) {
    substitute->reason = found.difference;
    return use_carrier(plan, *substitute, asked);
  }
  plan.carried_by = fmt::format("{}: {}: what it reads of it may be something else", asked, found.difference);
#endif
}

/// For a program that asks where it is: programs tell their functions apart by that.
void tell_address(Carrier& carrier, const ProgramSpec& program, const std::string& function, KernelTypes& kernel) {
  if (!may_read_ip(program)) return;
  const auto found = kernel.addresses({function});
  if (const auto at = found.find(function); at != found.end())
    carrier.function_address = at->second + 1;  // as an int3 kprobe has it
}

/// A probe of a function whose work another one does.
bool follow_moved_function(Plan& plan, const ProgramSpec& program, const AttachTarget& target,
                           const std::string& function, const std::string& asked, KernelTypes& kernel) {
#if defined(__x86_64__)
  auto carrier = moved_function_carrier(program, function, CarrierHook::kprobe, kernel);
  if (!carrier) return false;
  tell_address(*carrier, program, function, kernel);
  use_carrier(plan, *carrier, asked);
  if (is_return(target.kind)) {  // the result is where it was
    plan.carrier.reset();
    plan.hook.kind = AttachKind::kretprobe;
  }
  return true;
#else
  return false;
#endif
}

Plan plan_probe(const ProgramSpec& program, const btf::Btf* declared, const AttachTarget& target,
                const Features& features, KernelTypes& kernel) {
  Plan plan;
  const std::string asked = asked_of(target);
  const std::string function = function_of(target);
  plan.hook = {is_return(target.kind) ? AttachKind::kretprobe : AttachKind::kprobe,
               target.target.empty() ? std::string() : function};
  if (target.target.empty()) return plan;
  const bool wants_call_arguments = !is_return(target.kind) && !catalog::syscall_of_function(function).empty() &&
                                    spec::declares_call_arguments(declared, program.functions, program.insns);
  if (features.kprobes()) {
    if (wants_call_arguments) {
      Carrier carrier;
      carrier.hook = CarrierHook::kprobe;
      carrier.function = function;
      carrier.callers_registers = true;
      use_carrier(plan, carrier, asked);
    } else if (follow_moved_function(plan, program, target, function, asked, kernel)) {
      return plan;
    } else if (auto substitute = carrier_of_missing_function(program, declared, target, function, kernel)) {
      use_carrier(plan, *substitute, asked);
    } else if (!is_return(target.kind)) {
      follow_declaration(plan, program, declared, function, asked, kernel);
    }
    return plan;
  }
  auto carrier = probe_carrier(program, declared, target, asked, features, kernel);
  if (!carrier) {
    plan.unattachable = std::move(carrier).error();
    return plan;
  }
  carrier->callers_registers = wants_call_arguments;
  tell_address(*carrier, program, function, kernel);
  use_carrier(plan, *carrier, asked);
  return plan;
}

/// A tracepoint whose arguments, or a function whose work, is elsewhere than the program was written for.
void follow_moved_hook(Plan& plan, const ProgramSpec& program, const AttachTarget& target, KernelTypes& kernel) {
#if defined(__x86_64__)
  std::optional<Carrier> carrier;
  if (target.kind == AttachKind::raw_tracepoint || target.kind == AttachKind::raw_tp)
    carrier = moved_tracepoint_carrier(program, target.target, kernel);
  if (target.kind == AttachKind::fentry)
    carrier = moved_function_carrier(program, target.target, CarrierHook::moved_fentry, kernel);
  if (target.kind == AttachKind::fexit)
    carrier = moved_function_carrier(program, target.target, CarrierHook::moved_fexit, kernel);
  if (carrier) use_carrier(plan, *carrier, asked_of(target));
#endif
}

/// The way of a program to the function of `row` inside `caller`; nothing where it reads what is not known there.
std::optional<Plan> plan_in_caller(const ProgramSpec& program, const InlinedFunction& row, const std::string& caller,
                                   const AttachTarget& target, KernelTypes& kernel) {
  Plan plan;
  if (target.kind == AttachKind::kretprobe) {  // the result is where it was
    plan.hook = {AttachKind::kretprobe, caller};
    plan.hook.cookie = target.cookie;
  } else {
    const CarrierHook hook = target.kind == AttachKind::kprobe  ? CarrierHook::kprobe
                             : target.kind == AttachKind::fexit ? CarrierHook::moved_fexit
                                                                : CarrierHook::moved_fentry;
    auto carrier = caller_carrier(program, row, caller, hook, kernel);
    if (!carrier) return std::nullopt;
    if (hook == CarrierHook::kprobe) tell_address(*carrier, program, target.target, kernel);
    plan.hook = carrier_hook(*carrier);
    plan.carrier = std::move(carrier);
  }
  plan.carried_by = fmt::format("{} is attached to {} too, into which this kernel's compiler has put it: {}; {}",
                                asked_of(target), caller, name_of(row.exactness), row.note);
  return plan;
}

/// Whether a program of this type names its target when it is loaded.
bool is_bound_at_load(ProgramType type) {
  return type == ProgramType::tracing || type == ProgramType::lsm || type == ProgramType::ext;
}

}  // namespace

std::string Plan::key(const ProgramSpec& program) const {
  const std::string cookie = written_cookie ? fmt::format("/{:#x}", *written_cookie) : std::string();
  if (carrier)
    return fmt::format("{}:{}:{}:{}{}", static_cast<int>(carrier->hook), carrier->at_return ? 'r' : 'e',
                       carrier->function, carrier->tracepoint, cookie);
  const ProgramType type = program.type == ProgramType::unspec ? hook.program_type() : program.type;
  const bool frags = name_of(hook.kind).starts_with("xdp.frags");  // a flag of the load
  return fmt::format("{}/{}/{}/{}{}", static_cast<u32>(type), static_cast<u32>(attach_type()), frags,
                     is_bound_at_load(type) ? hook.text() : std::string(), cookie);
}

Result<Plan> plan_hook(const ProgramSpec& program, const btf::Btf* declared, const AttachTarget& target,
                       const Features& features, KernelTypes& kernel) {
  Plan plan;
  if (is_probe(target.kind)) {
    plan = plan_probe(program, declared, target, features, kernel);
    if (!plan.carrier) plan.hook.cookie = target.cookie;  // carried: written into it
    return plan;
  }
  plan.hook = target;
  const bool names_program = target.kind != AttachKind::freplace || target.target.find(':') != std::string::npos;
  if ((is_bound_at_load(target.program_type()) && (target.target.empty() || !names_program)) ||
      (target.kind == AttachKind::none && program.type == ProgramType::unspec))
    plan.loadable = false;
  const bool needs_trampoline = target.kind == AttachKind::fentry || target.kind == AttachKind::fexit ||
                                target.kind == AttachKind::fmod_ret || target.kind == AttachKind::fsession;
  if (needs_trampoline && !features.fentry())
    return fail(Code::unsupported, fmt::format("{}/{}: {}. tp_btf, raw_tracepoint and tracepoint programs work without "
                                               "it; for a system call use ksyscall/NAME",
                                               name_of(target.kind), target.target, features.fentry_refusal()));
  follow_moved_hook(plan, program, target, kernel);
  return plan;
}

bool fits_kprobe_multi(const ProgramSpec& program, const Plan& plan) {
#if defined(__x86_64__)
  if (!is_probe(plan.hook.kind) || plan.carrier || plan.hook.target.find_first_of("*?[") == std::string::npos)
    return false;
  // Words of pt_regs, which an event fills with all of them: bp, the arguments (r9, r8, cx, dx, si, di), ip, sp; and at
  // a return bp, the result (ax), ip, sp.
  constexpr u32 at_call = 1u << 4 | 1u << 8 | 1u << 9 | 0xfu << 11 | 1u << 16 | 1u << 19;
  constexpr u32 at_return = 1u << 4 | 1u << 10 | 1u << 16 | 1u << 19;
  const spec::RegisterUse use = spec::register_use(program.insns);
  return !use.everything && (use.words & ~(is_return(plan.hook.kind) ? at_return : at_call)) == 0;
#else
  return false;
#endif
}

std::string unseen_calls(const AttachTarget& target, std::string_view caller, std::string_view reason) {
  return fmt::format("{} does not see calls from {}, into which this kernel's compiler has put it: {}",
                     asked_of(target), caller, reason);
}

CallerPlaces caller_places(const ProgramSpec& program, const AttachTarget& target, const Features& features,
                           KernelTypes& kernel) {
  CallerPlaces places;
#if defined(__x86_64__)
  const bool is_kprobe = target.kind == AttachKind::kprobe || target.kind == AttachKind::kretprobe;
  if (!is_kprobe && target.kind != AttachKind::fentry && target.kind != AttachKind::fexit) return places;
  std::vector<std::string_view> callers;
  for (const InlinedFunction& row : inlined_functions())
    if (row.function == target.target) callers.push_back(row.caller);
  if (callers.empty()) return places;
  const auto found = callers_with_body_of(target.target, callers);
  if (!found) {
    places.unseen.push_back(
        fmt::format("{} may miss calls: whether this kernel's compiler has put the function into callers of it ({}) is "
                    "not known ({}; root can see it where /proc/kcore is there)",
                    asked_of(target), fmt::join(callers, ", "), found.error().message));
    return places;
  }
  for (const std::string& caller : *found) {
    const auto row = std::ranges::find_if(inlined_functions(), [&](const InlinedFunction& one) {
      return one.function == target.target && one.caller == source_name(caller);
    });
    if (is_kprobe && !features.kprobes()) {
      places.unseen.push_back(unseen_calls(target, caller, "this kernel has no kprobes, by which it could"));
    } else if (auto plan = plan_in_caller(program, *row, caller, target, kernel)) {
      places.plans.push_back(*std::move(plan));
    } else {
      places.unseen.push_back(unseen_calls(target, caller, "the program reads parameters that are not known there"));
    }
  }
#endif
  return places;
}

std::optional<Plan> plan_instead_of_refused(const ProgramSpec& program, const btf::Btf* declared,
                                            const AttachTarget& target, KernelTypes& kernel) {
  if (!is_probe(target.kind)) return std::nullopt;
  auto substitute = substitute_carrier(program, declared, function_of(target), is_return(target.kind), kernel);
  if (!substitute) return std::nullopt;
  substitute->reason = "this kernel permits no probe of the function: it is one that the compiler may inline";
  Plan plan;
  use_carrier(plan, *substitute, asked_of(target));
  return plan;
}

}  // namespace skep::kernel
