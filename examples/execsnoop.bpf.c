// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every execve: who calls it, and the program to be run. Records go through a ring buffer.
//
//   skep run examples/execsnoop.bpf.c -- sh -c 'ls; date'
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event {
  u32 pid;
  u32 uid;
  char comm[16];
  char path[128];
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int on_execve(struct trace_event_raw_sys_enter *ctx) {
  struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->uid = bpf_get_current_uid_gid();
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  if (bpf_probe_read_user_str(event->path, sizeof(event->path), (const char *)ctx->args[0]) < 0) event->path[0] = 0;
  bpf_ringbuf_submit(event, 0);
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
