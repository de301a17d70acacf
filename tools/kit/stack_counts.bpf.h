/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* StackCounts of the current task, kept once each. */
#ifndef SKEP_TOOL_STACK_COUNTS_BPF_H
#define SKEP_TOOL_STACK_COUNTS_BPF_H
#include "stack_counts.h"

const volatile bool with_kernel_stacks = true;
const volatile bool with_user_stacks = true;

#define STACK_NONE (-14) /* -EFAULT: there is no such stack */

struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 16384);
  __uint(key_size, sizeof(u32));
  __uint(value_size, STACK_FRAMES * sizeof(u64));
} stacks SEC(".maps");

static __always_inline void stack_here(void* ctx, struct stack_key* key) {
  key->kernel = with_kernel_stacks ? bpf_get_stackid(ctx, &stacks, 0) : STACK_NONE;
  key->user = with_user_stacks ? bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK) : STACK_NONE;
}

#endif
