/* Loaded and attached by bench_exit, one program at a time, by skep and by libbpf: a program for each way to attach. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 seen;

SEC("tracepoint/sched/sched_process_exec")
int on_tracepoint(void *ctx) {
  __sync_fetch_and_add(&seen, 1);
  return 0;
}

SEC("raw_tp/sched_process_exec")
int on_raw_tracepoint(void *ctx) {
  __sync_fetch_and_add(&seen, 1);
  return 0;
}

SEC("perf_event")
int on_sample(void *ctx) {
  __sync_fetch_and_add(&seen, 1);
  return 0;
}

SEC("uprobe//proc/self/exe:bench_exit_marker")
int on_function(void *ctx) {
  __sync_fetch_and_add(&seen, 1);
  return 0;
}

SEC("cgroup_skb/egress")
int on_packet(void *ctx) {
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
