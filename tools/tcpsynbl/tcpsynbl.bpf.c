// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// How full the queue of a listening socket is when a connection is completed.
#include "tool_socket.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u32); /* the queue's limit */
  __type(value, struct log2_histogram);
} queues SEC(".maps");

static struct log2_histogram nothing;

static __always_inline int observe(struct sock *sk) {
  u32 limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
  struct log2_histogram *histogram = tool_lookup_or_init(&queues, &limit, &nothing);
  if (histogram) tool_observe(histogram, BPF_CORE_READ(sk, sk_ack_backlog));
  return 0;
}

SEC("?fentry/tcp_v4_syn_recv_sock")
int BPF_PROG(kernel_ipv4__fentry, struct sock *sk) { return observe(sk); }
SEC("?kprobe/tcp_v4_syn_recv_sock")
int BPF_KPROBE(kernel_ipv4__kprobe, struct sock *sk) { return observe(sk); }
SEC("?fentry/tcp_v6_syn_recv_sock")
int BPF_PROG(kernel_ipv6__fentry, struct sock *sk) { return observe(sk); }
SEC("?kprobe/tcp_v6_syn_recv_sock")
int BPF_KPROBE(kernel_ipv6__kprobe, struct sock *sk) { return observe(sk); }
