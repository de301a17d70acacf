// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// How long tasks stay on a CPU, or off it, from one switch to the next.
#include "tool.bpf.h"
#include "scheduler.bpf.h"
#include "cpudist.h"

const volatile u32 one_for = ONE_FOR_ALL;
const volatile bool off_cpu = false;
const volatile bool with_idle = false;
const volatile bool milliseconds = false;

const static struct log2_histogram zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, struct task_key);
  __type(value, u64);
} since SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, u32);
  __type(value, struct log2_histogram);
} times SEC(".maps");

/* Each CPU has an idle task of its own, all with number 0. */
static __always_inline struct task_key key_of(struct task_struct *task) {
  struct task_key key = {task->pid, task->pid ? 0 : bpf_get_smp_processor_id()};
  return key;
}

static __always_inline void begin(struct task_struct *task, u64 now) {
  if (!wanted_task(task->tgid, task->pid) || (!task->pid && !with_idle)) return;
  struct task_key key = key_of(task);
  bpf_map_update_elem(&since, &key, &now, BPF_ANY);
}

static __always_inline void end(struct task_struct *task, u64 now) {
  struct task_key key = key_of(task);
  u64 *begun = bpf_map_lookup_elem(&since, &key);
  if (!begun) return;
  s64 time = now - *begun;
  bpf_map_delete_elem(&since, &key);
  if (time < 0) return;
  u32 one = one_for == ONE_FOR_PROCESS ? task->tgid : one_for == ONE_FOR_THREAD ? task->pid : 0;
  struct log2_histogram *histogram = tool_lookup_or_init(&times, &one, &zero);
  if (histogram) tool_observe(histogram, tool_in_units(time, milliseconds));
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(switched, bool preempted, struct task_struct *previous, struct task_struct *next) {
  u64 now = bpf_ktime_get_ns();
  end(off_cpu ? next : previous, now);
  begin(off_cpu ? previous : next, now);
  return 0;
}
