/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TCP connections: tried, made, accepted, closed, gone. One program for the tools that show them.
 *
 * Kernel: the system calls connect() and accept() say who, the tracepoint of state changes says what became of it; no
 * probe of a kernel function is needed. User engine: the system calls alone. There a connection is a descriptor of a
 * process; its addresses are asked of the socket while the call returns, a connection that is still being made then
 * counts as made, and bytes are those of the calls that were watched.
 */
#include "tool_file.bpf.h"
#include "tool_socket.bpf.h"
#include "tool_tcp.h"

#define TOOL_IPPROTO_TCP 6
#define TOOL_EINPROGRESS 115

const volatile u32 wanted_kinds = 0; /* of enum tcp_event_kind */
const volatile u16 wanted_family = 0;

struct tcp_owner {
  u64 start_ns;
  u64 received, sent;
  u32 pid, uid;
  u32 closed; /* this side's close was told */
  u32 attempt; /* kernel: of tcp_attempt */
  struct tool_addresses addresses;
  char comm[16];
};
/* A connection that fails loses its own address before connect() returns: it is kept until then. */
enum tcp_attempt { TCP_NOT_IN_CALL, TCP_IN_CALL, TCP_FAILED_IN_CALL };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u64); /* kernel: the sock; user engine: process and descriptor */
  __type(value, struct tcp_owner);
} owners SEC(".maps");

struct tcp_call {
  u64 address;
  u64 descriptor;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u64);
  __type(value, struct tcp_call);
} calls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 19);
} events SEC(".maps");

static __always_inline void tcp_send(u32 kind, const struct tcp_owner *owner, s32 descriptor, s32 result, u32 space) {
  if (!(wanted_kinds & kind)) return;
  if (wanted_family && owner->addresses.family != wanted_family) return;
  struct tcp_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  event->time_ns = bpf_ktime_get_ns();
  event->duration_ns = event->time_ns - owner->start_ns;
  event->received = owner->received, event->sent = owner->sent;
  event->kind = kind;
  event->pid = owner->pid, event->uid = owner->uid;
  event->network_namespace = space;
  event->descriptor = descriptor;
  event->result = result;
  event->addresses = owner->addresses;
  __builtin_memcpy(event->comm, owner->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
}

static __always_inline void tcp_current(struct tcp_owner *owner) {
  owner->start_ns = bpf_ktime_get_ns();
  owner->pid = bpf_get_current_pid_tgid() >> 32;
  owner->uid = bpf_get_current_uid_gid();
  bpf_get_current_comm(owner->comm, sizeof(owner->comm));
}

/* ---- the kernel's view ---------------------------------------------------------------------------------------- */

static __always_inline bool tcp_is_tcp(struct sock *sk) {
  return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) == TOOL_IPPROTO_TCP;
}

static __always_inline bool tcp_addresses_now(struct sock *sk, struct tcp_owner *owner) {
  struct tool_addresses now = {};
  if (!tool_socket_addresses(sk, &now)) return false;
  tool_unmap_ipv4(&now);
  if (now.remote_port && now.local_port) owner->addresses = now; /* a socket that is done forgets its port */
  return true;
}

/* The socket's own end, which it has from the first packet on. When it fails, the port is free already, but written down. */
static __always_inline void tcp_local_end(struct sock *sk, struct tcp_owner *owner) {
  struct tool_addresses now = {};
  if (!tool_socket_addresses(sk, &now)) return;
  if (!now.local_port) now.local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
  owner->addresses.family = now.family;
  owner->addresses.local_port = now.local_port;
  __builtin_memcpy(owner->addresses.local, now.local, sizeof(now.local));
}

