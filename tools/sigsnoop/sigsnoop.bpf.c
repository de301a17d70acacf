// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every signal that is sent, by whatever means: the kernel's own (SIGSEGV, SIGCHLD, timers) included.
#include "tool.bpf.h"
#include "sigsnoop.h"

const volatile bool only_failed = 0;
const volatile s32 wanted_signal = 0;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

/* int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result */
SEC("?raw_tp/signal_generate")
int on_signal(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *target = (void *)ctx->args[2];
  s32 signal = ctx->args[0], result = ctx->args[4];
  if (!wanted() || (only_failed && result == 0)) return 0;
  if (wanted_signal && signal != wanted_signal) return 0;
  struct signal_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->target = BPF_CORE_READ(target, pid), event->signal = signal, event->result = result;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
  return 0;
}
