/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Addresses of sockets: from the kernel's struct sock, or from a sockaddr of the caller. */
#ifndef SKEP_TOOL_SOCKET_BPF_H
#define SKEP_TOOL_SOCKET_BPF_H

#include "tool.bpf.h"
#include <bpf/bpf_endian.h>
#include "tool_address.h"

#define TOOL_AF_INET 2
#define TOOL_AF_INET6 10

enum {
  TOOL_TCP_ESTABLISHED = 1, TOOL_TCP_SYN_SENT, TOOL_TCP_SYN_RECV, TOOL_TCP_FIN_WAIT1, TOOL_TCP_FIN_WAIT2,
  TOOL_TCP_TIME_WAIT, TOOL_TCP_CLOSE, TOOL_TCP_CLOSE_WAIT, TOOL_TCP_LAST_ACK, TOOL_TCP_LISTEN, TOOL_TCP_CLOSING,
};

/* Whether the socket is of IPv4 or IPv6; `out` must be zero before. */
static __always_inline bool tool_socket_addresses(struct sock *sk, struct tool_addresses *out) {
  out->family = BPF_CORE_READ(sk, __sk_common.skc_family);
  out->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
  out->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
  if (out->family == TOOL_AF_INET) {
    bpf_core_read(out->local, 4, &sk->__sk_common.skc_rcv_saddr);
    bpf_core_read(out->remote, 4, &sk->__sk_common.skc_daddr);
    return true;
  }
  if (out->family != TOOL_AF_INET6) return false;
  bpf_core_read(out->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
  bpf_core_read(out->remote, 16, &sk->__sk_common.skc_v6_daddr);
  return true;
}

/* A sockaddr of the caller into one end. */
static __always_inline bool tool_user_address(u64 address, u16 *family, u16 *port, u8 *bytes) {
  struct sockaddr_in6 any = {};
  if (bpf_probe_read_user(&any, sizeof(struct sockaddr_in), (void *)address)) return false;
  *family = any.sin6_family;
  *port = bpf_ntohs(any.sin6_port);
  if (*family == TOOL_AF_INET) {
    __builtin_memcpy(bytes, &any.sin6_flowinfo, 4); /* where sockaddr_in has its address */
    return true;
  }
  if (*family != TOOL_AF_INET6 || bpf_probe_read_user(&any, sizeof(any), (void *)address)) return false;
  __builtin_memcpy(bytes, &any.sin6_addr, 16);
  return true;
}

/* An IPv4 address that an IPv6 socket carries (::ffff:a.b.c.d) is shown as IPv4. */
static __always_inline void tool_unmap_ipv4(struct tool_addresses *a) {
  if (a->family != TOOL_AF_INET6) return;
  u32 *remote = (u32 *)a->remote, *local = (u32 *)a->local;
  if (remote[0] || remote[1] || remote[2] != bpf_htonl(0xffff)) return;
  a->family = TOOL_AF_INET;
  remote[0] = remote[3], local[0] = local[3];
}

#endif
