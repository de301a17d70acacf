// The kernel's structures as the user engine has them: what can be known of a task from outside, and nothing else.
//
// Names are the kernel's, places are ours: programs find them by CO-RE (user/target_types.def makes BTF of these
// structures, member by member). A pointer is a shadow address: an opaque number that looks like one of the kernel's,
// and means a place in the window of ShadowTasks by its lower half. Source: Linux 6.18,
// include/linux/{sched,cred,nsproxy,mm_types,ns_common,utsname,fdtable,fs,dcache,path,net}.h, include/net/sock.h.
#pragma once
#include <cstddef>
#include <skep/types.hpp>

namespace skep::hook::shadow {

/// A pointer as programs see it; 0 is null.
using Pointer = u64;

struct id {
  u32 val;
};
struct capabilities {
  u64 val;
};
struct atomic {
  s32 counter;
};
struct ns_common {
  u32 inum;
};
/// ipc_namespace, mnt_namespace, pid_namespace, time_namespace, cgroup_namespace, net: what they share.
struct name_space {
  ns_common ns;
};

struct new_utsname {
  char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};
struct uts_namespace {
  new_utsname name;
  ns_common ns;
};

struct cred {
  id uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
  capabilities cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
};

struct signal_struct {
  atomic live;  ///< threads that have not come to their end
  s32 nr_threads;
};

struct mm_struct {
  u64 start_code, end_code, start_data, end_data, start_brk, start_stack;
  u64 arg_start, arg_end, env_start, env_end;
};

struct nsproxy {
  Pointer uts_ns, ipc_ns, mnt_ns, pid_ns_for_children, net_ns, time_ns, cgroup_ns;
};

/// The table of a task's descriptors. `fd` leads to addresses without memory: ShadowFiles answers for them.
struct fdtable {
  u32 max_fds;
  Pointer fd;
};
struct files_struct {
  Pointer fdt;
};
/// Device numbers as the kernel has them: 12 bits of major, 20 of minor.
struct super_block {
  u32 s_dev;
};
struct inode {
  u16 i_mode;
  u32 i_nlink, i_rdev;
  u64 i_ino;
  s64 i_size;
  Pointer i_sb;
};
/// In the kernel's own layout, for programs copy it whole.
struct qstr {
  u32 hash;  ///< 0
  u32 len;
  Pointer name;
};
struct dentry {
  qstr d_name;
  Pointer d_inode;
};
struct path {
  Pointer dentry;
};
struct file {
  Pointer f_inode;
  Pointer private_data;  ///< a socket's: its struct socket
  u32 f_mode;            ///< FMODE_READ, FMODE_WRITE, FMODE_CREATED
  path f_path;
};
struct socket {
  Pointer sk;
};
struct in6_addr {
  u8 bytes[16];
};
struct possible_net {
  Pointer net;
};
/// Addresses and skc_dport as on the wire. Of an IPv6 socket that carries IPv4 both kinds of addresses, as in the
/// kernel.
struct sock_common {
  u16 skc_family, skc_num, skc_dport;
  u8 skc_state, skc_reuse, skc_reuseport, skc_ipv6only;
  s32 skc_bound_dev_if;
  u32 skc_daddr, skc_rcv_saddr;
  in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
  possible_net skc_net;
};
struct sock {
  sock_common __sk_common;  // NOLINT: the kernel's name
  u16 sk_type, sk_protocol;
};
/// What every sock of IPv4 and IPv6 is the first part of.
struct inet_sock {
  struct sock sk;
  u16 inet_sport;  ///< as on the wire
  u64 inet_flags;  ///< the bits of Linux 6.18: FREEBIND 11, TRANSPARENT 15, BIND_ADDRESS_NO_PORT 18
};

static_assert(offsetof(qstr, len) == 4 && offsetof(qstr, name) == 8 && sizeof(qstr) == 16);

struct thread_info {
  u32 status;  ///< TS_COMPAT (2) while in a 32-bit call
};

struct task_struct {
  struct thread_info thread_info;
  u32 flags;
  s32 prio, static_prio;
  s32 exit_code;
  s32 pid, tgid;
  Pointer real_parent, parent, group_leader;
  Pointer mm;
  u64 start_time, start_boottime;
  Pointer real_cred, cred;
  char comm[16];
  Pointer nsproxy;
  Pointer signal;
  Pointer files;
};

struct linux_binprm {
  Pointer filename;
};

/// What every signal says of itself; who sent it is in a union that only some signals fill.
struct kernel_siginfo {
  s32 si_signo, si_errno, si_code;
};

struct sigaction {
  Pointer handler;  ///< sa_handler, which is a macro of <signal.h>
  u64 flags;
};
struct k_sigaction {
  struct sigaction sa;
};

}  // namespace skep::hook::shadow
