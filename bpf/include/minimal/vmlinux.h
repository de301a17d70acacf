/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The types of the kernel that most programs use, for machines whose kernel does not describe itself.
 *
 * Where /sys/kernel/btf/vmlinux exists, skep makes the whole vmlinux.h from it and this file is not used.
 * Contexts and packet headers are the kernel's user interface, with fixed layouts. Kernel structs carry
 * only the members named here; their offsets are settled when the program is loaded (CO-RE), on a kernel
 * that has BTF.
 * Source: include/uapi/linux of Linux 6.18; arch/x86/include/asm/ptrace.h.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __s8 s8;
typedef __u8 u8;
typedef __s16 s16;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef __u16 __le16;
typedef __u16 __be16;
typedef __u32 __le32;
typedef __u32 __be32;
typedef __u64 __le64;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;
enum { false = 0, true = 1 };
typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned int gid_t;
typedef unsigned short umode_t;
typedef unsigned long size_t;
typedef long ssize_t;
typedef long long loff_t;
typedef u32 dev_t;

#define SKEP_KERNEL_STRUCT __attribute__((preserve_access_index))

/* ---- bpf(2): numbers that programs name ----------------------------------------------------------------- */

enum bpf_map_type {
  BPF_MAP_TYPE_UNSPEC = 0,
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PROG_ARRAY = 3,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
  BPF_MAP_TYPE_PERCPU_HASH = 5,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_STACK_TRACE = 7,
  BPF_MAP_TYPE_CGROUP_ARRAY = 8,
  BPF_MAP_TYPE_LRU_HASH = 9,
  BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
  BPF_MAP_TYPE_LPM_TRIE = 11,
  BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
  BPF_MAP_TYPE_HASH_OF_MAPS = 13,
  BPF_MAP_TYPE_DEVMAP = 14,
  BPF_MAP_TYPE_SOCKMAP = 15,
  BPF_MAP_TYPE_CPUMAP = 16,
  BPF_MAP_TYPE_XSKMAP = 17,
  BPF_MAP_TYPE_SOCKHASH = 18,
  BPF_MAP_TYPE_CGROUP_STORAGE = 19,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE = 21,
  BPF_MAP_TYPE_QUEUE = 22,
  BPF_MAP_TYPE_STACK = 23,
  BPF_MAP_TYPE_SK_STORAGE = 24,
  BPF_MAP_TYPE_DEVMAP_HASH = 25,
  BPF_MAP_TYPE_STRUCT_OPS = 26,
  BPF_MAP_TYPE_RINGBUF = 27,
  BPF_MAP_TYPE_INODE_STORAGE = 28,
  BPF_MAP_TYPE_TASK_STORAGE = 29,
  BPF_MAP_TYPE_BLOOM_FILTER = 30,
  BPF_MAP_TYPE_USER_RINGBUF = 31,
  BPF_MAP_TYPE_CGRP_STORAGE = 32,
  BPF_MAP_TYPE_ARENA = 33,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2, BPF_F_LOCK = 4 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_NO_COMMON_LRU = 2, BPF_F_RDONLY_PROG = 128, BPF_F_MMAPABLE = 1024 };
enum { BPF_F_SKIP_FIELD_MASK = 255, BPF_F_USER_STACK = 256, BPF_F_FAST_STACK_CMP = 512, BPF_F_REUSE_STACKID = 1024 };
enum { BPF_F_INDEX_MASK = 4294967295ULL, BPF_F_CURRENT_CPU = 4294967295ULL };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1, BPF_RB_CONS_POS = 2, BPF_RB_PROD_POS = 3 };
enum xdp_action { XDP_ABORTED = 0, XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3, XDP_REDIRECT = 4 };

/* ---- contexts --------------------------------------------------------------------------------------------- */

