/* One program for everything the user engine refuses: hooks of the kernel, kernel symbols, unproved access. */
#include "common.h"

struct sk_buff {
  unsigned int len;
} __attribute__((preserve_access_index));
struct xdp_md {
  __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

extern const void init_task __ksym;
extern int bpf_sock_destroy(void* sock) __ksym;
extern int CONFIG_HZ __kconfig;
extern int CONFIG_WEAK_THING __kconfig __weak;
extern int LINUX_KERNEL_VERSION __kconfig;

SEC("kprobe/do_exit")
int kernel_function(struct pt_regs* ctx) { return 0; }

SEC("xdp")
int packets(struct xdp_md* ctx) { return 2; }

SEC("tracepoint/sched/sched_switch")
int other_tracepoint(void* ctx) { return 0; }

SEC("tracepoint/syscalls/sys_enter_nosuchcall")
int no_such_call(void* ctx) { return 0; }

SEC("tracepoint")
int no_target(void* ctx) { return 0; }

SEC("?tracepoint/syscalls/sys_enter_execve")
int kernel_symbol(void* ctx) {
  bpf_printk("%llx", (__u64)&init_task);
  return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int kernel_call(void* ctx) {
  bpf_sock_destroy(ctx);
  return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int kernel_type(void* ctx) {
  struct sk_buff* packet = ctx;
  return BPF_CORE_READ(packet, len);
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int kernel_config(void* ctx) { return CONFIG_HZ; }

SEC("?tracepoint/syscalls/sys_enter_execve")
int weak_config(void* ctx) {
  bpf_printk("%d %d", CONFIG_WEAK_THING, LINUX_KERNEL_VERSION);
  return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int unproved(void* ctx) {
  __u32 key = 0;
  __u64* value = bpf_map_lookup_elem(&values, &key);
  return *value; /* may be null */
}

char LICENSE[] SEC("license") = "GPL";
