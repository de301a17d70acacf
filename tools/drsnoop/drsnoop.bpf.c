// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A task that needs memory and must free some itself first.
#include "tool.bpf.h"
#include "drsnoop.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, u32);
  __type(value, u64);
} begun SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} events SEC(".maps");

SEC("?tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(begin, int order) {
  if (!wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid();
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&begun, &tid, &now, BPF_ANY);
  return 0;
}

SEC("?tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(end, unsigned long pages) {
  u64 id = bpf_get_current_pid_tgid();
  u32 tid = id;
  u64 *since = bpf_map_lookup_elem(&begun, &tid);
  if (!since) return 0;
  struct reclaim_event event = {.begun_ns = *since, .pages = pages, .pid = id >> 32};
  event.duration_ns = bpf_ktime_get_ns() - *since;
  event.uid = bpf_get_current_uid_gid();
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
  bpf_map_delete_elem(&begun, &tid);
  return 0;
}
