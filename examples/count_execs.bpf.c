// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Counts execve calls by user: what examples/count_execs.cpp loads, attaches and reads.
//
//   skep run examples/count_execs.bpf.c -- sh -c 'ls; date'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int count_execs(void *ctx) {
  __u32 uid = bpf_get_current_uid_gid();
  __u64 one = 1, *count = bpf_map_lookup_elem(&counts, &uid);
  if (count)
    __sync_fetch_and_add(count, 1);
  else
    bpf_map_update_elem(&counts, &uid, &one, BPF_NOEXIST);
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
