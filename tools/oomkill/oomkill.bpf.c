// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// oom_kill_process() knows the most. The tracepoint mark_victim has the victim's number in older kernels and the
// victim itself in newer ones (6.8): a number is told from a pointer by its size.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "oomkill.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 << 10);
} events SEC(".maps");

static __always_inline int send(void *ctx, struct oom_event *event) {
  event->trigger_pid = bpf_get_current_pid_tgid() >> 32;
  bpf_get_current_comm(event->trigger, sizeof(event->trigger));
  bpf_ringbuf_output(&events, event, sizeof(*event), 0);
  return 0;
}

static __always_inline void set_victim(struct oom_event *event, struct task_struct *victim) {
  event->victim_pid = BPF_CORE_READ(victim, tgid);
  BPF_CORE_READ_STR_INTO(&event->victim, victim, comm);
}

static __always_inline int on_kill(void *ctx, struct oom_control *control) {
  struct oom_event event = {.pages = BPF_CORE_READ(control, totalpages)};
  set_victim(&event, BPF_CORE_READ(control, chosen));
  return send(ctx, &event);
}
TOOL_ENTRY(killed, oom_kill_process, on_kill, (ctx, control), struct oom_control *control)

SEC("?raw_tp/mark_victim")
int killed__tracepoint(struct bpf_raw_tracepoint_args *ctx) {
  struct oom_event event = {};
  if (ctx->args[0] >> 32)
    set_victim(&event, (struct task_struct *)ctx->args[0]);
  else
    event.victim_pid = ctx->args[0];
  return send(ctx, &event);
}
