// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every macro and helper family of <bpf/bpf_helpers.h>, <bpf/bpf_tracing.h>, <bpf/bpf_core_read.h> and
// <bpf/bpf_endian.h>, used once: it must compile, and its records must have types.
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
struct event {
  u32 pid;
  char comm[16];
};
struct other {
  u64 a;
};
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 65536);
} ring SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} second SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
  __type(value, struct other);
} third SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} fourth SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, 4);
  __uint(value_size, 4);
} perf SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 100);
  __type(key, u32);
  __type(value, u64);
} counts SEC(".maps");
struct inner {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, u32);
} inner_map SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 2);
  __type(key, u32);
  __array(values, struct inner);
} outer SEC(".maps") = {.values = {&inner_map}};
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 2);
  __uint(key_size, 4);
  __uint(value_size, 4);
} jumps SEC(".maps");
const struct other* unused_fourth __attribute__((unused));
const volatile int option = 0;

SEC("ksyscall/openat") int BPF_KSYSCALL(on_openat, int dfd, const char* path, int flags, umode_t mode) {
  bpf_printk("none");
  bpf_printk("%d %s %x", dfd, path, flags);
  bpf_printk("%d %s %x %x", dfd, path, flags, mode);
  return 0;
}
SEC("kprobe/do_unlinkat") int BPF_KPROBE(on_unlink, int dfd, struct filename* name) {
  struct event e = {};
  const char* text = BPF_CORE_READ(name, name);
  bpf_probe_read_kernel_str(e.comm, sizeof(e.comm), text);
  bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof(e));
  return 0;
}
SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(on_return, long result) {
  bpf_printk("%ld", result);
  return 0;
}
SEC("kretprobe/x") int BPF_KRETPROBE(on_nothing) { return 0; }
SEC("fentry/do_unlinkat") int BPF_PROG(on_entry, int dfd, struct filename* name) {
  bpf_printk("%d", dfd);
  return 0;
}
SEC("tp/syscalls/sys_enter_openat") int on_enter(struct trace_event_raw_sys_enter* ctx) {
  struct task_struct* task = (void*)bpf_get_current_task();
  struct event* e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
  struct other o = {};
  char text[16];
  if (!e) return 0;
  e->pid = BPF_CORE_READ(task, real_parent, tgid) + BPF_CORE_READ(task, real_parent, real_parent, tgid) + ctx->args[1];
  bpf_core_read_str(e->comm, sizeof(e->comm), &task->comm);
  BPF_CORE_READ_STR_INTO(&e->comm, task, real_parent, comm);
  BPF_CORE_READ_INTO(&e->pid, task, tgid);
  if (bpf_core_field_exists(task->comm) && bpf_core_field_exists(struct task_struct, tgid)) ++e->pid;
  e->pid += bpf_core_field_size(task->comm) + bpf_core_field_offset(struct task_struct, comm);
  if (bpf_core_type_exists(struct task_struct)) e->pid += bpf_core_type_size(struct task_struct);
  if (bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_HASH))
    e->pid += bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_HASH);
  e->pid += bpf_htons(e->pid) + bpf_ntohl(e->pid) + bpf_cpu_to_be64(e->pid) + option;
  bpf_ringbuf_submit(e, 0);
  bpf_ringbuf_output(&second, &o, sizeof(o), 0);
  BPF_SNPRINTF(text, sizeof(text), "%d", option);
  bpf_tail_call_static(ctx, &jumps, 1);
  return 0;
}
SEC("kprobe/plain") int plain(struct pt_regs* ctx) {
  int i, sum = 0;
  bpf_for(i, 0, 10) sum += PT_REGS_PARM1(ctx) + PT_REGS_IP(ctx) + PT_REGS_RC(ctx) + PT_REGS_PARM6(ctx);
  bpf_repeat(3) sum += PT_REGS_PARM1_CORE(ctx);
  return sum;
}
SEC("?tp_btf/sys_enter") int BPF_PROG(on_raw, struct pt_regs* regs, long id) {
  return PT_REGS_PARM1_CORE_SYSCALL(regs);
}
