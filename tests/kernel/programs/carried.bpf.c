// A kprobe program on openat that does what real tools do: arguments through the inner pt_regs, strings from user
// memory, perf and ring buffer output with the context, a stack id, a subprogram that gets the context.
#include "vmlinux_part.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

const volatile unsigned int wanted_pid = 0;

struct event {
  __u32 pid;
  int dfd;
  long result;
  long stack_id;
  char path[64];
};

struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, 4);
  __uint(value_size, 4);
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 65536);
} ring SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 256);
  __uint(key_size, 4);
  __uint(value_size, 127 * 8);
} stacks SEC(".maps");

static __noinline long emit(struct pt_regs *ctx, struct event *event) {
  event->stack_id = bpf_get_stackid(ctx, &stacks, 1 << 10 /* BPF_F_REUSE_STACKID: two stacks may hash alike */);
  return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof *event);
}

SEC("ksyscall/openat")
int BPF_KSYSCALL(on_openat, int dfd, const char *path) {
  struct event event = {};
  event.pid = bpf_get_current_pid_tgid() >> 32;
  if (event.pid != wanted_pid) return 0;
  event.dfd = dfd;
  bpf_probe_read_user_str(event.path, sizeof event.path, path);
  emit(ctx, &event);
  return 0;
}

SEC("kretsyscall/openat")
int on_openat_return(struct pt_regs *ctx) {
  __u32 pid = bpf_get_current_pid_tgid() >> 32;
  if (pid != wanted_pid) return 0;
  struct event *event = bpf_ringbuf_reserve(&ring, sizeof *event, 0);
  if (!event) return 0;
  __builtin_memset(event, 0, sizeof *event);
  event->pid = pid;
  event->result = PT_REGS_RC(ctx);
  bpf_ringbuf_submit(event, 0);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
