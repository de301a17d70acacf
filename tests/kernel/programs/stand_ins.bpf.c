// A kprobe program for any function: counts its runs in one process, and those with a first and a second argument.
#include "vmlinux_part.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 index) {
  __u64 *counter = bpf_map_lookup_elem(&counters, &index);
  if (counter) __sync_fetch_and_add(counter, 1);
}

SEC("kprobe")
int on_function(struct pt_regs *ctx) {
  if (bpf_get_current_pid_tgid() >> 32 != wanted_pid) return 0;
  count(0);
  if (PT_REGS_PARM1(ctx)) count(1);
  if (PT_REGS_PARM2(ctx)) count(2);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
