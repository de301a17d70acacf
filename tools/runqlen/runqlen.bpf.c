// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Samples each CPU: how many tasks wait for it, besides the one that runs.
//
// The CPU's own queue is counted where the kernel tells which it is (CONFIG_FAIR_GROUP_SCHED). A task's own queue
// holds only its control group, so that is second choice.
#include "tool.bpf.h"
#include "runqlen.h"

const volatile bool each_cpu = false;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct queue_lengths);
} lengths SEC(".maps");

static __always_inline u32 queued(struct task_struct *task) {
  struct cfs_rq *queue = BPF_CORE_READ(task, se.cfs_rq);
  if (bpf_core_field_exists(queue->rq)) return BPF_CORE_READ(queue, rq, nr_running);
  if (bpf_core_field_exists(queue->nr_queued)) return BPF_CORE_READ(queue, nr_queued);
  return BPF_CORE_READ((struct cfs_rq___before_6_14 *)queue, nr_running);
}

SEC("?perf_event")
int sample(void *ctx) {
  u32 cpu = each_cpu ? bpf_get_smp_processor_id() : 0;
  struct queue_lengths *all = bpf_map_lookup_elem(&lengths, &cpu);
  if (!all) return 0;
  u32 length = queued((void *)bpf_get_current_task());
  if (length > 0) length--; /* the one that runs */
  if (length >= LENGTHS) length = LENGTHS - 1;
  __sync_fetch_and_add(&all->samples[length], 1);
  return 0;
}
