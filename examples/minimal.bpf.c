// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The smallest program in libbpf's style that has everything: a tracepoint, global variables (they become
// maps), and a hash map. It counts the writes of each process, and the bytes.
//
//   skep run examples/minimal.bpf.c -- sh -c 'echo one; echo two'
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct count {
  u64 calls;
  u64 bytes;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u32);
  __type(value, struct count);
} writes SEC(".maps");

const volatile u32 only_pid = 0; /* 0: every process */
u64 total_calls = 0;

SEC("tracepoint/syscalls/sys_enter_write")
int on_write(struct trace_event_raw_sys_enter *ctx) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  if (only_pid && pid != only_pid) return 0;
  __sync_fetch_and_add(&total_calls, 1);

  struct count zero = {};
  struct count *count = bpf_map_lookup_elem(&writes, &pid);
  if (!count) {
    bpf_map_update_elem(&writes, &pid, &zero, BPF_NOEXIST);
    count = bpf_map_lookup_elem(&writes, &pid);
    if (!count) return 0; /* the map is full */
  }
  __sync_fetch_and_add(&count->calls, 1);
  __sync_fetch_and_add(&count->bytes, ctx->args[2]);
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
