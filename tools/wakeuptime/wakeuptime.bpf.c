// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// How long tasks slept, counted for the stack of who woke them.
#include "tool.bpf.h"
#include "scheduler.bpf.h"
#include "stack_counts.bpf.h"
#include "wakeuptime.h"

const volatile bool only_user = false;
const volatile u64 least_us = 1, most_us = -1;

const static u64 zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, u32);
  __type(value, u64);
} asleep_since SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, struct wakeup_key);
  __type(value, u64);
} times SEC(".maps");

SEC("?tp_btf/sched_switch")
int BPF_PROG(slept, bool preempted, struct task_struct *previous, struct task_struct *next) {
  u32 tid = previous->pid;
  if (tid == 0 || tool_task_state(previous) == TOOL_TASK_RUNNING || !wanted_task(previous->tgid, tid)) return 0;
  if (only_user && tool_is_kernel_thread(previous)) return 0;
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&asleep_since, &tid, &now, BPF_ANY);
  return 0;
}

/* sched_waking, not sched_wakeup: that one can run on the CPU of the woken task, long after. */
SEC("?tp_btf/sched_waking")
int BPF_PROG(waking, struct task_struct *task) {
  u32 tid = task->pid;
  u64 *since = bpf_map_lookup_elem(&asleep_since, &tid);
  if (!since) return 0;
  s64 slept_ns = bpf_ktime_get_ns() - *since;
  bpf_map_delete_elem(&asleep_since, &tid);
  u64 slept_us = (u64)slept_ns / 1000;
  if (slept_ns < 0 || slept_us < least_us || slept_us > most_us) return 0;
  struct wakeup_key key = {.stack = bpf_get_stackid(ctx, &stacks, 0)};
  bpf_probe_read_kernel_str(key.target, sizeof(key.target), task->comm);
  bpf_get_current_comm(key.waker, sizeof(key.waker));
  u64 *time = tool_lookup_or_init(&times, &key, &zero);
  if (time) __sync_fetch_and_add(time, slept_us);
  return 0;
}
