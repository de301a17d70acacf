// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What programs write to and read from TLS libraries: the clear text, at the functions that take and give it.
#include "tool.bpf.h"
#include "sslsniff/sslsniff.h"

#define BASE_BYTES __builtin_offsetof(struct ssl_event, data)

const volatile u32 most_bytes = SSL_MOST_BYTES;

struct moving {
  u64 started_ns, buffer, count_pointer;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, u64);
  __type(value, struct moving);
} moves SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct ssl_event);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 22);
} events SEC(".maps");

static __always_inline int enter(u64 buffer, u64 count_pointer) {
  if (!wanted()) return 0;
  u64 id = bpf_get_current_pid_tgid();
  struct moving moving = {.started_ns = bpf_ktime_get_ns(), .buffer = buffer, .count_pointer = count_pointer};
  bpf_map_update_elem(&moves, &id, &moving, BPF_ANY);
  return 0;
}

static __always_inline int leave(struct pt_regs *ctx, u32 kind) {
  u64 id = bpf_get_current_pid_tgid();
  struct moving *moving = bpf_map_lookup_elem(&moves, &id);
  if (!moving) return 0;
  s32 length = PT_REGS_RC(ctx);
  u64 count = 0, buffer = moving->buffer, started = moving->started_ns;
  if (moving->count_pointer && length == 1 && !bpf_probe_read_user(&count, sizeof(count), (void *)moving->count_pointer))
    length = count;
  bpf_map_delete_elem(&moves, &id);
  u32 zero = 0;
  struct ssl_event *event = bpf_map_lookup_elem(&scratch, &zero);
  if (!event || (kind < 2 && length <= 0)) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->spent_ns = event->time_ns - started;
  event->pid = id >> 32, event->tid = id;
  event->uid = bpf_get_current_uid_gid();
  event->kind = kind;
  event->length = length;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  u64 bytes = kind == 2 ? 0 : (u32)length;
  if (bytes > most_bytes) bytes = most_bytes;
  if (bytes > SSL_MOST_BYTES) bytes = SSL_MOST_BYTES;
  if (bytes && bpf_probe_read_user(event->data, bytes, (void *)buffer)) bytes = 0;
  event->bytes = bytes;
  u64 size = BASE_BYTES + bytes;
  if (size <= sizeof(*event)) bpf_ringbuf_output(&events, event, size, 0);
  return 0;
}

SEC("?uprobe") int BPF_UPROBE(move_enter, void *ssl, void *buffer, u64 count) { return enter((u64)buffer, 0); }
SEC("?uprobe") int BPF_UPROBE(move_ex_enter, void *ssl, void *buffer, u64 count, u64 moved) { return enter((u64)buffer, moved); }
SEC("?uretprobe") int read_exit(struct pt_regs *ctx) { return leave(ctx, 0); }
SEC("?uretprobe") int write_exit(struct pt_regs *ctx) { return leave(ctx, 1); }
SEC("?uprobe") int handshake_enter(struct pt_regs *ctx) { return enter(0, 0); }
SEC("?uretprobe") int handshake_exit(struct pt_regs *ctx) { return leave(ctx, 2); }
