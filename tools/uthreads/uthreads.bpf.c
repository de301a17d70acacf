// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Threads that begin. pthread_create() says with which function, the fork within it says who: no probe of the C
// library's is needed, which many builds lack. Java's runtime tells beginnings and ends with names.
#include "tool.bpf.h"
#include <bpf/usdt.bpf.h>
#include "uthreads/uthreads.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, u32); /* the thread that creates one */
  __type(value, u64);
} starting SEC(".maps");

SEC("?uprobe")
int BPF_UPROBE(create_enter, void *thread, void *attributes, u64 start) {
  u32 tid = bpf_get_current_pid_tgid();
  if (wanted()) bpf_map_update_elem(&starting, &tid, &start, BPF_ANY);
  return 0;
}

SEC("?uretprobe")
int create_exit(struct pt_regs *ctx) {
  u32 tid = bpf_get_current_pid_tgid();
  bpf_map_delete_elem(&starting, &tid);
  return 0;
}

SEC("?raw_tp/sched_process_fork")
int thread_made(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *maker = (void *)ctx->args[0], *made = (void *)ctx->args[1];
  u32 tid = BPF_CORE_READ(maker, pid);
  u64 *start = bpf_map_lookup_elem(&starting, &tid);
  u32 pid = BPF_CORE_READ(maker, tgid);
  if (!start || BPF_CORE_READ(made, tgid) != pid) return 0;
  struct uthread_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->runtime_id = *start, event->native_id = BPF_CORE_READ(made, pid);
  event->pid = pid, event->kind = UTHREAD_PTHREAD;
  event->name[0] = 0;
  bpf_ringbuf_submit(event, 0);
  return 0;
}

/* thread__start, thread__stop: name, its length, the runtime's number, the system's number, whether it is a daemon */
static __always_inline int java_thread(struct pt_regs *ctx, u32 kind) {
  long name = 0, length = 0, runtime_id = 0, native_id = 0;
  if (!wanted()) return 0;
  bpf_usdt_arg(ctx, 0, &name);
  bpf_usdt_arg(ctx, 1, &length);
  bpf_usdt_arg(ctx, 2, &runtime_id);
  bpf_usdt_arg(ctx, 3, &native_id);
  struct uthread_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->time_ns = bpf_ktime_get_ns();
  event->runtime_id = runtime_id, event->native_id = native_id;
  event->pid = bpf_get_current_pid_tgid() >> 32, event->kind = kind;
  u64 size = length;
  if (size > sizeof(event->name) - 1) size = sizeof(event->name) - 1;
  event->name[0] = 0;
  bpf_probe_read_user_str(event->name, size + 1, (void *)name);
  bpf_ringbuf_submit(event, 0);
  return 0;
}
SEC("?usdt") int java_start(struct pt_regs *ctx) { return java_thread(ctx, UTHREAD_START); }
SEC("?usdt") int java_stop(struct pt_regs *ctx) { return java_thread(ctx, UTHREAD_STOP); }
