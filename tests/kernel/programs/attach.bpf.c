// One program for each hook that is no tracepoint; each counts in its own slot. Those that run in a process count the
// wanted one only; those of the network run in a namespace that the test made.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

typedef _Bool bool;  // libbpf's header has it from vmlinux.h
#include <bpf/usdt.bpf.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKMAP);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

static __always_inline int count(__u32 slot, __u64 amount) {
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, amount);
  return 0;
}
static __always_inline int count_ours(__u32 slot, __u64 amount) {
  return bpf_get_current_pid_tgid() >> 32 == wanted_pid ? count(slot, amount) : 0;
}

SEC("uprobe") int on_uprobe(struct pt_regs *ctx) { return count_ours(0, PT_REGS_PARM1(ctx)); }
SEC("uretprobe") int on_uretprobe(struct pt_regs *ctx) { return count_ours(1, PT_REGS_RC(ctx)); }
SEC("uprobe.multi") int on_uprobe_multi(struct pt_regs *ctx) { return count_ours(2, bpf_get_attach_cookie(ctx)); }
SEC("uprobe") int on_uprobe_with_cookie(struct pt_regs *ctx) { return count_ours(8, bpf_get_attach_cookie(ctx)); }
SEC("uretprobe.multi") int on_uretprobe_multi(struct pt_regs *ctx) { return count_ours(3, 1); }
SEC("perf_event") int on_clock(struct bpf_perf_event_data *ctx) { return count_ours(4, 1); }
SEC("usdt") int BPF_USDT(on_usdt, int first, long second) {
  count_ours(5, 1);
  count_ours(6, (__u64)first);
  count_ours(7, (__u64)second);
  return 0;
}

SEC("xdp") int on_xdp(struct xdp_md *ctx) { count(10, 1); return XDP_PASS; }
SEC("xdp.frags") int on_xdp_frags(struct xdp_md *ctx) { count(11, 1); return XDP_PASS; }
SEC("tc") int on_tc(struct __sk_buff *ctx) { count(12, 1); return -1; }
SEC("tcx/ingress") int on_tcx_ingress(struct __sk_buff *ctx) { count(13, 1); return -1; }
SEC("tcx/egress") int on_tcx_egress(struct __sk_buff *ctx) { count(14, 1); return -1; }
SEC("netkit/primary") int on_netkit(struct __sk_buff *ctx) { count(15, 1); return -1; }
SEC("netfilter") int on_netfilter(void *ctx) { count(16, 1); return 1; }
SEC("sk_lookup") int on_sk_lookup(struct bpf_sk_lookup *ctx) { count(17, 1); return 1; }
SEC("flow_dissector") int on_flow_dissector(struct __sk_buff *ctx) { count(18, 1); return 129; }
SEC("socket") int on_socket(struct __sk_buff *ctx) { count(19, 1); return 0; }
SEC("sk_reuseport") int on_reuseport(struct sk_reuseport_md *ctx) { count(20, 1); return 1; }
SEC("sk_skb/stream_verdict") int on_stream(struct __sk_buff *ctx) { count(21, 1); return 1; }
SEC("sk_skb") int on_data(struct __sk_buff *ctx) { count(23, 1); return 1; }
SEC("sk_msg") int on_message(struct sk_msg_md *ctx) { count(22, 1); return 1; }