struct xdp_md {
  __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
struct __sk_buff {
  __u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
  __u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
  __u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port;
  __u32 data_meta;
  __u64 flow_keys __attribute__((aligned(8)));
  __u64 tstamp;
  __u32 wire_len, gso_segs;
  __u64 sk __attribute__((aligned(8)));
  __u32 gso_size;
  __u8 tstamp_type;
  __u64 hwtstamp;
};
struct bpf_raw_tracepoint_args {
  __u64 args[0];
};
struct bpf_perf_event_value {
  __u64 counter, enabled, running;
};
struct bpf_iter_num {
  __u64 __opaque[1];
} __attribute__((aligned(8)));
struct bpf_pidns_info {
  __u32 pid, tgid;
};
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx;
  unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
  unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#else
struct user_pt_regs {
  __u64 regs[31];
  __u64 sp, pc, pstate;
};
struct pt_regs {
  union {
    struct user_pt_regs user_regs;
    struct {
      __u64 regs[31];
      __u64 sp, pc, pstate;
    };
  };
  __u64 orig_x0;
};
#endif

/* ---- tracepoint records ----------------------------------------------------------------------------------- */

struct trace_entry {
  short unsigned int type;
  unsigned char flags;
  unsigned char preempt_count;
  int pid;
};
struct trace_event_raw_sys_enter {
  struct trace_entry ent;
  long int id;
  long unsigned int args[6];
  char __data[0];
} SKEP_KERNEL_STRUCT;
struct trace_event_raw_sys_exit {
  struct trace_entry ent;
  long int id;
  long int ret;
  char __data[0];
} SKEP_KERNEL_STRUCT;
struct syscall_trace_enter {
  struct trace_entry ent;
  int nr;
  long unsigned int args[0];
} SKEP_KERNEL_STRUCT;
struct syscall_trace_exit {
  struct trace_entry ent;
  int nr;
  long int ret;
} SKEP_KERNEL_STRUCT;

/* ---- kernel structs ----------------------------------------------------------------------------------------- */

typedef struct {
  int counter;
} atomic_t;
typedef struct {
  s64 counter;
} atomic64_t;
struct list_head {
  struct list_head *next, *prev;
};
typedef struct {
  uid_t val;
} kuid_t;
typedef struct {
  gid_t val;
} kgid_t;
struct ns_common {
  unsigned int inum;
} SKEP_KERNEL_STRUCT;
struct pid_namespace {
  unsigned int level;
  struct ns_common ns;
} SKEP_KERNEL_STRUCT;
struct mnt_namespace {
  struct ns_common ns;
} SKEP_KERNEL_STRUCT;
struct net {
  struct ns_common ns;
} SKEP_KERNEL_STRUCT;
typedef struct {
  struct net *net;
} possible_net_t;
struct nsproxy {
  struct mnt_namespace *mnt_ns;
  struct pid_namespace *pid_ns_for_children;
  struct net *net_ns;
} SKEP_KERNEL_STRUCT;
struct files_struct;
struct mm_struct {
  unsigned long arg_start, arg_end, env_start, env_end;
} SKEP_KERNEL_STRUCT;
struct cred {
  kuid_t uid, euid;
  kgid_t gid, egid;
} SKEP_KERNEL_STRUCT;
struct signal_struct {
  atomic_t live;
  int group_exit_code;
} SKEP_KERNEL_STRUCT;
struct thread_info {
  unsigned long flags;
  u32 status;
} SKEP_KERNEL_STRUCT;
/* Run queues. */
struct rq {
  unsigned int nr_running;
} SKEP_KERNEL_STRUCT;
struct cfs_rq {
  unsigned int nr_queued;
  struct rq *rq;
} SKEP_KERNEL_STRUCT;
struct cfs_rq___before_6_14 {
  unsigned int nr_running;
} SKEP_KERNEL_STRUCT;
struct sched_entity {
  struct cfs_rq *cfs_rq;
} SKEP_KERNEL_STRUCT;
struct task_struct {
  struct thread_info thread_info;
  unsigned int __state;
  unsigned int flags;
  int prio;
  int exit_state;
  int exit_code;
  pid_t pid;
  pid_t tgid;
  struct task_struct *real_parent;
  struct task_struct *parent;
  struct task_struct *group_leader;
  struct sched_entity se;
  struct mm_struct *mm;
  struct nsproxy *nsproxy;
  struct files_struct *files;
  struct signal_struct *signal;
  const struct cred *real_cred;
  const struct cred *cred;
  u64 start_time;
  u64 start_boottime;
  char comm[16];
} SKEP_KERNEL_STRUCT;
/* Linux before 5.14 has the state of a task under another name. */
struct task_struct___before_5_14 {
  long state;
} SKEP_KERNEL_STRUCT;

/* Files. */
struct qstr {
  u32 hash;
  u32 len;
  const unsigned char *name;
} SKEP_KERNEL_STRUCT;
struct super_block {
  dev_t s_dev;
  char s_id[32];
} SKEP_KERNEL_STRUCT;
struct inode {
  umode_t i_mode;
  struct super_block *i_sb;
  unsigned long i_ino;
  dev_t i_rdev;
  loff_t i_size;
} SKEP_KERNEL_STRUCT;
struct dentry {
  struct dentry *d_parent;
  struct qstr d_name;
  struct inode *d_inode;
} SKEP_KERNEL_STRUCT;
struct vfsmount;
struct path {
  struct vfsmount *mnt;
  struct dentry *dentry;
} SKEP_KERNEL_STRUCT;
struct file {
  struct path f_path;
  struct inode *f_inode;
  void *private_data;
  unsigned int f_flags;
} SKEP_KERNEL_STRUCT;
struct fdtable {
  unsigned int max_fds;
  struct file **fd;
} SKEP_KERNEL_STRUCT;
struct files_struct {
  struct fdtable *fdt;
} SKEP_KERNEL_STRUCT;
struct kiocb {
  struct file *ki_filp;
  loff_t ki_pos;
} SKEP_KERNEL_STRUCT;
struct iovec {
  void *iov_base;
  u64 iov_len;
} SKEP_KERNEL_STRUCT;
struct iov_iter {
  u8 iter_type;
  u64 iov_offset;
  u64 count;
  void *ubuf;
  const struct iovec *__iov;
  unsigned long nr_segs;
} SKEP_KERNEL_STRUCT;
struct iov_iter___before_5_14 {
  unsigned int type;
} SKEP_KERNEL_STRUCT;
struct iov_iter___before_6_4 {
  const struct iovec *iov;
} SKEP_KERNEL_STRUCT;
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158 };
enum iter_type { ITER_UBUF, ITER_IOVEC };
struct filename {
  const char *name;
} SKEP_KERNEL_STRUCT;
struct linux_binprm {
  const char *filename;
} SKEP_KERNEL_STRUCT;

