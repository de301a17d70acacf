// See life_context.hpp.
#include "hook/life_context.hpp"

#include <algorithm>
#include <cstring>

namespace skep::hook {
namespace {

struct LifeHook {
  std::string_view group, name;
  LifeKind kind;
  u32 record_bytes, arguments;
};
constexpr LifeHook hooks[] = {
    {"sched", "sched_process_exec", LifeKind::exec, 20, 3},
    {"sched", "sched_process_fork", LifeKind::fork, 24, 2},
    {"sched", "sched_process_exit", LifeKind::exit, 36, 2},
    {"signal", "signal_generate", LifeKind::signal_generate, 48, 5},
    {"signal", "signal_deliver", LifeKind::signal_deliver, 40, 3},
};

}  // namespace

std::string_view life_hooks() { return "sched/sched_process_{exec,fork,exit}, signal/signal_{generate,deliver}"; }

std::vector<std::string_view> life_hooks_of(std::string_view group) {
  std::vector<std::string_view> names;
  for (const LifeHook& hook : hooks)
    if (hook.group == group) names.push_back(hook.name);
  return names;
}

std::optional<LifePlan> plan_life(const AttachTarget& target) {
  const bool is_record = target.kind == AttachKind::tracepoint || target.kind == AttachKind::tp;
  const bool is_raw = target.kind == AttachKind::raw_tracepoint || target.kind == AttachKind::raw_tp ||
                      target.kind == AttachKind::tp_btf;
  if (!is_record && !is_raw) return std::nullopt;
  std::string_view name = target.target;
  for (const LifeHook& hook : hooks) {
    if (is_raw && name == hook.name)
      return LifePlan{.kind = hook.kind, .arguments = true, .context_bytes = hook.arguments * 8};
    const bool fits = name.size() == hook.group.size() + 1 + hook.name.size() && name.starts_with(hook.group) &&
                      name[hook.group.size()] == '/' && name.ends_with(hook.name);
    if (is_record && fits) return LifePlan{.kind = hook.kind, .context_bytes = hook.record_bytes};
  }
  return std::nullopt;
}

template <class T>
void LifeContext::put(u32 offset, const T& value) noexcept {
  std::memcpy(bytes_.data() + offset, &value, sizeof value);
}

void LifeContext::put_string(u32 offset, std::string_view text) noexcept {
  const u32 length = static_cast<u32>(std::min<std::size_t>(text.size(), bytes_.size() - size_ - 1));
  put(offset, size_ | (length + 1) << 16);
  std::memcpy(bytes_.data() + size_, text.data(), length);
  bytes_[size_ + length] = std::byte{0};
  size_ += length + 1;
}

void LifeContext::fill_record(const LifePlan& plan, const LifeEvent& event, const SyscallEvent& frame) noexcept {
  put(4, static_cast<s32>(frame.tid));  // trace_entry.pid; the other common fields describe the kernel's own state
  switch (plan.kind) {
    case LifeKind::exec:
      put(12, event.subject);
      put(16, event.old_pid);
      put_string(8, event.filename);
      break;
    case LifeKind::fork:
      put(12, frame.tid);
      put(20, event.subject);
      put_string(8, event.comm);
      put_string(16, event.comm);
      break;
    case LifeKind::exit:
      put(8, event.comm);
      put(24, event.subject);
      put(28, event.priority);
      put(32, static_cast<u8>(event.group_dead));
      break;
    case LifeKind::signal_generate:
    case LifeKind::signal_deliver:
      put(8, event.signal);
      put(12, event.error);
      put(16, event.code);
      if (plan.kind == LifeKind::signal_deliver) {
        put(24, event.handler);
        put(32, event.handler_flags);
        break;
      }
      put(20, event.comm);
      put(36, event.subject);
      put(40, static_cast<s32>(event.to_group));
      put(44, static_cast<s32>(event.result));
      break;
  }
}

void LifeContext::fill_arguments(const LifeEvent& event, helper::Task& task, ShadowTasks& shadow) noexcept {
  const auto words = [&](std::initializer_list<u64> values) {
    u32 at = 0;
    for (const u64 value : values) put(8 * at++, value);
  };
  const auto number = [](s32 value) { return static_cast<u64>(s64{value}); };
  switch (event.kind) {
    case LifeKind::exec:
      return words({task.object(), event.old_pid, shadow.binprm(event.filename)});
    case LifeKind::fork:
      return words({task.object(), shadow.task(event.subject, 0)});
    case LifeKind::exit:
      return words({task.object(), event.group_dead});
    case LifeKind::signal_generate:
      return words({number(event.signal), shadow.siginfo(event.signal, event.error, event.code),
                    shadow.task(event.subject, 0), event.to_group, static_cast<u64>(event.result)});
    case LifeKind::signal_deliver:
      return words({number(event.signal), shadow.siginfo(event.signal, event.error, event.code),
                    shadow.sigaction(event.handler, event.handler_flags)});
  }
}

void* LifeContext::fill(const LifePlan& plan, const LifeEvent& event, SyscallEvent& frame, helper::Task& task,
                        ShadowTasks* shadow) noexcept {
  size_ = plan.context_bytes;
  std::memset(bytes_.data(), 0, size_);
  if (!plan.arguments)
    fill_record(plan, event, frame);
  else if (shadow != nullptr)
    fill_arguments(event, task, *shadow);
  frame.readable = {};
  frame.readable[0] = std::span(bytes_).first(size_);
  return bytes_.data();
}

}  // namespace skep::hook
