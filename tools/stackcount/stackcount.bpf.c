// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Stacks that lead to a place, counted.
#include "tool.bpf.h"
#include "stackcount/stackcount.h"

const volatile bool user_stacks = 0, kernel_stacks = 0, by_process = 0;
const volatile s32 wanted_cpu = -1;

struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 16384);
  __uint(key_size, sizeof(u32));
  __uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct stack_count_key);
  __type(value, u64);
} counts SEC(".maps");

static u64 nothing;

static __always_inline int count(void *ctx) {
  if (!wanted() || (wanted_cpu >= 0 && bpf_get_smp_processor_id() != wanted_cpu)) return 0;
  struct stack_count_key key = {.user_stack = -1, .kernel_stack = -1};
  if (by_process || user_stacks) { /* user addresses mean something in one process only */
    key.pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(key.comm, sizeof(key.comm));
  }
  if (user_stacks) key.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
  if (kernel_stacks) key.kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
  u64 *count = tool_lookup_or_init(&counts, &key, &nothing);
  if (count) __sync_fetch_and_add(count, 1);
  return 0;
}

SEC("?kprobe")
int count_function(struct pt_regs *ctx) { return count(ctx); }
SEC("?tracepoint")
int count_tracepoint(void *ctx) { return count(ctx); }
