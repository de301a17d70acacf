// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The time from being woken, or from losing the CPU while still runnable, to running.
#include "tool.bpf.h"
#include "scheduler.bpf.h"
#include "runqlat.h"

const volatile u32 one_for = ONE_FOR_ALL;
const volatile bool milliseconds = false;

const static struct log2_histogram zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, u32);
  __type(value, u64);
} waiting_since SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, u32);
  __type(value, struct log2_histogram);
} latencies SEC(".maps");

static __always_inline void begin_waiting(struct task_struct *task) {
  u32 tid = task->pid;
  if (tid == 0 || !wanted_task(task->tgid, tid)) return;
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&waiting_since, &tid, &now, BPF_ANY);
}

static __always_inline u32 key_of(struct task_struct *task) {
  switch (one_for) {
    case ONE_FOR_PROCESS: return task->tgid;
    case ONE_FOR_THREAD: return task->pid;
    case ONE_FOR_PID_NAMESPACE: return BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
    default: return 0;
  }
}

SEC("?tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct *task) {
  begin_waiting(task);
  return 0;
}

SEC("?tp_btf/sched_wakeup_new")
int BPF_PROG(new, struct task_struct *task) {
  begin_waiting(task);
  return 0;
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(switched, bool preempted, struct task_struct *previous, struct task_struct *next) {
  if (tool_task_state(previous) == TOOL_TASK_RUNNING) begin_waiting(previous);
  u32 tid = next->pid;
  u64 *since = bpf_map_lookup_elem(&waiting_since, &tid);
  if (!since) return 0;
  s64 waited = bpf_ktime_get_ns() - *since;
  bpf_map_delete_elem(&waiting_since, &tid);
  if (waited < 0) return 0;
  u32 key = key_of(next);
  struct log2_histogram *latency = tool_lookup_or_init(&latencies, &key, &zero);
  if (latency) tool_observe(latency, tool_in_units(waited, milliseconds));
  return 0;
}
