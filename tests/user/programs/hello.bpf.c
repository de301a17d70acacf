/* Hello world and a counter by user id, at every execve. */
#include "common.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u64);
  __type(value, __u64);
} counter_table SEC(".maps");

__u64 total; /* .bss */
const volatile __u64 step = 1;

SEC("tracepoint/syscalls/sys_enter_execve")
int hello(struct trace_event_raw_sys_enter* ctx) {
  __u64 uid = bpf_get_current_uid_gid() & 0xffffffff, one = step, *count;
  bpf_printk("Hello World!");
  count = bpf_map_lookup_elem(&counter_table, &uid);
  if (count)
    __sync_fetch_and_add(count, one);
  else
    bpf_map_update_elem(&counter_table, &uid, &one, 0);
  __sync_fetch_and_add(&total, one);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
