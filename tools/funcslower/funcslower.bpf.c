// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Calls of functions that take longer than a threshold, with their arguments and stacks.
#include "tool.bpf.h"
#include "funcslower/funcslower.h"

const volatile u64 least_ns = 1000000;
const volatile bool user_stacks = 0, kernel_stacks = 0;

struct running {
  u64 thread, function;
};
struct begun {
  u64 started_ns;
  u64 arguments[SLOW_ARGUMENTS];
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct running);
  __type(value, struct begun);
} begun_calls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct slow_call);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 19);
} events SEC(".maps");

SEC("?kprobe")
int enter_function(struct pt_regs *ctx) {
  if (!wanted()) return 0;
  struct running key = {bpf_get_current_pid_tgid(), bpf_get_attach_cookie(ctx)};
  struct begun begun = {.started_ns = bpf_ktime_get_ns(),
                        .arguments = {PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_PARM4(ctx),
                                      PT_REGS_PARM5(ctx), PT_REGS_PARM6(ctx)}};
  bpf_map_update_elem(&begun_calls, &key, &begun, BPF_ANY);
  return 0;
}

SEC("?kprobe")
int exit_function(struct pt_regs *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  struct running key = {id, bpf_get_attach_cookie(ctx)};
  struct begun *begun = bpf_map_lookup_elem(&begun_calls, &key);
  if (!begun) return 0;
  u64 now = bpf_ktime_get_ns(), spent = now - begun->started_ns;
  u32 zero = 0;
  struct slow_call *call = bpf_map_lookup_elem(&scratch, &zero);
  if (call && spent >= least_ns) {
    call->time_ns = now, call->spent_ns = spent;
    call->function = key.function;
    call->result = PT_REGS_RC(ctx);
    __builtin_memcpy(call->arguments, begun->arguments, sizeof(call->arguments));
    call->pid = id >> 32, call->tid = id;
    bpf_get_current_comm(call->comm, sizeof(call->comm));
    call->user_stack_bytes = user_stacks ? bpf_get_stack(ctx, call->user_stack, sizeof(call->user_stack), BPF_F_USER_STACK) : 0;
    call->kernel_stack_bytes = kernel_stacks ? bpf_get_stack(ctx, call->kernel_stack, sizeof(call->kernel_stack), 0) : 0;
    bpf_ringbuf_output(&events, call, sizeof(*call), 0);
  }
  bpf_map_delete_elem(&begun_calls, &key);
  return 0;
}
