// The kernel types that the test programs touch, enough for CO-RE: no vmlinux.h has to be made.
#pragma once
#include <linux/types.h>

#define __VMLINUX_H__  // bpf_tracing.h: registers have the kernel's own names

enum {
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
  BPF_MAP_TYPE_STACK_TRACE = 7,
  BPF_MAP_TYPE_RINGBUF = 27,
};
#define BPF_F_CURRENT_CPU 0xffffffffULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
struct task_struct {
  int tgid;
  struct task_struct *real_parent;
};
#pragma clang attribute pop
