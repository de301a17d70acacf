// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// bind(2) on IPv4 and IPv6 sockets: the address as the call said it; protocol, options and the port that it got as the
// socket says.
#define TOOL_CONTAINERS
#include "tool_file.bpf.h"
#include "tool_socket.bpf.h"
#include "bindsnoop/bindsnoop.h"

const volatile bool with_failures = 0;

struct binding {
  u64 descriptor, address;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct binding);
} bindings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  struct binding binding = {.descriptor = args[0], .address = args[1]};
  bpf_map_update_elem(&bindings, &id, &binding, BPF_ANY);
  return 0;
}

/* Bits of inet_sock::inet_flags since Linux 6.6. */
#define FLAG_FREEBIND 11
#define FLAG_TRANSPARENT 15
#define FLAG_BIND_ADDRESS_NO_PORT 18

static __always_inline u32 options_of(struct sock *sk) {
  struct inet_sock *inet = (void *)sk;
  struct inet_sock___before_6_6 *before = (void *)sk;
  u32 options = 0;
  if (bpf_core_field_exists(inet->inet_flags)) {
    u64 flags = BPF_CORE_READ(inet, inet_flags);
    options = (flags >> FLAG_FREEBIND & 1) | (flags >> FLAG_TRANSPARENT & 1) << 1 | (flags >> FLAG_BIND_ADDRESS_NO_PORT & 1) << 2;
  } else if (bpf_core_field_exists(before->freebind)) {
    options = BPF_CORE_READ_BITFIELD_PROBED(before, freebind) | BPF_CORE_READ_BITFIELD_PROBED(before, transparent) << 1 |
              BPF_CORE_READ_BITFIELD_PROBED(before, bind_address_no_port) << 2;
  }
  if (BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuse)) options |= 8;
  if (BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport)) options |= 16;
  return options;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct binding *found = bpf_map_lookup_elem(&bindings, &id);
  if (!found) return 0;
  struct binding binding = *found;
  bpf_map_delete_elem(&bindings, &id);
  if (ret < 0 && !with_failures) return 0;
  struct bind_event event = {.time_ns = bpf_ktime_get_ns(), .pid = id >> 32, .uid = bpf_get_current_uid_gid(), .result = ret};
  if (!tool_user_address(binding.address, &event.addresses.family, &event.addresses.local_port, event.addresses.local))
    return 0;
  struct sock *sk = tool_socket(binding.descriptor);
  if (sk && BPF_CORE_READ(sk, __sk_common.skc_family)) {
    event.protocol = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
    event.device = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
    event.options = options_of(sk);
    if (ret >= 0) event.addresses.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
  }
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
  return 0;
}

#define CALLS(X) X(bind)
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
