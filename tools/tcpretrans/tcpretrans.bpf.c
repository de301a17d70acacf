// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Segments that TCP sends again, and its tail loss probes where the kernel lets that function be probed.
#include "tool_socket.bpf.h"
#include "tcpretrans/tcpretrans.h"

const volatile u16 wanted_family = 0;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline int send(struct sock *sk, struct sk_buff *skb, u32 is_probe) {
  struct tool_addresses ends = {};
  if (!sk || !tool_socket_addresses(sk, &ends)) return 0;
  tool_unmap_ipv4(&ends);
  if (wanted_family && ends.family != wanted_family) return 0;
  struct retransmit_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
  event->is_probe = is_probe;
  event->addresses = ends;
  event->sequence = 0;
  if (skb) {
    struct tcp_skb_cb *control = (void *)&skb->cb[0];
    event->sequence = BPF_CORE_READ(control, seq);
  }
  bpf_ringbuf_submit(event, 0);
  return 0;
}

/* const struct sock *sk, const struct sk_buff *skb */
SEC("?raw_tp/tcp_retransmit_skb")
int kernel_retransmit__tracepoint(struct bpf_raw_tracepoint_args *ctx) {
  return send((void *)ctx->args[0], (void *)ctx->args[1], 0);
}
SEC("?kprobe/tcp_retransmit_skb")
int BPF_KPROBE(kernel_retransmit__kprobe, struct sock *sk, struct sk_buff *skb) { return send(sk, skb, 0); }

SEC("?fentry/tcp_send_loss_probe")
int BPF_PROG(kernel_probe__fentry, struct sock *sk) { return send(sk, 0, 1); }
SEC("?kprobe/tcp_send_loss_probe")
int BPF_KPROBE(kernel_probe__kprobe, struct sock *sk) { return send(sk, 0, 1); }
