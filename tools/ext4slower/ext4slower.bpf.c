// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "ext4.bpf.h"
#include "ext4slower.h"

const volatile u64 least_ns = 10000000;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} events SEC(".maps");

static __always_inline void ext4_done(void *ctx, u32 operation, struct ext4_call *call, s64 result, u64 now) {
  if (now - call->begun_ns < least_ns) return;
  struct slow_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  event->end_ns = now, event->duration_ns = now - call->begun_ns, event->offset = call->offset;
  event->result = result, event->operation = operation;
  event->pid = bpf_get_current_pid_tgid() >> 32;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  event->file[0] = 0;
  bpf_probe_read_kernel_str(event->file, sizeof(event->file), BPF_CORE_READ(call->file, f_path.dentry, d_name.name));
  bpf_ringbuf_submit(event, 0);
}
