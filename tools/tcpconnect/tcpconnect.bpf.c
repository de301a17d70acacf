// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Connections; and, where names are wanted, the answers of name servers: what a system call takes from a UDP socket
// whose peer's port is 53, or from a sender with that port. Whoever asks may be another process than the one that
// connects (a resolver of the machine's own), so everybody's answers count.
#define TOOL_CONTAINERS
#include "tool_tcp.bpf.h"
#include "tcpconnect.h"

#define NAMES_PORT 53
#define NAMES_MOST_AT_ONCE 16 /* of recvmmsg() */
#define IPPROTO_OF_UDP 17

struct receiving {
  u64 buffer, bytes;
  u64 header; /* of recvmsg(): both are behind it; of recvmmsg(): of the first of several messages */
  u64 sender; /* where the call leaves the sender's address, or 0 */
  s32 descriptor;
  u32 has_several;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u64);
  __type(value, struct receiving);
} receivings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct names_event);
} names_scratch SEC(".maps");

static __always_inline struct sock *udp_socket(s32 descriptor) {
  struct sock *sk = tool_socket(descriptor);
  return sk && BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) == IPPROTO_OF_UDP ? sk : 0;
}

static __always_inline int names_enter(u32 nr, const u64 *args) {
  if (in_kernel && !udp_socket(args[0])) return 0; /* the user engine asks at the end, where the rest is asked too */
  struct receiving receiving = {.descriptor = args[0]};
  if (nr == __NR_recvmsg || nr == __NR_recvmmsg)
    receiving.header = args[1], receiving.has_several = nr == __NR_recvmmsg;
  else
    receiving.buffer = args[1], receiving.bytes = args[2];
  if (nr == __NR_recvfrom) receiving.sender = args[4];
  u64 id = bpf_get_current_pid_tgid();
  bpf_map_update_elem(&receivings, &id, &receiving, BPF_ANY);
  return 0;
}

/* struct user_msghdr and its first struct iovec, as programs write them. */
static __always_inline bool read_header(u64 address, struct receiving *receiving) {
  struct {
    u64 name;
    u32 name_bytes, unused;
    u64 pieces, count;
  } header = {};
  struct {
    u64 base, bytes;
  } piece = {};
  if (bpf_probe_read_user(&header, sizeof(header), (void *)address) || !header.count) return false;
  if (bpf_probe_read_user(&piece, sizeof(piece), (void *)header.pieces)) return false;
  receiving->sender = header.name, receiving->buffer = piece.base, receiving->bytes = piece.bytes;
  return true;
}

static __always_inline bool is_from_name_server(struct receiving *receiving) {
  struct sock *sk = udp_socket(receiving->descriptor);
  if (!sk) return false;
  if (bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)) == NAMES_PORT) return true;
  u16 family = 0, port = 0;
  u8 address[16];
  return receiving->sender && tool_user_address(receiving->sender, &family, &port, address) && port == NAMES_PORT;
}

static __always_inline void send_message(struct receiving *receiving, u64 bytes) {
  if (!is_from_name_server(receiving)) return;
  u32 zero = 0;
  struct names_event *event = bpf_map_lookup_elem(&names_scratch, &zero);
  if (!event) return;
  if (bytes > receiving->bytes) bytes = receiving->bytes;
  if (bytes > NAMES_MOST_BYTES) bytes = NAMES_MOST_BYTES;
  event->head.kind = TCP_EVENT_NAMES;
  event->head.time_ns = bpf_ktime_get_ns();
  if (!bytes || bpf_probe_read_user(event->message, bytes, (void *)receiving->buffer)) return;
  bpf_ringbuf_output(&events, event, sizeof(event->head) + bytes, 0);
}

static __always_inline int names_exit(s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct receiving *found = bpf_map_lookup_elem(&receivings, &id);
  if (!found) return 0;
  struct receiving receiving = *found;
  bpf_map_delete_elem(&receivings, &id);
  if (!receiving.has_several) {
    if (ret > 0 && (!receiving.header || read_header(receiving.header, &receiving))) send_message(&receiving, ret);
    return 0;
  }
  for (u32 i = 0; i < NAMES_MOST_AT_ONCE && (s64)i < ret; ++i) {
    u64 header = receiving.header + i * 64; /* struct mmsghdr */
    u32 bytes = 0;
    if (bpf_probe_read_user(&bytes, sizeof(bytes), (void *)header + 56)) break;
    if (read_header(header, &receiving)) send_message(&receiving, bytes);
  }
  return 0;
}

#define NAMES_CALLS(X) X(recvfrom) X(recvmsg) X(recvmmsg) X(read)
#define NAMES_USER(call)                                                                            \
  SEC("?tracepoint/syscalls/sys_enter_" #call)                                                      \
  int user_names_enter_##call(struct tool_enter_record *ctx) { return names_enter(__NR_##call, ctx->args); } \
  SEC("?tracepoint/syscalls/sys_exit_" #call)                                                       \
  int user_names_exit_##call(struct tool_exit_record *ctx) { return names_exit(ctx->ret); }
NAMES_CALLS(NAMES_USER)

SEC("?tp_btf/sys_enter")
int kernel_names_enter(u64 *ctx) {
  struct pt_regs *regs = (struct pt_regs *)ctx[0];
  s64 nr = ctx[1];
  if (!(0 NAMES_CALLS(TOOL_IS_CALL)) || tool_is_compat()) return 0;
  u64 args[6] = TOOL_SYSCALL_ARGS(regs);
  return names_enter(nr, args);
}

SEC("?tp_btf/sys_exit")
int kernel_names_exit(u64 *ctx) {
  struct pt_regs *regs = (struct pt_regs *)ctx[0];
  s64 nr = TOOL_SYSCALL_NR(regs);
  if (!(0 NAMES_CALLS(TOOL_IS_CALL)) || tool_is_compat()) return 0;
  return names_exit(ctx[1]);
}
