// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every signal that is sent, by whatever means: the kernel's own (SIGSEGV, SIGCHLD, timers) included. In the user engine
// the system calls that send signals.
#include "tool.bpf.h"
#include "sigsnoop.h"

const volatile bool only_failed = 0;
const volatile s32 wanted_signal = 0;

struct sending {
  s32 target, signal;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct sending);
} sendings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline void send(s32 target, s32 signal, s32 result) {
  if (only_failed && result == 0) return;
  if (wanted_signal && signal != wanted_signal) return;
  struct signal_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return;
  event->time_ns = bpf_ktime_get_ns();
  event->pid = bpf_get_current_pid_tgid() >> 32;
  event->target = target, event->signal = signal, event->result = result;
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  bpf_ringbuf_submit(event, 0);
}

/* int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result */
SEC("?raw_tp/signal_generate")
int kernel_generate(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *target = (void *)ctx->args[2];
  if (wanted()) send(BPF_CORE_READ(target, pid), ctx->args[0], ctx->args[4]);
  return 0;
}

#define USER_SEND(call, target_argument)                                                              \
  SEC("?tracepoint/syscalls/sys_enter_" #call)                                                        \
  int user_enter_##call(struct tool_enter_record *ctx) {                                      \
    u64 id = bpf_get_current_pid_tgid();                                                              \
    struct sending sending = {ctx->args[target_argument], ctx->args[target_argument + 1]};            \
    bpf_map_update_elem(&sendings, &id, &sending, BPF_ANY);                                           \
    return 0;                                                                                         \
  }                                                                                                   \
  SEC("?tracepoint/syscalls/sys_exit_" #call)                                                         \
  int user_exit_##call(struct tool_exit_record *ctx) {                                        \
    u64 id = bpf_get_current_pid_tgid();                                                              \
    struct sending *sending = bpf_map_lookup_elem(&sendings, &id);                                    \
    if (sending) send(sending->target, sending->signal, ctx->ret);                                    \
    bpf_map_delete_elem(&sendings, &id);                                                              \
    return 0;                                                                                         \
  }
USER_SEND(kill, 0)
USER_SEND(tkill, 0)
USER_SEND(tgkill, 1)
USER_SEND(rt_sigqueueinfo, 0)
USER_SEND(rt_tgsigqueueinfo, 1)
