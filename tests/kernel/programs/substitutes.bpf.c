// Probes of kernel functions, each beside a typed tracepoint that counts the same events: what a substitute must equal.
#include <linux/types.h>

#define __VMLINUX_H__  // bpf_tracing.h: registers have the kernel's own names
enum { BPF_MAP_TYPE_ARRAY = 2 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
struct task_struct {
  int pid, tgid;
};
struct sock_common {
  __be16 skc_dport;
  __u16 skc_num;
};
struct sock {
  struct sock_common __sk_common;
};
struct file {
  unsigned int f_flags;
};
struct kiocb {
  struct file *ki_filp;
  long long ki_pos;
  int ki_flags;
};
struct qstr {
  unsigned int len;
};
struct dentry {
  struct qstr d_name;
};
struct request {
  unsigned int __data_len;
};
#pragma clang attribute pop
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

const volatile unsigned int wanted_pid = 0;
const volatile unsigned short wanted_port = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

static __always_inline void add(__u32 slot, __u64 value) {
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, value);
}
static __always_inline int is_wanted(void) { return bpf_get_current_pid_tgid() >> 32 == wanted_pid; }

// Switches to the wanted process: how many, and the sum of the pids that ran before.
SEC("kprobe/finish_task_switch")
int BPF_KPROBE(on_finish_task_switch, struct task_struct *prev) {
  if (!is_wanted()) return 0;
  add(0, 1);
  add(1, BPF_CORE_READ(prev, pid));
  return 0;
}
SEC("tp_btf/sched_switch")
int BPF_PROG(at_sched_switch, _Bool preempt, struct task_struct *prev, struct task_struct *next) {
  if (next->tgid != wanted_pid) return 0;
  add(2, 1);
  add(3, prev->pid);
  return 0;
}

// States of TCP sockets of one port, of either side.
static __always_inline int has_port(struct sock *sk) {
  return BPF_CORE_READ(sk, __sk_common.skc_num) == wanted_port ||
         BPF_CORE_READ(sk, __sk_common.skc_dport) == __builtin_bswap16(wanted_port);
}
SEC("kprobe/tcp_set_state")
int BPF_KPROBE(on_tcp_set_state, struct sock *sk, int state) {
  if (has_port(sk)) add(8 + (state & 15), 1);
  return 0;
}
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(at_inet_sock_set_state, struct sock *sk, int oldstate, int newstate) {
  if (has_port(sk)) add(24 + (newstate & 15), 1);
  return 0;
}
SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(on_tcp_v4_connect, struct sock *sk) {
  if (is_wanted() && has_port(sk)) add(40, 1);
  return 0;
}

SEC("kprobe/wake_up_new_task")
int BPF_KPROBE(on_wake_up_new_task, struct task_struct *p) {
  if (!is_wanted()) return 0;
  add(41, 1);
  if (BPF_CORE_READ(p, tgid) != wanted_pid) add(42, 1);
  return 0;
}

SEC("kprobe/blk_account_io_start")
int BPF_KPROBE(on_io_start, struct request *rq) {
  if (!is_wanted()) return 0;
  add(44, 1);
  add(45, BPF_CORE_READ(rq, __data_len));
  return 0;
}
SEC("tp_btf/block_io_start")
int BPF_PROG(at_io_start, struct request *rq) {
  if (!is_wanted()) return 0;
  add(46, 1);
  add(47, rq->__data_len);
  return 0;
}

// What no tracepoint can serve.
SEC("kprobe/try_to_wake_up")
int BPF_KPROBE(reads_state, struct task_struct *p, unsigned int state) {
  add(48, state);
  return 0;
}
SEC("kprobe/wake_up_new_task")
int reads_sp(struct pt_regs *ctx) {
  add(48, PT_REGS_SP(ctx));
  return 0;
}
// Reads of the wanted process: how many, of which file, how much is wanted, how many return, with what.
SEC("kprobe/vfs_read")
int BPF_KPROBE(on_vfs_read, struct file *file, char *to, unsigned long count) {
  if (!is_wanted()) return 0;
  add(50, 1);
  add(51, (BPF_CORE_READ(file, f_flags) & 02000) != 0); /* O_APPEND */
  add(52, count);
  return 0;
}
SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(on_vfs_read_return, long result) {
  if (!is_wanted()) return 0;
  add(53, 1);
  add(54, result);
  return 0;
}


// Reads of files of ext4, of which the kernel's structure is built: how many, where they begin, of which file.
SEC("kprobe/ext4_file_read_iter")
int BPF_KPROBE(on_ext4_read, struct kiocb *iocb) {
  if (!is_wanted()) return 0;
  add(55, 1);
  add(56, BPF_CORE_READ(iocb, ki_pos));
  add(57, (BPF_CORE_READ(iocb, ki_filp, f_flags) & 02000) != 0); /* O_APPEND */
  return 0;
}
SEC("kprobe/ext4_file_read_iter")
int reads_flags_of_kiocb(struct pt_regs *ctx) {
  add(48, BPF_CORE_READ((struct kiocb *)PT_REGS_PARM1(ctx), ki_flags));
  return 0;
}
// Removals: how many, the length of the name.
SEC("kprobe/vfs_unlink")
int BPF_KPROBE(on_vfs_unlink, void *idmap, void *dir, struct dentry *dentry) {
  if (!is_wanted()) return 0;
  add(58, 1);
  add(59, BPF_CORE_READ(dentry, d_name.len));
  return 0;
}

SEC("kprobe/vfs_no_such_function")
int reads_nothing(struct pt_regs *ctx) {
  add(48, 1);
  return 0;
}
SEC("kprobe/skep_no_such_function_*")
int matches_nothing(struct pt_regs *ctx) {
  add(48, 1);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
