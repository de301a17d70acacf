// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A task's stacks are taken when it leaves the CPU; the time until it comes back is counted for them.
#include "tool.bpf.h"
#include "scheduler.bpf.h"
#include "stack_counts.bpf.h"
#include "offcputime.h"

const volatile u32 threads = THREADS_ALL;
const volatile u64 least_us = 1, most_us = -1;
const volatile s64 wanted_state = -1;

const static u64 zero;

struct leaving {
  u64 since_ns;
  struct stack_key stacks;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, u32);
  __type(value, struct leaving);
} left SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, struct stack_key);
  __type(value, u64);
} times SEC(".maps");

static __always_inline void leave(void *ctx, struct task_struct *task) {
  u32 tid = task->pid;
  if (tid == 0 || !wanted_task(task->tgid, tid)) return;
  if (threads != THREADS_ALL && tool_is_kernel_thread(task) != (threads == THREADS_KERNEL)) return;
  if (wanted_state != -1) {
    long state = tool_task_state(task);
    if (wanted_state == 0 ? state != 0 : !(state & wanted_state)) return;
  }
  struct leaving leaving = {.since_ns = bpf_ktime_get_ns(), .stacks = {.pid = task->tgid, .tid = tid}};
  stack_here(ctx, &leaving.stacks);
  if (tool_is_kernel_thread(task)) leaving.stacks.user = STACK_NONE;
  bpf_get_current_comm(leaving.stacks.comm, sizeof(leaving.stacks.comm));
  bpf_map_update_elem(&left, &tid, &leaving, BPF_ANY);
}

static __always_inline void come_back(struct task_struct *task) {
  u32 tid = task->pid;
  struct leaving *leaving = bpf_map_lookup_elem(&left, &tid);
  if (!leaving) return;
  s64 away = bpf_ktime_get_ns() - leaving->since_ns;
  u64 away_us = (u64)away / 1000;
  if (away >= 0 && away_us >= least_us && away_us <= most_us) {
    u64 *time = tool_lookup_or_init(&times, &leaving->stacks, &zero);
    if (time) __sync_fetch_and_add(time, away_us);
  }
  bpf_map_delete_elem(&left, &tid);
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(switched, bool preempted, struct task_struct *previous, struct task_struct *next) {
  leave(ctx, previous);
  come_back(next);
  return 0;
}
