// Writes more into a perf buffer than it holds.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, 4);
  __uint(value_size, 4);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int flood(struct bpf_raw_tracepoint_args *ctx) {
  __u32 pid = bpf_get_current_pid_tgid() >> 32;
  char record[256] = {};
  if (ctx->args[1] != 110) return 0;
  if (pid != wanted_pid) return 0;
  for (int i = 0; i < 4000; ++i) bpf_perf_event_output(ctx, &events, 0xffffffffULL, record, sizeof record);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
