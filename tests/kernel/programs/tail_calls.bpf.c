// A program on a user function that goes on in another one, by a program array.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

int counts(struct pt_regs *ctx);

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __array(values, int(void *));
} tails SEC(".maps") = {.values = {[0] = (void *)&counts}};

SEC("kprobe") int counts(struct pt_regs *ctx) {
  __u32 slot = 0;
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, PT_REGS_PARM1(ctx));
  return 0;
}

SEC("uprobe") int on_call(struct pt_regs *ctx) {
  if (bpf_get_current_pid_tgid() >> 32 == wanted_pid) bpf_tail_call(ctx, &tails, 0);
  return 0;
}
