// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Packets of TCP connections that the kernel drops, with the way that led to it.
#include "tool_socket.bpf.h"
#include "tcpdrop/tcpdrop.h"

const volatile u16 wanted_family = 0;
const volatile bool has_reasons = 0;
const volatile s32 reason_consumed = -1; /* no drop at all: the last user of a packet let it go */

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct drop_event);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

/* struct sk_buff *skb, void *location, enum skb_drop_reason reason (5.17), struct sock *rx_sk (6.11) */
SEC("?raw_tp/kfree_skb")
int kernel_free(struct bpf_raw_tracepoint_args *ctx) {
  struct sk_buff *skb = (void *)ctx->args[0];
  s32 reason = has_reasons ? (s32)ctx->args[2] : -1;
  if (has_reasons && (reason == 0 || reason == reason_consumed)) return 0;
  struct sock *sk = BPF_CORE_READ(skb, sk);
  if (!sk || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) != 6) return 0;
  u32 zero = 0;
  struct drop_event *event = bpf_map_lookup_elem(&scratch, &zero);
  if (!event) return 0;
  __builtin_memset(&event->addresses, 0, sizeof(event->addresses));
  if (!tool_socket_addresses(sk, &event->addresses)) return 0;
  tool_unmap_ipv4(&event->addresses);
  if (wanted_family && event->addresses.family != wanted_family) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
  event->reason = reason;
  event->flags = 0;
  unsigned char *head = BPF_CORE_READ(skb, head);
  u16 transport = BPF_CORE_READ(skb, transport_header);
  u8 flags = 0;
  if (transport != 0xffff && !bpf_probe_read_kernel(&flags, 1, head + transport + 13)) event->flags = flags;
  event->stack_bytes = bpf_get_stack(ctx, event->stack, sizeof(event->stack), 0);
  bpf_ringbuf_output(&events, event, sizeof(*event), 0);
  return 0;
}
