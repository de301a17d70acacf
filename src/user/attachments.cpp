// From targets to plans, from events to contexts. See attachments.hpp.
#include "user/attachments.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "hook/syscall_table.hpp"
#include "hook/tracee_task.hpp"
#include "map/run.hpp"

namespace skep::user {

namespace {

/// What a tracepoint program sees first (struct trace_entry).
struct TraceEntry {
  u16 type = 0;
  u8 flags = 0;
  u8 preempt_count = 0;
  s32 pid = 0;
};
struct TracepointEnter {
  TraceEntry common;
  s64 number;
  u64 args[6];
};
struct TracepointExit {
  TraceEntry common;
  s64 number;
  s64 ret;
};
struct RawArguments {
  u64 registers;
  u64 second;
};

Error no_such_call(std::string_view name, std::string_view target) {
  std::string message = std::string(target) + ": there is no system call \"" + std::string(name) + "\"";
  if (const auto near = hook::nearest_syscalls(name); !near.empty()) {
    message += "; near it:";
    for (const auto neighbour : near) message.append(" ").append(neighbour);
  }
  return Error{Code::not_found, std::move(message)};
}

/// A plan for one call, by the kernel's name of its function or by its name in unistd.h.
Result<HookPlan> one_call(std::string_view name, HookPlan::Context context, const std::string& target) {
  const hook::SyscallRow* row = hook::syscall_by_function(name);
  if (row == nullptr) row = hook::syscall_by_name(name);
  if (row == nullptr) return tl::unexpected<Error>(no_such_call(name, target));
  return HookPlan{.context = context, .number = row->number};
}

Result<HookPlan> plan_tracepoint(std::string_view name, const std::string& target) {
  using Context = HookPlan::Context;
  constexpr std::string_view group = "syscalls/", enter = "sys_enter_", exit = "sys_exit_";
  if (name == "raw_syscalls/sys_enter") return HookPlan{.context = Context::tracepoint_enter, .every_call = true};
  if (name == "raw_syscalls/sys_exit") return HookPlan{.context = Context::tracepoint_exit, .every_call = true};
  if (name.starts_with(group)) {
    const std::string_view event = name.substr(group.size());
    if (event.starts_with(enter)) return one_call(event.substr(enter.size()), Context::tracepoint_enter, target);
    if (event.starts_with(exit)) return one_call(event.substr(exit.size()), Context::tracepoint_exit, target);
    return fail(Code::not_found, target + ": events of group syscalls are sys_enter_NAME and sys_exit_NAME");
  }
  return fail(Code::unsupported, target +
                                     " is a tracepoint of the kernel: use --backend kernel (the user engine has "
                                     "syscalls and raw_syscalls)");
}

Result<HookPlan> plan_function(std::string_view name, bool at_return, const std::string& target) {
  const auto context = at_return ? HookPlan::Context::function_return : HookPlan::Context::function_entry;
  const auto with = [&](std::string_view prefix, HookPlan::Callers callers) -> Result<HookPlan> {
    auto plan = SKEP_TRY(one_call(name.substr(prefix.size()), context, target));
    plan.callers = callers;
    return plan;
  };
  for (const std::string_view prefix : {"__x64_sys_", "__se_sys_", "__do_sys_"})
    if (name.starts_with(prefix)) return with(prefix, HookPlan::Callers::native);
  for (const std::string_view prefix : {"__ia32_sys_", "__ia32_compat_sys_"})
    if (name.starts_with(prefix)) return with(prefix, HookPlan::Callers::compat);
  if (name.starts_with("sys_")) return with("sys_", HookPlan::Callers::all);
  return fail(Code::unsupported, target +
                                     " is a kernel function: use --backend kernel (the user engine has the "
                                     "functions of system calls, __x64_sys_NAME)");
}

}  // namespace

u32 HookPlan::context_bytes() const {
  switch (context) {
    case Context::tracepoint_enter:
      return sizeof(TracepointEnter);
    case Context::tracepoint_exit:
      return sizeof(TracepointExit);
    case Context::raw_enter:
    case Context::raw_exit:
      return sizeof(RawArguments);
    case Context::function_entry:
    case Context::function_return:
      return sizeof(hook::PtRegs);
  }
  return 0;
}

bool HookPlan::matches(const hook::SyscallEvent& event) const {
  if (event.is_exit != is_exit()) return false;
  if (!every_call && event.nr != static_cast<s32>(number)) return false;
  return callers == Callers::all || (callers == Callers::compat) == event.compat();
}

Result<HookPlan> plan_hook(const AttachTarget& target) {
  using Context = HookPlan::Context;
  const std::string text = target.text();
  if (target.target.empty())
    return fail(Code::invalid_argument, text +
                                            ": the section names no hook; say where the program goes, for example "
                                            "--attach syscall:execve");
  const std::string_view section = name_of(target.kind);
  if (section == "ksyscall") return one_call(target.target, Context::function_entry, text);
  if (section == "kretsyscall") return one_call(target.target, Context::function_return, text);
  if (section == "kprobe") return plan_function(target.target, false, text);
  if (section == "kretprobe") return plan_function(target.target, true, text);
  if (section.starts_with("raw_t") || section.starts_with("tp_btf")) {
    if (target.target == "sys_enter") return HookPlan{.context = Context::raw_enter, .every_call = true};
    if (target.target == "sys_exit") return HookPlan{.context = Context::raw_exit, .every_call = true};
    return fail(Code::unsupported, text +
                                       " is a tracepoint of the kernel: use --backend kernel (the user engine has "
                                       "sys_enter and sys_exit)");
  }
  if (section.starts_with("tracepoint") || section.starts_with("tp")) return plan_tracepoint(target.target, text);
  return fail(Code::unsupported, text + " is a hook of the kernel: use --backend kernel");
}

Result<std::shared_ptr<Attachment>> Attachment::make(std::shared_ptr<const LoadedProgram> program,
                                                     const AttachTarget& target, Registry& registry) {
  const HookPlan plan = SKEP_TRY(plan_hook(target));
  const u32 touched = program->function->program().context_bytes();
  if (touched > plan.context_bytes())
    return fail(Code::invalid_argument, target.text() + ": the program reads " + std::to_string(touched) +
                                            " bytes of context, this hook gives " +
                                            std::to_string(plan.context_bytes()));
  std::shared_ptr<Attachment> made(new Attachment(std::move(program), plan));
  made->id_ = SKEP_TRY(registry.link_table->reserve());
  const bool is_raw = plan.context == HookPlan::Context::raw_enter || plan.context == HookPlan::Context::raw_exit;
  made->info_ = {.id = made->id_.id(),
                 .type = is_raw ? "raw_tracepoint" : "syscall",
                 .target = target.text(),
                 .program_id = made->program_->facts.id,
                 .host_pid = registry.pid(),
                 .host_name = registry.host_name()};
  made->id_.publish(made);
  return made;
}

std::string Attachment::carried_by() const {
  const bool is_function =
      plan_.context == HookPlan::Context::function_entry || plan_.context == HookPlan::Context::function_return;
  return is_function ? info_.target + " carried by the system call's " + (plan_.is_exit() ? "return" : "entry") : "";
}

void Attachment::run(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept {
  inside_.fetch_add(1);
  if (active_) run_program(event, task, trace);
  inside_.fetch_sub(1);
}

void Attachment::run_program(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept {
  alignas(8) std::byte context[sizeof(hook::PtRegs)] = {};
  const auto put = [&context](const auto& value) {
    static_assert(sizeof value <= sizeof context);
    std::memcpy(context, &value, sizeof value);
  };
  const TraceEntry common{.pid = static_cast<s32>(event.tid)};
  const auto callers_registers = reinterpret_cast<u64>(&event.regs);
  switch (plan_.context) {
    case HookPlan::Context::tracepoint_enter: {
      TracepointEnter enter{.common = common, .number = event.nr, .args = {}};
      std::copy(event.args.begin(), event.args.end(), enter.args);
      put(enter);
      break;
    }
    case HookPlan::Context::tracepoint_exit:
      put(TracepointExit{.common = common, .number = event.nr, .ret = event.ret});
      break;
    case HookPlan::Context::raw_enter:
      put(RawArguments{.registers = callers_registers, .second = event.own_nr});
      break;
    case HookPlan::Context::raw_exit:
      put(RawArguments{.registers = callers_registers, .second = static_cast<u64>(event.ret)});
      break;
    case HookPlan::Context::function_entry:
      put(hook::PtRegs{.di = callers_registers});
      break;
    case HookPlan::Context::function_return:
      put(hook::PtRegs{.ax = static_cast<u64>(event.ret)});
      break;
  }
  static_cast<hook::TraceeTask&>(task).offer_kernel(std::span(context));
  helper::Call call;
  call.task = &task;
  call.trace = &trace;
  call.context = context;
  const auto start = std::chrono::steady_clock::now();
  {
    const map::RunSection section(task.cpu());
    program_->function->run(&call, context);
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  program_->run_count.fetch_add(1, std::memory_order_relaxed);
  program_->run_time_ns.fetch_add(static_cast<u64>(std::chrono::nanoseconds(spent).count()), std::memory_order_relaxed);
}

RunSink::RunSink(std::vector<std::shared_ptr<Attachment>> attachments, helper::TraceSink& trace)
    : attachments_(std::move(attachments)), trace_(trace) {
  for (const auto& attachment : attachments_) {
    const HookPlan& plan = attachment->plan();
    if (plan.every_call)
      (plan.is_exit() ? interest_.all_exit : interest_.all_enter) = true;
    else
      (plan.is_exit() ? interest_.exit : interest_.enter).set(plan.number);
  }
}

void RunSink::on_event(hook::SyscallEvent& event, helper::Task& task) noexcept {
  for (const auto& attachment : attachments_)
    if (attachment->plan().matches(event)) attachment->run(event, task, trace_);
}

Result<void> Attachments::add(std::shared_ptr<Attachment> attachment) {
  const std::lock_guard lock(mutex_);
  if (running_) return fail(Code::unsupported, "the user engine's filter is fixed while it runs: attach before run()");
  attachments_.push_back(std::move(attachment));
  return {};
}

void Attachments::remove(const std::shared_ptr<Attachment>& attachment) noexcept {
  {
    const std::lock_guard lock(mutex_);
    std::erase(attachments_, attachment);
  }
  attachment->active_ = false;
  // A tracer that crashed inside of the program never says that it is out; no program runs for a second.
  for (int i = 0; i < 1000 && attachment->inside_ != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

Result<std::unique_ptr<RunSink>> Attachments::begin_run(helper::TraceSink& trace) {
  const std::lock_guard lock(mutex_);
  if (attachments_.empty())
    return fail(Code::invalid_argument, "no program is attached: there is nothing to observe with");
  running_ = true;
  return std::make_unique<RunSink>(attachments_, trace);
}

void Attachments::end_run() noexcept {
  const std::lock_guard lock(mutex_);
  running_ = false;
}

}  // namespace skep::user
