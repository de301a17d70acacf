/* execve seen through every other hook: ksyscall, kretsyscall, kprobe on the wrapper, raw tracepoints. */
#include "common.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} events SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} counts SEC(".maps");

static void count(__u32 what) {
  __u64* number = bpf_map_lookup_elem(&counts, &what);
  if (number) __sync_fetch_and_add(number, 1);
}

SEC("ksyscall/execve")
int BPF_KSYSCALL(by_ksyscall, const char* path) {
  struct event* e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
  if (!e) return 0;
  e->pid = bpf_get_current_pid_tgid() >> 32;
  e->ret = 0;
  bpf_get_current_comm(e->comm, sizeof(e->comm));
  bpf_probe_read_user_str(e->path, sizeof(e->path), path);
  bpf_ringbuf_submit(e, 0);
  return 0;
}

SEC("kretsyscall/execve")
int BPF_KRETPROBE(by_kretsyscall, int ret) {
  if (ret < 0) count(0);
  return 0;
}

SEC("kprobe/__x64_sys_execve")
int by_kprobe(struct pt_regs* ctx) {
  count(1);
  return 0;
}

SEC("raw_tracepoint/sys_enter")
int by_raw_enter(struct { __u64 args[2]; } * ctx) {
  if (ctx->args[1] == 59) count(2);
  return 0;
}

SEC("raw_tracepoint/sys_exit")
int by_raw_exit(struct { __u64 args[2]; } * ctx) {
  struct pt_regs* regs = (void*)ctx->args[0];
  if (BPF_CORE_READ(regs, orig_ax) == 59) count(3);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
