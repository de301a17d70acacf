// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Takes the stacks of what runs, so many times a second on each CPU.
#define TOOL_CONTAINERS
#include "tool.bpf.h"
#include "stack_counts.bpf.h"
#include "profile.h"

const volatile struct wanted_tasks tasks = {};
const volatile s32 wanted_cpu = -1;
const volatile bool with_idle = false;

const static u64 zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, struct stack_key);
  __type(value, u64);
} samples SEC(".maps");

static __always_inline bool is_listed(const volatile u32 *numbers, u32 number) {
  if (!numbers[0]) return true;
  for (u32 i = 0; i < PROFILE_TASKS && numbers[i]; ++i)
    if (numbers[i] == number) return true;
  return false;
}

SEC("?perf_event")
int sample(void *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32, tid = id;
  if (!tid && !with_idle) return 0;
  if (!is_listed(tasks.pids, pid) || !is_listed(tasks.tids, tid) || !wanted_task(pid, tid)) return 0;
  if (!wanted_container()) return 0;
  if (wanted_cpu >= 0 && bpf_get_smp_processor_id() != wanted_cpu) return 0;
  struct stack_key key = {.pid = pid, .tid = pid}; /* threads of a process count together */
  stack_here(ctx, &key);
  bpf_get_current_comm(key.comm, sizeof(key.comm));
  u64 *count = tool_lookup_or_init(&samples, &key, &zero);
  if (count) __sync_fetch_and_add(count, 1);
  return 0;
}
