// See syscall_context.hpp.
#include "hook/syscall_context.hpp"

#include <algorithm>
#include <cstring>

#include "catalog/syscalls.hpp"
#include "hook/life_context.hpp"

namespace skep::hook {
namespace {

using Context = HookPlan::Context;
using Callers = HookPlan::Callers;

constexpr std::string_view where_it_exists = "it exists in the kernel engine (--backend kernel)";

Error no_such_call(const std::string& text, std::string_view name) {
  std::string message = text + ": there is no system call \"" + std::string(name) + "\"";
  if (const catalog::SyscallRow* row = catalog::syscall_by_name(name); row != nullptr) {
    message += " here: the kernel calls it \"" + std::string(row->function) + "\"";
  } else if (const auto near = catalog::nearest_syscalls(name); !near.empty()) {
    message += "; near it:";
    for (const std::string_view neighbour : near) message.append(" ").append(neighbour);
  } else {
    message += "; the names are those of /sys/kernel/tracing/events/syscalls";
  }
  return Error{Code::not_found, std::move(message)};
}

u32 tracepoint_bytes(const catalog::SyscallRow& row) { return row.arguments == 0 ? 12 : 16 + 8 * row.arguments; }

/// A plan for one call by the kernel's name of its function, where `lenient` also by its name in unistd.h.
Result<HookPlan> one_call(std::string_view name, Context context, const std::string& text, bool lenient = false) {
  const catalog::SyscallRow* row = catalog::syscall_by_function(name);
  if (row == nullptr && lenient) row = catalog::syscall_by_name(name);
  if (row == nullptr) return tl::unexpected<Error>(no_such_call(text, name));
  HookPlan plan;
  plan.context = context;
  plan.number = row->number;
  plan.context_bytes = context == Context::tracepoint_enter  ? tracepoint_bytes(*row)
                       : context == Context::tracepoint_exit ? 24
                                                             : sizeof(PtRegs);
  return plan;
}

HookPlan every_call(Context context, u32 context_bytes) {
  HookPlan plan;
  plan.context = context;
  plan.every_call = true;
  plan.context_bytes = context_bytes;
  return plan;
}

Result<HookPlan> plan_tracepoint(std::string_view name, const std::string& text) {
  constexpr std::string_view group = "syscalls/", enter = "sys_enter_", exit = "sys_exit_";
  if (name == "raw_syscalls/sys_enter") return every_call(Context::raw_syscalls_enter, 64);
  if (name == "raw_syscalls/sys_exit") return every_call(Context::raw_syscalls_exit, 24);
  if (!name.starts_with(group))
    return fail(Code::unsupported,
                text + ": the user engine observes system calls (syscalls/*, raw_syscalls/*), process life (" +
                    std::string(life_hooks()) + ") and no other tracepoint; " + std::string(where_it_exists));
  const std::string_view event = name.substr(group.size());
  if (event.starts_with(enter)) return one_call(event.substr(enter.size()), Context::tracepoint_enter, text);
  if (event.starts_with(exit)) return one_call(event.substr(exit.size()), Context::tracepoint_exit, text);
  return fail(Code::not_found, text + ": events of group syscalls are called sys_enter_NAME and sys_exit_NAME");
}

Result<HookPlan> plan_function(std::string_view name, bool at_return, const std::string& text) {
  struct Wrapper {
    std::string_view prefix;
    Callers callers;
  };
  constexpr Wrapper wrappers[] = {
      {"__x64_sys_", Callers::native}, {"__ia32_compat_sys_", Callers::compat}, {"__ia32_sys_", Callers::compat}};
  if (name.find('+') != std::string_view::npos)
    return fail(Code::unsupported,
                text + ": a probe inside of a function needs the kernel's code; " + std::string(where_it_exists));
  for (const Wrapper& wrapper : wrappers) {
    if (!name.starts_with(wrapper.prefix)) continue;
    auto plan = SKEP_TRY(one_call(name.substr(wrapper.prefix.size()),
                                  at_return ? Context::function_return : Context::function_entry, text));
    plan.callers = wrapper.callers;
    return plan;
  }
  return fail(Code::unsupported,
              text +
                  ": the user engine runs outside of the kernel and sees of its functions only those "
                  "that carry a system call (__x64_sys_NAME), and some that system calls lead to "
                  "(docs/reference/user-engine-hooks.md); " +
                  std::string(where_it_exists));
}

Result<HookPlan> plan_raw(std::string_view name, bool direct, const std::string& text) {
  if (name != "sys_enter" && name != "sys_exit")
    return fail(Code::unsupported,
                text + ": the user engine has the raw tracepoints sys_enter, sys_exit and those of process life (" +
                    std::string(life_hooks()) + "); " + std::string(where_it_exists));
  HookPlan plan = every_call(name == "sys_enter" ? Context::raw_enter : Context::raw_exit, 16);
  plan.needs_registers = direct;
  return plan;
}

}  // namespace

bool HookPlan::is_exit() const noexcept {
  switch (context) {
    case Context::tracepoint_enter:
    case Context::raw_syscalls_enter:
    case Context::raw_enter:
    case Context::function_entry:
      return false;
    case Context::tracepoint_exit:
    case Context::raw_syscalls_exit:
    case Context::raw_exit:
    case Context::function_return:
      return true;
  }
  return false;
}

bool HookPlan::matches(const SyscallEvent& event) const noexcept {
  if (event.is_exit != is_exit() || (!every_call && event.nr != static_cast<s32>(number))) return false;
  return callers == Callers::all || (callers == Callers::compat) == event.compat();
}

void HookPlan::add_to(SyscallInterest& interest) const noexcept {
  if (every_call)
    (is_exit() ? interest.all_exit : interest.all_enter) = true;
  else
    (is_exit() ? interest.exit : interest.enter).set(number);
  interest.needs_registers = interest.needs_registers || needs_registers;
}

Result<HookPlan> plan(const AttachTarget& target) {
  const std::string text = target.text();
  if (target.target.empty())
    return fail(Code::invalid_argument,
                text + ": names no hook: say where the program goes, for example syscall:execve");
  switch (target.kind) {
    case AttachKind::tracepoint:
    case AttachKind::tp:
      return plan_tracepoint(target.target, text);
    case AttachKind::raw_tracepoint:
    case AttachKind::raw_tp:
      return plan_raw(target.target, false, text);
    case AttachKind::tp_btf:
      return plan_raw(target.target, true, text);
    case AttachKind::kprobe:
      return plan_function(target.target, false, text);
    case AttachKind::kretprobe:
      return plan_function(target.target, true, text);
    case AttachKind::ksyscall:
      return one_call(target.target, Context::function_entry, text, true);
    case AttachKind::kretsyscall:
      return one_call(target.target, Context::function_return, text, true);
    default:
      // Not this hook's: packets, sockets and kernel functions belong to others.
      return fail(Code::unsupported, text + ": the user engine cannot observe this; " + std::string(where_it_exists));
  }
}

Result<void> check_fits(u32 hook_bytes, const AttachTarget& target, ProgramType type, u32 context_bytes) {
  if (type != target.program_type())
    return fail(Code::invalid_argument, target.text() + ": takes " + std::string(name_of(target.program_type())) +
                                            " programs, this one was verified as " + std::string(name_of(type)));
  if (context_bytes > hook_bytes)
    return fail(Code::invalid_argument, target.text() + ": the program reads its context up to byte " +
                                            std::to_string(context_bytes) + ", this hook's has " +
                                            std::to_string(hook_bytes));
  return {};
}

namespace {
/// As a function's parameters: the fourth in cx, where the system call has it in r10.
void place_arguments(PtRegs& regs, const SyscallEvent& event) noexcept {
  regs.di = event.args[0];
  regs.si = event.args[1];
  regs.dx = event.args[2];
  regs.cx = event.args[3];
  regs.r8 = event.args[4];
  regs.r9 = event.args[5];
}
}  // namespace

u64 SyscallContext::registers_of(const HookPlan& plan, SyscallEvent& event) noexcept {
  if (plan.context != Context::function_entry || plan.callers == Callers::compat || !event.compat())
    return reinterpret_cast<u64>(&event.regs);
  view_ = PtRegs{};
  view_.orig_ax = static_cast<u64>(event.nr);
  view_.ax = event.regs.ax;
  view_.di = event.args[0];
  view_.si = event.args[1];
  view_.dx = event.args[2];
  view_.r10 = event.args[3];
  view_.r8 = event.args[4];
  view_.r9 = event.args[5];
  view_.ip = event.ip;
  view_.cs = event.regs.cs;
  view_.ss = event.regs.ss;
  event.readable[1] = std::as_bytes(std::span(&view_, 1));
  return reinterpret_cast<u64>(&view_);
}

/// Typed programs load from the registers themselves, so they get them where their loads reach.
u64 SyscallContext::raw_registers(const HookPlan& plan, SyscallEvent& event, ShadowTasks* shadow) noexcept {
  return plan.needs_registers && shadow != nullptr ? shadow->registers(event.regs) : reinterpret_cast<u64>(&event.regs);
}

void* SyscallContext::fill(const HookPlan& plan, SyscallEvent& event, helper::Task& task,
                           ShadowTasks* shadow) noexcept {
  event.readable = {};
  if (plan.needs_registers) {
    PtRegs all;  // asking for all of them fetches all of them
    task.read_kernel(&all, reinterpret_cast<u64>(&event.regs), sizeof all);
  }
  std::memset(static_cast<void*>(&function_), 0, sizeof function_);
  tracepoint_.pid = static_cast<s32>(event.tid);
  const bool raw_number = plan.context == Context::raw_syscalls_enter || plan.context == Context::raw_syscalls_exit;
  switch (plan.context) {
    case Context::tracepoint_enter:
    case Context::raw_syscalls_enter:
      tracepoint_.number = raw_number ? event.own_nr : event.nr;
      // The raw tracepoint shows a 32-bit caller's registers in the order of its own ABI.
      if (raw_number && event.compat()) {
        const PtRegs& regs = event.regs;
        const u64 own[6] = {regs.bx, regs.cx, regs.dx, regs.si, regs.di, regs.bp};
        std::copy(std::begin(own), std::end(own), tracepoint_.values);
      } else {
        std::copy(event.args.begin(), event.args.end(), tracepoint_.values);
      }
      break;
    case Context::tracepoint_exit:
    case Context::raw_syscalls_exit:
      tracepoint_.number = raw_number ? event.own_nr : event.nr;
      tracepoint_.values[0] = static_cast<u64>(event.ret);
      break;
    case Context::raw_enter:
      raw_[0] = raw_registers(plan, event, shadow);
      raw_[1] = event.own_nr;
      break;
    case Context::raw_exit:
      raw_[0] = raw_registers(plan, event, shadow);
      raw_[1] = static_cast<u64>(event.ret);
      break;
    case Context::function_entry:
      function_ = PtRegs{};
      if (plan.arguments_in_place) {
        place_arguments(function_, event);
      } else {
        function_.di = registers_of(plan, event);
      }
      break;
    case Context::function_return:
      function_ = PtRegs{};
      function_.ax = static_cast<u64>(event.ret);
      break;
  }
  event.readable[0] = std::as_bytes(std::span(reinterpret_cast<const std::byte*>(&function_), plan.context_bytes));
  return &function_;
}

}  // namespace skep::hook
