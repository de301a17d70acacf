// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every change of a TCP socket's state, with how long the old one lasted.
#include "tool_socket.bpf.h"
#include "tcpstates/tcpstates.h"

const volatile u16 wanted_family = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u64);
  __type(value, u64);
} since SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 19);
} events SEC(".maps");

/* const struct sock *sk, int oldstate, int newstate */
SEC("?raw_tp/inet_sock_set_state")
int kernel_state(struct bpf_raw_tracepoint_args *ctx) {
  struct sock *sk = (void *)ctx->args[0];
  u64 key = (u64)sk, now = bpf_ktime_get_ns();
  if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) != 6) return 0;
  u64 *start = bpf_map_lookup_elem(&since, &key);
  u64 spent = start ? now - *start : 0;
  if ((s32)ctx->args[2] == TOOL_TCP_CLOSE)
    bpf_map_delete_elem(&since, &key);
  else
    bpf_map_update_elem(&since, &key, &now, BPF_ANY);
  struct tool_addresses ends = {};
  if (!tool_socket_addresses(sk, &ends)) return 0;
  tool_unmap_ipv4(&ends);
  if ((wanted_family && ends.family != wanted_family) || !wanted()) return 0;
  struct state_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = now, event->spent_ns = spent;
  event->socket = key;
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->from = ctx->args[1], event->to = ctx->args[2];
  event->addresses = ends;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
  return 0;
}
