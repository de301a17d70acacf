// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// System calls counted by number or by process, with the time they took.
#define TOOL_FROM_EXEC
#include "tool.bpf.h"
#include "syscount.h"

const volatile bool by_process = 0;
const volatile bool with_latency = 0;
const volatile bool only_failed = 0;
const volatile s32 wanted_error = 0;
const volatile s32 wanted_call = -1;
const volatile u32 wanted_parent = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, u64);
} begun SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u32); /* number, or process */
  __type(value, struct call_count);
} counts SEC(".maps");

static struct call_count no_count;

SEC("?raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *ctx) {
  if (!wanted()) return 0;
  u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
  bpf_map_update_elem(&begun, &id, &now, BPF_ANY);
  return 0;
}

static __always_inline int count(s64 nr, s64 ret) {
  if (nr < 0 || !wanted()) return 0; /* -1: a return that follows no call, such as a new process's first */
  if (wanted_call >= 0 && nr != wanted_call) return 0;
  if (only_failed && ret >= 0) return 0;
  if (wanted_error && ret != -wanted_error) return 0;
  if (wanted_parent && tool_parent() != wanted_parent) return 0;
  u64 id = bpf_get_current_pid_tgid(), *start = 0;
  if (with_latency) {
    start = bpf_map_lookup_elem(&begun, &id);
    if (!start) return 0;
  }
  u32 key = by_process ? (u32)(id >> 32) : (u32)nr;
  struct call_count *row = tool_lookup_or_init(&counts, &key, &no_count);
  if (!row) return 0;
  if (by_process && !row->comm[0]) bpf_get_current_comm(row->comm, sizeof(row->comm));
  __sync_fetch_and_add(&row->count, 1);
  if (start) __sync_fetch_and_add(&row->total_ns, bpf_ktime_get_ns() - *start);
  return 0;
}

SEC("?tp_btf/sys_exit")
int kernel_exit(u64 *ctx) {
  struct pt_regs *regs = (void *)ctx[0];
  return tool_is_compat() ? 0 : count(TOOL_SYSCALL_NR(regs), ctx[1]);
}

SEC("?tracepoint/raw_syscalls/sys_exit")
int user_exit(struct tool_exit_record *ctx) { return count(ctx->nr, ctx->ret); }
