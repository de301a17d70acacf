/* opensnoop's way: the path at the entry, the result at the return, a perf event array. */
#include "common.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u64);
  __type(value, __u64);
} paths SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, 4);
  __uint(value_size, 4);
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat")
int on_enter(struct trace_event_raw_sys_enter* ctx) {
  __u64 id = bpf_get_current_pid_tgid(), path = ctx->args[1];
  bpf_map_update_elem(&paths, &id, &path, 0);
  return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int on_exit(struct trace_event_raw_sys_exit* ctx) {
  __u64 id = bpf_get_current_pid_tgid();
  __u64* path = bpf_map_lookup_elem(&paths, &id);
  struct event e = {};
  if (!path) return 0;
  e.pid = id >> 32;
  e.ret = ctx->ret;
  bpf_get_current_comm(e.comm, sizeof(e.comm));
  bpf_probe_read_user_str(e.path, sizeof(e.path), (void*)*path);
  bpf_map_delete_elem(&paths, &id);
  bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
