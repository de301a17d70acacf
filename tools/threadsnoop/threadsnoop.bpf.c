// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// pthread_create(3): who starts a thread, and with which function.
#include "tool.bpf.h"
#include "threadsnoop/threadsnoop.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

SEC("?uprobe/libc.so.6:pthread_create")
int BPF_UPROBE(create, void *thread, void *attributes, void *start) {
  if (!wanted()) return 0;
  struct thread_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->start = (u64)start;
  event->pid = bpf_get_current_pid_tgid() >> 32, event->reserved = 0;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
  return 0;
}
