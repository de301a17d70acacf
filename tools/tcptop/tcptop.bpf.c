// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Bytes that processes send and receive over TCP, by connection.
#define TOOL_CONTAINERS
#include "tool_socket.bpf.h"
#include "tcptop/tcptop.h"

#define MSG_PEEK 2

const volatile u16 wanted_family = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct traffic_key);
  __type(value, struct traffic);
} traffics SEC(".maps");

static struct traffic nothing;

static __always_inline int count(struct sock *sk, s64 bytes, bool sends) {
  if (bytes <= 0 || !wanted() || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) != 6) return 0;
  struct traffic_key key = {};
  if (!tool_socket_addresses(sk, &key.addresses)) return 0;
  tool_unmap_ipv4(&key.addresses);
  if (wanted_family && key.addresses.family != wanted_family) return 0;
  key.pid = bpf_get_current_pid_tgid() >> 32;
  bpf_get_current_comm(key.comm, sizeof(key.comm));
  struct traffic *traffic = tool_lookup_or_init(&traffics, &key, &nothing);
  if (traffic) __sync_fetch_and_add(sends ? &traffic->sent : &traffic->received, bytes);
  return 0;
}

/* struct sock *sk, int ret, int flags: Linux 6.3 and newer */
SEC("?raw_tp/sock_send_length")
int kernel_send__tracepoint(struct bpf_raw_tracepoint_args *ctx) {
  return count((void *)ctx->args[0], (s32)ctx->args[1], true);
}
SEC("?kprobe/tcp_sendmsg")
int BPF_KPROBE(kernel_send__kprobe, struct sock *sk, void *message, size_t size) { return count(sk, size, true); }

SEC("?raw_tp/sock_recv_length")
int kernel_receive__tracepoint(struct bpf_raw_tracepoint_args *ctx) {
  return ctx->args[2] & MSG_PEEK ? 0 : count((void *)ctx->args[0], (s32)ctx->args[1], false);
}
SEC("?kprobe/tcp_cleanup_rbuf")
int BPF_KPROBE(kernel_receive__kprobe, struct sock *sk, int copied) { return count(sk, copied, false); }