static __always_inline u32 tcp_namespace(struct sock *sk) {
  return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline void tcp_count(struct sock *sk, struct tcp_owner *owner) {
  struct tcp_sock *tcp = (void *)sk;
  owner->received = BPF_CORE_READ(tcp, bytes_received), owner->sent = BPF_CORE_READ(tcp, bytes_acked);
}

/* const struct sock *sk, int oldstate, int newstate */
SEC("?raw_tp/inet_sock_set_state")
int kernel_state(struct bpf_raw_tracepoint_args *ctx) {
  struct sock *sk = (void *)ctx->args[0];
  s32 from = ctx->args[1], to = ctx->args[2];
  u64 key = (u64)sk;
  if (!tcp_is_tcp(sk)) return 0;
  struct tcp_owner *owner = bpf_map_lookup_elem(&owners, &key);
  if (to == TOOL_TCP_SYN_SENT || (from == TOOL_TCP_SYN_RECV && to == TOOL_TCP_ESTABLISHED)) {
    struct tcp_owner fresh = {};
    if (to == TOOL_TCP_SYN_SENT && !wanted()) return 0;
    tcp_current(&fresh);
    if (to != TOOL_TCP_SYN_SENT) fresh.pid = 0; /* nobody has accepted it yet */
    u64 id = bpf_get_current_pid_tgid();
    if (to == TOOL_TCP_SYN_SENT && bpf_map_lookup_elem(&calls, &id)) fresh.attempt = TCP_IN_CALL;
    tcp_addresses_now(sk, &fresh);
    bpf_map_update_elem(&owners, &key, &fresh, BPF_ANY);
    return 0;
  }
  if (!owner) return 0;
  if (from == TOOL_TCP_SYN_SENT && to == TOOL_TCP_CLOSE && owner->attempt == TCP_IN_CALL) {
    tcp_local_end(sk, owner);
    owner->attempt = TCP_FAILED_IN_CALL; /* for tcp_kernel_tried() */
    return 0;
  }
  tcp_addresses_now(sk, owner);
  bool mine = owner->pid || !(wanted_pid || wanted_tree);
  if (from == TOOL_TCP_SYN_SENT && to == TOOL_TCP_ESTABLISHED && mine)
    tcp_send(TCP_EVENT_CONNECT, owner, -1, 0, tcp_namespace(sk));
  bool closes = to == TOOL_TCP_FIN_WAIT1 || to == TOOL_TCP_LAST_ACK ||
                (to == TOOL_TCP_CLOSE && (from == TOOL_TCP_ESTABLISHED || from == TOOL_TCP_CLOSE_WAIT));
  if (closes && !owner->closed && owner->pid) {
    owner->closed = 1;
    tcp_send(TCP_EVENT_CLOSE, owner, -1, 0, tcp_namespace(sk));
  }
  if (to == TOOL_TCP_CLOSE) {
    tcp_count(sk, owner);
    if (from != TOOL_TCP_SYN_SENT && mine) tcp_send(TCP_EVENT_END, owner, -1, 0, tcp_namespace(sk));
    bpf_map_delete_elem(&owners, &key);
  }
  return 0;
}

static __always_inline void tcp_kernel_accepted(s32 descriptor) {
  struct sock *sk = tool_socket(descriptor);
  if (!sk || !tcp_is_tcp(sk)) return;
  u64 key = (u64)sk;
  struct tcp_owner owner = {}, *known = bpf_map_lookup_elem(&owners, &key);
  tcp_current(&owner);
  if (known) owner.start_ns = known->start_ns;
  if (!tcp_addresses_now(sk, &owner)) return;
  bpf_map_update_elem(&owners, &key, &owner, BPF_ANY);
  tcp_send(TCP_EVENT_ACCEPT, &owner, descriptor, 0, tcp_namespace(sk));
}

/* What connect() was asked for, with the local end as it is now, or was. */
static __always_inline void tcp_kernel_tried(const struct tcp_call *call, s32 result) {
  struct sock *sk = tool_socket(call->descriptor);
  if (!sk || !tcp_is_tcp(sk)) return;
  struct tcp_owner owner = {}, *known = bpf_map_lookup_elem(&owners, &(u64){(u64)sk});
  tcp_current(&owner);
  tool_socket_addresses(sk, &owner.addresses);
  if (known && known->attempt == TCP_FAILED_IN_CALL) {
    owner.addresses = known->addresses;
    bpf_map_delete_elem(&owners, &(u64){(u64)sk});
  } else if (known) {
    known->attempt = TCP_NOT_IN_CALL;
  }
  tool_user_address(call->address, &owner.addresses.family, &owner.addresses.remote_port, owner.addresses.remote);
  tool_unmap_ipv4(&owner.addresses);
  tcp_send(TCP_EVENT_ATTEMPT, &owner, call->descriptor, result, tcp_namespace(sk));
}

/* ---- the user engine's view ------------------------------------------------------------------------------------ */

static __always_inline u64 tcp_user_key(u64 descriptor) {
  return (bpf_get_current_pid_tgid() & ~0xffffffffull) | (u32)descriptor;
}

/* The ends as the socket has them, where it can be asked; what the call said comes first. Whether it may be TCP. */
static __always_inline bool tcp_user_ends(const struct tcp_call *call, s32 descriptor, struct tool_addresses *ends) {
  struct sock *sk = tool_socket(descriptor);
  bool known = sk && BPF_CORE_READ(sk, __sk_common.skc_family);
  if (known && (!tcp_is_tcp(sk) || !tool_socket_addresses(sk, ends))) return false;
  if (call->address) {
    u16 family = 0, port = 0;
    u8 remote[16] = {};
    if (!tool_user_address(call->address, &family, &port, remote)) return known;
    ends->family = family, ends->remote_port = port;
    __builtin_memcpy(ends->remote, remote, sizeof(remote));
  }
  tool_unmap_ipv4(ends);
  return ends->family == TOOL_AF_INET || ends->family == TOOL_AF_INET6;
}

static __always_inline void tcp_user_opened(u32 kinds, const struct tcp_call *call, s32 descriptor, s32 result) {
  struct tcp_owner owner = {};
  tcp_current(&owner);
  if (!tcp_user_ends(call, descriptor, &owner.addresses)) return;
  if (kinds & TCP_EVENT_ATTEMPT) {
    struct sock *sk = tool_socket(descriptor);
    bool goes_by_route = sk && !BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
    tcp_send(TCP_EVENT_ATTEMPT, &owner, descriptor, result, goes_by_route ? tcp_namespace(sk) : 0);
  }
  if (result < 0 && result != -TOOL_EINPROGRESS) return;
  tcp_send(kinds & TCP_EVENT_ACCEPT ? TCP_EVENT_ACCEPT : TCP_EVENT_CONNECT, &owner, descriptor, result, 0);
  u64 key = tcp_user_key(descriptor);
  bpf_map_update_elem(&owners, &key, &owner, BPF_ANY);
}

static __always_inline void tcp_user_closing(u64 descriptor) {
  u64 key = tcp_user_key(descriptor);
  struct tcp_owner *owner = bpf_map_lookup_elem(&owners, &key);
  if (!owner) return;
  tcp_send(TCP_EVENT_CLOSE, owner, descriptor, 0, 0);
  tcp_send(TCP_EVENT_END, owner, descriptor, 0, 0);
  bpf_map_delete_elem(&owners, &key);
}

/* ---- system calls --------------------------------------------------------------------------------------------- */

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  struct tcp_call call = {.address = args[1], .descriptor = args[0]};
  bpf_map_update_elem(&calls, &id, &call, BPF_ANY);
  return 0;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct tcp_call *found = bpf_map_lookup_elem(&calls, &id);
  if (!found) return 0;
  struct tcp_call call = *found;
  bpf_map_delete_elem(&calls, &id);
  if (nr == __NR_connect) {
    if (in_kernel)
      tcp_kernel_tried(&call, ret);
    else
      tcp_user_opened(TCP_EVENT_ATTEMPT | TCP_EVENT_CONNECT, &call, call.descriptor, ret);
  } else if (ret >= 0) {
    if (in_kernel)
      tcp_kernel_accepted(ret);
    else
      tcp_user_opened(TCP_EVENT_ACCEPT, &call, ret, 0);
  }
  return 0;
}

