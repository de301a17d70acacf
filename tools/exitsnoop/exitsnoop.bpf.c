// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The end of every thread: what the task says of itself when it leaves.
#include "tool.bpf.h"
#include "exitsnoop.h"

const volatile bool only_failed = 0;
const volatile bool threads = 0;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

SEC("?raw_tp/sched_process_exit")
int task_exit(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *task = (void *)ctx->args[0];
  u32 pid = BPF_CORE_READ(task, tgid), tid = BPF_CORE_READ(task, pid);
  if (!threads && pid != tid) return 0;
  if (!wanted()) return 0;
  s32 code = BPF_CORE_READ(task, exit_code);
  if (only_failed && !code) return 0;
  struct exit_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->start_ns = BPF_CORE_READ(task, start_time);
  event->end_ns = bpf_ktime_get_ns();
  event->pid = pid, event->tid = tid;
  event->parent = BPF_CORE_READ(task, real_parent, tgid);
  event->code = code;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
  return 0;
}
