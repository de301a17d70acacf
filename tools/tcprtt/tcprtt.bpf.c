// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The smoothed round-trip time of a connection, whenever a segment of it arrives.
#include "tool_socket.bpf.h"
#include "tcprtt/tcprtt.h"

const volatile u16 wanted_family = 0;
const volatile u16 wanted_local_port = 0, wanted_remote_port = 0;
const volatile struct rtt_key wanted_local = {}, wanted_remote = {};
const volatile bool milliseconds = 0;
const volatile u32 by = 0; /* 1: local address, 2: remote */

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct rtt_key);
  __type(value, struct rtt_totals);
} rtts SEC(".maps");

static struct rtt_totals nothing;

static __always_inline bool is_address(const volatile struct rtt_key *wanted_end, const u8 *end, u16 family) {
  if (!wanted_end->family) return true;
  if (wanted_end->family != family) return false;
  for (int i = 0; i < 16; i++)
    if (wanted_end->address[i] != end[i]) return false;
  return true;
}

static __always_inline int observe(struct sock *sk) {
  struct tool_addresses ends = {};
  if (!tool_socket_addresses(sk, &ends)) return 0;
  tool_unmap_ipv4(&ends);
  if (ends.family == TOOL_AF_INET) {
    __builtin_memset(ends.local + 4, 0, 12);
    __builtin_memset(ends.remote + 4, 0, 12);
  }
  if (wanted_family && ends.family != wanted_family) return 0;
  if (wanted_local_port && ends.local_port != wanted_local_port) return 0;
  if (wanted_remote_port && ends.remote_port != wanted_remote_port) return 0;
  if (!is_address(&wanted_local, ends.local, ends.family) || !is_address(&wanted_remote, ends.remote, ends.family)) return 0;
  struct rtt_key key = {};
  if (by) {
    key.family = ends.family;
    __builtin_memcpy(key.address, by == 1 ? ends.local : ends.remote, 16);
  }
  struct rtt_totals *totals = tool_lookup_or_init(&rtts, &key, &nothing);
  if (!totals) return 0;
  struct tcp_sock *tcp = (void *)sk;
  u64 rtt = BPF_CORE_READ(tcp, srtt_us) >> 3; /* kept in eighths of a microsecond */
  if (milliseconds) rtt /= 1000;
  u32 slot = tool_log2(rtt);
  if (slot < 64) __sync_fetch_and_add(&totals->slots[slot], 1);
  __sync_fetch_and_add(&totals->total, rtt);
  __sync_fetch_and_add(&totals->count, 1);
  return 0;
}

/* struct sock *sk, const struct sk_buff *skb: fires in tcp_rcv_established */
SEC("?raw_tp/tcp_probe")
int kernel_receive__tracepoint(struct bpf_raw_tracepoint_args *ctx) { return observe((void *)ctx->args[0]); }
SEC("?kprobe/tcp_rcv_established")
int BPF_KPROBE(kernel_receive__kprobe, struct sock *sk) { return observe(sk); }
