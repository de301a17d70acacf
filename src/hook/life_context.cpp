// See life_context.hpp.
#include "hook/life_context.hpp"

#include <algorithm>
#include <cstring>

namespace skep::hook {
namespace {

struct LifeHook {
  std::string_view name;
  LifeKind kind;
  u32 record_bytes;
};
constexpr LifeHook hooks[] = {
    {"sched/sched_process_exec", LifeKind::exec, 20},        {"sched/sched_process_fork", LifeKind::fork, 24},
    {"sched/sched_process_exit", LifeKind::exit, 36},        {"signal/signal_generate", LifeKind::signal_generate, 48},
    {"signal/signal_deliver", LifeKind::signal_deliver, 40},
};

}  // namespace

std::string_view life_hooks() { return "sched/sched_process_{exec,fork,exit}, signal/signal_{generate,deliver}"; }

std::optional<LifePlan> plan_life(const AttachTarget& target) {
  if (target.kind != AttachKind::tracepoint && target.kind != AttachKind::tp) return std::nullopt;
  const auto found = std::ranges::find(hooks, target.target, &LifeHook::name);
  if (found == std::end(hooks)) return std::nullopt;
  return LifePlan{.kind = found->kind, .context_bytes = found->record_bytes};
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

void* LifeContext::fill(const LifePlan& plan, const LifeEvent& event, SyscallEvent& frame) noexcept {
  size_ = plan.context_bytes;
  std::memset(bytes_.data(), 0, size_);
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
  frame.readable = {};
  frame.readable[0] = std::span(bytes_).first(size_);
  return bytes_.data();
}

}  // namespace skep::hook
