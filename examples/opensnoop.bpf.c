// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every open: who, which file, with what result. Two system-call tracepoints and a record of what the first
// saw, because only the exit knows the result.
//
//   skep run examples/opensnoop.bpf.c -- cat /etc/hostname
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define TASK_COMM_LEN 16
#define PATH_LENGTH 256

struct event {
  u32 pid;
  u32 uid;
  s32 result; /* a file descriptor, or minus an error number */
  s32 flags;
  char comm[TASK_COMM_LEN];
  char path[PATH_LENGTH];
};

struct pending {
  const char *path;
  s32 flags;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, u32);
  __type(value, struct pending);
} opening SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, sizeof(u32));
  __uint(value_size, sizeof(u32));
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat")
int on_enter(struct trace_event_raw_sys_enter *ctx) {
  u32 thread = bpf_get_current_pid_tgid();
  struct pending pending = {.path = (const char *)ctx->args[1], .flags = ctx->args[2]};
  bpf_map_update_elem(&opening, &thread, &pending, BPF_ANY);
  return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int on_exit(struct trace_event_raw_sys_exit *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 thread = id;
  struct pending *pending = bpf_map_lookup_elem(&opening, &thread);
  if (!pending) return 0; /* it began before we were attached */

  struct event event = {.pid = id >> 32, .uid = bpf_get_current_uid_gid(), .result = ctx->ret};
  event.flags = pending->flags;
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  bpf_probe_read_user_str(event.path, sizeof(event.path), pending->path);
  bpf_map_delete_elem(&opening, &thread);
  bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
