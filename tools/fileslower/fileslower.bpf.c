// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Reads and writes of files that took long.
#include "tool_io.bpf.h"
#include "fileslower/fileslower.h"

const volatile bool all_files = 0;
const volatile u64 least_ns = 10000000;
const volatile u32 self = 0; /* the tool: what it prints into a file would be a row, which it would print */

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline void io_finished(const struct io_done *done) {
  u64 spent = done->ended_ns - done->started_ns;
  if (spent < least_ns || (!all_files && done->type != TOOL_S_IFREG)) return;
  if (bpf_get_current_pid_tgid() >> 32 == self) return;
  struct slow_io_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  event->time_ns = done->ended_ns, event->spent_ns = spent;
  event->bytes = done->bytes;
  event->tid = done->tid;
  event->writes = done->writes;
  event->descriptor = done->descriptor, event->reserved = 0;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  __builtin_memcpy(event->name, done->name, sizeof(event->name));
  bpf_ringbuf_submit(event, 0);
}
TOOL_IO
