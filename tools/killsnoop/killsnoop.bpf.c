// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// kill(2), tkill(2), tgkill(2) and the queueing calls: who sends which signal to whom.
#include "tool.bpf.h"
#include "killsnoop.h"

const volatile bool only_failed = 0;
const volatile s32 wanted_target = 0;
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

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  bool has_group = nr == __NR_tgkill || nr == __NR_rt_tgsigqueueinfo;
  struct sending sending = {.target = has_group ? args[1] : args[0], .signal = has_group ? args[2] : args[1]};
  if (wanted_target && sending.target != wanted_target) return 0;
  if (wanted_signal && sending.signal != wanted_signal) return 0;
  u64 id = bpf_get_current_pid_tgid();
  bpf_map_update_elem(&sendings, &id, &sending, BPF_ANY);
  return 0;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct sending *sending = bpf_map_lookup_elem(&sendings, &id);
  if (!sending) return 0;
  struct kill_event *event = only_failed && ret >= 0 ? 0 : bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (event) {
    event->time_ns = bpf_ktime_get_ns();
    event->pid = id >> 32;
    event->uid = bpf_get_current_uid_gid();
    event->target = sending->target, event->signal = sending->signal;
    event->result = ret;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    bpf_ringbuf_submit(event, 0);
  }
  bpf_map_delete_elem(&sendings, &id);
  return 0;
}

#define CALLS(X) X(kill) X(tkill) X(tgkill) X(rt_sigqueueinfo) X(rt_tgsigqueueinfo)
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
