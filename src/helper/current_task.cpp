// Helpers that act on the current task: its storage, its signals, its user stack.
//
// A struct task_struct * of this engine is what the hook's task gives (Task::object), or where it has none an opaque
// word that means "the task of this run". Stacks are walked by frame pointers, as the kernel walks user stacks, so code
// built without them gives short ones; there are no kernel stacks (-EFAULT, as where the kernel finds none). Source:
// kernel/bpf/bpf_task_storage.c, stackmap.c, kernel/trace/bpf_trace.c (bpf_send_signal), arch/x86/events/core.c
// (perf_callchain_user).
#include <cerrno>

#include "helper/bind.hpp"
#include "helper/memory.hpp"
#include "map/stack_trace.hpp"
#include "map/task_storage.hpp"

namespace skep::helper {

namespace {

/// The thread that a pointer means: the current one, or one that the hook handed out.
u32 thread_of(Call& call, const void* task) noexcept {
  if (call.task == nullptr) return 0;
  const u32 known = call.task->task_of(reinterpret_cast<u64>(task));
  return known != 0 ? known : static_cast<u32>(call.task->pid_tgid());
}

map::TaskIdentity identity_of(Call& call, const void* task) noexcept {
  const u32 thread = thread_of(call, task);
  return thread != 0 ? map::identify_task(thread) : map::TaskIdentity{};
}

bool is_current(Call& call, const void* task) noexcept {
  return call.task != nullptr && thread_of(call, task) == static_cast<u32>(call.task->pid_tgid());
}

constexpr u32 deepest = 127;  // sysctl_perf_event_max_stack

/// The addresses of the user stack, innermost first.
u32 walk_user_stack(Task& task, u64 (&addresses)[deepest]) noexcept {
  Task::UserFrame begin;
  if (task.user_frame(begin) != 0) return 0;
  u64 frame = begin.frame;
  u32 count = 0;
  addresses[count++] = begin.instruction;
  if (begin.caller != 0) addresses[count++] = begin.caller;
  while (count < deepest && frame != 0 && frame % 8 == 0) {
    u64 saved[2];  // the caller's frame pointer, the address it returns to
    if (task.read_user(saved, frame, sizeof saved) != 0 || saved[1] == 0) break;
    addresses[count++] = saved[1];
    if (saved[0] <= frame) break;  // stacks grow down: callers lie above
    frame = saved[0];
  }
  return count;
}

/// The part of the walk that was asked for; -EINVAL, -EFAULT.
s64 user_stack(Call& call, u64 flags, u64 permitted, u64 (&addresses)[deepest], std::span<const u64>& stack) noexcept {
  if ((flags & ~permitted) != 0) return -EINVAL;
  if ((flags & map::stack_flag::user) == 0 || call.task == nullptr) return -EFAULT;
  const u32 count = walk_user_stack(*call.task, addresses), skip = static_cast<u32>(flags & map::stack_flag::skip_mask);
  if (count <= skip) return -EFAULT;
  stack = {addresses + skip, count - skip};
  return 0;
}

}  // namespace

/// Without a task of its own a run still has one here: the word is never 0.
static void* get_current_task_btf(Call& call) noexcept {
  if (call.task == nullptr) return &call;
  const u64 object = call.task->object();
  return object != 0 ? reinterpret_cast<void*>(object) : call.task;  // NOLINT
}
SKEP_BIND(get_current_task_btf)

static u64 get_current_task(Call& call) noexcept { return reinterpret_cast<u64>(get_current_task_btf(call)); }
SKEP_BIND(get_current_task)

static void* task_storage_get(Call& call, Map& storage, void* task, MapValue initial, u64 flags) noexcept {
  constexpr u64 create = 1;  // BPF_LOCAL_STORAGE_GET_F_CREATE
  if (task == nullptr || (flags & ~create) != 0) return nullptr;
  return map::task_storage_get(storage, identity_of(call, task), (flags & create) != 0, initial.data);
}
SKEP_BIND(task_storage_get)

static s64 task_storage_delete(Call& call, Map& storage, void* task) noexcept {
  return task != nullptr ? map::task_storage_erase(storage, identity_of(call, task)) : -EINVAL;
}
SKEP_BIND(task_storage_delete)

namespace {
s64 signal(Call& call, u32 number, bool thread) noexcept {
  constexpr u32 last = 64;  // _NSIG
  if (call.task == nullptr) return -EPERM;
  return number <= last ? call.task->send_signal(number, thread) : -EINVAL;
}
}  // namespace

static s64 send_signal(Call& call, u32 number) noexcept { return signal(call, number, false); }
SKEP_BIND(send_signal)
static s64 send_signal_thread(Call& call, u32 number) noexcept { return signal(call, number, true); }
SKEP_BIND(send_signal_thread)

static s64 get_stackid(Call& call, void*, Map& stacks, u64 flags) noexcept {
  using namespace map::stack_flag;
  u64 addresses[deepest];
  std::span<const u64> stack;
  const s64 error = user_stack(call, flags, skip_mask | user | compare_hash_only | reuse_id, addresses, stack);
  return error != 0 ? error : map::store_stack(stacks, stack, flags);
}
SKEP_BIND(get_stackid)

/// Bytes written; the rest of the buffer is zeroed.
static s64 get_stack(Call& call, void*, WriteMem to, u64 flags) noexcept {
  using namespace map::stack_flag;
  u64 addresses[deepest];
  std::span<const u64> stack;
  s64 error = to.size % sizeof(u64) != 0 ? -EINVAL : 0;
  if (error == 0) error = user_stack(call, flags, skip_mask | user, addresses, stack);
  std::memset(to.data, 0, to.size);
  if (error != 0) return error;
  const u64 bytes = stack.size_bytes() < to.size ? stack.size_bytes() : to.size;
  std::memcpy(to.data, stack.data(), bytes);
  return static_cast<s64>(bytes);
}
SKEP_BIND(get_stack)

/// Only the current task's registers are known.
static s64 get_task_stack(Call& call, void* task, WriteMem to, u64 flags) noexcept {
  if (is_current(call, task)) return get_stack(call, task, to, flags);
  std::memset(to.data, 0, to.size);
  return -EFAULT;
}
SKEP_BIND(get_task_stack)

static s64 copy_from_user_task(Call& call, WriteMem to, const void* from, void* task, u64 flags) noexcept {
  if (flags != 0) return -EINVAL;
  const s64 error = is_current(call, task) || call.task == nullptr
                        ? read_memory(call, Space::user, to.data, reinterpret_cast<u64>(from), to.size)
                        : -EFAULT;
  if (error != 0) std::memset(to.data, 0, to.size);
  return error;
}
SKEP_BIND(copy_from_user_task)

}  // namespace skep::helper