#define TCP_CALLS(X) X(connect) X(accept) X(accept4)
TOOL_CALLS_ENTER(TCP_CALLS, on_enter)
TOOL_CALLS_EXIT(TCP_CALLS, on_exit)

SEC("?tracepoint/syscalls/sys_enter_close")
int user_close(struct tool_enter_record *ctx) {
  if (wanted()) tcp_user_closing(ctx->args[0]);
  return 0;
}

/* Bytes by descriptor, for tools that show them. */
static __always_inline int transfer_enter(void *ctx, u32 nr, const u64 *args) {
  u64 key = tcp_user_key(args[0]);
  if (!bpf_map_lookup_elem(&owners, &key)) return 0;
  u64 id = bpf_get_current_pid_tgid();
  struct tcp_call call = {.descriptor = args[0]};
  bpf_map_update_elem(&calls, &id, &call, BPF_ANY);
  return 0;
}
static __always_inline void transfer_exit(bool sends, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct tcp_call *call = bpf_map_lookup_elem(&calls, &id);
  if (!call) return;
  u64 key = tcp_user_key(call->descriptor);
  bpf_map_delete_elem(&calls, &id);
  struct tcp_owner *owner = bpf_map_lookup_elem(&owners, &key);
  if (!owner || ret <= 0) return;
  if (sends)
    owner->sent += ret;
  else
    owner->received += ret;
}
#define TOOL_USER_TRANSFER(call, sends)                                                              \
  SEC("?tracepoint/syscalls/sys_enter_" #call)                                                       \
  int user_bytes_enter_##call(struct tool_enter_record *ctx) { return transfer_enter(ctx, 0, ctx->args); } \
  SEC("?tracepoint/syscalls/sys_exit_" #call)                                                        \
  int user_bytes_exit_##call(struct tool_exit_record *ctx) { transfer_exit(sends, ctx->ret); return 0; }
