// One program for each kind of hook; each counts the calls of one process in its own slot.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

static __always_inline int count(__u32 slot) {
  if (bpf_get_current_pid_tgid() >> 32 != wanted_pid) return 0;
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, 1);
  return 0;
}

SEC("tracepoint/syscalls/sys_enter_getppid")
int on_tracepoint(void *ctx) { return count(0); }

SEC("raw_tracepoint/sys_enter")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx) {
  if (ctx->args[1] != 110 /* getppid */) return 0;
  return count(1);
}

SEC("tp_btf/sys_enter")
int on_tp_btf(__u64 *ctx) {
  if (ctx[1] != 110) return 0;
  return count(2);
}

SEC("ksyscall/getppid")
int on_ksyscall(struct pt_regs *ctx) { return count(3); }

SEC("kretsyscall/getppid")
int on_kretsyscall(struct pt_regs *ctx) { return count(4); }

SEC("kprobe/__x64_sys_getppid")
int on_kprobe(struct pt_regs *ctx) { return count(5); }

SEC("kprobe")
int anywhere(struct pt_regs *ctx) { return count(6); }

char LICENSE[] SEC("license") = "GPL";