SEC("kprobe") int on_function(struct pt_regs *ctx) { return count_ours(50, 1); }
SEC("kprobe") int on_function_with_cookie(struct pt_regs *ctx) { return count_ours(63, bpf_get_attach_cookie(ctx)); }
SEC("kprobe") int on_argument(struct pt_regs *ctx) { return count_ours(60, PT_REGS_PARM1(ctx) != 0); }
SEC("kprobe") int on_register(struct pt_regs *ctx) { return count_ours(61, ctx->rbx | 1) & 0; }
SEC("kretprobe") int on_result(struct pt_regs *ctx) { return count_ours(62, PT_REGS_RC(ctx)); }
SEC("kprobe.multi") int on_functions(struct pt_regs *ctx) { return count_ours(51, 1); }
SEC("kretprobe.multi") int on_returns(struct pt_regs *ctx) { return count_ours(52, 1); }
SEC("fentry/__x64_sys_getpgid") int on_entry(unsigned long long *ctx) { return count_ours(53, 1); }
SEC("fexit/__x64_sys_getpgid") int on_exit(unsigned long long *ctx) { return count_ours(54, 1); }
SEC("fsession/__x64_sys_getpgid") int on_both_ends(unsigned long long *ctx) { return count_ours(56, 1) & 1; }
SEC("fmod_ret/security_task_getpgid") int changes_result(unsigned long long *ctx) {
  return bpf_get_current_pid_tgid() >> 32 == wanted_pid ? -7 : 0;
}
SEC("kprobe.session") int on_session(struct pt_regs *ctx) { return count_ours(58, 1) & 1; }
SEC("uprobe.session") int on_user_session(struct pt_regs *ctx) { return count_ours(59, 1) & 1; }
SEC("lsm_cgroup/socket_create") int on_group_socket(unsigned long long *ctx) { count(57, 1); return 1; }
SEC("lsm/file_open") int on_open(unsigned long long *ctx) { return count_ours(55, 1); }

SEC("sockops") int on_sockops(struct bpf_sock_ops *ctx) { count(30, 1); return 1; }
SEC("cgroup_skb/ingress") int on_skb_ingress(struct __sk_buff *ctx) { count(31, 1); return 1; }
SEC("cgroup/skb") int on_skb(struct __sk_buff *ctx) { count(32, 1); return 1; }
SEC("cgroup/sock_create") int on_sock(struct bpf_sock *ctx) { count(33, 1); return 1; }
SEC("cgroup/sock_release") int on_release(struct bpf_sock *ctx) { count(34, 1); return 1; }
SEC("cgroup/post_bind4") int on_post_bind(struct bpf_sock *ctx) { count(35, 1); return 1; }
SEC("cgroup/bind4") int on_bind(struct bpf_sock_addr *ctx) { count(36, 1); return 1; }
SEC("cgroup/connect4") int on_connect(struct bpf_sock_addr *ctx) { count(37, 1); return 1; }
SEC("cgroup/sendmsg4") int on_sendmsg(struct bpf_sock_addr *ctx) { count(38, 1); return 1; }
SEC("cgroup/recvmsg4") int on_recvmsg(struct bpf_sock_addr *ctx) { count(39, 1); return 1; }
SEC("cgroup/getsockname4") int on_getsockname(struct bpf_sock_addr *ctx) { count(40, 1); return 1; }
SEC("cgroup/getpeername4") int on_getpeername(struct bpf_sock_addr *ctx) { count(41, 1); return 1; }
SEC("cgroup/getsockopt") int on_getsockopt(struct bpf_sockopt *ctx) { count(42, 1); return 1; }
SEC("cgroup/setsockopt") int on_setsockopt(struct bpf_sockopt *ctx) { count(43, 1); return 1; }
SEC("cgroup/sysctl") int on_sysctl(struct bpf_sysctl *ctx) { count(44, 1); return 1; }
SEC("cgroup/dev") int on_device(struct bpf_cgroup_dev_ctx *ctx) { count(45, 1); return 1; }

// A function that freplace replaces, and what replaces it.
__attribute__((noinline)) int replaceable(struct xdp_md *ctx) {
  int result = 5;
  asm volatile("" : "+r"(result));
  return result;
}
SEC("xdp") int calls_replaceable(struct xdp_md *ctx) { return replaceable(ctx); }
SEC("freplace") int replacement(struct xdp_md *ctx) { return 9; }

SEC("syscall") int on_call(void *ctx) { return 7; }
SEC("lirc_mode2") int on_light(unsigned int *ctx) { return 0; }
SEC("lwt_in") int on_route(struct __sk_buff *ctx) { return 0; }

char LICENSE[] SEC("license") = "GPL";