/* Block devices. */
struct gendisk {
  int major;
  int first_minor;
  char disk_name[32];
} SKEP_KERNEL_STRUCT;
struct request_queue {
  struct gendisk *disk;
} SKEP_KERNEL_STRUCT;
struct mddev {
  struct gendisk *gendisk;
} SKEP_KERNEL_STRUCT;
struct bvec_iter {
  u64 bi_sector;
  unsigned int bi_size;
} SKEP_KERNEL_STRUCT;
struct block_device {
  dev_t bd_dev;
  struct gendisk *bd_disk;
} SKEP_KERNEL_STRUCT;
struct bio {
  struct block_device *bi_bdev;
  unsigned int bi_opf;
  struct bvec_iter bi_iter;
} SKEP_KERNEL_STRUCT;
struct request {
  struct request_queue *q;
  unsigned int cmd_flags;
  unsigned int __data_len;
  u64 __sector;
  struct bio *bio;
  struct block_device *part;
} SKEP_KERNEL_STRUCT;
struct request___before_5_17 {
  struct gendisk *rq_disk;
} SKEP_KERNEL_STRUCT;

/* Memory. */
struct kmem_cache {
  unsigned int size;
  const char *name;
} SKEP_KERNEL_STRUCT;
struct oom_control {
  unsigned long totalpages;
  struct task_struct *chosen;
} SKEP_KERNEL_STRUCT;
struct page;
struct folio {
  unsigned long flags;
} SKEP_KERNEL_STRUCT;
struct buffer_head;
struct address_space;

