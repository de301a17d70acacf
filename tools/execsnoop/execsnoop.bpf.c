// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// execve(2) and execveat(2). The arguments are read at the beginning, from the caller's memory, because after an exec
// that memory is gone; where one of its pages was not in memory then (the kernel's programs may not wait for it), the
// new program's own copy is read at the end, which the kernel has just written.
#define TOOL_CONTAINERS
#include "tool.bpf.h"
#include "execsnoop.h"

#define BASE_BYTES __builtin_offsetof(struct exec_event, text)
#define LAST_PLACE (EXEC_TEXT_BYTES - EXEC_ARGUMENT_BYTES)

const volatile u32 most_arguments = 20;
const volatile u32 wanted_parent = 0;
const volatile bool with_failures = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u32);
  __type(value, struct exec_event);
} begun SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct exec_event);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u32 zero = 0, pid = bpf_get_current_pid_tgid() >> 32;
  struct exec_event *event = bpf_map_lookup_elem(&scratch, &zero);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->pid = pid;
  event->parent = tool_parent();
  event->uid = bpf_get_current_uid_gid();
  event->count = event->bytes = event->truncated = 0;
  if (wanted_parent && event->parent != wanted_parent) return 0;
  const char *const *argv = (void *)(nr == __NR_execveat ? args[2] : args[1]);
  for (u32 i = 0; i < EXEC_MOST_ARGUMENTS; i++) {
    const char *argument = 0;
    if (bpf_probe_read_user(&argument, sizeof(argument), &argv[i]) || !argument) break;
    u32 at = event->bytes;
    if (i >= most_arguments || at > LAST_PLACE) {
      event->truncated = 1;
      break;
    }
    long length = bpf_probe_read_user_str(&event->text[at], EXEC_ARGUMENT_BYTES, argument);
    if (length <= 0) event->text[at] = 0, length = 1, event->truncated = 2;
    if (length == EXEC_ARGUMENT_BYTES) event->truncated = 1;
    event->bytes = at + length;
    event->count++;
  }
  bpf_map_update_elem(&begun, &pid, event, BPF_ANY);
  return 0;
}

/* The arguments as the new program has them. */
static __always_inline void read_new_program(struct exec_event *event) {
  struct task_struct *task = (void *)bpf_get_current_task();
  u64 from = BPF_CORE_READ(task, mm, arg_start), to = BPF_CORE_READ(task, mm, arg_end);
  u64 bytes = to - from;
  if (bytes == 0 || bytes > EXEC_TEXT_BYTES) return;
  if (bpf_probe_read_user(event->text, bytes, (void *)from)) return;
  event->bytes = bytes;
  event->truncated = 0;
  event->count = ~0u; /* to be counted by whoever reads it */
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  struct exec_event *event = bpf_map_lookup_elem(&begun, &pid);
  if (!event) return 0;
  if (ret == 0 || with_failures) {
    event->result = ret;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    if (in_kernel && ret == 0 && event->truncated == 2) read_new_program(event);
    u64 size = BASE_BYTES + event->bytes;
    if (size <= sizeof(*event)) bpf_ringbuf_output(&events, event, size, 0);
  }
  bpf_map_delete_elem(&begun, &pid);
  return 0;
}

#define CALLS(X) X(execve) X(execveat)
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
