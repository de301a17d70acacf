// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// listen(2) on IPv4 and IPv6 sockets.
#include "tool_file.bpf.h"
#include "tool_socket.bpf.h"
#include "solisten/solisten.h"

struct listening {
  u64 descriptor, backlog;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct listening);
} listenings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  struct listening listening = {.descriptor = args[0], .backlog = args[1]};
  bpf_map_update_elem(&listenings, &id, &listening, BPF_ANY);
  return 0;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct listening *found = bpf_map_lookup_elem(&listenings, &id);
  if (!found) return 0;
  struct listen_event event = {.time_ns = bpf_ktime_get_ns(), .pid = id >> 32, .result = ret};
  event.descriptor = found->descriptor, event.backlog = found->backlog;
  bpf_map_delete_elem(&listenings, &id);
  if (ret < 0) return 0;
  struct sock *sk = tool_socket(event.descriptor);
  if (!sk || !tool_socket_addresses(sk, &event.addresses)) return 0;
  event.protocol = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
  event.network_namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
  return 0;
}

#define CALLS(X) X(listen)
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