/* Interrupts. */
struct irqaction {
  const char *name;
} SKEP_KERNEL_STRUCT;

/* Sockets. */
struct in6_addr {
  union {
    __u8 u6_addr8[16];
    __be16 u6_addr16[8];
    __be32 u6_addr32[4];
  } in6_u;
};
struct sockaddr_in {
  unsigned short sin_family;
  __be16 sin_port;
  __be32 sin_addr;
  unsigned char zero[8];
};
struct sockaddr_in6 {
  unsigned short sin6_family;
  __be16 sin6_port;
  __be32 sin6_flowinfo;
  struct in6_addr sin6_addr;
  __u32 sin6_scope_id;
};
struct sock_common {
  __be32 skc_daddr;
  __be32 skc_rcv_saddr;
  __be16 skc_dport;
  __u16 skc_num;
  unsigned short skc_family;
  volatile unsigned char skc_state;
  unsigned char skc_reuse : 4, skc_reuseport : 1;
  int skc_bound_dev_if;
  possible_net_t skc_net;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
} SKEP_KERNEL_STRUCT;
struct sock {
  struct sock_common __sk_common;
  u16 sk_type;
  u16 sk_protocol;
  int sk_err;
  u32 sk_ack_backlog;
  u32 sk_max_ack_backlog;
} SKEP_KERNEL_STRUCT;
struct socket {
  short type;
  struct sock *sk;
} SKEP_KERNEL_STRUCT;
struct inet_sock {
  struct sock sk;
  unsigned long inet_flags;
  __be16 inet_sport;
} SKEP_KERNEL_STRUCT;
/* Linux before 6.6 has these options as bits. */
struct inet_sock___before_6_6 {
  unsigned char freebind : 1, transparent : 1, bind_address_no_port : 1;
} SKEP_KERNEL_STRUCT;
struct tcp_sock {
  u32 srtt_us;
  u32 snd_cwnd;
  u64 bytes_received;
  u64 bytes_acked;
  u32 total_retrans;
} SKEP_KERNEL_STRUCT;
struct tcp_skb_cb {
  __u32 seq;
} SKEP_KERNEL_STRUCT;
struct sk_buff {
  char cb[48];
  unsigned int len;
  __u16 transport_header;
  __u16 network_header;
  unsigned char *head;
  unsigned char *data;
  struct sock *sk;
} SKEP_KERNEL_STRUCT;

/* ---- packets -------------------------------------------------------------------------------------------------- */

struct ethhdr {
  unsigned char h_dest[6], h_source[6];
  __be16 h_proto;
} __attribute__((packed));
struct vlan_hdr {
  __be16 h_vlan_TCI;
  __be16 h_vlan_encapsulated_proto;
};
struct iphdr {
  __u8 ihl : 4, version : 4;
  __u8 tos;
  __be16 tot_len, id, frag_off;
  __u8 ttl, protocol;
  __sum16 check;
  __be32 saddr, daddr;
};
struct ipv6hdr {
  __u8 priority : 4, version : 4;
  __u8 flow_lbl[3];
  __be16 payload_len;
  __u8 nexthdr, hop_limit;
  struct in6_addr saddr, daddr;
};
struct udphdr {
  __be16 source, dest, len;
  __sum16 check;
};
struct tcphdr {
  __be16 source, dest;
  __be32 seq, ack_seq;
  __u16 res1 : 4, doff : 4, fin : 1, syn : 1, rst : 1, psh : 1, ack : 1, urg : 1, ece : 1, cwr : 1;
  __be16 window;
  __sum16 check;
  __be16 urg_ptr;
};
struct icmphdr {
  __u8 type, code;
  __sum16 checksum;
  union {
    struct {
      __be16 id, sequence;
    } echo;
    __be32 gateway;
  } un;
};
enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58 };

#endif
